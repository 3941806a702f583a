//! Each test runs this same program again, which confines itself as a worker does and then tries one
//! thing.
#![allow(
    unsafe_code,
    reason = "what is refused is tried by the number of its system call, as a hijacked process would"
)]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroU64;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{ExitStatusExt as _, parent_id};
use std::process::{Command, Output, Stdio};

use super::*;

const ATTEMPT: &str = "CONFINEMENT_ATTEMPT";
const LAYER: &str = "CONFINEMENT_LAYER";
const PLACE: &str = "CONFINEMENT_PLACE";
const PORT: &str = "CONFINEMENT_PORT";

const MAX_MEMORY_BYTES: u64 = 1 << 30;

/// Something that a process does which nothing hinders. The measure of Landlock that alone would hinder
/// it, too, if one does.
type Deed = (&'static str, Act, Option<&'static str>);
type Act = fn() -> io::Result<()>;

const DEEDS: &[Deed] = &[
    ("read a file", || read("file"), Some("landlock-files")),
    ("read its own program", read_program, Some("landlock-files")),
    ("list a directory", list, Some("landlock-files")),
    ("make a file", make_file, Some("landlock-files")),
    ("change a file", change_file, Some("landlock-files")),
    ("remove a file", remove_file, Some("landlock-files")),
    ("make a directory", make_directory, Some("landlock-files")),
    ("make a link", make_link, Some("landlock-files")),
    ("run a program", run_program, Some("landlock-files")),
    ("connect by TCP", connect_tcp, Some("landlock-tcp")),
    ("listen by TCP", listen_tcp, Some("landlock-tcp")),
    ("connect to a socket file", connect_unix, None),
    ("make a pair of sockets", socket_pair, None),
    ("send by UDP", send_udp, None),
    ("signal another", signal_parent, Some("landlock-scopes")),
    ("start a thread", start_thread, None),
    ("become dumpable", become_dumpable, None),
];

/// What a node does all day.
const DEEDS_OF_A_NODE: &[(&str, Act)] = &[
    ("keep a file", keep_a_file),
    ("read what its operator replaced", read_replaced),
    ("start its own program", run_program),
    ("listen", listen_tcp),
    ("start threads", start_thread),
    ("look up a name", look_up),
];

/// Something that is done in a directory.
type DoneIn = fn(&std::path::Path) -> io::Result<()>;

/// What is done in a directory that a node was given, and whether it takes the right to change it. None of
/// the last is for anybody.
const IN_DIRECTORIES: &[(&str, DoneIn, Option<bool>)] = &[
    ("list", |at| std::fs::read_dir(at).map(drop), Some(false)),
    (
        "read",
        |at| std::fs::read(at.join("file")).map(drop),
        Some(false),
    ),
    (
        "make a file",
        |at| std::fs::write(at.join("new"), "x"),
        Some(true),
    ),
    (
        "change a file",
        |at| std::fs::write(at.join("file"), "x"),
        Some(true),
    ),
    (
        "make a directory",
        |at| std::fs::create_dir(at.join("new")),
        Some(true),
    ),
    (
        "remove a file",
        |at| std::fs::remove_file(at.join("file")),
        Some(true),
    ),
    (
        "remove a directory",
        |at| std::fs::remove_dir(at.join("inner")),
        Some(true),
    ),
    (
        "move a file",
        |at| std::fs::rename(at.join("file"), at.join("inner/file")),
        Some(true),
    ),
    (
        "make a link",
        |at| std::os::unix::fs::symlink("x", at.join("new")),
        None,
    ),
    (
        "make a socket",
        |at| UnixListener::bind(at.join("new")).map(drop),
        None,
    ),
    (
        "run",
        |at| {
            Command::new(at.join("program"))
                .stdout(Stdio::null())
                .status()
                .map(drop)
        },
        None,
    ),
];

/// What it never does. That it lacks the privilege for most of them anyway is no reason to let it try.
const DENIED_TO_A_NODE: &[&str] = &[
    "add_key",
    "bpf",
    "chroot",
    "delete_module",
    "fanotify_init",
    "finit_module",
    "init_module",
    "io_uring_setup",
    "kcmp",
    "kexec_load",
    "keyctl",
    "mount",
    "name_to_handle_at",
    "open_by_handle_at",
    "perf_event_open",
    "personality",
    "pidfd_getfd",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "quotactl",
    "reboot",
    "setns",
    "umount2",
    "unshare",
    "userfaultfd",
];

/// System calls that no compiler makes.
const CALLS: &[(&str, libc::c_long)] = &[
    ("accept4", libc::SYS_accept4),
    ("add_key", libc::SYS_add_key),
    ("bpf", libc::SYS_bpf),
    ("capset", libc::SYS_capset),
    ("chdir", libc::SYS_chdir),
    ("chroot", libc::SYS_chroot),
    ("clone", libc::SYS_clone),
    ("clone3", libc::SYS_clone3),
    ("copy_file_range", libc::SYS_copy_file_range),
    ("delete_module", libc::SYS_delete_module),
    ("dup", libc::SYS_dup),
    ("epoll_create1", libc::SYS_epoll_create1),
    ("eventfd2", libc::SYS_eventfd2),
    ("execve", libc::SYS_execve),
    ("execveat", libc::SYS_execveat),
    ("fanotify_init", libc::SYS_fanotify_init),
    ("fcntl", libc::SYS_fcntl),
    ("finit_module", libc::SYS_finit_module),
    ("getdents64", libc::SYS_getdents64),
    ("init_module", libc::SYS_init_module),
    ("inotify_init1", libc::SYS_inotify_init1),
    ("io_setup", libc::SYS_io_setup),
    ("io_uring_setup", libc::SYS_io_uring_setup),
    ("kcmp", libc::SYS_kcmp),
    ("kexec_load", libc::SYS_kexec_load),
    ("keyctl", libc::SYS_keyctl),
    ("kill", libc::SYS_kill),
    ("memfd_create", libc::SYS_memfd_create),
    ("mount", libc::SYS_mount),
    ("msgget", libc::SYS_msgget),
    ("name_to_handle_at", libc::SYS_name_to_handle_at),
    ("open_by_handle_at", libc::SYS_open_by_handle_at),
    ("openat2", libc::SYS_openat2),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("personality", libc::SYS_personality),
    ("pidfd_getfd", libc::SYS_pidfd_getfd),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("pipe2", libc::SYS_pipe2),
    ("pivot_root", libc::SYS_pivot_root),
    ("pkey_mprotect", libc::SYS_pkey_mprotect),
    ("prlimit64", libc::SYS_prlimit64),
    ("process_vm_readv", libc::SYS_process_vm_readv),
    ("process_vm_writev", libc::SYS_process_vm_writev),
    ("ptrace", libc::SYS_ptrace),
    ("quotactl", libc::SYS_quotactl),
    ("reboot", libc::SYS_reboot),
    ("seccomp", libc::SYS_seccomp),
    ("sendmsg", libc::SYS_sendmsg),
    ("sendto", libc::SYS_sendto),
    ("setns", libc::SYS_setns),
    ("setpriority", libc::SYS_setpriority),
    ("setuid", libc::SYS_setuid),
    ("shmget", libc::SYS_shmget),
    ("splice", libc::SYS_splice),
    ("timer_create", libc::SYS_timer_create),
    ("umount2", libc::SYS_umount2),
    ("unshare", libc::SYS_unshare),
    ("userfaultfd", libc::SYS_userfaultfd),
];

/// What is allowed, but not with these arguments.
const FORMS: &[(&str, libc::c_long, [usize; 6])] = &[
    ("read from elsewhere", libc::SYS_read, [3, 0, 0, 0, 0, 0]),
    ("write elsewhere", libc::SYS_write, [3, 0, 0, 0, 0, 0]),
    ("write to its input", libc::SYS_write, [0, 0, 0, 0, 0, 0]),
    (
        "map executable memory",
        libc::SYS_mmap,
        [0, 4096, RUNNABLE, PRIVATE, usize::MAX, 0],
    ),
    (
        "make memory executable",
        libc::SYS_mprotect,
        [0, 0, RUNNABLE, 0, 0, 0],
    ),
    (
        "signal the first process",
        libc::SYS_tgkill,
        [1, 1, 6, 0, 0, 0],
    ),
];
const RUNNABLE: usize = 5;
const PRIVATE: usize = 0x22;

fn place() -> std::path::PathBuf {
    std::env::var_os(PLACE).expect("a place").into()
}

fn port() -> u16 {
    std::env::var(PORT).unwrap().parse().unwrap()
}

fn read(name: &str) -> io::Result<()> {
    std::fs::read(place().join(name)).map(|_| ())
}

fn read_program() -> io::Result<()> {
    std::fs::File::open("/proc/self/exe").map(|_| ())
}

fn list() -> io::Result<()> {
    std::fs::read_dir(place()).map(|_| ())
}

fn make_file() -> io::Result<()> {
    std::fs::write(place().join("made"), "")
}

fn change_file() -> io::Result<()> {
    std::fs::write(place().join("file"), "changed")
}

fn remove_file() -> io::Result<()> {
    std::fs::remove_file(place().join("file"))
}

fn make_directory() -> io::Result<()> {
    std::fs::create_dir(place().join("directory"))
}

fn make_link() -> io::Result<()> {
    std::os::unix::fs::symlink("/", place().join("link"))
}

fn run_program() -> io::Result<()> {
    let mut program = Command::new("/proc/self/exe");
    program.arg("--list").stdout(Stdio::null());
    program.status().map(|_| ())
}

fn run_another_program() -> io::Result<()> {
    Command::new(place().join("program"))
        .arg("--list")
        .stdout(Stdio::null())
        .status()
        .map(|_| ())
}

fn keep_a_file() -> io::Result<()> {
    let data = place().join("data");
    std::fs::create_dir(data.join("tenant"))?;
    std::fs::write(data.join("new"), "content")?;
    std::fs::rename(data.join("new"), data.join("tenant/kept"))?;
    std::fs::read(data.join("tenant/kept"))?;
    std::fs::remove_dir_all(data.join("tenant"))
}

/// And what lies beside it, which may be in its place a moment later.
fn read_replaced() -> io::Result<()> {
    let beside = place().join("read");
    std::fs::read(beside.join("operators.pem"))?;
    std::fs::read(beside.join("another"))?;
    Ok(())
}

fn look_up() -> io::Result<()> {
    std::net::ToSocketAddrs::to_socket_addrs("localhost:0").map(|_| ())
}

fn connect_tcp() -> io::Result<()> {
    TcpStream::connect(("127.0.0.1", port())).map(|_| ())
}

fn listen_tcp() -> io::Result<()> {
    TcpListener::bind("127.0.0.1:0").map(|_| ())
}

fn connect_unix() -> io::Result<()> {
    UnixStream::connect(place().join("socket")).map(|_| ())
}

fn socket_pair() -> io::Result<()> {
    UnixStream::pair().map(|_| ())
}

fn send_udp() -> io::Result<()> {
    UdpSocket::bind("127.0.0.1:0")?
        .send_to(b"x", ("127.0.0.1", port()))
        .map(|_| ())
}

fn signal_parent() -> io::Result<()> {
    // Signal 0: whether one could be sent.
    system_call(
        libc::SYS_kill,
        [parent_id().try_into().unwrap(), 0, 0, 0, 0, 0],
    )
}

fn start_thread() -> io::Result<()> {
    std::thread::Builder::new().spawn(|| ()).map(|_| ())
}

fn become_dumpable() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(Into::into)
}

fn system_call(number: libc::c_long, with: [usize; 6]) -> io::Result<()> {
    let [a, b, c, d, e, f] = with;
    // SAFETY: The process ends right after it, whatever it does; none of those that are tried writes to
    // memory that is given as zero.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// All that a compiler does, besides compiling.
fn compute() -> io::Result<()> {
    let started = std::time::Instant::now();
    let mut large = vec![1_u8; 256 << 20];
    large.truncate(1 << 20);
    large.shrink_to_fit();
    let map: HashMap<_, _> = (0..1000).map(|n| (n, n)).collect();
    let caught = std::panic::catch_unwind(|| panic!("on purpose"));
    assert!(caught.is_err() && map.len() == 1000);
    io::stderr().write_all(format!("{:?}\n", started.elapsed()).as_bytes())
}

fn use_much_memory() -> io::Result<()> {
    let much = vec![1_u8; usize::try_from(MAX_MEMORY_BYTES).unwrap()];
    io::stderr().write_all(&much[..1])
}

fn use_much_time() -> io::Result<()> {
    loop {
        std::hint::spin_loop();
    }
}

fn act(name: &str) -> io::Result<()> {
    if let Some((_, deed, _)) = DEEDS.iter().find(|(it, ..)| *it == name) {
        return deed();
    }
    if let Some((_, deed)) = DEEDS_OF_A_NODE.iter().find(|(it, _)| *it == name) {
        return deed();
    }
    if let Some((_, number)) = CALLS.iter().find(|(it, _)| *it == name) {
        return system_call(*number, [0; 6]);
    }
    if let Some((_, number, with)) = FORMS.iter().find(|(it, ..)| *it == name) {
        return system_call(*number, *with);
    }
    if let Some((directory, deed)) = name.split_once(": ") {
        let (_, deed, _) = IN_DIRECTORIES.iter().find(|(it, ..)| *it == deed).unwrap();
        return deed(&place().join(directory));
    }
    match name {
        "write beside what its operator keeps" => std::fs::write(place().join("read/another"), ""),
        "run another program" => run_another_program(),
        "compute" => compute(),
        "use much memory" => use_much_memory(),
        "use much time" => use_much_time(),
        "abort" => std::process::abort(),
        unknown => panic!("{unknown}"),
    }
}

#[test]
#[ignore = "the other tests run it, in a process of its own"]
#[expect(clippy::exit, reason = "a confined process cannot go on as a test")]
fn attempt() {
    let name = std::env::var(ATTEMPT).expect("what to try");
    let mut enforcement = Enforcement::default();
    match std::env::var(LAYER).unwrap().as_str() {
        "worker" => {
            enforcement = worker(WorkerLimits {
                max_memory_bytes: NonZeroU64::new(MAX_MEMORY_BYTES).unwrap(),
                max_cpu_seconds: NonZeroU64::MIN,
            });
        }
        "files" => {
            rustix::thread::set_no_new_privs(true).unwrap();
            files::none_at_all(&mut enforcement);
        }
        layer @ ("node" | "node with a port" | "node with another port") => {
            let ports = match layer {
                "node with a port" => vec![port()],
                "node with another port" => vec![port().checked_add(1).unwrap_or(1)],
                _ => Vec::new(),
            };
            let (data, looked, changed) = (
                place().join("data"),
                place().join("looked-at"),
                place().join("changed"),
            );
            let read = place().join("read/operators.pem");
            let places: [(&std::path::Path, Use); 4] = [
                (&data, Use::Own),
                (&looked, Use::Read),
                (&changed, Use::Change),
                (&read, Use::Beside),
            ];
            enforcement = node(&places, &ports);
        }
        "system calls" => system_calls::only_what_compiling_needs().unwrap(),
        _ => {}
    }
    println!("enforced: {}", enforcement.enforced.join(" "));
    let outcome = act(&name);
    println!("outcome: {:?}", outcome.map_err(|error| error.kind()));
    std::process::exit(0);
}

struct Attempts {
    directory: tempfile::TempDir,
    tcp: TcpListener,
    _unix: UnixListener,
}

impl Attempts {
    fn new() -> Attempts {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("data")).unwrap();
        std::fs::create_dir(directory.path().join("read")).unwrap();
        for name in ["read/operators.pem", "read/another"] {
            std::fs::write(directory.path().join(name), "content").unwrap();
        }
        let program = std::env::current_exe().unwrap();
        std::fs::copy(program, directory.path().join("program")).unwrap();
        Attempts {
            _unix: UnixListener::bind(directory.path().join("socket")).unwrap(),
            tcp: TcpListener::bind("127.0.0.1:0").unwrap(),
            directory,
        }
    }

    fn run(&self, layer: &str, name: &str) -> Output {
        for directory in ["looked-at", "changed"] {
            let directory = self.directory.path().join(directory);
            let _absent = std::fs::remove_dir_all(&directory);
            std::fs::create_dir_all(directory.join("inner")).unwrap();
            std::fs::write(directory.join("file"), "content").unwrap();
            std::fs::hard_link(
                self.directory.path().join("program"),
                directory.join("program"),
            )
            .unwrap();
        }
        for left in ["made", "link"] {
            let _absent = std::fs::remove_file(self.directory.path().join(left));
        }
        let _absent = std::fs::remove_dir(self.directory.path().join("directory"));
        std::fs::write(self.directory.path().join("file"), "content").unwrap();
        let port = self.tcp.local_addr().unwrap().port().to_string();
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "confinement::tests::attempt"])
            .args(["--ignored", "--nocapture"])
            // As the node starts it.
            .env_clear()
            .env(ATTEMPT, name)
            .env(LAYER, layer)
            .env(PLACE, self.directory.path())
            .env(PORT, OsStr::new(&port))
            .output()
            .unwrap()
    }
}

fn said(output: &Output, what: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, rest) = text.split_once(what)?;
    Some(rest.lines().next().unwrap_or_default().to_owned())
}

/// Killed for it, or told that it may not.
fn was_refused(output: &Output) -> bool {
    output.status.signal() == Some(libc::SIGSYS)
        || said(output, "outcome: ").as_deref() == Some("Err(PermissionDenied)")
}

#[test]
fn a_worker_can_do_none_of_what_it_does_not_need() {
    let attempts = Attempts::new();
    let names = || DEEDS.iter().map(|(name, ..)| *name);
    let raw = CALLS.iter().map(|(name, _)| *name);
    let forms = FORMS.iter().map(|(name, ..)| *name);
    for name in names().chain(raw).chain(forms) {
        for layer in ["worker", "system calls"] {
            let output = attempts.run(layer, name);
            assert!(was_refused(&output), "{layer}: {name}: {output:?}");
        }
    }
    assert!(!attempts.directory.path().join("made").exists());
    // Nothing else than the confinement hinders them.
    for name in names() {
        let output = attempts.run("none", name);
        let outcome = said(&output, "outcome: ");
        assert_eq!(outcome.as_deref(), Some("Ok(())"), "{name}: {output:?}");
    }
}

#[test]
fn files_and_network_are_out_of_reach_without_the_filter_too() {
    let attempts = Attempts::new();
    for (name, _, measure) in DEEDS {
        let output = attempts.run("files", name);
        let enforced = said(&output, "enforced: ").unwrap();
        let holds = measure.is_some_and(|it| enforced.split(' ').any(|one| one == it));
        // Where the kernel cannot, it is not said to.
        assert_eq!(was_refused(&output), holds, "{name}: {output:?}");
    }
}

#[test]
fn a_worker_computes_and_ends_as_any_process_does() {
    let attempts = Attempts::new();
    let computes = attempts.run("worker", "compute");
    let outcome = said(&computes, "outcome: ");
    assert_eq!(outcome.as_deref(), Some("Ok(())"), "{computes:?}");
    let aborts = attempts.run("worker", "abort");
    assert_eq!(aborts.status.signal(), Some(libc::SIGABRT), "{aborts:?}");
}

#[test]
fn a_worker_has_so_much_memory_and_time_and_no_more() {
    let attempts = Attempts::new();
    let large = attempts.run("worker", "use much memory");
    assert_eq!(large.status.signal(), Some(libc::SIGABRT), "{large:?}");
    assert!(String::from_utf8_lossy(&large.stderr).contains("memory allocation of 1073741824"));
    let long = attempts.run("worker", "use much time");
    assert_eq!(long.status.signal(), Some(libc::SIGXCPU), "{long:?}");
}

#[test]
fn a_node_can_do_what_it_does_all_day_and_little_else() {
    let attempts = Attempts::new();
    for (name, _) in DEEDS_OF_A_NODE {
        let output = attempts.run("node", name);
        let outcome = said(&output, "outcome: ");
        assert_eq!(outcome.as_deref(), Some("Ok(())"), "{name}: {output:?}");
    }
    for name in DENIED_TO_A_NODE {
        let output = attempts.run("node", name);
        assert!(was_refused(&output), "{name}: {output:?}");
    }
    for (name, measure) in [
        ("read a file", "landlock-files"),
        ("list a directory", "landlock-files"),
        ("make a file", "landlock-files"),
        ("change a file", "landlock-files"),
        ("remove a file", "landlock-files"),
        ("make a directory", "landlock-files"),
        ("make a link", "landlock-files"),
        ("write beside what its operator keeps", "landlock-files"),
        ("run another program", "landlock-files"),
        ("connect by TCP", "landlock-tcp"),
        ("signal another", "landlock-scopes"),
    ] {
        let output = attempts.run("node", name);
        let enforced = said(&output, "enforced: ").unwrap();
        let holds = enforced.split(' ').any(|one| one == measure);
        assert_eq!(was_refused(&output), holds, "{name}: {output:?}");
    }
    // Its operator may have opened ports for requests of guests.
    let opened = attempts.run("node with a port", "connect by TCP");
    assert_eq!(said(&opened, "outcome: ").as_deref(), Some("Ok(())"));
    let closed = attempts.run("node with another port", "connect by TCP");
    let enforced = said(&closed, "enforced: ").unwrap();
    assert_eq!(
        was_refused(&closed),
        enforced.contains("landlock-tcp"),
        "{closed:?}"
    );
    let free = attempts.run("none", "run another program");
    assert_eq!(said(&free, "outcome: ").as_deref(), Some("Ok(())"));
}

#[test]
fn a_node_has_the_directories_that_it_was_given_as_far_as_they_are_for_use() {
    let attempts = Attempts::new();
    for directory in ["looked-at", "changed"] {
        for (name, _, changes) in IN_DIRECTORIES {
            let name = format!("{directory}: {name}");
            let output = attempts.run("node", &name);
            let enforced = said(&output, "enforced: ").unwrap();
            let holds = enforced.split(' ').any(|one| one == "landlock-files");
            let is_allowed = match changes {
                Some(changes) => !changes || directory == "changed",
                None => false,
            };
            assert_eq!(
                was_refused(&output),
                holds && !is_allowed,
                "{name}: {output:?}"
            );
        }
    }
}
