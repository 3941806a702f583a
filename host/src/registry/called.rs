//! What clients have called under a name.
//!
//! A swap must not take from clients what they call. Which of a module's functions those are, only
//! their calls tell; so each path that a call has used, such as `add` or `calc.add`, is kept with the
//! name. The path and not the function that it led to: a client goes on if the same path leads to the
//! same kind of function elsewhere, and fails if it has become ambiguous.
//!
//! On the way of a call this is one read lock and one look-up. New paths are written to the store a
//! moment later, so a crash may forget the newest; an orderly stop forgets none.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Bytes of the paths of one registration as they are stored, so that they fit into one record. What
/// is called beyond that is not noted.
const MAX_CALLED_BYTES: usize = 60 * 1024;

/// What clients have called under one name.
#[derive(Debug, Default)]
pub(super) struct Called(RwLock<Paths>);

#[derive(Debug, Default)]
struct Paths {
    known: HashSet<Arc<str>>,
    stored_bytes: usize,
    /// How often something was added.
    additions: u64,
}

/// What had been called at some moment.
#[derive(Clone, Debug, Default)]
pub(super) struct CalledThen {
    /// The paths, sorted.
    pub(super) paths: Vec<Arc<str>>,
    /// Two moments with the same number have the same paths, as long as nobody forgets any.
    pub(super) additions: u64,
}

impl Called {
    /// Notes a path that led to a function; tells whether it is new.
    pub(super) fn note(&self, path: &str) -> bool {
        // The many spellings of one path are one.
        let kebab = path.contains('_').then(|| path.replace('_', "-"));
        let path = kebab.as_deref().unwrap_or(path);
        if self.read().known.contains(path) {
            return false;
        }
        self.write().add(Arc::from(path))
    }

    pub(super) fn then(&self) -> CalledThen {
        let paths = self.read();
        let mut known: Vec<_> = paths.known.iter().map(Arc::clone).collect();
        known.sort_unstable();
        CalledThen {
            paths: known,
            additions: paths.additions,
        }
    }

    /// Forgets what no client can call any more.
    pub(super) fn forget(&self, gone: &[Arc<str>]) {
        let mut paths = self.write();
        for path in gone {
            if paths.known.remove(path) {
                paths.stored_bytes = paths.stored_bytes.saturating_sub(stored_bytes(path));
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Paths> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Paths> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A path in quotes, with a comma.
fn stored_bytes(path: &str) -> usize {
    path.len().saturating_add(3)
}

impl Paths {
    fn add(&mut self, path: Arc<str>) -> bool {
        let stored_bytes = self.stored_bytes.saturating_add(stored_bytes(&path));
        if stored_bytes > MAX_CALLED_BYTES || !self.known.insert(path) {
            return false;
        }
        self.stored_bytes = stored_bytes;
        self.additions = self.additions.saturating_add(1);
        true
    }
}

impl FromIterator<Arc<str>> for Called {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(paths: I) -> Self {
        let mut known = Paths::default();
        for path in paths {
            known.add(path);
        }
        Called(RwLock::new(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_noted_once_in_whatever_spelling() {
        let called = Called::default();
        assert!(called.note("line_length"));
        assert!(!called.note("line-length"));
        assert!(called.note("text.line-length"));
        let then = called.then();
        assert_eq!(
            then.paths,
            ["line-length".into(), "text.line-length".into()]
        );
        assert_eq!(then.additions, called.then().additions);
        called.forget(&["line-length".into(), "never-there".into()]);
        assert_eq!(called.then().paths, ["text.line-length".into()]);
        assert!(called.note("line-length"), "it may be called again");
        assert_ne!(then.additions, called.then().additions);
    }

    #[test]
    fn so_many_bytes_are_noted_and_no_more() {
        let called = Called::default();
        let path = |number: usize| format!("{number:0>97}");
        let fit = MAX_CALLED_BYTES / 100;
        for number in 0..fit {
            assert!(called.note(&path(number)));
        }
        assert!(!called.note(&path(fit)));
        assert_eq!(called.then().paths.len(), fit);
        let record = crate::registry::record::CalledRecord {
            paths: called.then().paths,
        };
        let stored = crate::storage::encode(&record).unwrap();
        assert!(stored.len() <= crate::storage::MAX_VALUE_BYTES);
        // What is forgotten makes room.
        called.forget(&[path(0).into()]);
        assert!(called.note(&path(fit)));
    }
}
