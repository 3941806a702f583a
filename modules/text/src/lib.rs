//! Measures of text.

#![forbid(unsafe_code)]

/// Measures of text. A character is a Unicode scalar value, as in WIT.
#[rpc_guest::module]
mod text {
    /// How much of each there is.
    #[derive(Debug, PartialEq, Eq)]
    pub struct Size {
        /// Lines, the last one also without a line break after it.
        pub lines: u64,
        /// Runs of anything but white space.
        pub words: u64,
        /// Characters.
        pub chars: u64,
        /// Bytes in UTF-8.
        pub bytes: u64,
    }

    /// The characters in line `line`, counted from 0; nothing if there is no such line.
    pub fn line_length(text: &str, line: u32) -> Option<u64> {
        let line = usize::try_from(line).ok()?;
        text.lines().nth(line).map(|line| total(line.chars()))
    }

    /// Lines, words, characters and bytes.
    pub fn count(text: &str) -> Size {
        Size {
            lines: total(text.lines()),
            words: total(text.split_whitespace()),
            chars: total(text.chars()),
            bytes: total(text.bytes()),
        }
    }

    fn total<T>(items: impl Iterator<Item = T>) -> u64 {
        items.fold(0, |total, _| total + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::text::*;

    #[test]
    fn line_length_counts_characters() {
        let text = "zwölf\n\nlast";
        assert_eq!(line_length(text, 0), Some(5));
        assert_eq!(line_length(text, 1), Some(0));
        assert_eq!(line_length(text, 2), Some(4));
        assert_eq!(line_length(text, 3), None);
    }

    #[test]
    fn count_counts_all() {
        let expected = Size {
            lines: 2,
            words: 3,
            chars: 10,
            bytes: 11,
        };
        assert_eq!(count("ä b\ncd ef\n").lines, expected.lines);
        assert_eq!(count("ä b\ncdefgh"), expected);
    }
}
