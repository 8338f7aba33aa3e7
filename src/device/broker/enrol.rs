//! Making the two credentials of a new key.
//!
//! The PIN that was typed for it goes to this device alone. Until the key can tell itself that is who was plugged in when the person was
//! asked, and no plugging-in after it. So the first credential is the one by which it is recognised, and before the PIN goes out for the
//! second, which over NFC is another tap, the device proves that it has the first (T13).

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::super::ctap::make_credential::Attested;
use super::super::ctap::{CtapError, Info};
use super::super::enrolled::{Credential, EnrolledKey, Fido2, KeyId, Kind, Link, Profile};
use super::super::error::DeviceError;
use super::super::place::{Place, Port};
use super::super::which;
use super::super::worker::protocol::{Answer, Failure, Id, Operation, Report};
use super::super::worker::random;
use super::event::{Event, Feed};
use super::{AGAIN_PAUSE, Broker, Inner, Outlook, Step, system, unexpected, until};
use crate::clock::Boot;
use crate::encoding::Digest;
use crate::encoding::sshsig::RP_ID;
use crate::secret::Secret;

/// ES256 (RFC 9053, 2.1).
const ES256: i64 = -7;
/// userVerificationRequired (CTAP 2.1, 12.1).
const BY_PIN_ONLY: u8 = 3;

/// A key to enrol.
pub struct Enrol {
    /// Where it is plugged in.
    pub port: Port,
    /// Which plugging-in it was when the person was asked: whatever is there since gets nothing.
    pub plug: u64,
    /// The person's name for it.
    pub name: String,
    /// For the key's own display.
    pub user_name: String,
    /// Fixed for the life of the enrolment.
    pub profile: Profile,
    /// The key's PIN: needed for the PIN profile, and by keys that make nothing without it.
    pub pin: Option<Secret>,
    /// All keys enrolled so far: none is enrolled twice.
    pub enrolled: Vec<EnrolledKey>,
    /// Until when both touches must be done.
    pub deadline: Boot,
}

/// An enrolled key that no roster names yet.
#[derive(Debug)]
pub struct NewKey {
    /// Its public data.
    pub key: EnrolledKey,
    /// What it says of itself.
    pub info: Info,
    /// The credProtect level that the lease credential was granted.
    pub granted: u8,
    /// How it was reached.
    pub link: Link,
}

/// One enrolment under way.
struct Enrolment<'a> {
    inner: &'a Arc<Inner>,
    outlook: &'a Outlook,
    ask: &'a Enrol,
    feed: &'a Feed,
    user_id: [u8; 32],
}

/// One of the two credentials.
struct Wanted {
    rp_id: &'static str,
    exclude: Vec<Id>,
    hmac_secret: bool,
    protection: u8,
    /// By this one the device has to tell itself first.
    which: Option<Credential>,
}

impl Broker {
    /// Enrols a key with two touches, one for each credential. Dropping the future cancels.
    ///
    /// # Errors
    /// See [`DeviceError`]. What was made until then lies unused on no key: the credentials are not discoverable and take no room.
    pub async fn enrol(&self, ask: Enrol, feed: Feed) -> Result<NewKey, DeviceError> {
        let outlook = self.inner.outlook()?;
        let place = self.inner.place(&outlook, &ask.port).await?;
        if place.plug != ask.plug {
            return Err(DeviceError::PulledOut);
        }
        if self.inner.identify(&place, &ask.enrolled).await?.is_some() {
            return Err(DeviceError::AlreadyEnrolled);
        }
        let place = self.inner.corrected(&place);
        let (tries, power_cycle) = self.inner.tries(&place, None).await?;
        if tries == Some(0) {
            return Err(DeviceError::PinBlocked);
        }
        if power_cycle && ask.pin.is_some() {
            return Err(DeviceError::PinBlockedUntilReplug);
        }
        let info = self.inner.info(&place)?;
        fits(&info, &ask, place.link)?;
        let mut user_id = [0; 32];
        random(&mut user_id).map_err(system)?;
        let enrolment = Enrolment {
            inner: &self.inner,
            outlook: &outlook,
            ask: &ask,
            feed: &feed,
            user_id,
        };
        enrolment.run(place, info).await
    }
}

impl Enrolment<'_> {
    async fn run(&self, place: Place, info: Info) -> Result<NewKey, DeviceError> {
        let exclude = self.ask.enrolled.iter().filter_map(EnrolledKey::fido2);
        let exclude = exclude.map(|key| Id(key.lease.id.clone())).collect();
        let pin = self.ask.profile == Profile::Pin;
        let which = Wanted {
            rp_id: which::RP_ID,
            exclude: Vec::new(),
            hmac_secret: false,
            protection: 1,
            which: None,
        };
        let place = self.tapped(place).await?;
        let told = self.make(&place, which, None).await?;
        let lease = Wanted {
            rp_id: RP_ID,
            exclude,
            hmac_secret: true,
            protection: if pin { BY_PIN_ONLY } else { 1 },
            which: Some(credential(&told)),
        };
        let place = self.tapped(place).await?;
        let made = self.make(&place, lease, Some(id_of(&told))).await?;
        check_lease(&made, self.ask.profile)?;
        let key = EnrolledKey {
            name: self.ask.name.clone(),
            profile: self.ask.profile,
            kind: Kind::Fido2(Fido2 {
                lease: credential(&made),
                which: credential(&told),
            }),
        };
        // It has to tell itself by a silent signature from the first day on: a key that cannot would never be sent its PIN.
        match self.inner.identify(&place, std::slice::from_ref(&key)).await? {
            Some(id) if id == key.id() => Ok(NewKey {
                key,
                info,
                granted: made.protection,
                link: place.link,
            }),
            _ => Err(DeviceError::TooOld {
                lacks: "silent assertions".into(),
            }),
        }
    }

    /// In a field, each touch is a tap of its own: the card has to go and come back (design of the NFC rule).
    async fn tapped(&self, place: Place) -> Result<Place, DeviceError> {
        if place.link != Link::Contactless || self.inner.state().known.spend(&place) {
            return Ok(place);
        }
        self.invite(&place, true);
        let lies = |p: &Place| p.port == place.port && p.plug == place.plug && !p.empty;
        self.once(|seen| (!seen.iter().any(lies)).then_some(())).await?;
        self.invite(&place, false);
        let is_new = |p: &&Place| p.port == place.port && p.plug != place.plug && !p.empty;
        let fresh = self.once(|seen| seen.iter().find(is_new).cloned()).await?;
        let fresh = Place { link: place.link, ..fresh };
        self.inner.state().known.spend(&fresh);
        Ok(fresh)
    }

    fn invite(&self, place: &Place, lift_first: bool) {
        (self.feed)(Event::TapNow {
            reader: place.model.clone(),
            link: place.link,
            lift_first,
        });
    }

    /// Waits until the places show this.
    async fn once<T>(&self, shown: impl Fn(&[Place]) -> Option<T>) -> Result<T, DeviceError> {
        let mut places = self.outlook.places.clone();
        let found = |seen: &Option<Vec<Place>>| seen.as_deref().and_then(&shown);
        tokio::select! {
            seen = places.wait_for(|seen| found(seen).is_some()) => {
                let found = seen.ok().and_then(|seen| found(&seen));
                found.ok_or_else(|| system("keys cannot be watched"))
            }
            () = until(&*self.inner.clock, self.ask.deadline) => Err(DeviceError::TimedOut),
        }
    }

    /// Asks until the key makes the credential, gives an error that asking again does not mend, is pulled out, or the time is over. `key` is
    /// the id by the credential that it has, as soon as it has one.
    async fn make(&self, place: &Place, wanted: Wanted, key: Option<KeyId>) -> Result<Attested, DeviceError> {
        loop {
            let places = self.inner.places(self.outlook).await?;
            if !places.iter().any(|p| p.port == place.port && p.plug == place.plug && !p.empty) {
                return Err(DeviceError::PulledOut);
            }
            match self.make_once(place, &wanted, key).await {
                // The key gave up, at about 30 s: the same request again, with a fresh token. In a field the tap is used up.
                Err(DeviceError::TimedOut) if place.link != Link::Contactless && self.inner.clock.boot() < self.ask.deadline => {
                    tokio::time::sleep(AGAIN_PAUSE).await;
                }
                done => return done,
            }
        }
    }

    async fn make_once(&self, place: &Place, wanted: &Wanted, key: Option<KeyId>) -> Result<Attested, DeviceError> {
        let mut hash = [0; 32];
        random(&mut hash).map_err(system)?;
        let feed = self.feed.clone();
        let name = self.ask.name.clone();
        let rp_id = wanted.rp_id;
        let step = Step {
            place,
            operation: Operation::MakeCredential {
                rp_id: rp_id.into(),
                hash,
                user_id: Id(self.user_id.to_vec()),
                user_name: self.ask.user_name.clone(),
                exclude: wanted.exclude.clone(),
                hmac_secret: wanted.hmac_secret,
                protection: wanted.protection,
                which: wanted.which.clone(),
            },
            secret: self.ask.pin.as_ref().map(Secret::duplicate).transpose().map_err(system)?,
            deadline: self.ask.deadline,
            key: None,
            late: Some(Box::new(move |answer| {
                if let Some(key) = made_by(answer).or(key) {
                    feed(Event::ExtraTouch { key, name });
                }
            })),
        };
        if place.link == Link::Contactless {
            self.touch_now(place, key);
        }
        let done = self.inner.step(step, |report| self.hear(place, key, &report)).await?;
        let Answer::Made(auth_data) = done.answer else {
            return Err(unexpected());
        };
        let attested = Attested::parse(&auth_data.0).map_err(malformed)?;
        check(&attested, rp_id, self.ask.profile)?;
        Ok(attested)
    }

    fn hear(&self, place: &Place, key: Option<KeyId>, report: &Report) {
        match report {
            // In a field it was said before: the tap is the touch.
            Report::TouchNow if place.link != Link::Contactless => self.touch_now(place, key),
            Report::AnotherProgram => (self.feed)(Event::AnotherProgram {
                name: self.ask.name.clone(),
            }),
            _ => {}
        }
    }

    fn touch_now(&self, place: &Place, key: Option<KeyId>) {
        (self.feed)(Event::TouchNow {
            key,
            name: self.ask.name.clone(),
            link: place.link,
        });
    }
}

impl Inner {
    /// What the key at `place` last said of itself.
    pub(super) fn info(&self, place: &Place) -> Result<Info, DeviceError> {
        let warm = self.state().known.warm(place);
        let raw = warm.raw_info().ok_or_else(unexpected)?;
        Info::parse(raw).map_err(malformed)
    }
}

/// Whether this key can be enrolled this way at all, before anybody touches it.
fn fits(info: &Info, ask: &Enrol, link: Link) -> Result<(), DeviceError> {
    let lacks = |what: &str| Err(DeviceError::TooOld { lacks: what.into() });
    if !info.is_ctap2() {
        return lacks("FIDO2");
    }
    if !info.extension("hmac-secret") {
        return lacks("hmac-secret extension");
    }
    if !info.algorithms.is_empty() && !info.algorithms.contains(&ES256) {
        return lacks("ES256");
    }
    match ask.profile {
        Profile::TouchOnly if link == Link::Contactless => Err(DeviceError::TouchOnlyContactless),
        Profile::TouchOnly if info.always_uv() => Err(DeviceError::AlwaysUv),
        Profile::TouchOnly if info.pin_is_set() && info.option("makeCredUvNotRqd") != Some(true) && ask.pin.is_none() => {
            Err(DeviceError::PinNeeded)
        }
        Profile::Pin if !info.pin_is_set() => Err(DeviceError::PinNotSet),
        Profile::Pin if ask.pin.is_none() => Err(DeviceError::PinNeeded),
        Profile::Pin if !info.extension("credProtect") => Err(DeviceError::WeakProtection { granted: 1 }),
        _ => Ok(()),
    }
}

/// What both credentials must be.
fn check(attested: &Attested, rp_id: &str, profile: Profile) -> Result<(), DeviceError> {
    use super::super::proof::ProofError::{NotTouched, NotVerified, OtherParty};
    if attested.rp_id_hash[..] != Sha256::digest(rp_id)[..] {
        return Err(OtherParty.into());
    }
    if !attested.touched {
        return Err(NotTouched.into());
    }
    if profile == Profile::Pin && !attested.verified {
        return Err(NotVerified.into());
    }
    Ok(())
}

/// What the lease credential must be besides: the level granted counts, not the level asked for.
fn check_lease(attested: &Attested, profile: Profile) -> Result<(), DeviceError> {
    if !attested.hmac_secret {
        return Err(DeviceError::TooOld {
            lacks: "hmac-secret extension".into(),
        });
    }
    match profile {
        Profile::Pin if attested.protection < BY_PIN_ONLY => Err(DeviceError::WeakProtection {
            granted: attested.protection,
        }),
        // A key that protects everything by PIN of its own accord cannot be used by touch alone.
        Profile::TouchOnly if attested.protection >= BY_PIN_ONLY => Err(DeviceError::AlwaysUv),
        _ => Ok(()),
    }
}

/// As [`EnrolledKey::id`].
fn id_of(made: &Attested) -> KeyId {
    KeyId(Digest::of(&made.public_key))
}

/// The id that a key would have had by this credential.
fn made_by(answer: &Answer) -> Option<KeyId> {
    match answer {
        Answer::Made(auth_data) => Attested::parse(&auth_data.0).ok().as_ref().map(id_of),
        _ => None,
    }
}

fn credential(attested: &Attested) -> Credential {
    Credential {
        id: attested.credential.clone(),
        public_key: attested.public_key,
    }
}

fn malformed(error: CtapError) -> DeviceError {
    DeviceError::of(Failure::from(error), None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attested(protection: u8, verified: bool) -> Attested {
        Attested {
            rp_id_hash: Sha256::digest(RP_ID).into(),
            touched: true,
            verified,
            aaguid: [0; 16],
            credential: vec![1],
            public_key: [4; 65],
            hmac_secret: true,
            protection,
        }
    }

    #[test]
    fn the_level_granted_decides_the_profile_not_the_level_asked_for() {
        assert_eq!(check_lease(&attested(3, true), Profile::Pin), Ok(()));
        for granted in [1, 2] {
            assert_eq!(
                check_lease(&attested(granted, true), Profile::Pin),
                Err(DeviceError::WeakProtection { granted })
            );
            assert_eq!(check_lease(&attested(granted, false), Profile::TouchOnly), Ok(()));
        }
        assert_eq!(check_lease(&attested(3, false), Profile::TouchOnly), Err(DeviceError::AlwaysUv));
    }

    #[test]
    fn t02_a_credential_made_without_touch_without_pin_or_for_another_party_is_refused() {
        assert_eq!(check(&attested(3, true), RP_ID, Profile::Pin), Ok(()));
        assert!(check(&attested(3, false), RP_ID, Profile::Pin).is_err());
        assert!(check(&attested(3, true), which::RP_ID, Profile::Pin).is_err());
        let untouched = Attested {
            touched: false,
            ..attested(3, true)
        };
        assert!(check(&untouched, RP_ID, Profile::Pin).is_err());
    }
}
