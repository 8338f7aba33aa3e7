//! A filter of system calls (seccomp(2), classic BPF): what a Landlock domain does not handle.

use std::io;

use libc::{sock_filter, sock_fprog};

/// Offsets in `struct seccomp_data`.
const NR: u32 = 0;
const ARCH: u32 = 4;
const fn argument(number: u32) -> u32 {
    // Little-endian on both: the lower half comes first.
    16 + 8 * number
}

#[cfg(target_arch = "x86_64")]
const THIS_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const THIS_ARCH: u32 = 0xc000_00b7;

/// Numbers from here on are x32's: the same calls under other numbers.
const X32: u32 = 0x4000_0000;
const SOCKET_TYPE: u32 = 0xf;
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// Linux 6.15; the same number on all architectures, and no name in libc yet.
const OPEN_TREE_ATTR: libc::c_long = 467;
const NEW_USER: u32 = libc::CLONE_NEWUSER.unsigned_abs();

/// What has no place behind a fence: the user's keyrings, queues that are shared by name, rings that make sockets by themselves, other
/// processes' counters, programs for the kernel, namespaces and mounts, events of whole file systems. The domain forbids all mounting as it
/// is, so whoever brings a sandbox of namespaces (bubblewrap) loses nothing that was there. `clone3` has its flags in memory, where no filter
/// looks: the C library takes `clone` then.
const REFUSED: [libc::c_long; 28] = [
    libc::SYS_clone3,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_mq_open,
    libc::SYS_userfaultfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
];

/// What sets something of another process: the call, which of its arguments names whom, and which says what that number is of.
const OF_OTHERS: [(libc::c_long, u32, Option<u32>); 7] = [
    (libc::SYS_prlimit64, 0, None),
    (libc::SYS_sched_setscheduler, 0, None),
    (libc::SYS_sched_setparam, 0, None),
    (libc::SYS_sched_setattr, 0, None),
    (libc::SYS_sched_setaffinity, 0, None),
    (libc::SYS_setpriority, 1, Some(0)),
    (libc::SYS_ioprio_set, 1, Some(0)),
];
/// Of `setpriority` and of `ioprio_set`: all processes of a user, who is the caller's own by 0.
const PRIO_USER: u32 = 2;
const IOPRIO_WHO_USER: u32 = 3;

/// Which filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing of other processes is set, and all else is let through.
    OthersAlone,
    /// For a command behind a fence, without any sockets.
    NoSockets,
    /// The same, with TCP's.
    Tcp,
}

/// A program under construction. Jumps go forward by a number of steps.
#[derive(Default)]
struct Program(Vec<sock_filter>);

impl Program {
    fn step(&mut self, code: u32, yes: u8, no: u8, k: u32) {
        let code = u16::try_from(code).unwrap_or(u16::MAX);
        self.0.push(sock_filter { code, jt: yes, jf: no, k });
    }

    fn load(&mut self, offset: u32) {
        self.step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    }

    fn mask(&mut self, bits: u32) {
        self.step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, bits);
    }

    /// What comes next is skipped unless the value is `k`.
    fn skip_unless(&mut self, k: u32, steps: u8) {
        self.step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, steps, k);
    }

    /// What comes next is skipped if the value is `k`.
    fn skip_if(&mut self, k: u32, steps: u8) {
        self.step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, steps, 0, k);
    }

    fn end(&mut self, with: u32) {
        self.step(libc::BPF_RET | libc::BPF_K, 0, 0, with);
    }

    fn refuse(&mut self, errno: libc::c_int) {
        self.end(libc::SECCOMP_RET_ERRNO | errno.unsigned_abs());
    }

    /// The number of a call, when it is the next.
    fn number(call: libc::c_long) -> u32 {
        u32::try_from(call).unwrap_or(u32::MAX)
    }

    /// Everything under one number.
    fn refuse_call(&mut self, call: libc::c_long, errno: libc::c_int) {
        self.skip_unless(Self::number(call), 1);
        self.refuse(errno);
    }

    /// Only where a flag is set in one of its arguments. The number is loaded again.
    fn refuse_flag(&mut self, call: libc::c_long, which: u32, flag: u32) {
        self.skip_unless(Self::number(call), 5);
        self.load(argument(which));
        self.mask(flag);
        self.skip_if(0, 1);
        self.refuse(libc::EPERM);
        self.end(libc::SECCOMP_RET_ALLOW);
    }
}

fn program(kind: Kind) -> Vec<sock_filter> {
    let mut program = Program::default();
    program.load(ARCH);
    program.skip_if(THIS_ARCH, 1);
    program.end(match kind {
        // Its calls could do what is refused here: a program of 32 bits does not run, and nothing is killed for it.
        Kind::OthersAlone => libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs(),
        Kind::NoSockets | Kind::Tcp => libc::SECCOMP_RET_KILL_PROCESS,
    });
    program.load(NR);
    program.step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32);
    program.refuse(libc::ENOSYS);
    for (call, whom, of_what) in OF_OTHERS {
        set_of_others(&mut program, call, whom, of_what);
    }
    if kind == Kind::OthersAlone {
        program.end(libc::SECCOMP_RET_ALLOW);
        return program.0;
    }
    for call in REFUSED {
        // As a kernel without them answers: programs do without.
        program.refuse_call(call, libc::ENOSYS);
    }
    // With it come all capabilities over what is new, and most of what is wrong with a kernel is found there.
    program.refuse_flag(libc::SYS_clone, 0, NEW_USER);
    program.refuse_flag(libc::SYS_unshare, 0, NEW_USER);
    socket_pair(&mut program);
    if kind == Kind::NoSockets {
        program.refuse_call(libc::SYS_socket, libc::EACCES);
        program.end(libc::SECCOMP_RET_ALLOW);
        return program.0;
    }
    // A connection that the first bytes of data open is not one that connect(2) makes.
    program.refuse_flag(libc::SYS_sendto, 3, MSG_FASTOPEN);
    program.refuse_flag(libc::SYS_sendmsg, 2, MSG_FASTOPEN);
    program.refuse_flag(libc::SYS_sendmmsg, 3, MSG_FASTOPEN);
    socket(&mut program);
    program.end(libc::SECCOMP_RET_ALLOW);
    program.0
}

/// Only of the caller, who is 0.
fn set_of_others(program: &mut Program, call: libc::c_long, whom: u32, of_what: Option<u32>) {
    let kinds = if of_what.is_some() { 3 } else { 0 };
    program.skip_unless(Program::number(call), 4 + kinds);
    if let Some(of_what) = of_what {
        let user = if call == libc::SYS_setpriority {
            PRIO_USER
        } else {
            IOPRIO_WHO_USER
        };
        program.load(argument(of_what));
        program.skip_unless(user, 1);
        program.refuse(libc::EPERM);
    }
    program.load(argument(whom));
    program.skip_if(0, 1);
    program.refuse(libc::EPERM);
    program.end(libc::SECCOMP_RET_ALLOW);
}

/// Two ends of its own lead nowhere, but for datagrams: one of a pair of those sends to whatever path or name it likes.
fn socket_pair(program: &mut Program) {
    program.skip_unless(Program::number(libc::SYS_socketpair), 9);
    program.load(argument(0));
    program.skip_if(libc::AF_UNIX.unsigned_abs(), 1);
    program.refuse(libc::EACCES);
    program.load(argument(1));
    program.mask(SOCKET_TYPE);
    program.skip_if(libc::SOCK_STREAM.unsigned_abs(), 2);
    program.skip_if(libc::SOCK_SEQPACKET.unsigned_abs(), 1);
    program.refuse(libc::EACCES);
    program.end(libc::SECCOMP_RET_ALLOW);
}

/// Of sockets TCP's alone.
fn socket(program: &mut Program) {
    program.skip_unless(Program::number(libc::SYS_socket), 13);
    program.load(argument(0));
    program.skip_if(libc::AF_INET.unsigned_abs(), 2);
    program.skip_if(libc::AF_INET6.unsigned_abs(), 1);
    program.refuse(libc::EACCES);
    program.load(argument(1));
    program.mask(SOCKET_TYPE);
    program.skip_if(libc::SOCK_STREAM.unsigned_abs(), 1);
    program.refuse(libc::EACCES);
    program.load(argument(2));
    program.skip_if(0, 2);
    program.skip_if(libc::IPPROTO_TCP.unsigned_abs(), 1);
    program.refuse(libc::EACCES);
    program.end(libc::SECCOMP_RET_ALLOW);
}

/// For this thread and whatever it becomes.
///
/// # Errors
/// The kernel has no such filters, or `no_new_privs` is not set.
pub(super) fn install(kind: Kind) -> io::Result<()> {
    let mut steps = program(kind);
    let len = u16::try_from(steps.len()).map_err(io::Error::other)?;
    let program = sock_fprog {
        len,
        filter: steps.as_mut_ptr(),
    };
    // SAFETY: the kernel copies `len` steps of the program, which lives until the call is over.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::Kind::*;
    use super::*;

    /// What the kernel does with it (bpf(4)): `call` with these arguments.
    fn verdict(kind: Kind, arch: u32, call: libc::c_long, arguments: [u32; 4]) -> u32 {
        let steps = program(kind);
        let data = |offset: u32| match offset {
            NR => Program::number(call),
            ARCH => arch,
            offset => arguments[((offset - 16) / 8) as usize],
        };
        let (mut at, mut value) = (0_usize, 0_u32);
        loop {
            let step = steps[at];
            at += 1;
            let jump = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
            match u32::from(step.code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => value = data(step.k),
                code if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K => value &= step.k,
                code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => at += jump(value == step.k),
                code if code == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K => at += jump(value >= step.k),
                _ => return step.k,
            }
        }
    }

    fn allows(kind: Kind, call: libc::c_long, arguments: [u32; 4]) -> bool {
        verdict(kind, THIS_ARCH, call, arguments) == libc::SECCOMP_RET_ALLOW
    }

    #[test]
    fn t24_of_sockets_there_are_tcps_where_there_is_a_proxy_and_none_otherwise() {
        let [unix, inet, inet6, netlink] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK].map(i32::unsigned_abs);
        let (stream, datagram) = (libc::SOCK_STREAM.unsigned_abs(), libc::SOCK_DGRAM.unsigned_abs());
        let cloexec = libc::SOCK_CLOEXEC.unsigned_abs();
        let mptcp = 262;
        for (domain, kind, protocol, allowed) in [
            (inet, stream, 0, true),
            (inet6, stream | cloexec, 6, true),
            (inet, stream, mptcp, false),
            (inet, stream, 132, false),
            (inet, datagram, 0, false),
            (inet6, libc::SOCK_RAW.unsigned_abs(), 0, false),
            (unix, stream, 0, false),
            (unix, datagram | cloexec, 0, false),
            (netlink, libc::SOCK_RAW.unsigned_abs(), 0, false),
            (libc::AF_VSOCK.unsigned_abs(), stream, 0, false),
            (libc::AF_PACKET.unsigned_abs(), datagram, 0, false),
        ] {
            assert_eq!(
                allows(Tcp, libc::SYS_socket, [domain, kind, protocol, 0]),
                allowed,
                "{domain} {kind} {protocol}"
            );
            assert!(!allows(NoSockets, libc::SYS_socket, [domain, kind, protocol, 0]));
        }
    }

    #[test]
    fn t24_a_pair_of_sockets_is_no_datagram_socket_which_could_send_to_any_path() {
        let [unix, inet] = [libc::AF_UNIX, libc::AF_INET].map(i32::unsigned_abs);
        let flags = (libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK).unsigned_abs();
        for kind in [Tcp, NoSockets] {
            for (domain, socket, allowed) in [
                (unix, libc::SOCK_STREAM, true),
                (unix, libc::SOCK_SEQPACKET, true),
                (unix, libc::SOCK_DGRAM, false),
                // Which becomes a datagram socket (unix_create in the kernel).
                (unix, libc::SOCK_RAW, false),
                (inet, libc::SOCK_STREAM, false),
            ] {
                let asked = [domain, socket.unsigned_abs() | flags, 0, 0];
                assert_eq!(allows(kind, libc::SYS_socketpair, asked), allowed, "{domain} {socket}");
            }
        }
    }

    #[test]
    fn t24_behind_a_fence_nothing_is_mounted_and_no_user_namespace_is_made_and_processes_are() {
        for kind in [Tcp, NoSockets] {
            let new_thread = 0x003d_0f00;
            for (call, flags, allowed) in [
                (libc::SYS_clone, new_thread, true),
                (libc::SYS_clone, libc::SIGCHLD.unsigned_abs(), true),
                (libc::SYS_clone, NEW_USER | 17, false),
                (libc::SYS_clone, NEW_USER | libc::CLONE_NEWNS.unsigned_abs(), false),
                (libc::SYS_unshare, libc::CLONE_FILES.unsigned_abs(), true),
                (libc::SYS_unshare, NEW_USER, false),
                (libc::SYS_clone3, 0, false),
                (libc::SYS_mount, 0, false),
                (libc::SYS_fsopen, 0, false),
                (libc::SYS_open_tree, 0, false),
                (OPEN_TREE_ATTR, 0, false),
                (libc::SYS_fanotify_init, 0, false),
            ] {
                assert_eq!(allows(kind, call, [flags, 0, 0, 0]), allowed, "{kind:?} {call} {flags:x}");
            }
        }
        // An agent's own sandbox makes both.
        for call in [libc::SYS_clone3, libc::SYS_mount, libc::SYS_unshare] {
            assert!(allows(OthersAlone, call, [NEW_USER, 0, 0, 0]));
        }
    }

    #[test]
    fn t24_no_connection_is_opened_by_data_and_no_limit_of_another_process_is_set() {
        for (call, at) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
            let mut arguments = [7; 4];
            arguments[at] = MSG_FASTOPEN | 1;
            assert!(!allows(Tcp, call, arguments));
            arguments[at] = 0x4000;
            assert!(allows(Tcp, call, arguments));
        }
    }

    #[test]
    fn t24_t47_no_limit_scheduling_or_priority_of_another_process_is_set() {
        for kind in [Tcp, NoSockets, OthersAlone] {
            for (call, whom, _) in OF_OTHERS {
                let mut arguments = [0; 4];
                // Of a process.
                arguments[0] = u32::from(call == libc::SYS_ioprio_set);
                arguments[whom as usize] = 0;
                assert!(allows(kind, call, arguments), "{kind:?} {call}");
                arguments[whom as usize] = 7;
                assert!(!allows(kind, call, arguments), "{kind:?} {call}");
            }
            assert!(!allows(kind, libc::SYS_setpriority, [PRIO_USER, 0, 0, 0]));
            assert!(!allows(kind, libc::SYS_ioprio_set, [IOPRIO_WHO_USER, 0, 0, 0]));
        }
        assert!(allows(OthersAlone, libc::SYS_socket, [1, 2, 0, 0]) && allows(OthersAlone, libc::SYS_keyctl, [0; 4]));
    }

    #[test]
    fn t24_other_numberings_of_the_calls_are_no_way_around() {
        for kind in [Tcp, NoSockets] {
            assert_eq!(verdict(kind, 0x4000_0003, libc::SYS_read, [0; 4]), libc::SECCOMP_RET_KILL_PROCESS);
            let x32 = libc::c_long::from(X32) + libc::SYS_socket;
            assert!(!allows(kind, x32, [0; 4]));
            assert!(REFUSED.iter().all(|call| !allows(kind, *call, [0; 4])));
            for call in [
                libc::SYS_read,
                libc::SYS_openat,
                libc::SYS_execve,
                libc::SYS_clone,
                libc::SYS_connect,
            ] {
                assert!(allows(kind, call, [0; 4]), "{call}");
            }
        }
    }
}
