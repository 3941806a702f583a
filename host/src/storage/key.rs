//! Keys: paths of segments, so that "everything below" is a prefix and nothing else is.

use std::fmt;

/// Ends each segment. Escaped inside one, so two different paths never make the same key.
const SEPARATOR: char = '|';

/// A path of text segments, ordered by its bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(String);

/// All keys that have a given path above them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Key {
    /// A path of one segment.
    pub fn root(segment: &'static str) -> Self {
        Self(String::new()).join(segment)
    }

    /// The path with one more segment.
    #[must_use]
    pub fn join(mut self, segment: &str) -> Self {
        for character in segment.chars() {
            match character {
                SEPARATOR => self.0.push_str("%7c"),
                '%' => self.0.push_str("%25"),
                other => self.0.push(other),
            }
        }
        self.0.push(SEPARATOR);
        self
    }

    /// The path with a number as one more segment, written so that text order is number order.
    #[must_use]
    pub fn join_number(self, number: u64) -> Self {
        self.join(&format!("{number:020}"))
    }

    /// Everything below this path, without the path itself.
    pub fn below(&self) -> Prefix {
        Prefix(self.0.clone())
    }

    /// The last segment, unescaped.
    pub fn last_segment(&self) -> String {
        let path = self.0.strip_suffix(SEPARATOR).unwrap_or(&self.0);
        let segment = path.rsplit(SEPARATOR).next().unwrap_or_default();
        segment.replace("%7c", "|").replace("%25", "%")
    }

    /// The last segment of a key made with [`Key::join_number`].
    pub fn last_number(&self) -> Option<u64> {
        self.last_segment().parse().ok()
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn from_stored(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Prefix {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn covers(&self, key: &str) -> bool {
        key.len() > self.0.len() && key.starts_with(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_reach_into_another_path() {
        let plain = Key::root("tenant").join("a").join("b");
        let sly = Key::root("tenant").join("a|b");
        assert_ne!(plain, sly);
        assert!(!Key::root("tenant").join("a").below().covers(sly.as_str()));
        assert_eq!(sly.last_segment(), "a|b");
        assert_eq!(Key::root("x").join("%7c").last_segment(), "%7c");
    }

    #[test]
    fn below_leaves_out_the_path_itself_and_longer_names() {
        let tenant = Key::root("tenant").join("a");
        assert!(!tenant.below().covers(tenant.as_str()));
        assert!(
            !tenant
                .below()
                .covers(Key::root("tenant").join("ab").as_str())
        );
        assert!(tenant.below().covers(tenant.clone().join("x").as_str()));
    }

    #[test]
    fn numbers_sort_as_numbers() {
        let nine = Key::root("r").join_number(9);
        let ten = Key::root("r").join_number(10);
        assert!(nine < ten);
        assert_eq!(ten.last_number(), Some(10));
        assert_eq!(Key::root("r").join("x").last_number(), None);
    }
}
