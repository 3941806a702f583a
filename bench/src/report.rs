//! What stays of a run: all that was measured, as JSON, and a picture of it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::book::{Book, Row, Unit};
use crate::chart;

/// Writes the figures to a file.
pub(crate) fn write(book: &Book, machine: &Value, path: &Path) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, json(book, machine)?).with_context(|| path.display().to_string())
}

/// Writes the figures and the picture to a folder, named after the day and the machine.
pub(crate) fn keep(book: &Book, machine: &Value, folder: &Path) -> Result<Vec<PathBuf>> {
    let text = |name: &str| {
        machine
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let cores = machine.get("cores").and_then(Value::as_u64).unwrap_or(0);
    let stem = format!("{}-{cores}-cores", text("date"));
    let (figures, picture) = (
        folder.join(format!("{stem}.json")),
        folder.join(format!("{stem}.svg")),
    );
    write(book, machine, &figures)?;
    let below = format!(
        "{} · {cores} × {} · Linux {} · p50, and p99 as a thin line",
        text("date"),
        text("processor"),
        text("kernel")
    );
    fs::write(&picture, chart::svg(book, &below)).with_context(|| picture.display().to_string())?;
    Ok(vec![figures, picture])
}

/// A row a line, so that a person can find it and a change of one is a change of a line.
fn json(book: &Book, machine: &Value) -> Result<String> {
    let mut text = "{\n".to_owned();
    writeln!(text, "\"machine\": {machine},")?;
    writeln!(
        text,
        "\"ratios\": {},",
        serde_json::to_string_pretty(&book.ratios())?
    )?;
    writeln!(text, "\"rows\": [")?;
    let rows: Vec<_> = book.rows.iter().map(|row| one(row).to_string()).collect();
    text.push_str(&rows.join(",\n"));
    text.push_str("\n]\n}\n");
    Ok(text)
}

fn one(row: &Row) -> Value {
    let sides = row.sides.iter().map(|side| {
        let spread = side.spread();
        json!({
            "name": side.name,
            "p50": spread.p50,
            "p90": spread.p90,
            "p99": spread.p99,
            "spread": rounded(spread.between_rounds),
            "ratio": row.ratio(side).map(rounded),
            "rounds": side.rounds.iter().map(|round| whole(round)).collect::<Vec<_>>(),
        })
    });
    json!({
        "id": row.id,
        "title": row.title,
        "unit": match row.unit { Unit::Time => "ns", Unit::Rate => "calls/s" },
        "sides": sides.collect::<Vec<_>>(),
    })
}

fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Without what stands after the point, which is nothing that was measured.
fn whole(round: &[f64]) -> Vec<Value> {
    let text = round.iter().map(|value| format!("{value:.0}"));
    text.map(|text| serde_json::from_str(&text).unwrap_or(Value::Null))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::{OURS, RAW};

    #[test]
    fn what_was_measured_is_all_there() {
        let mut row = Row::new("add", "add(s64, s64)", Unit::Time);
        row.add(RAW, vec![10.0, 20.0, 30.0]);
        row.add(OURS, vec![40.4, 50.0]);
        row.add(OURS, vec![60.0]);
        let book = Book { rows: vec![row] };
        let text = json(&book, &json!({"cores": 2})).unwrap();
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["machine"]["cores"], 2);
        assert_eq!(back["ratios"]["add_p50_vs_raw"], 2.5);
        assert_eq!(
            back["rows"][0]["sides"][1]["rounds"],
            json!([[40, 50], [60]])
        );
        assert_eq!(back["rows"][0]["sides"][1]["p50"], 50.0);
        assert_eq!(back["rows"][0]["sides"][0]["ratio"], 2.5);
    }

    #[test]
    fn files_are_named_after_the_day_and_the_machine() {
        let folder = tempfile::tempdir().unwrap();
        let machine = json!({"date": "2026-11-21", "cores": 2, "processor": "A & B"});
        let within = folder.path().join("results");
        let written = keep(&Book::default(), &machine, &within).unwrap();
        assert_eq!(written[0], within.join("2026-11-21-2-cores.json"));
        let picture = fs::read_to_string(&written[1]).unwrap();
        assert!(picture.contains("A &amp; B"));
    }
}
