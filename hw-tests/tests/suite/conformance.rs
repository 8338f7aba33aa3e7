//! The conformance suite on the rig that needs no launcher. The others run it as a program: `conformance RIG`.

use std::io::stdout;

use hw_tests::conformance::{all, rigs::InProcess, run};

/// One of so many cases, for the everyday run. `check` runs all of them, on every rig.
const EVERY: usize = 5;

#[test]
fn a_sample_of_what_keys_in_process_do_conforms() {
    let sample: Vec<_> = all().into_iter().step_by(EVERY).collect();
    let tally = run(&InProcess::new(crate::product()).unwrap(), &sample, &mut stdout()).unwrap();
    assert!(tally.is_full() && tally.cases >= 8, "{} of {} cases", tally.held, tally.cases);
}
