//! A guest's path, as names below the root of a volume.

use super::{VolumeError, VolumeLimits};

/// The longest name that file systems have.
const MAX_NAME_BYTES: usize = 255;

/// Names from the root of a volume on. It says where something is and never how to get there: `.`, `..`
/// and doubled slashes are gone. As no symbolic link is ever followed, `a/..` is where `a` is, and
/// nothing has to be asked about `a`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Joined by single slashes; empty for the root.
    names: String,
    depth: usize,
    /// Whether it was written so that only a directory will do: `a/`, `a/.`.
    is_for_directory: bool,
}

impl Place {
    /// Where `path` leads from here.
    ///
    /// # Errors
    /// When it leads out of here, or is longer or deeper than paths may be.
    pub fn join(&self, path: &str, limits: &VolumeLimits) -> Result<Self, VolumeError> {
        if path.is_empty() {
            return Err(VolumeError::NoEntry);
        }
        if path.len() > limits.max_path_bytes {
            return Err(VolumeError::NameTooLong);
        }
        if path.contains('\0') {
            return Err(VolumeError::IllegalName);
        }
        if path.starts_with('/') {
            return Err(VolumeError::NotPermitted);
        }
        let mut joined = self.clone();
        joined.is_for_directory = false;
        for name in path.split('/') {
            match name {
                "" | "." => joined.is_for_directory = true,
                ".." if joined.depth <= self.depth => return Err(VolumeError::NotPermitted),
                ".." => joined.pop(),
                name if name.len() > MAX_NAME_BYTES => return Err(VolumeError::NameTooLong),
                name => joined.push(name),
            }
            // In between, too: what is too deep is not there to come back from.
            if joined.depth > limits.max_path_depth || joined.names.len() > limits.max_path_bytes {
                return Err(VolumeError::NameTooLong);
            }
        }
        Ok(joined)
    }

    fn push(&mut self, name: &str) {
        if self.depth > 0 {
            self.names.push('/');
        }
        self.names.push_str(name);
        self.depth += 1;
        self.is_for_directory = false;
    }

    fn pop(&mut self) {
        self.names.truncate(self.names.rfind('/').unwrap_or(0));
        self.depth = self.depth.saturating_sub(1);
        self.is_for_directory = true;
    }

    /// For the kernel, relative to the root.
    pub(super) fn path(&self) -> &str {
        match self.names.as_str() {
            "" => ".",
            names => names,
        }
    }

    /// The directory that it is in, and its name there; the root is in none.
    pub(super) fn split(&self) -> Option<(&str, &str)> {
        match self.names.rsplit_once('/') {
            Some(split) => Some(split),
            None if self.names.is_empty() => None,
            None => Some((".", &self.names)),
        }
    }

    /// How many names it has.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Whether only a directory will do.
    pub(super) fn is_for_directory(&self) -> bool {
        self.is_for_directory || self.depth == 0
    }

    /// Whether this is `other`, or below it.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        match self.names.strip_prefix(&other.names) {
            Some(rest) => rest.is_empty() || rest.starts_with('/') || other.depth == 0,
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::limits;
    use super::*;

    fn at(base: &Place, path: &str) -> Result<String, VolumeError> {
        base.join(path, &limits()).map(|place| {
            let slash = if place.is_for_directory() { "/" } else { "" };
            format!("{}{slash}", place.path())
        })
    }

    #[test]
    fn a_path_is_names_below_the_root_or_refused() {
        use VolumeError::{IllegalName, NameTooLong, NoEntry, NotPermitted};
        let root = Place::default();
        let long = "n".repeat(255);
        for (path, place) in [
            ("a", Ok("a")),
            ("a/b", Ok("a/b")),
            ("a//b", Ok("a/b")),
            ("./a/./b", Ok("a/b")),
            ("a/", Ok("a/")),
            ("a//", Ok("a/")),
            ("a/.", Ok("a/")),
            ("a/./", Ok("a/")),
            ("a/b/..", Ok("a/")),
            ("a/../b", Ok("b")),
            (".", Ok("./")),
            ("a/..", Ok("./")),
            ("...", Ok("...")),
            ("..a", Ok("..a")),
            (" ", Ok(" ")),
            ("a\\..\\b", Ok("a\\..\\b")),
            (&*long, Ok(&*long)),
            ("", Err(NoEntry)),
            ("..", Err(NotPermitted)),
            ("../", Err(NotPermitted)),
            ("./..", Err(NotPermitted)),
            ("a/../..", Err(NotPermitted)),
            ("a/../../a", Err(NotPermitted)),
            ("..//a", Err(NotPermitted)),
            ("/", Err(NotPermitted)),
            ("/a", Err(NotPermitted)),
            ("//a", Err(NotPermitted)),
            ("a\0", Err(IllegalName)),
            ("\0", Err(IllegalName)),
            (&*"n".repeat(256), Err(NameTooLong)),
            (&*"a/".repeat(2048), Err(NameTooLong)),
            (&*"./".repeat(513), Err(NameTooLong)),
        ] {
            assert_eq!(at(&root, path), place.map(str::to_owned), "{path:?}");
        }
    }

    #[test]
    fn nothing_leads_out_of_the_directory_that_it_starts_from() {
        let root = Place::default();
        let inner = root.join("a/b", &limits()).unwrap();
        assert_eq!(at(&inner, "c/../d").unwrap(), "a/b/d");
        assert_eq!(at(&inner, "c/..").unwrap(), "a/b/");
        for out in ["..", "../b", "../../x", "c/../../b"] {
            assert_eq!(at(&inner, out), Err(VolumeError::NotPermitted), "{out}");
        }
    }

    #[test]
    fn the_whole_path_from_the_root_has_a_limit() {
        let mut place = Place::default();
        for _ in 0..limits().max_path_depth {
            place = place.join("d", &limits()).unwrap();
        }
        assert_eq!(at(&place, "d"), Err(VolumeError::NameTooLong));
        assert_eq!(at(&place, "d/.."), Err(VolumeError::NameTooLong));
        let wide = Place::default();
        let wide = wide.join(&["n".repeat(255), "n".repeat(255)].join("/"), &limits());
        let wide = wide.unwrap().join(&"n".repeat(255), &limits()).unwrap();
        assert_eq!(
            at(&wide, &"n".repeat(255)),
            Ok(format!("{}/{}", wide.path(), "n".repeat(255)))
        );
        assert_eq!(
            at(&wide, &format!("n/{}", "n".repeat(255))),
            Err(VolumeError::NameTooLong)
        );
    }

    #[test]
    fn what_is_within_is_told_by_names() {
        let at = |path: &str| Place::default().join(path, &limits()).unwrap();
        assert!(at("a/b").is_within(&at("a")) && at("a").is_within(&at("a/")));
        assert!(at("a").is_within(&at(".")));
        assert!(!at("ab").is_within(&at("a")) && !at("a").is_within(&at("a/b")));
    }
}
