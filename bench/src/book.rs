//! What was measured: rows, and in each of them the sides that are compared.

use std::collections::BTreeMap;

use crate::spread::Spread;

/// How this project is named among the sides.
pub(crate) const OURS: &str = "rpc-host";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds: less is better.
    Time,
    /// Calls a second: more is better.
    Rate,
}

/// What the last column of a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Against {
    /// This project's median beside that of each side.
    Each,
    /// The median of each side beside that of the first.
    First,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// For programs.
    pub(crate) id: String,
    /// For people.
    pub(crate) title: String,
    pub(crate) unit: Unit,
    pub(crate) against: Against,
    pub(crate) sides: Vec<Measured>,
}

/// A side, and what each of its rounds gave.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) rounds: Vec<Vec<f64>>,
}

impl Measured {
    pub(crate) fn spread(&self) -> Spread {
        Spread::of(&self.rounds)
    }
}

impl Row {
    pub(crate) fn new(id: impl Into<String>, title: impl Into<String>, unit: Unit) -> Row {
        Row {
            id: id.into(),
            title: title.into(),
            unit,
            against: Against::Each,
            sides: Vec::new(),
        }
    }

    /// A row in which this project is compared with itself.
    pub(crate) fn own(id: impl Into<String>, title: impl Into<String>) -> Row {
        Row {
            against: Against::First,
            ..Row::new(id, title, Unit::Time)
        }
    }

    /// Adds a round of a side.
    pub(crate) fn add(&mut self, side: &str, round: Vec<f64>) {
        match self.sides.iter_mut().find(|found| found.name == side) {
            Some(found) => found.rounds.push(round),
            None => self.sides.push(Measured {
                name: side.to_owned(),
                rounds: vec![round],
            }),
        }
    }

    pub(crate) fn spread(&self, side: &str) -> Option<Spread> {
        let found = self.sides.iter().find(|found| found.name == side)?;
        Some(found.spread())
    }

    /// What stands in the last column.
    pub(crate) fn ratio(&self, side: &Measured) -> Option<f64> {
        let own = side.spread().p50;
        match self.against {
            Against::Each => quotient(self.spread(OURS)?.p50, own),
            Against::First => quotient(own, self.sides.first()?.spread().p50),
        }
    }

    /// Shows the row.
    pub(crate) fn print(&self) {
        println!("{}", self.table());
    }

    fn table(&self) -> String {
        let (unit, last) = match (self.unit, self.against) {
            (Unit::Time, Against::Each) => ("µs", "rpc-host / it"),
            (Unit::Time, Against::First) => ("µs", "it / the first"),
            (Unit::Rate, _) => ("calls/s", "rpc-host / it"),
        };
        let columns = match self.unit {
            Unit::Time => format!(
                "{:>12} {:>12} {:>12} {:>8}",
                format!("p50 {unit}"),
                format!("p90 {unit}"),
                format!("p99 {unit}"),
                "spread"
            ),
            Unit::Rate => format!("{:>38} {:>8}", format!("median {unit}"), "spread"),
        };
        let mut table = format!("{:<44} {columns} {last:>15}", self.title);
        for side in &self.sides {
            let spread = side.spread();
            let figures = match self.unit {
                Unit::Time => format!(
                    "{:>12.1} {:>12.1} {:>12.1}",
                    spread.p50 / 1e3,
                    spread.p90 / 1e3,
                    spread.p99 / 1e3
                ),
                Unit::Rate => format!("{:>38.0}", spread.p50),
            };
            let ratio = match self.ratio(side) {
                Some(ratio) => format!("{ratio:.2}"),
                None => String::new(),
            };
            table.push_str(&format!(
                "\n  {:<42} {figures} {:>7.0}% {ratio:>15}",
                side.name,
                spread.between_rounds * 100.0
            ));
        }
        table.push('\n');
        table
    }
}

fn quotient(above: f64, below: f64) -> Option<f64> {
    (below > 0.0).then(|| above / below)
}

/// All rows of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Book {
    pub(crate) rows: Vec<Row>,
}

impl Book {
    /// Shows a row, and keeps it.
    pub(crate) fn enter(&mut self, row: Row) {
        row.print();
        self.rows.push(row);
    }

    fn spread(&self, row: &str, side: &str) -> Option<Spread> {
        self.rows.iter().find(|found| found.id == row)?.spread(side)
    }

    /// The ratios that targets are about, as far as their rows were measured. Of times, this project's or the case
    /// that is named first are above the line; of rates as well.
    pub(crate) fn ratios(&self) -> BTreeMap<&'static str, f64> {
        let p50 = |row: &str, side: &str| self.spread(row, side).map(|spread| spread.p50);
        let p99 = |row: &str, side: &str| self.spread(row, side).map(|spread| spread.p99);
        let of_peers = RATIOS.iter().map(|(name, row, peer)| {
            let ratio = p50(row, OURS).zip(p50(row, peer));
            (*name, ratio)
        });
        let own = [
            (
                "small_p99_beside_16mib_vs_alone",
                p99(BESIDE, OURS).zip(p99(ALONE, OURS)),
            ),
            (
                "p50_10k_registrations_vs_1",
                p50(REGISTRATIONS, OF_MANY).zip(p50(REGISTRATIONS, OF_ONE)),
            ),
            (
                "p50_across_10k_registrations_vs_1",
                p50(REGISTRATIONS, ACROSS_MANY).zip(p50(REGISTRATIONS, OF_ONE)),
            ),
        ];
        let all = of_peers.chain(own);
        all.filter_map(|(name, pair)| {
            let (above, below) = pair?;
            Some((name, quotient(above, below)?))
        })
        .collect()
    }
}

/// Rows and sides that ratios name.
pub(crate) const RAW: &str = "raw TLS echo";
pub(crate) const RAW_STREAMED: &str = "raw TLS echo, streamed";
pub(crate) const TONIC: &str = "tonic over TLS";
pub(crate) const ALONE: &str = "small-alone";
pub(crate) const BESIDE: &str = "small-beside-16mib";
pub(crate) const REGISTRATIONS: &str = "registrations";
pub(crate) const OF_ONE: &str = "the only registration";
pub(crate) const OF_MANY: &str = "one of 10,000";
pub(crate) const ACROSS_MANY: &str = "each of 10,000 in turn";

/// A ratio, its row, and whom it is against.
const RATIOS: &[(&str, &str, &str)] = &[
    ("add_p50_vs_raw", "add", RAW),
    ("add_p50_vs_tonic", "add", TONIC),
    ("calls_per_s_64_vs_tonic", "rate-1-64", TONIC),
    ("echo_1mib_vs_raw", "bytes-1mib", RAW),
    ("echo_1mib_vs_raw_streamed", "bytes-1mib", RAW_STREAMED),
    ("echo_1mib_vs_tonic", "bytes-1mib", TONIC),
    ("echo_16mib_vs_raw", "bytes-16mib", RAW),
    ("echo_16mib_vs_raw_streamed", "bytes-16mib", RAW_STREAMED),
    ("echo_16mib_vs_tonic", "bytes-16mib", TONIC),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, unit: Unit, sides: &[(&str, f64)]) -> Row {
        let mut row = Row::new(id, id, unit);
        for (side, value) in sides {
            row.add(side, vec![*value]);
        }
        row
    }

    #[test]
    fn ratios_are_of_ours_to_theirs() {
        let mut book = Book::default();
        let add = [(RAW, 20.0), (OURS, 50.0), (TONIC, 100.0)];
        book.rows.push(row("add", Unit::Time, &add));
        let rate = [(OURS, 60.0), (TONIC, 20.0)];
        book.rows.push(row("rate-1-64", Unit::Rate, &rate));
        book.rows.push(row(ALONE, Unit::Time, &[(OURS, 10.0)]));
        book.rows.push(row(BESIDE, Unit::Time, &[(OURS, 40.0)]));
        let counts = [(OF_ONE, 100.0), (OF_MANY, 110.0)];
        book.rows.push(row(REGISTRATIONS, Unit::Time, &counts));
        let ratios = book.ratios();
        let expected = [
            ("add_p50_vs_raw", 2.5),
            ("add_p50_vs_tonic", 0.5),
            ("calls_per_s_64_vs_tonic", 3.0),
            ("p50_10k_registrations_vs_1", 1.1),
            ("small_p99_beside_16mib_vs_alone", 4.0),
        ];
        assert_eq!(ratios, BTreeMap::from(expected));
    }

    #[test]
    fn a_row_shows_every_side_with_its_ratio() {
        let add = row("add", Unit::Time, &[(RAW, 20_000.0), (OURS, 50_000.0)]);
        let table = add.table();
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].contains("raw TLS echo") && lines[1].ends_with("2.50"));
        assert!(lines[2].contains(" 50.0 ") && lines[2].ends_with("1.00"));
        let mut own = Row::own("swap", "swap");
        own.add("acknowledged", vec![4.0]);
        own.add("answered", vec![1.0]);
        assert!(own.table().trim_end().ends_with("0.25"));
    }
}
