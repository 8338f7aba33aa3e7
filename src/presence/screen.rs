//! Where prompts are shown, and who may not be shown his own.

use tokio::sync::mpsc::UnboundedSender;

use crate::wire::Event;

/// Where a process stands, as the kernel says: what decides whether a screen is somebody else's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// Process id.
    pub pid: u32,
    /// Session id.
    pub session: u32,
    /// Device number of the controlling terminal.
    pub terminal: Option<u32>,
    /// Whether its process group is the terminal's foreground group.
    pub foreground: bool,
    /// Process ids of parent, grandparent, and so on.
    pub ancestors: Vec<u32>,
}

impl Whereabouts {
    /// The controlling terminal as people call it: `pts/3`, `tty1`.
    pub(super) fn terminal_name(&self) -> String {
        let number = self.terminal.unwrap_or_default();
        // proc(5), `/proc/pid/stat`, field 7; majors in the kernel's devices.txt.
        let (major, minor) = (number >> 8 & 0xfff, number >> 12 & 0xfff00 | number & 0xff);
        match (major, minor) {
            (136..=143, _) => format!("pts/{}", (major - 136) << 8 | minor),
            (4, 0..64) => format!("tty{minor}"),
            (4, _) => format!("ttyS{}", minor - 64),
            _ => format!("terminal {major}:{minor}"),
        }
    }
}

/// What a screen shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScreenKind {
    /// `touchlease watch`: everybody's prompts.
    Watch,
    /// The terminal of whoever runs the command: only the prompts of its own connection.
    Own,
}

/// A screen that is open.
#[derive(Debug)]
pub(super) struct Screen {
    pub(super) id: u64,
    pub(super) kind: ScreenKind,
    pub(super) whereabouts: Whereabouts,
    pub(super) tx: UnboundedSender<Event>,
}

impl Screen {
    /// Whether this screen shows a request from `requester`, whose own screen is `own`, and may arm a key for it.
    ///
    /// A watch counts when a person can sit in front of it (it has a terminal, in the foreground) and the requester does not own it:
    /// another session, another terminal, and neither started the other. A process of the same uid can still build such a screen for
    /// itself (promises, T0); what holds there is that the key has to be touched.
    pub(super) fn serves(&self, requester: &Whereabouts, own: Option<u64>) -> bool {
        let seated = self.whereabouts.terminal.is_some() && self.whereabouts.foreground;
        match self.kind {
            ScreenKind::Own => seated && own == Some(self.id),
            // Of what stands on the requester's own terminal too: a terminal is no sign of a person.
            ScreenKind::Watch => {
                seated
                    && self.whereabouts.session != requester.session
                    && self.whereabouts.terminal != requester.terminal
                    && !self.whereabouts.ancestors.contains(&requester.pid)
                    && !requester.ancestors.contains(&self.whereabouts.pid)
            }
        }
    }
}

/// An open screen; closed when dropped.
pub struct Attached<'a> {
    pub(super) desk: &'a super::Desk,
    pub(super) id: u64,
}

impl Attached<'_> {
    /// Number of the screen on this desk.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        self.desk.detach(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(kind: ScreenKind, whereabouts: Whereabouts) -> Screen {
        Screen {
            id: 1,
            kind,
            whereabouts,
            tx: tokio::sync::mpsc::unbounded_channel().0,
        }
    }

    fn at(pid: u32, session: u32, terminal: u32, ancestors: &[u32]) -> Whereabouts {
        Whereabouts {
            pid,
            session,
            terminal: Some(terminal),
            foreground: true,
            ancestors: ancestors.to_vec(),
        }
    }

    #[test]
    fn a_watch_in_another_terminal_serves() {
        let watch = screen(ScreenKind::Watch, at(10, 9, 2, &[9, 5, 1]));
        assert!(watch.serves(
            &Whereabouts {
                pid: 20,
                session: 19,
                terminal: None,
                foreground: false,
                ancestors: vec![19, 5, 1]
            },
            None
        ));
    }

    #[test]
    fn a_watch_that_the_requester_started_or_shares_a_terminal_with_does_not() {
        let requester = at(20, 19, 3, &[19, 5, 1]);
        for whereabouts in [
            at(10, 9, 2, &[20, 19, 5, 1]),
            at(10, 19, 2, &[9]),
            at(10, 9, 3, &[9]),
            at(19, 9, 2, &[5, 1]),
        ] {
            assert!(
                !screen(ScreenKind::Watch, whereabouts.clone()).serves(&requester, None),
                "{whereabouts:?}"
            );
        }
    }

    #[test]
    fn a_screen_without_a_terminal_or_in_the_background_is_none() {
        let requester = at(20, 19, 3, &[]);
        let blind = Whereabouts {
            terminal: None,
            ..at(10, 9, 2, &[])
        };
        let background = Whereabouts {
            foreground: false,
            ..at(10, 9, 2, &[])
        };
        for whereabouts in [blind, background] {
            assert!(!screen(ScreenKind::Watch, whereabouts.clone()).serves(&requester, None));
            assert!(!screen(ScreenKind::Own, whereabouts).serves(&requester, Some(1)));
        }
    }
}
