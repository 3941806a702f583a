//! Aligned columns, and numbers as people read them.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

/// Rows of text under a heading.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(
        heading: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) -> Self {
        let heading = heading.map(str::to_uppercase);
        Table::plain(std::iter::once(heading).chain(rows))
    }

    /// Without a heading.
    pub(crate) fn plain<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> Self {
        Table {
            rows: rows.into_iter().map(Vec::from).collect(),
        }
    }

    /// A name and a value on each line.
    pub(crate) fn of_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let pairs = pairs.into_iter();
        Table::plain(pairs.map(|(name, value)| [format!("{name}:"), value]))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<_> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line += &format!("{cell:width$}  ");
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `61.5 KiB`
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    #[allow(
        clippy::cast_precision_loss,
        reason = "it is rounded to four digits anyway"
    )]
    let mut number = bytes as f64 / 1024.0;
    let mut unit = 0;
    while number >= 1023.95 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let unit = UNITS.get(unit).copied().unwrap_or_default();
    format!("{number:.1} {unit}")
}

/// `2026-11-21 01:41:08 UTC`
pub(crate) fn time(unix_ms: u64) -> String {
    let Some(time) = UNIX_EPOCH.checked_add(Duration::from_millis(unix_ms)) else {
        return "never".to_owned();
    };
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.replace('T', " ").replace('Z', " UTC")
}

/// Enough of a digest to tell modules apart by eye.
pub(crate) fn short_digest(digest: &str) -> String {
    const SHOWN: usize = "sha256:".len() + 12;
    match digest.get(..SHOWN) {
        Some(shown) if shown.len() < digest.len() => format!("{shown}…"),
        _ => digest.to_owned(),
    }
}

/// `none`, or all of them.
pub(crate) fn joined<T: fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    match items.as_slice() {
        [] => "none".to_owned(),
        items => items.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "1"], ["längerer", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(
            Table::new(["name", "n"], rows).to_string(),
            "NAME      N\na         1\nlängerer\n"
        );
        let pairs = [("name", "calc".to_owned()), ("revision", "3".to_owned())];
        assert_eq!(
            Table::of_pairs(pairs).to_string(),
            "name:      calc\nrevision:  3\n"
        );
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(63_000), "61.5 KiB");
        assert_eq!(size(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(size(64 << 20), "64.0 MiB");
        assert_eq!(size(u64::MAX), "16777216.0 TiB");
        assert_eq!(time(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(time(1_795_225_268_123), "2026-11-21 01:41:08 UTC");
        let digest = format!("sha256:{}", "a".repeat(64));
        assert_eq!(short_digest(&digest), "sha256:aaaaaaaaaaaa…");
        assert_eq!(short_digest("odd"), "odd");
    }
}
