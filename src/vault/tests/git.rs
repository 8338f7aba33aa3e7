//! The vault in git: plain `git merge` never conflicts, whatever two machines did apart from each other, and the next touch joins
//! what it left.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::device::enrolled::Profile;
use crate::device::soft::SoftKey;
use crate::encoding::Digest;
use crate::encoding::sshsig::Namespace;
use crate::vault::testing::Folder;
use crate::vault::{Changes, Delivery, Plan, RecoveryCode, Removal, Rules, Vault, VaultError, Wanted, random};

use super::keys::{commit, plan_addition};
use super::recover::plan;
use super::rig::{NOW, apply, copy, found, get, put, touch, unseal, wanted};

const SCOPE: &str = "prod";

fn git(folder: &Path, arguments: &[&str]) {
    let run = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "init.defaultBranch=main"])
        .args(["-c", "core.autocrlf=true", "-c", "gc.auto=0"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "git {arguments:?}: {said}");
}

/// Machines that have clones of one vault, each with a memory of its own.
struct Machines {
    home: Folder,
    blue: SoftKey,
    code: RecoveryCode,
}

impl Machines {
    fn new(count: usize) -> Self {
        let (home, blue) = (Folder::new(), SoftKey::new("blue", Profile::Pin, 1));
        let (_, code) = found(&home.join("0"), &home.join("state-0"), &blue, &[SCOPE]).unwrap();
        let machines = Self { home, blue, code };
        git(&machines.folder(0), &["init", "-q"]);
        machines.commit(0);
        for machine in 1..count {
            git(&machines.home, &["clone", "-q", "0", &machine.to_string()]);
        }
        machines
    }

    fn folder(&self, machine: usize) -> PathBuf {
        self.home.join(machine.to_string())
    }

    fn state(&self, machine: usize) -> PathBuf {
        self.home.join(format!("state-{machine}"))
    }

    fn open(&self, machine: usize) -> Vault {
        Vault::open(&self.folder(machine), &self.state(machine)).unwrap()
    }

    fn commit(&self, machine: usize) {
        git(&self.folder(machine), &["add", "-A"]);
        git(&self.folder(machine), &["commit", "-qm", "change", "--allow-empty"]);
    }

    fn try_change(&self, machine: usize, changes: Changes) -> Result<Digest, VaultError> {
        let done = apply(&self.open(machine), &self.blue, SCOPE, changes);
        self.commit(machine);
        done
    }

    fn change(&self, machine: usize, changes: Changes) {
        self.try_change(machine, changes).unwrap();
    }

    /// The same machines once more, elsewhere.
    fn again(&self) -> Self {
        let home = Folder::new();
        let copied = Command::new("cp")
            .arg("-a")
            .arg(format!("{}/.", self.home.display()))
            .arg(&*home)
            .status();
        assert!(copied.unwrap().success());
        Self {
            home,
            blue: SoftKey::new("blue", Profile::Pin, 1),
            code: RecoveryCode::parse(&self.code.to_text()).unwrap(),
        }
    }

    /// Plain `git pull` of what another machine has.
    fn pull(&self, machine: usize, from: usize) {
        let from = self.folder(from);
        git(
            &self.folder(machine),
            &["pull", "-q", "--no-rebase", "--no-edit", from.to_str().unwrap(), "main"],
        );
    }

    /// Joins what a merge left, by a touch for that alone.
    fn join(&self, machine: usize) {
        let join = Changes {
            join: true,
            ..Changes::default()
        };
        match self.try_change(machine, join) {
            Ok(_) | Err(VaultError::Nothing) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// Both machines take in what the other has, and join.
    fn exchange(&self, one: usize, two: usize) {
        self.pull(one, two);
        self.join(one);
        self.pull(two, one);
        self.join(two);
    }

    /// Every name that the index has, with its values, by a touch.
    fn state_of(&self, machine: usize) -> BTreeMap<String, BTreeSet<Vec<u8>>> {
        let vault = self.open(machine);
        let standing = vault.standing(&[SCOPE]).unwrap();
        let proof = touch(&vault, &self.blue, Namespace::Lease, &standing, b"look");
        let scope = vault.scope(SCOPE).unwrap();
        let ring = vault.unlock(&proof, &[scope]).unwrap().remove(0);
        let index = vault.index(scope, &ring, &standing, &vault.memory.accepted().unwrap()).unwrap();
        let mut state = BTreeMap::new();
        for entry in index.entries().unwrap() {
            for (id, digest) in entry.records() {
                let path = crate::vault::record::path(scope.id, &entry.name, id);
                let file = vault.store.read(&path, 1 << 20).unwrap();
                assert_eq!(Digest::of(&file), digest);
                let value = crate::vault::record::Record::parse(&file).unwrap().open(&ring, &path).unwrap();
                let values: &mut BTreeSet<Vec<u8>> = state.entry(entry.name.clone()).or_default();
                values.insert(value.expose().to_vec());
            }
        }
        state
    }
}

fn remove(name: &str) -> Changes {
    Changes {
        removes: vec![name.into()],
        ..Changes::default()
    }
}

fn rules(name: &str) -> Changes {
    // A long clear part, the same on both sides but for a word: what git would take for a renamed file.
    let hosts: Vec<String> = (0..40).map(|n| format!("host-{n}.a-long-name-that-repeats.example.com")).collect();
    let mut rules = Rules::for_hosts(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
    rules.deliveries.insert(Delivery::Env);
    Changes {
        rules: vec![(name.into(), rules)],
        ..Changes::default()
    }
}

fn state(of: &[(&str, &[&[u8]])]) -> BTreeMap<String, BTreeSet<Vec<u8>>> {
    of.iter()
        .map(|(name, values)| ((*name).to_owned(), values.iter().map(|value| value.to_vec()).collect()))
        .collect()
}

/// What the two machines do to a vault that has A, B and C, and what is there once they are joined.
#[allow(clippy::type_complexity)]
fn sides() -> Vec<(&'static str, Changes, Changes, BTreeMap<String, BTreeSet<Vec<u8>>>)> {
    let with = |changed: &[(&str, &[&[u8]])]| {
        let mut all = state(&[("A", &[b"0"]), ("B", &[b"0"]), ("C", &[b"0"])]);
        for (name, values) in state(changed) {
            all.insert(name.clone(), values.clone());
            all.retain(|_, values| !values.is_empty());
        }
        all
    };
    vec![
        (
            "put and put",
            put("X", b"1"),
            put("Y", b"2"),
            with(&[("X", &[b"1"]), ("Y", &[b"2"])]),
        ),
        (
            "the same name put twice",
            put("X", b"1"),
            put("X", b"2"),
            with(&[("X", &[b"1", b"2"])]),
        ),
        ("edit and edit", put("A", b"1"), put("A", b"2"), with(&[("A", &[b"1", b"2"])])),
        ("rules and value", rules("A"), put("A", b"2"), with(&[("A", &[b"0", b"2"])])),
        (
            "edit and another edit",
            put("A", b"1"),
            put("B", b"2"),
            with(&[("A", &[b"1"]), ("B", &[b"2"])]),
        ),
        ("remove and edit", remove("A"), put("A", b"2"), with(&[("A", &[b"2"])])),
        ("remove and remove", remove("A"), remove("A"), with(&[("A", &[])])),
        ("remove and put", remove("B"), put("X", b"2"), with(&[("B", &[]), ("X", &[b"2"])])),
    ]
}

#[test]
fn plain_git_merge_never_conflicts_and_the_next_touch_joins_to_one_state_in_either_order() {
    let base = Machines::new(1);
    for name in ["A", "B", "C"] {
        base.change(0, put(name, b"0"));
    }
    git(&base.home, &["clone", "-q", "0", "1"]);
    for (what, ours, theirs, joined) in sides() {
        for (first, second) in [(&ours, &theirs), (&theirs, &ours)] {
            let machines = base.again();
            assert_eq!(get(&machines.open(1), &machines.blue, SCOPE, "C").unwrap(), b"0", "{what}");
            machines.change(0, copy(first));
            machines.change(1, copy(second));
            machines.pull(1, 0);
            assert_eq!(machines.open(1).standing(&[SCOPE]).unwrap().heads()[0].1.len(), 2, "{what}");
            assert_eq!(machines.state_of(1), joined, "{what}: before it is joined on the disk");
            machines.join(1);
            assert_eq!(machines.open(1).standing(&[SCOPE]).unwrap().heads()[0].1.len(), 1, "{what}");
            machines.pull(0, 1);
            assert_eq!(machines.state_of(1), joined, "{what}");
            assert_eq!(machines.state_of(0), joined, "{what}");
        }
    }
}

#[test]
fn a_lease_joins_on_the_disk_what_it_opened() {
    let machines = Machines::new(2);
    machines.change(0, put("A", b"1"));
    machines.change(1, put("B", b"2"));
    machines.pull(1, 0);
    let vault = machines.open(1);
    let standing = vault.standing(&[SCOPE]).unwrap();
    let shown: Vec<_> = standing.claims().iter().map(|claim| claim.listed.name.as_str()).collect();
    assert_eq!(shown, ["A"], "what came from elsewhere, and nothing that this machine wrote");
    let lease = [wanted(&vault, SCOPE, "A").unwrap()];
    let proof = touch(&vault, &machines.blue, Namespace::Lease, &standing, b"lease");
    let mut material = vault.unseal(&proof, Digest::of(b"lease"), &standing, &lease).unwrap();
    vault.join(&material.take_joins(), &standing, &mut random::system()).unwrap();
    assert_eq!(material.value(SCOPE, "A").unwrap().expose(), b"1");
    let standing = vault.standing(&[SCOPE]).unwrap();
    assert_eq!((standing.heads()[0].1.len(), standing.claims().len()), (1, 0));
    assert_eq!(machines.state_of(1), state(&[("A", &[b"1"]), ("B", &[b"2"])]));
}

#[test]
fn of_two_versions_a_person_keeps_one_and_a_lease_waits_for_that() {
    let machines = Machines::new(2);
    machines.change(0, put("A", b"one"));
    machines.change(1, put("A", b"two"));
    machines.pull(1, 0);
    let vault = machines.open(1);
    let merges = vault.merges().unwrap();
    let records = &merges[0].contests[0].records;
    assert_eq!((merges[0].heads.len(), records.len()), (2, 2));
    assert!(matches!(vault.find(SCOPE, "A"), Err(VaultError::Contested { .. })));
    // One lies in front of the other: the touch tells all the same.
    let standing = vault.standing(&[SCOPE]).unwrap();
    let scope = vault.scope(SCOPE).unwrap();
    let parts = vault.clear_parts(scope, |id| id == records[0].record).unwrap();
    let judged = parts[0].1.clone();
    let asked = Wanted {
        scope: SCOPE.into(),
        name: "A".into(),
        judged: judged.clone(),
    };
    let opened = unseal(&vault, &machines.blue, &standing, &[asked]);
    assert!(matches!(opened, Err(VaultError::Contested { .. })), "{opened:?}");
    for other in [put("A", b"three"), remove("A"), rules("A")] {
        assert!(matches!(
            apply(&vault, &machines.blue, SCOPE, other),
            Err(VaultError::Contested { .. } | VaultError::RulesChanged { .. })
        ));
    }
    let keep = |record| Changes {
        keeps: vec![("A".into(), record)],
        judged: [("A".into(), judged.clone())].into(),
        ..Changes::default()
    };
    let apply_as_it_is = |changes: &Changes| {
        let standing = vault.standing(&[SCOPE]).unwrap();
        let proof = touch(&vault, &machines.blue, Namespace::Change, &standing, b"keep");
        vault.apply(&proof, Digest::of(b"keep"), &standing, changes, NOW, &mut random::system())
    };
    assert!(matches!(
        apply_as_it_is(&keep(records[1].record)),
        Err(VaultError::RulesChanged { .. })
    ));
    assert!(matches!(
        apply_as_it_is(&keep(random::id(&mut random::system()))),
        Err(VaultError::NotContested { .. })
    ));
    apply_as_it_is(&keep(records[0].record)).unwrap();
    assert!(vault.merges().unwrap().is_empty());
    assert_eq!(vault.find(SCOPE, "A").unwrap().listed.version, 2);
    let kept = get(&vault, &machines.blue, SCOPE, "A").unwrap();
    assert!(kept == b"one" || kept == b"two");
    machines.commit(1);
    machines.pull(0, 1);
    assert_eq!(machines.state_of(0), state(&[("A", &[&kept])]));
    assert!(matches!(
        apply_as_it_is(&keep(records[0].record)),
        Err(VaultError::NotContested { .. })
    ));
}

#[test]
fn two_who_settle_the_same_name_differently_are_asked_again() {
    let machines = Machines::new(2);
    machines.change(0, put("A", b"one"));
    machines.change(1, put("A", b"two"));
    machines.pull(1, 0);
    machines.pull(0, 1);
    for machine in [0, 1] {
        let vault = machines.open(machine);
        let records = vault.merges().unwrap()[0].contests[0].records.clone();
        let record = records[machine].record;
        let judged = vault.clear_parts(vault.scope(SCOPE).unwrap(), |id| id == record).unwrap()[0]
            .1
            .clone();
        let keep = Changes {
            keeps: vec![("A".into(), record)],
            judged: [("A".into(), judged)].into(),
            ..Changes::default()
        };
        let standing = vault.standing(&[SCOPE]).unwrap();
        let proof = touch(&vault, &machines.blue, Namespace::Change, &standing, b"keep");
        vault
            .apply(&proof, Digest::of(b"keep"), &standing, &keep, NOW, &mut random::system())
            .unwrap();
        machines.commit(machine);
    }
    machines.exchange(0, 1);
    let both = state(&[("A", &[b"one", b"two"])]);
    assert_eq!((machines.state_of(0), machines.state_of(1)), (both.clone(), both));
}

#[test]
fn three_machines_in_a_chain_and_criss_cross_come_to_one_state() {
    let machines = Machines::new(3);
    for (machine, name) in [(0, "A"), (1, "B"), (2, "C")] {
        machines.change(machine, put(name, b"0"));
    }
    // 2 takes in 1, 1 takes in 0 without joining, and each goes on.
    machines.pull(2, 1);
    machines.change(2, put("A2", b"2"));
    machines.pull(1, 0);
    machines.change(1, put("B", b"1"));
    // Criss-cross: both merge both, and join apart from each other.
    machines.pull(2, 0);
    machines.pull(0, 2);
    machines.join(0);
    machines.join(2);
    machines.exchange(0, 2);
    machines.exchange(1, 0);
    machines.pull(2, 0);
    machines.join(2);
    machines.exchange(0, 2);
    let all = state(&[("A", &[b"0"]), ("A2", &[b"2"]), ("B", &[b"1"]), ("C", &[b"0"])]);
    for machine in 0..3 {
        assert_eq!(machines.state_of(machine), all, "machine {machine}");
    }
}

#[test]
fn a_side_that_went_through_pages_of_heads_and_a_deep_tree_is_joined() {
    let machines = Machines::new(1);
    let many = |from: u32, value: &'static [u8]| {
        let mut changes = Changes::default();
        for n in from..from + 100 {
            changes.puts.extend(put(&format!("N{n}"), value).puts);
        }
        changes
    };
    machines.change(0, many(0, b"0"));
    git(&machines.home, &["clone", "-q", "0", "1"]);
    for n in 0..70 {
        apply(&machines.open(0), &machines.blue, SCOPE, put(&format!("N{}", n % 5), b"1")).unwrap();
    }
    machines.commit(0);
    machines.change(1, put("N50", b"2"));
    machines.change(1, put("N0", b"2"));
    machines.change(1, remove("N99"));
    machines.change(1, many(100, b"2"));
    machines.exchange(0, 1);
    let (one, two) = (machines.state_of(0), machines.state_of(1));
    assert_eq!(one, two);
    assert_eq!(one.len(), 199);
    let value = |name: &str| one[name].iter().cloned().collect::<Vec<_>>();
    assert_eq!(value("N0"), [b"1", b"2"]);
    assert_eq!(
        (value("N1"), value("N50"), value("N60")),
        (vec![b"1".to_vec()], vec![b"2".to_vec()], vec![b"0".to_vec()])
    );
    // Every state of both sides is known to the joined one: a memory of any of them accepts it.
    assert_eq!(machines.open(1).standing(&[SCOPE]).unwrap().heads()[0].1.len(), 1);
}

#[test]
fn a_key_added_on_one_machine_and_a_secret_put_on_the_other_are_both_there() {
    let machines = Machines::new(2);
    let spare = SoftKey::new("spare", Profile::Pin, 2);
    super::keys::add_to(&machines.open(0), &machines.blue, &spare, &[SCOPE]).unwrap();
    machines.commit(0);
    machines.change(1, put("A", b"1"));
    machines.pull(0, 1);
    machines.pull(1, 0);
    for machine in [0, 1] {
        assert_eq!(get(&machines.open(machine), &spare, SCOPE, "A").unwrap(), b"1");
        assert_eq!(get(&machines.open(machine), &machines.blue, SCOPE, "A").unwrap(), b"1");
    }
}

#[test]
fn a_scope_re_keyed_on_one_machine_and_changed_on_the_other_loses_nothing_and_replaces_nothing_unasked() {
    let spare = SoftKey::new("spare", Profile::Pin, 2);
    let base = Machines::new(1);
    super::keys::add_to(&base.open(0), &base.blue, &spare, &[SCOPE]).unwrap();
    for name in ["A", "B"] {
        base.change(0, put(name, b"0"));
    }
    let mut filler = Changes::default();
    for n in 0..60 {
        filler.puts.extend(put(&format!("N{n}"), b"0").puts);
    }
    base.change(0, filler);
    git(&base.home, &["clone", "-q", "0", "1"]);
    for (here, there) in [(0, 1), (1, 0)] {
        let machines = base.again();
        super::keys::remove_from(&machines.open(0), "spare", &machines.blue).unwrap();
        machines.commit(0);
        // With the key that was removed meanwhile: it is the same to who merges.
        apply(&machines.open(1), &spare, SCOPE, put("X", b"1")).unwrap();
        apply(&machines.open(1), &spare, SCOPE, put("A", b"1")).unwrap();
        apply(&machines.open(1), &spare, SCOPE, remove("B")).unwrap();
        machines.commit(1);
        machines.pull(here, there);
        let vault = machines.open(here);
        let claims = vault.standing(&[SCOPE]).unwrap();
        let earlier: Vec<_> = claims
            .claims()
            .iter()
            .filter(|claim| claim.earlier_key)
            .map(|c| c.listed.name.clone())
            .collect();
        assert!(earlier.contains(&"X".to_owned()) || here == 1, "{earlier:?}");
        machines.join(here);
        machines.pull(there, here);
        for machine in [here, there] {
            let vault = machines.open(machine);
            assert_eq!(get(&vault, &machines.blue, SCOPE, "X").unwrap(), b"1");
            assert_eq!(get(&vault, &machines.blue, SCOPE, "N7").unwrap(), b"0");
            // What the other side replaced under the key before is a choice of a person's; its old record is gone from the folder.
            let asked = get(&vault, &machines.blue, SCOPE, "A");
            assert!(
                matches!(&asked, Err(VaultError::Contested { records, .. }) if records.len() == 1),
                "{asked:?}"
            );
            assert!(matches!(vault.find(SCOPE, "B"), Err(VaultError::NoSecret { .. })));
        }
        let vault = machines.open(here);
        let left = vault.records_of(SCOPE, "A").unwrap().records.remove(0);
        let keep = Changes {
            keeps: vec![("A".into(), left.record)],
            judged: [("A".into(), vault.clear_part(&left).unwrap())].into(),
            ..Changes::default()
        };
        let standing = vault.standing(&[SCOPE]).unwrap();
        let proof = touch(&vault, &machines.blue, Namespace::Change, &standing, b"keep");
        vault
            .apply(&proof, Digest::of(b"keep"), &standing, &keep, NOW, &mut random::system())
            .unwrap();
        assert_eq!(get(&vault, &machines.blue, SCOPE, "A").unwrap(), b"1");
        machines.change(here, put("B", b"again"));
        assert_eq!(machines.state_of(here).len(), 63);
    }
}

/// Random changes on two machines that merge now and then, against a model of what each knows.
#[test]
fn random_changes_on_two_machines_never_conflict_and_come_to_what_the_model_says() {
    sequences(3, 12);
}

#[test]
#[ignore = "long"]
fn many_random_changes_on_two_machines_never_conflict_and_come_to_what_the_model_says() {
    sequences(100, 30);
}

#[allow(clippy::print_stdout)]
fn sequences(count: u64, steps: usize) {
    let mut done = 0;
    for seed in 0..count {
        sequence(seed, steps);
        done += 1;
    }
    println!("{done} of {count} sequences of {steps} steps: no conflict, one state");
}

fn sequence(seed: u64, steps: usize) {
    let mut dice = Dice(seed);
    let machines = Machines::new(2);
    let mut model = [Model::default(), Model::default()];
    for step in 0..steps {
        let machine = dice.roll(2);
        let name = format!("N{}", dice.roll(4));
        match dice.roll(6) {
            0..=2 => {
                let value = format!("{seed}-{step}");
                let done = machines.try_change(machine, put(&name, value.as_bytes()));
                model[machine].put(step, &name, value.as_bytes(), &done);
            }
            3 => {
                let done = machines.try_change(machine, remove(&name));
                model[machine].remove(step, &name, &done);
            }
            _ => {
                machines.pull(machine, 1 - machine);
                machines.join(machine);
                let theirs = model[1 - machine].clone();
                model[machine].join(&theirs);
            }
        }
        assert_eq!(machines.state_of(machine), model[machine].state(), "seed {seed}, step {step}");
    }
    machines.exchange(0, 1);
    let theirs = model[1].clone();
    model[0].join(&theirs);
    for machine in [0, 1] {
        assert_eq!(machines.state_of(machine), model[0].state(), "seed {seed}, machine {machine}");
    }
}

struct Dice(u64);

impl Dice {
    /// splitmix64.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }
}

/// What a machine knows: every write it has heard of, and for each name those that nobody who knew them replaced.
#[derive(Clone, Default)]
struct Model {
    heard: BTreeSet<usize>,
    /// By name: the step that wrote it, and the value; none for a removal.
    live: BTreeMap<String, BTreeMap<usize, Option<Vec<u8>>>>,
}

impl Model {
    fn values(&self, name: &str) -> usize {
        self.live.get(name).map_or(0, |versions| versions.values().flatten().count())
    }

    fn write(&mut self, step: usize, name: &str, value: Option<Vec<u8>>) {
        self.heard.insert(step);
        self.live.insert(name.to_owned(), [(step, value)].into());
    }

    fn put(&mut self, step: usize, name: &str, value: &[u8], done: &Result<Digest, VaultError>) {
        match (self.values(name), done) {
            (0 | 1, Ok(_)) => self.write(step, name, Some(value.to_vec())),
            (2.., Err(VaultError::Contested { .. } | VaultError::RulesChanged { .. })) => {}
            (versions, done) => panic!("put {name} with {versions} versions: {done:?}"),
        }
    }

    fn remove(&mut self, step: usize, name: &str, done: &Result<Digest, VaultError>) {
        match (self.values(name), done) {
            (1, Ok(_)) => self.write(step, name, None),
            (0, Err(VaultError::NoSecret { .. })) | (2.., Err(VaultError::Contested { .. })) => {}
            (versions, done) => panic!("remove {name} with {versions} versions: {done:?}"),
        }
    }

    fn join(&mut self, theirs: &Self) {
        let names: BTreeSet<String> = self.live.keys().chain(theirs.live.keys()).cloned().collect();
        for name in names {
            let (ours, other) = (
                self.live.remove(&name).unwrap_or_default(),
                theirs.live.get(&name).cloned().unwrap_or_default(),
            );
            let stays = |step: &usize, there: &BTreeMap<usize, Option<Vec<u8>>>, heard: &BTreeSet<usize>| {
                there.contains_key(step) || !heard.contains(step)
            };
            let mut all: BTreeMap<usize, Option<Vec<u8>>> = BTreeMap::new();
            all.extend(ours.clone().into_iter().filter(|(step, _)| stays(step, &other, &theirs.heard)));
            all.extend(other.clone().into_iter().filter(|(step, _)| stays(step, &ours, &self.heard)));
            if all.values().any(Option::is_some) {
                all.retain(|_, value| value.is_some());
            }
            self.live.insert(name, all);
        }
        self.heard.extend(&theirs.heard);
    }

    fn state(&self) -> BTreeMap<String, BTreeSet<Vec<u8>>> {
        let values = |versions: &BTreeMap<usize, Option<Vec<u8>>>| versions.values().flatten().cloned().collect::<BTreeSet<_>>();
        let all = self.live.iter().map(|(name, versions)| (name.clone(), values(versions)));
        all.filter(|(_, values)| !values.is_empty()).collect()
    }
}

/// Two machines that put a secret each, and the first has what both wrote.
fn met() -> Machines {
    let machines = Machines::new(2);
    machines.change(0, put("A", b"1"));
    machines.change(1, put("B", b"2"));
    machines.pull(0, 1);
    machines
}

#[test]
fn no_change_of_keys_or_scopes_opens_a_scope_that_is_not_joined_yet() {
    let machines = Machines::new(2);
    let key = |name, seed| SoftKey::new(name, Profile::Pin, seed);
    let (spare, third, other) = (key("spare", 2), key("third", 3), key("other", 4));
    let (blue, random) = (machines.blue.enrolled().id(), &mut random::system());
    let by_blue = |plan: Plan| commit(plan, &machines.open(0), &machines.blue).unwrap();
    by_blue(machines.open(0).new_scope("web", &[blue], NOW, random).unwrap());
    by_blue(plan_addition(&machines.open(0), &spare, &["web"]).unwrap());
    by_blue(plan_addition(&machines.open(0), &third, &["web", SCOPE]).unwrap());
    machines.commit(0);
    machines.pull(1, 0);
    // Each machine puts a secret and removes it again: two heads, and nothing in the way of giving the scope up but them.
    for machine in [0, 1] {
        machines.change(machine, put("A", b"1"));
        let removes = vec!["A".into()];
        let gone = Changes {
            removes,
            ..Changes::default()
        };
        machines.change(machine, gone);
    }
    machines.pull(0, 1);
    let vault = machines.open(0);
    let plans = [
        vault.rotation(&[SCOPE], blue, NOW, random),
        vault.new_code(&[blue], NOW, random).map(|(plan, _)| plan),
        Removal::begin(&vault, "blue", &[third.enrolled().id()], NOW, random).map(Removal::into_plan),
        vault.admission("spare", &[SCOPE], NOW, random),
        vault.giving_up(SCOPE, NOW),
        plan_addition(&vault, &other, &["web", SCOPE]),
    ];
    for (n, plan) in plans.into_iter().enumerate() {
        let refused = plan.err();
        assert!(
            matches!(&refused, Some(VaultError::NotJoined(scope)) if scope == SCOPE),
            "{n}: {refused:?}"
        );
    }
    // Before the key makes anything.
    assert!(matches!(vault.check_addition("other", &[SCOPE]), Err(VaultError::NotJoined(_))));
    machines.join(0);
    let vault = machines.open(0);
    commit(vault.giving_up(SCOPE, NOW).unwrap(), &vault, &machines.blue).unwrap();
}

#[test]
fn a_recovery_takes_in_what_was_shown_and_nothing_that_came_since() {
    let machines = met();
    let (green, vault) = (SoftKey::new("green", Profile::Pin, 4), machines.open(0));
    let shown = vault.whole_standing().unwrap();
    let names: Vec<_> = shown.claims().iter().map(|claim| claim.listed.name.as_str()).collect();
    assert_eq!((shown.heads()[0].1.len(), names), (2, vec!["B"]));
    let recovery = plan(&vault, &green, &["blue"]).unwrap();
    machines.change(1, put("UNSEEN", b"3"));
    let before = machines.again();
    machines.pull(0, 1);
    let late = recovery.finish(&vault, &machines.code, &mut random::system());
    assert!(matches!(late, Err(VaultError::Changed)), "{late:?}");
    let vault = before.open(0);
    let recovery = plan(&vault, &green, &["blue"]).unwrap();
    recovery
        .finish(&vault, &machines.code, &mut random::system())
        .unwrap()
        .sure()
        .unwrap();
    let vault = before.open(0);
    assert_eq!(get(&vault, &green, SCOPE, "B").unwrap(), b"2");
    assert_eq!(vault.standing(&[SCOPE]).unwrap().heads()[0].1.len(), 1);
}

#[test]
fn a_scope_gets_a_new_key_only_once_it_is_joined() {
    let machines = met();
    let rotation = || {
        let vault = machines.open(0);
        vault.rotation(&[SCOPE], machines.blue.enrolled().id(), NOW, &mut random::system())
    };
    assert!(matches!(rotation(), Err(VaultError::NotJoined(scope)) if scope == SCOPE));
    machines.join(0);
    commit(rotation().unwrap(), &machines.open(0), &machines.blue).unwrap();
    assert_eq!(get(&machines.open(0), &machines.blue, SCOPE, "B").unwrap(), b"2");
}
