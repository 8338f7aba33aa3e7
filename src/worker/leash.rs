//! A worker does not outlive its daemon, whatever it waits in.

use std::io;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getpid, kill_process};

/// Ends this process `last_words` after the other end of `socket` closed, as it does when the daemon is killed: by then whoever could end
/// by himself has, and a wait in PC/SC is one that no call ends.
///
/// Who has nothing to say takes no time. A worker that has to tell its key needs some, and that is why the kernel's own signal at a
/// parent's death (PR_SET_PDEATHSIG) will not do.
///
/// # Errors
/// No thread.
pub(super) fn hold(socket: UnixStream, last_words: Duration) -> io::Result<()> {
    let watch = move || {
        while !hung_up(&socket) {}
        thread::sleep(last_words);
        // Not an exit: that would run the C libraries' last wishes beside a thread of theirs that hangs.
        let _ = kill_process(getpid(), Signal::KILL);
    };
    thread::Builder::new().name("leash".into()).spawn(watch).map(drop)
}

/// Waits. What the daemon says, a cancel, is for others.
fn hung_up(socket: &UnixStream) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    poll(&mut fds, None).is_ok() && fds[0].revents().intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR)
}
