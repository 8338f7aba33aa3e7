//! The main job, from nothing to a verified receipt.

use hw_tests::{
    harness::{EmulatedReach, Home},
    key::KeyHandle,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_emukey");

fn product() -> std::path::PathBuf {
    // Cargo gives the paths of this package's programs only; the product's lies beside them.
    std::path::Path::new(PROGRAM).with_file_name("touchlease")
}

#[test]
fn a_touch_lends_a_secret_to_one_command_and_its_output_is_masked() {
    let reach = EmulatedReach::default();
    let key = reach.add().unwrap();
    key.grant().unwrap();
    let home = Home::new(product()).unwrap();
    let _daemon = home.daemon(reach).unwrap();

    let (status, shown) = home.terminal(["init", "--key", "blue"]).unwrap().finish().unwrap();
    assert!(status.success(), "{shown}");
    let mut put = home.terminal(["put", "prod/TOKEN"]).unwrap();
    put.expect("value of prod/TOKEN").unwrap();
    put.type_in("correct-horse-battery\n").unwrap();
    let (status, shown) = put.finish().unwrap();
    assert!(status.success() && !shown.contains("correct-horse"), "{shown}");

    let mut watch = home.watch().unwrap();
    let ran = home
        .run(["run", "--with", "prod/TOKEN", "--", "sh", "-c", "echo \"<$TOKEN>\"; exit 3"])
        .unwrap();
    watch.expect("prod/TOKEN").unwrap();
    watch.expect("approved").unwrap();
    assert_eq!(ran.status.code(), Some(3), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "<<touchlease:prod/TOKEN>>\n");
    assert_eq!(key.counts().unwrap().given, 6);
}
