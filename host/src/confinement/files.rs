//! Which files, and what network, by Landlock: whatever system call it is that asks.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};

use super::{Enforcement, Use};

/// The newest that is known; of an older kernel, what it has.
const WANTED: ABI = ABI::V9;
/// What each is there since.
const MEASURES: &[(&str, ABI)] = &[
    ("landlock-files", ABI::V1),
    ("landlock-tcp", ABI::V4),
    ("landlock-scopes", ABI::V6),
];

/// Takes every right to name a file, to use TCP, and to signal or connect to others from this thread,
/// and from those that it starts. What is open stays open.
pub(super) fn none_at_all(enforcement: &mut Enforcement) {
    note(&none(), enforcement);
}

/// The program itself, to start workers with, and what the system loads into it.
const PROGRAM: &[&str] = &["/proc/self/exe", "/lib", "/lib64", "/usr/lib", "/usr/lib64"];
/// What looking up a host's name reads, the loader, and the engine to clear memory faster.
const READ: &[&str] = &[
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/proc/self/pagemap",
];
/// The input of those that have none.
const NOTHING: &str = "/dev/null";

/// Takes every right to files but those in `places`, as far as these are for use, and those that this
/// program cannot do without, to connect by TCP but to these `ports`, and to signal
/// others.
pub(super) fn only_what_serving_needs(
    places: &[(&Path, Use)],
    ports: &[u16],
    enforcement: &mut Enforcement,
) {
    note(&some(places, ports), enforcement);
}

fn note(status: &Result<RestrictionStatus, RulesetError>, enforcement: &mut Enforcement) {
    for (measure, since) in MEASURES {
        enforcement.note(measure, since_is_there(status, *since));
    }
}

fn none() -> Result<RestrictionStatus, RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?
        .create()?
        .restrict_self()
}

fn some(places: &[(&Path, Use)], ports: &[u16]) -> Result<RestrictionStatus, RulesetError> {
    let run = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::Execute;
    let change = AccessFs::from_all(WANTED) & !AccessFs::Execute;
    let program = PROGRAM.iter().map(|path| (Path::new(path), run));
    let read = READ
        .iter()
        .map(|path| (Path::new(path), AccessFs::ReadFile.into()));
    let nothing = AccessFs::ReadFile | AccessFs::WriteFile;
    // No link, pipe, socket or device is ever made there, and nothing run.
    let look = AccessFs::ReadFile | AccessFs::ReadDir;
    let alter = look
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let places: Vec<_> = places
        .iter()
        .flat_map(|(path, used)| match used {
            Use::Own => vec![(path.to_path_buf(), change)],
            Use::Read => vec![(path.to_path_buf(), look)],
            Use::Change => vec![(path.to_path_buf(), alter)],
            Use::Beside => beside(path)
                .into_iter()
                .map(|directory| (directory, AccessFs::ReadFile.into()))
                .collect(),
        })
        .collect();
    let places = places
        .iter()
        .map(|(path, access)| (path.as_path(), *access));
    let others = [(Path::new(NOTHING), nothing)];
    let rules = program.chain(read).chain(others).chain(places);
    // What is not there needs no rule.
    let rules = rules.filter_map(|(path, access): (&Path, BitFlags<AccessFs>)| {
        let fd = PathFd::new(path).ok()?;
        Some(Ok::<_, RulesetError>(PathBeneath::new(fd, access)))
    });
    Ruleset::default()
        .handle_access(AccessFs::from_all(WANTED))?
        // It listens where its operator says, and connects to nobody, but for requests of guests.
        .handle_access(AccessNet::ConnectTcp)?
        .scope(Scope::from_all(WANTED))?
        .create()?
        .add_rules(rules)?
        .add_rules(
            ports
                .iter()
                .map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp))),
        )?
        .restrict_self()
}

/// Where a file lies, and where it really lies if it is a link. A file that is replaced is another one, of
/// which nothing is known yet but where it will be.
fn beside(file: &Path) -> Vec<PathBuf> {
    let directory = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let really = file.canonicalize().ok();
    let really = really.map(|really| directory(&really));
    [directory(file)].into_iter().chain(really).collect()
}

fn since_is_there(
    status: &Result<RestrictionStatus, RulesetError>,
    since: ABI,
) -> Result<(), String> {
    match status {
        Ok(status) => match status.landlock {
            LandlockStatus::Available { effective_abi, .. } if effective_abi >= since => Ok(()),
            LandlockStatus::Available { .. } => Err("the kernel is too old".to_owned()),
            _ => Err("the kernel has it not, or not enabled".to_owned()),
        },
        Err(error) => Err(error.to_string()),
    }
}
