//! What an honest user does.

use crate::device::candidate::Unseal;
use crate::device::enrolled::Profile;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::vault::testing::Folder;
use crate::vault::{Changes, Delivery, RecoveryCode, Rules, Vault, VaultError, random};

use super::rig::{Rig, apply, found, get, put, secret, touch, unseal, wanted};

#[test]
fn a_value_that_was_put_comes_back_with_the_touch_that_signs_the_lease() {
    for profile in [Profile::Pin, Profile::TouchOnly] {
        let rig = Rig::with(profile, &["prod", "dev"]);
        rig.put("prod", "TOKEN", b"s3cret").unwrap();
        assert_eq!(rig.get("prod", "TOKEN").unwrap(), b"s3cret");
        assert!(matches!(rig.get("dev", "TOKEN"), Err(VaultError::NoSecret { .. })));
    }
}

#[test]
fn one_touch_opens_two_scopes_and_three_are_refused() {
    let rig = Rig::with(Profile::Pin, &["a", "b", "c"]);
    for scope in ["a", "b", "c"] {
        rig.put(scope, "X", scope.as_bytes()).unwrap();
    }
    let vault = rig.vault();
    let standing = vault.standing(&["c", "a", "c"]).unwrap();
    let both = [wanted(&vault, "c", "X").unwrap(), wanted(&vault, "a", "X").unwrap()];
    assert_eq!(unseal(&vault, &rig.blue, &standing, &both).unwrap(), [b"c", b"a"]);
    assert!(matches!(
        vault.standing(&["a", "b", "c"]),
        Err(VaultError::TooManyScopes { asked: 3 })
    ));
}

#[test]
fn values_from_1_byte_to_1_mib_and_names_in_any_script_are_kept() {
    let rig = Rig::new();
    let big: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(7) >> 3) as u8).collect();
    for (name, value) in [("東京", &b"\0"[..]), ("Ключ", b"\xff\xfe\n\0"), ("BIG", &big)] {
        rig.put("prod", name, value).unwrap();
        assert_eq!(rig.get("prod", name).unwrap(), value);
    }
    assert!(matches!(rig.put("prod", "A", b""), Err(VaultError::ValueSize(0))));
    assert!(matches!(
        rig.put("prod", "A", &[big, vec![0]].concat()),
        Err(VaultError::ValueSize(_))
    ));
    assert!(matches!(rig.put("prod", "../A", b"x"), Err(VaultError::Name(_))));
}

#[test]
fn a_batch_replaces_edits_rules_and_removes_with_one_touch() {
    let rig = Rig::new();
    for name in ["A", "B", "C"] {
        rig.put("prod", name, b"old").unwrap();
    }
    let changes = Changes {
        rules: vec![("B".into(), Rules::for_hosts(&["api.example.com"]))],
        removes: vec!["C".into()],
        ..put("A", b"new")
    };
    apply(&rig.vault(), &rig.blue, "prod", changes).unwrap();
    assert_eq!(rig.get("prod", "A").unwrap(), b"new");
    assert_eq!(rig.get("prod", "B").unwrap(), b"old");
    assert!(matches!(rig.get("prod", "C"), Err(VaultError::NoSecret { .. })));
    let (listed, unreadable) = rig.vault().list(None).unwrap();
    let shown: Vec<_> = listed
        .iter()
        .map(|l| (l.name.as_str(), l.version, l.rules.allow(Delivery::Proxy)))
        .collect();
    assert_eq!(shown, [("A", 2, false), ("B", 2, true)]);
    assert!(unreadable.is_empty());
    let again = Changes {
        removes: vec!["C".into()],
        ..Changes::default()
    };
    assert!(matches!(
        apply(&rig.vault(), &rig.blue, "prod", again),
        Err(VaultError::NoSecret { .. })
    ));
    rig.put("prod", "C", b"back").unwrap();
    assert_eq!(rig.vault().find("prod", "C").unwrap().listed.version, 3);
}

#[test]
fn changes_that_contradict_themselves_are_refused_before_the_touch() {
    let twice = Changes {
        removes: vec!["A".into()],
        ..put("A", b"x")
    };
    assert!(matches!(twice.check(), Err(VaultError::Twice(name)) if name == "A"));
    assert!(matches!(Changes::default().check(), Err(VaultError::Nothing)));
    let mut line = put("A", b"two\nlines");
    line.puts[0].rules = Rules::for_hosts(&["a.b"]);
    assert!(matches!(line.check(), Err(VaultError::Rules(_))));
}

#[test]
fn the_recovery_code_alone_opens_every_scope() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    rig.put("dev", "B", b"2").unwrap();
    let printed = rig.code.to_text().to_lowercase();
    let code = RecoveryCode::parse(&printed).unwrap();
    let vault = rig.vault();
    assert_eq!(vault.unseal_with_recovery(&code, "prod", "A").unwrap().expose(), b"1");
    assert_eq!(vault.unseal_with_recovery(&code, "dev", "B").unwrap().expose(), b"2");
    let other = RecoveryCode::generate(&mut random::system());
    assert!(matches!(
        vault.unseal_with_recovery(&other, "prod", "A"),
        Err(VaultError::WrongCode)
    ));
}

#[test]
fn t11_a_proof_for_another_text_purpose_or_number_of_scopes_opens_nothing() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    let vault = rig.vault();
    let standing = vault.standing(&["prod"]).unwrap();
    let wanted = [wanted(&vault, "prod", "A").unwrap()];
    let refused = |proof| {
        matches!(
            vault.unseal(&proof, Digest::of(b"lease"), &standing, &wanted),
            Err(VaultError::WrongProof(_))
        )
    };
    assert!(refused(touch(&vault, &rig.blue, Namespace::Lease, &standing, b"another")));
    assert!(refused(touch(&vault, &rig.blue, Namespace::Change, &standing, b"lease")));
    assert!(refused(rig.blue.touch(Namespace::Lease, b"lease", &[])));
    let stranger = crate::device::soft::SoftKey::new("blue", Profile::Pin, 9);
    assert!(refused(stranger.touch(Namespace::Lease, b"lease", &[Unseal::Salt([0; 32])])));
    let other_salt = rig.blue.touch(Namespace::Lease, b"lease", &[Unseal::Salt([0; 32])]);
    assert!(matches!(
        vault.unseal(&other_salt, Digest::of(b"lease"), &standing, &wanted),
        Err(VaultError::SlotClosed { .. })
    ));
    let lease = touch(&vault, &rig.blue, Namespace::Lease, &standing, b"x");
    let applied = vault.apply(&lease, Digest::of(b"x"), &standing, &put("A", b"2"), 0, &mut random::system());
    assert!(matches!(applied, Err(VaultError::WrongProof(_))));
}

#[test]
fn a_put_between_the_question_and_the_touch_refuses_the_lease() {
    let rig = Rig::new();
    rig.put("prod", "A", b"1").unwrap();
    let vault = rig.vault();
    let standing = vault.standing(&["prod"]).unwrap();
    let wanted = [wanted(&vault, "prod", "A").unwrap()];
    rig.put("prod", "B", b"2").unwrap();
    assert!(matches!(unseal(&vault, &rig.blue, &standing, &wanted), Err(VaultError::Changed)));
    assert_eq!(get(&vault, &rig.blue, "prod", "A").unwrap(), b"1");
}

#[test]
fn a_vault_is_made_only_in_a_new_or_empty_folder() {
    let rig = Rig::new();
    let states = Folder::new();
    assert!(matches!(
        found(&rig.folder(), &states, &rig.blue, &["x"]),
        Err(VaultError::NotEmpty { .. })
    ));
    let folder = Folder::new();
    std::fs::write(folder.join("note"), b"").unwrap();
    assert!(matches!(
        found(&folder, &states, &rig.blue, &["x"]),
        Err(VaultError::NotEmpty { .. })
    ));
    let repository = Folder::new();
    std::fs::create_dir(repository.join(".git")).unwrap();
    found(&repository, &states, &rig.blue, &["x"]).unwrap();
    assert!(matches!(Vault::open(&states, &states), Err(VaultError::NoVault { .. })));
}

#[test]
fn a_newer_format_is_refused_with_its_number() {
    let rig = Rig::new();
    std::fs::write(rig.folder().join("format"), "touchlease vault 7\n").unwrap();
    assert!(matches!(rig.try_open(), Err(VaultError::Newer { found: 7, known: 1 })));
}

#[test]
fn values_are_in_no_file_of_the_vault() {
    let rig = Rig::new();
    rig.put("prod", "TOKEN", b"canary-4711-canary").unwrap();
    for (path, bytes) in rig.files() {
        assert!(!bytes.windows(18).any(|w| w == b"canary-4711-canary"), "{path:?}");
    }
    let debug = format!("{:?}", put("A", b"canary"));
    assert!(!debug.contains("canary") && !debug.contains("99, 97"), "{debug}");
    drop(secret(b"x"));
}

#[test]
fn a_vault_whose_memory_cannot_be_kept_is_not_made() {
    let home = Folder::new();
    let blue = SoftKey::new("blue", Profile::Pin, 1);
    std::fs::write(home.join("state"), "a file where the folder is to be").unwrap();
    assert!(found(&home.join("vault"), &home.join("state"), &blue, &["prod"]).is_err());
    assert!(matches!(
        Vault::open(&home.join("vault"), &home.join("elsewhere")),
        Err(VaultError::NoVault { .. })
    ));
    std::fs::remove_file(home.join("state")).unwrap();
    found(&home.join("vault"), &home.join("state"), &blue, &["prod"]).unwrap();
}

#[test]
fn t09_what_others_remove_while_a_lease_is_unsealed_is_said_to_have_changed() {
    let rig = Rig::new();
    for name in ["A", "B"] {
        rig.put("prod", name, b"1").unwrap();
    }
    let vault = rig.vault();
    let standing = vault.standing(&["prod"]).unwrap();
    let wanted = [wanted(&vault, "prod", "A").unwrap()];
    let proof = touch(&vault, &rig.blue, Namespace::Lease, &standing, b"lease");
    let accepted = vault.memory.accepted().unwrap();
    let removes = Changes {
        removes: vec!["A".into()],
        ..Changes::default()
    };
    let unsealed = || vault.unseal_accepted(&proof, &standing, &wanted, &accepted).map(drop);
    assert!(unsealed().is_ok());
    apply(&rig.vault(), &rig.blue, "prod", removes).unwrap();
    assert!(matches!(unsealed(), Err(VaultError::Changed)), "{:?}", unsealed());
}
