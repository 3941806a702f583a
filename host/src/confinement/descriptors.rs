//! How many files, connections and memory images this process may have open at once.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as many as it may have without asking anybody, and tells how many these are; none where there is no
/// bound. The usual start is a number for programs that open a few files each.
pub fn take_all_descriptors() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let taken = Rlimit {
        current: maximum,
        maximum,
    };
    match setrlimit(Resource::Nofile, taken) {
        Ok(()) => maximum,
        Err(_kept) => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_may_be_had_is_taken() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        assert_eq!(take_all_descriptors(), maximum);
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }
}
