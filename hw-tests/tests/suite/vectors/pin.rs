//! PIN/UV auth protocol one, against the vectors in the tests of Yubico's python-fido2. No public ones were found for protocol two,
//! which is tried against two emulated authenticators and two other libraries instead.

use sha2::{Digest as _, Sha256};
use touchlease::device::ctap::pin::{PinProtocol, SharedSecret, parse_cose_key};

use super::ecdh::{draw_scalar, with_scalar};
use super::{Tally, hex};

#[test]
fn t59_pin_protocol_one_agrees_encrypts_and_decrypts_as_another_library() {
    with_scalar(&hex("7452E599FEE739D8A653F6A507343D12D382249108A651402520B72F24FE7684"));
    let device = concat!(
        "04",
        "0501D5BC78DA9252560A26CB08FCC60CBE0B6D3B8E1D1FCEE514FAC0AF675168",
        "D551B3ED46F665731F95B4532939C25D91DB7EB844BD96D4ABD4083785F8DF47"
    );
    let ours = concat!(
        "04",
        "44D78D7989B97E62EA993496C9EF6E8FD58B8B00715F9A89153DDD9C4657E47F",
        "EC802EE7D22BD4E100F12E48537EB4E7E96ED3A47A0A3BD5F5EEAB65001664F9"
    );
    let mut tally = Tally::new("CTAP PIN protocol one");
    let shared = SharedSecret::agree(PinProtocol::One, &hex(device).try_into().unwrap(), draw_scalar).unwrap();
    tally.applies(true);
    assert_eq!(parse_cose_key(&shared.key_agreement()).unwrap().to_vec(), hex(ours));
    tally.applies(true);
    assert_eq!(
        shared.encrypt(&Sha256::digest("1234")[..16]).unwrap(),
        hex("afe8327ce416da8ee3d057589c2ce1a9")
    );
    tally.applies(true);
    assert_eq!(
        *shared.decrypt(&hex("7A9F98E31B77BE90F9C64D12E9635040")).unwrap(),
        hex("aff12c6dcfbf9df52f7a09211e8865cd")
    );
    tally.is(3, 3, "none");
}
