//! The conformance suite on the rig that needs no launcher. The others run it as a program: `conformance RIG`.

use std::io::stdout;

use hw_tests::conformance::{rigs::InProcess, run};

#[test]
fn keys_in_process_conform() {
    let rig = InProcess::new(crate::product()).unwrap();
    let tally = run(&rig, "", &mut stdout()).unwrap();
    assert!(tally.is_full(), "{} of {} cases", tally.held, tally.cases);
}
