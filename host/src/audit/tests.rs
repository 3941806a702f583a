use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::Command;

use super::*;
use crate::clock::ManualClock;

fn open(path: &Path, clock: &Arc<ManualClock>, lines_per_second: u64) -> Audit {
    let limits = Limits {
        max_audit_lines_per_second: lines_per_second,
        ..Limits::default()
    };
    Audit::open(path.to_owned(), &limits, Arc::clone(clock) as _).unwrap()
}

fn records(path: &Path) -> Vec<Record> {
    let mut records = Vec::new();
    Tail::new(path.to_owned())
        .read(|record| records.push(record))
        .unwrap();
    records
}

fn refused(tenant: &str) -> Entry {
    Entry::new("show", Outcome::Refused).tenant(Some(tenant.to_owned()))
}

#[test]
fn numbers_go_on_over_starts_and_changes_are_told_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let clock = ManualClock::at(1_795_225_268_123);
    for _ in 0..2 {
        let audit = open(&path, &clock, 1);
        for _ in 0..3 {
            audit.record(refused("team"));
            audit.record(Entry::new("swap", Outcome::Allowed).kept());
        }
        audit.close();
    }
    let records = records(&path);
    let seqs: Vec<_> = records.iter().map(|record| record.seq).collect();
    // Each time: one refusal, three swaps, and that two refusals were left out.
    assert_eq!(seqs, (1..=10).collect::<Vec<_>>());
    let swaps = records.iter().filter(|record| record.entry.event == "swap");
    assert_eq!(swaps.count(), 6);
    assert_eq!(records[0].time, "2026-11-21T01:41:08.123Z");
}

#[test]
fn what_was_left_out_is_told_when_its_second_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.jsonl");
    let clock = ManualClock::at(1000);
    let audit = open(&path, &clock, 2);
    for _ in 0..5 {
        audit.record(refused("noisy"));
    }
    audit.record(refused("quiet"));
    clock.set(2000);
    audit.record(refused("noisy"));
    audit.close();
    let told: Vec<_> = records(&path)
        .into_iter()
        .map(|record| {
            (
                record.entry.event.into_owned(),
                record.entry.tenant.unwrap(),
            )
        })
        .collect();
    let expected = [
        ("show", "noisy"),
        ("show", "noisy"),
        ("show", "quiet"),
        ("left-out", "noisy"),
        ("show", "noisy"),
    ];
    assert_eq!(
        told,
        expected.map(|(event, who)| (event.to_owned(), who.to_owned()))
    );
}

#[test]
fn a_pipe_without_a_reader_costs_lines_and_no_time_and_the_next_reader_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success() && path.metadata().unwrap().file_type().is_fifo());
    let clock = ManualClock::at(0);
    let audit = open(&path, &clock, 1);
    let begun = std::time::Instant::now();
    for _ in 0..100_000 {
        audit.record(Entry::new("swap", Outcome::Allowed).kept());
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    let mut reader = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .unwrap();
    // Until the writer has found the reader.
    let mut text = String::new();
    while !text.contains('\n') {
        audit.record(Entry::new("swap", Outcome::Allowed).kept());
        std::thread::yield_now();
        let mut bytes = [0; MAX_LINE_BYTES];
        if let Ok(count) = reader.read(&mut bytes) {
            text.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
        }
    }
    let first: Record = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    // Every number is either told or told to be lost.
    assert_eq!(first.lost.unwrap_or_default() + 1, first.seq);
    drop(reader);
    audit.close();
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let clock = ManualClock::at(0);
    let audit = open(Path::new("/dev/full"), &clock, 1);
    for _ in 0..10_000 {
        audit.record(Entry::new("swap", Outcome::Allowed).kept());
    }
    assert_eq!(audit.close(), 10_000);
}

#[test]
fn a_log_that_cannot_be_opened_is_an_error_and_one_that_is_off_records_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    let refused = Audit::open(directory.path().to_owned(), &limits, ManualClock::at(0));
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("cannot open the audit log"), "{refused}");
    let off = Audit::default();
    off.record(Entry::new("swap", Outcome::Allowed));
    assert_eq!(off.close(), 0);
}
