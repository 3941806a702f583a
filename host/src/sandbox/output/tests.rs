use std::time::Duration;

use super::*;
use crate::account::Account;
use crate::clock::ManualClock;
use crate::journal::{CallName, Journal, Journals};

fn limits(max_output_bytes: u64) -> CallLimits {
    CallLimits {
        timeout: Duration::from_secs(1),
        max_memory_bytes: 1,
        max_hostcall_bytes: 1,
        max_handles: 1,
        max_host_resources: 1,
        max_log_line_bytes: 32,
        max_log_lines: 1,
        max_output_bytes,
        max_http_requests_of_tenant: 1,
        journal_room: Room {
            registration_bytes: 1 << 20,
            tenant_bytes: 1 << 20,
        },
    }
}

fn label(journals: &Journals, call: CallName) -> CallLabel {
    CallLabel {
        tenant: Arc::from("team"),
        module: Arc::from("m"),
        scribe: journals.scribe(7, call, None),
        call,
    }
}

fn texts(journal: &mut Journal) -> Vec<String> {
    let lines = journal.read().unwrap().lines;
    lines.iter().map(|line| line.text.to_string()).collect()
}

#[test]
fn lines_are_told_when_they_end_and_the_last_at_the_end_of_the_call() {
    let journals = Journals::new(ManualClock::at(0));
    let mut journal = journals.open(7, "m");
    let account = Account::for_tests(0);
    let output = Output::new(
        OutputStream::Stderr,
        &account,
        &label(&journals, CallName::Session(1)),
        &limits(1000),
    );
    let mut stream = output.clone();
    let mut print = |text: &'static str| stream.write(Bytes::from(text)).unwrap();
    print("no end");
    assert_eq!(texts(&mut journal), [""; 0]);
    print(" yet\r\nthe \u{1b}[2J second\n\nand");
    let told = ["no end yet", "the \\u{1b}[2J second", ""];
    assert_eq!(texts(&mut journal), told);
    print(" more than a line may be long, which is cut\n");
    assert_eq!(texts(&mut journal), ["and more than a line may be l…"]);
    print("last");
    output.settle();
    output.settle();
    assert_eq!(texts(&mut journal), ["last"]);
    assert!(output.last_words().ends_with("which is cut\nlast"));
    // What is of the next call has its name.
    output.begin(&label(&journals, CallName::Session(2)), &limits(1000));
    assert_eq!(output.last_words(), "");
    print("next\n");
    let lines = journal.read().unwrap().lines;
    assert_eq!(
        (lines[0].call, lines[0].stream),
        (CallName::Session(2), OutputStream::Stderr)
    );
}

#[test]
fn output_is_capped_and_the_rest_counted() {
    let journals = Journals::new(ManualClock::at(0));
    let mut journal = journals.open(7, "m");
    let account = Account::for_tests(0);
    let (label, limits) = (label(&journals, CallName::Session(3)), limits(10));
    let output = Output::new(OutputStream::Stdout, &account, &label, &limits);
    let mut stream = output.clone();
    stream
        .write(Bytes::from_static(b"0123\n56789abcdef\n"))
        .unwrap();
    // However often it is told of, there is no more room in this call; in the next there is.
    output.settle();
    stream.write(Bytes::from_static(b"more\n")).unwrap();
    output.settle();
    let told = texts(&mut journal);
    assert_eq!(told[..2], ["0123", "56789"]);
    assert!(told[2].starts_with("output over the limit was dropped: 7 bytes of stdout"));
    assert!(told[3].contains(": 5 bytes of stdout"), "{told:?}");
    output.begin(&label, &limits);
    stream.write(Bytes::from_static(b"next\n")).unwrap();
    assert_eq!(texts(&mut journal), ["next"]);
}

#[test]
fn so_much_of_the_end_is_kept_and_no_more() {
    let journals = Journals::new(ManualClock::at(0));
    let account = Account::for_tests(0);
    let (label, limits) = (label(&journals, CallName::Session(3)), limits(1 << 20));
    let output = Output::new(OutputStream::Stderr, &account, &label, &limits);
    let mut stream = output.clone();
    for _ in 0..5 {
        stream
            .write(Bytes::from(vec![b'x'; MAX_WRITE_BYTES]))
            .unwrap();
    }
    stream.write(Bytes::from_static(b"\nwhy")).unwrap();
    let last = output.last_words();
    assert_eq!(last.len(), LAST_BYTES);
    assert!(last.ends_with("xx\nwhy"));
}
