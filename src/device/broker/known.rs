//! What is known of the keys that are plugged in now, until they are pulled out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::super::enrolled::{EnrolledKey, KeyId, Link};
use super::super::place::{Place, Port};
use super::super::worker::protocol::Warm;

/// All of it.
#[derive(Default)]
pub(super) struct Known {
    now: HashMap<Port, Plugged>,
    /// Which key was last in a socket, by its ids, and its model: outlives the plugging-in.
    last: HashMap<String, (HashSet<KeyId>, String)>,
}

#[derive(Default)]
struct Plugged {
    plug: u64,
    asked: HashSet<KeyId>,
    /// One device has an id in each vault that it is enrolled in.
    ids: HashSet<KeyId>,
    warm: Warm,
    spent: bool,
    /// It takes no PIN before it was pulled out.
    pin_blocked: bool,
    unfinished: Arc<AtomicBool>,
    /// What the reader says, where its card's answer to reset says otherwise.
    link: Option<Link>,
}

/// What a look at the memory says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recall {
    /// It is this key.
    Key(KeyId),
    /// None of the keys asked about.
    None,
    /// The device itself has to be asked about some.
    Ask,
}

impl Known {
    fn at(&mut self, place: &Place) -> &mut Plugged {
        let plugged = self.now.entry(place.port.clone()).or_default();
        if plugged.plug != place.plug {
            *plugged = Plugged::default();
            plugged.plug = place.plug;
        }
        plugged
    }

    pub(super) fn recall(&mut self, place: &Place, keys: &[EnrolledKey]) -> Recall {
        let plugged = self.at(place);
        match keys.iter().map(EnrolledKey::id).find(|id| plugged.ids.contains(id)) {
            Some(id) => Recall::Key(id),
            None if !keys.is_empty() && keys.iter().all(|key| plugged.asked.contains(&key.id())) => Recall::None,
            None => Recall::Ask,
        }
    }

    pub(super) fn learn(&mut self, place: &Place, asked: &[EnrolledKey], key: Option<KeyId>) {
        let plugged = self.at(place);
        plugged.asked.extend(asked.iter().map(EnrolledKey::id));
        plugged.ids.extend(key);
        if !plugged.ids.is_empty() {
            let ids = plugged.ids.clone();
            self.last.insert(place.socket.clone(), (ids, place.model.clone()));
        }
    }

    /// Whether this key was in this socket before, if a device of the same model is there now: honest grounds for "it was reset".
    pub(super) fn was_before(&self, place: &Place, key: KeyId) -> bool {
        let same = |(ids, model): &(HashSet<KeyId>, String)| *model == place.model && ids.contains(&key);
        !place.socket.is_empty() && self.last.get(&place.socket).is_some_and(same)
    }

    pub(super) fn warm(&mut self, place: &Place) -> Warm {
        self.at(place).warm.clone()
    }

    /// The same for an operation that may be cut short: then the next one begins anew. A key that is slow to hear a cancel answers on the
    /// old channel when the next question has been asked there, and CTAPHID (11.2.4) has nothing that tells the two answers apart.
    pub(super) fn take_warm(&mut self, place: &Place) -> Warm {
        std::mem::take(&mut self.at(place).warm)
    }

    pub(super) fn keep_warm(&mut self, place: &Place, warm: Warm) {
        self.at(place).warm = warm;
    }

    /// The key has said that it takes no PIN before it is pulled out. Not every key says so of itself when its tries are asked for.
    pub(super) fn block_pin(&mut self, place: &Place) {
        self.at(place).pin_blocked = true;
    }

    pub(super) fn is_pin_blocked(&mut self, place: &Place) -> bool {
        self.at(place).pin_blocked
    }

    /// Whether the last operation at this place was given up and goes on all the same: then it is us who hold the key.
    pub(super) fn unfinished(&mut self, place: &Place) -> Arc<AtomicBool> {
        self.at(place).unfinished.clone()
    }

    /// The reader has said of this card how it is reached.
    pub(super) fn learn_link(&mut self, place: &Place, link: Link) {
        self.at(place).link = Some(link);
    }

    /// The place as it is known to be.
    pub(super) fn correct(&mut self, place: &Place) -> Place {
        Place {
            link: self.at(place).link.unwrap_or(place.link),
            ..place.clone()
        }
    }

    /// Marks a tap as used; false if it was already.
    pub(super) fn spend(&mut self, place: &Place) -> bool {
        !std::mem::replace(&mut self.at(place).spent, true)
    }

    /// The tap was not used after all.
    pub(super) fn unspend(&mut self, place: &Place) {
        self.at(place).spent = false;
    }

    /// Whether a key that is there now has shown to be this one.
    pub(super) fn is_here(&self, key: KeyId) -> bool {
        self.now.values().any(|plugged| plugged.ids.contains(&key))
    }

    /// Forgets what is not plugged in any more; the keys that went.
    pub(super) fn prune(&mut self, places: &[Place]) -> Vec<KeyId> {
        let here = |port: &Port, plug: u64| places.iter().any(|p| !p.empty && p.port == *port && p.plug == plug);
        let mut gone = Vec::new();
        self.now.retain(|port, plugged| {
            let stays = here(port, plugged.plug);
            if !stays {
                gone.extend(plugged.ids.iter().copied());
            }
            stays
        });
        // A key may be plugged in once and seen twice: over HID and over its own card interface.
        gone.retain(|key| !self.is_here(*key));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::enrolled::{Credential, Fido2, Kind, Link, Profile};
    use super::*;

    fn key(seed: u8) -> EnrolledKey {
        let credential = Credential {
            id: vec![seed],
            public_key: [seed; 65],
        };
        EnrolledKey {
            name: "k".into(),
            profile: Profile::Pin,
            kind: Kind::Fido2(Fido2 {
                lease: credential.clone(),
                which: credential,
            }),
        }
    }

    fn place(port: &str, plug: u64) -> Place {
        Place {
            port: Port::Reader(port.into()),
            plug,
            link: Link::Usb,
            model: "m".into(),
            socket: "usb-1".into(),
            empty: false,
        }
    }

    #[test]
    fn a_device_is_asked_once_per_plug_and_again_about_new_keys() {
        let mut known = Known::default();
        assert_eq!(known.recall(&place("a", 1), &[key(1)]), Recall::Ask);
        known.learn(&place("a", 1), &[key(1)], None);
        assert_eq!(known.recall(&place("a", 1), &[key(1)]), Recall::None);
        assert_eq!(known.recall(&place("a", 1), &[key(1), key(2)]), Recall::Ask);
        known.learn(&place("a", 1), &[key(2)], Some(key(2).id()));
        assert_eq!(known.recall(&place("a", 1), &[key(1), key(2)]), Recall::Key(key(2).id()));
        assert_eq!(known.recall(&place("a", 1), &[key(1)]), Recall::None);
        assert_eq!(known.recall(&place("a", 2), &[key(2)]), Recall::Ask, "plugged in anew");
    }

    #[test]
    fn one_device_may_be_a_key_of_two_vaults() {
        let mut known = Known::default();
        known.learn(&place("a", 1), &[key(1)], Some(key(1).id()));
        assert_eq!(known.recall(&place("a", 1), &[key(2)]), Recall::Ask);
        known.learn(&place("a", 1), &[key(2)], Some(key(2).id()));
        for k in [1, 2] {
            assert_eq!(known.recall(&place("a", 1), &[key(k)]), Recall::Key(key(k).id()));
            assert!(known.was_before(&place("b", 2), key(k).id()));
        }
    }

    #[test]
    fn a_key_is_gone_when_it_is_gone_everywhere() {
        let mut known = Known::default();
        known.learn(&place("a", 1), &[], Some(key(1).id()));
        known.learn(&place("b", 1), &[], Some(key(1).id()));
        assert_eq!(known.prune(&[place("a", 1)]), []);
        assert_eq!(known.prune(&[place("a", 2)]), [key(1).id()]);
        assert!(known.was_before(&place("c", 9), key(1).id()), "same socket, same model");
    }

    #[test]
    fn one_tap_is_spent_once() {
        let mut known = Known::default();
        assert!(known.spend(&place("a", 1)));
        assert!(!known.spend(&place("a", 1)));
        known.unspend(&place("a", 1));
        assert!(known.spend(&place("a", 1)));
        assert!(known.spend(&place("a", 2)));
    }
}
