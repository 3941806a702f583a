//! When one version of an interface answers for another.

use semver::Version;

/// Whether what exports the interface `exported` answers for those that import `imported`: the same
/// name, and the same version or one that promises to be compatible with it, as the engine and cargo
/// understand it. What a later version adds, an earlier one lacks; that is for whoever compares the
/// functions.
pub(crate) fn is_compatible(imported: &str, exported: &str) -> bool {
    if imported == exported {
        return true;
    }
    let (Some((name, one)), Some((other_name, other))) =
        (imported.split_once('@'), exported.split_once('@'))
    else {
        return false;
    };
    let (Ok(one), Ok(other)) = (Version::parse(one), Version::parse(other)) else {
        return false;
    };
    let is_released = |version: &Version| version.pre.is_empty();
    name == other_name && is_released(&one) && is_released(&other) && track(&one) == track(&other)
}

/// Whether a name stands for an interface: it is the interface's own, with a version that answers for it
/// or without any.
pub(crate) fn stands_for(name: &str, interface: &str) -> bool {
    match interface.split_once('@') {
        Some((without_version, _)) if !name.contains('@') => name == without_version,
        _ => is_compatible(interface, name),
    }
}

/// What all compatible versions have in common.
fn track(version: &Version) -> (u64, u64, u64) {
    match (version.major, version.minor) {
        (0, 0) => (0, 0, version.patch),
        (0, minor) => (0, minor, 0),
        (major, _) => (major, 0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_answer_for_those_that_they_are_compatible_with() {
        let compatible = |one: &str, other: &str| {
            let (one, other) = (
                format!("acme:log/logger{one}"),
                format!("acme:log/logger{other}"),
            );
            assert_eq!(is_compatible(&one, &other), is_compatible(&other, &one));
            is_compatible(&one, &other)
        };
        assert!(compatible("", ""));
        assert!(compatible("@0.1.0", "@0.1.7"));
        assert!(compatible("@1.0.0", "@1.9.0"));
        assert!(compatible("@1.0.0-rc", "@1.0.0-rc"));
        for (one, other) in [
            ("@0.1.0", ""),
            ("@0.1.0", "@0.2.0"),
            ("@0.0.1", "@0.0.2"),
            ("@1.0.0", "@2.0.0"),
            ("@1.0.0", "@1.0.0-rc"),
            ("@x", "@y"),
        ] {
            assert!(!compatible(one, other), "{one} {other}");
        }
        assert!(!is_compatible(
            "acme:log/logger@1.0.0",
            "acme:log/logs@1.0.0"
        ));
    }
}
