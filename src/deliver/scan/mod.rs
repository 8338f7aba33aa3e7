//! Looking for the vault's own secrets in files: `touchlease scan`.
//!
//! **Where the values are.** In a worker process of the daemon's, as the proxy's are, and nowhere else: not with who asks, not in a file, not
//! in an answer. What the worker says of a place is which secret stands there and in which encoding.
//!
//! **Who opens the files.** Who asks. The worker opens nothing and knows no name: it is given open descriptors of regular files, over a
//! socket of its own that the daemon hands to whoever asked. The kernel has then judged each file by the rights of that process, with the
//! walls around it, and the worker cannot be made to look where its requester may not (a confused deputy). Passing a descriptor costs some
//! 2 us a file and no copy of its bytes; sending the bytes instead costs two copies, a third of what a scan of large files takes. What has no
//! file (objects of git) goes through memory files.
//!
//! **What an oracle this is.** Who may write what is scanned and reads the answer can guess: a value that is one of some millions is found
//! out by one scan of all of them. So the touch is for a scan and says so; only whole forms are found, never a beginning; and who asks
//! without a terminal of its own (an agent) is not told of values under [`LEAST_UNSEEN`] bytes, lines of longer ones included.

pub mod protocol;
pub mod seek;
pub mod worker;

/// The fewest bytes of a value, or of one of its lines, that is looked for where nobody sits at the requester's own terminal: eight
/// random characters more than anybody guesses.
pub const LEAST_UNSEEN: usize = 16;

/// Most secrets of one scan, and most bytes of their values together: they lie in locked memory until all are there, of which a process
/// has 8 MiB as a rule. What finds them takes some 17 KiB for one of 40 bytes, and about 65 times a large value.
pub const MOST_SECRETS: usize = 10_000;
/// See [`MOST_SECRETS`].
pub const MOST_BYTES: usize = 4 << 20;
