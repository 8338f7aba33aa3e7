//! What is known of the keys that are plugged in now, until they are pulled out.

use std::collections::{HashMap, HashSet};

use super::super::enrolled::{EnrolledKey, KeyId};
use super::super::place::{Place, Port};
use super::super::worker::protocol::Warm;

/// All of it.
#[derive(Default)]
pub(super) struct Known {
    now: HashMap<Port, Plugged>,
    /// Which key was last in a socket, and its model: outlives the plugging-in.
    last: HashMap<String, (KeyId, String)>,
}

#[derive(Default)]
struct Plugged {
    plug: u64,
    asked: HashSet<KeyId>,
    key: Option<KeyId>,
    warm: Warm,
    spent: bool,
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
        match plugged.key {
            Some(key) if keys.iter().any(|k| k.id() == key) => Recall::Key(key),
            // A key that is known to be another one is none of these.
            Some(_) => Recall::None,
            None if !keys.is_empty() && keys.iter().all(|k| plugged.asked.contains(&k.id())) => Recall::None,
            None => Recall::Ask,
        }
    }

    pub(super) fn learn(&mut self, place: &Place, asked: &[EnrolledKey], key: Option<KeyId>) {
        let plugged = self.at(place);
        plugged.asked.extend(asked.iter().map(EnrolledKey::id));
        plugged.key = key;
        if let Some(key) = key {
            self.last.insert(place.socket.clone(), (key, place.model.clone()));
        }
    }

    /// The key that was in this socket before, if a device of the same model is there now: honest grounds for "it was reset".
    pub(super) fn before(&self, place: &Place) -> Option<KeyId> {
        let (key, model) = self.last.get(&place.socket)?;
        (*model == place.model && !place.socket.is_empty()).then_some(*key)
    }

    pub(super) fn warm(&mut self, place: &Place) -> Warm {
        self.at(place).warm.clone()
    }

    pub(super) fn keep_warm(&mut self, place: &Place, warm: Warm) {
        self.at(place).warm = warm;
    }

    /// Marks a tap as used; false if it was already.
    pub(super) fn spend(&mut self, place: &Place) -> bool {
        !std::mem::replace(&mut self.at(place).spent, true)
    }

    /// Forgets what is not plugged in any more; the keys that went.
    pub(super) fn prune(&mut self, places: &[Place]) -> Vec<KeyId> {
        let here = |port: &Port, plug: u64| places.iter().any(|p| !p.empty && p.port == *port && p.plug == plug);
        let mut gone = Vec::new();
        self.now.retain(|port, plugged| {
            let stays = here(port, plugged.plug);
            if !stays {
                gone.extend(plugged.key);
            }
            stays
        });
        // A key may be plugged in once and seen twice: over HID and over its own card interface.
        gone.retain(|key| !self.now.values().any(|plugged| plugged.key == Some(*key)));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::enrolled::{Credential, Link, Profile};
    use super::*;

    fn key(seed: u8) -> EnrolledKey {
        let credential = Credential {
            id: vec![seed],
            public_key: [seed; 65],
        };
        EnrolledKey {
            name: "k".into(),
            profile: Profile::Pin,
            lease: credential.clone(),
            which: credential,
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
    fn a_key_is_gone_when_it_is_gone_everywhere() {
        let mut known = Known::default();
        known.learn(&place("a", 1), &[], Some(key(1).id()));
        known.learn(&place("b", 1), &[], Some(key(1).id()));
        assert_eq!(known.prune(&[place("a", 1)]), []);
        assert_eq!(known.prune(&[place("a", 2)]), [key(1).id()]);
        assert_eq!(known.before(&place("c", 9)), Some(key(1).id()), "same socket, same model");
    }

    #[test]
    fn one_tap_is_spent_once() {
        let mut known = Known::default();
        assert!(known.spend(&place("a", 1)));
        assert!(!known.spend(&place("a", 1)));
        assert!(known.spend(&place("a", 2)));
    }
}
