//! No files and no network, by Landlock: whatever system call it is that asks.

use landlock::{
    ABI, Access, AccessFs, AccessNet, LandlockStatus, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetError, Scope,
};

use super::Enforcement;

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
    let status = restrict();
    for (measure, since) in MEASURES {
        enforcement.note(measure, since_is_there(&status, *since));
    }
}

fn restrict() -> Result<RestrictionStatus, RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(WANTED))?
        .handle_access(AccessNet::from_all(WANTED))?
        .scope(Scope::from_all(WANTED))?
        .create()?
        .restrict_self()
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
