use rpc_host_protocol::ExchangeId;

use super::*;
use crate::clock::ManualClock;

const ROOM: Room = Room {
    registration_bytes: 1 << 20,
    tenant_bytes: 1 << 20,
};

fn journals() -> Journals {
    Journals::new(ManualClock::at(7))
}

fn name(name: &str) -> Arc<str> {
    Arc::from(name)
}

/// Says lines, `0`, `1` and so on, of a hundred characters each.
fn say(journals: &Journals, module: &str, lines: std::ops::Range<usize>, room: Room) {
    let scribe = journals.scribe(1, CallName::Session(1), None);
    for number in lines {
        let text = format!("{number:<100}");
        scribe.write(&name(module), room, OutputStream::Stdout, None, &text);
    }
}

fn numbers(read: Option<Read>) -> (u64, Vec<usize>) {
    let Read { lost, lines } = read.unwrap();
    let numbers = lines.iter().map(|line| line.text.trim().parse().unwrap());
    (lost, numbers.collect())
}

#[test]
fn lines_are_kept_by_registration_and_read_in_order() {
    let journals = journals();
    let scribe = journals.scribe(1, CallName::Session(3), None);
    scribe.write(&name("calc"), ROOM, OutputStream::Log, Some("warn"), "text");
    say(&journals, "text", 0..3, ROOM);
    let read = journals.open(1, "calc").read().unwrap();
    assert_eq!(
        *read.lines[0],
        Line {
            at: Timestamp::from_unix_ms(7),
            call: CallName::Session(3),
            stream: OutputStream::Log,
            level: Some("warn"),
            text: name("text"),
        }
    );
    let mut text = journals.open(1, "text");
    assert_eq!(text.left(), 3);
    assert_eq!(numbers(text.read()), (0, vec![0, 1, 2]));
    assert_eq!(text.left(), 0);
    assert_eq!(numbers(text.read()), (0, vec![]));
    say(&journals, "text", 3..5, ROOM);
    assert_eq!(numbers(text.read()), (0, vec![3, 4]));
    let mut last = journals.open(1, "text");
    last.skip_to_last(2);
    assert_eq!(numbers(last.read()), (0, vec![3, 4]));
    // Another tenant's of the same name is another one.
    assert_eq!(numbers(journals.open(2, "text").read()), (0, vec![]));
    assert!(journals.used_bytes(1) > 500);
    assert_eq!(journals.used_bytes(2), 0);
}

#[test]
fn the_oldest_go_where_there_are_too_many_and_readers_know_how_many() {
    let journals = journals();
    let cost = 228;
    let room = Room {
        registration_bytes: 3 * cost,
        tenant_bytes: 5 * cost,
    };
    let mut reader = journals.open(1, "a");
    say(&journals, "a", 0..2, room);
    assert_eq!(numbers(reader.read()), (0, vec![0, 1]));
    say(&journals, "a", 2..10, room);
    assert_eq!(numbers(reader.read()), (5, vec![7, 8, 9]));
    // What one says does not push out more of others than is its own room.
    say(&journals, "b", 0..100, room);
    assert_eq!(journals.used_bytes(1), 5 * cost);
    assert_eq!(numbers(journals.open(1, "a").read()), (0, vec![8, 9]));
    assert_eq!(numbers(journals.open(1, "b").read()), (0, vec![97, 98, 99]));
    say(&journals, "c", 0..3, room);
    assert_eq!(numbers(journals.open(1, "a").read()), (0, vec![]));
    assert_eq!(numbers(journals.open(1, "b").read()), (0, vec![98, 99]));
    assert_eq!(numbers(reader.read()), (0, vec![]));
    // A line that is longer than all room is none.
    let small = Room {
        registration_bytes: 1,
        tenant_bytes: 1,
    };
    say(&journals, "a", 0..1, small);
    assert_eq!(journals.used_bytes(1), 0);
    assert_eq!(numbers(reader.read()), (1, vec![]));
}

#[test]
fn a_reader_is_given_so_much_at_once() {
    let journals = journals();
    say(&journals, "a", 0..150, ROOM);
    let mut reader = journals.open(1, "a");
    for expected in [0..64, 64..128, 128..150, 150..150] {
        assert_eq!(numbers(reader.read()), (0, expected.collect()));
    }
    let scribe = journals.scribe(1, CallName::Session(1), None);
    let room = Room {
        registration_bytes: 16 << 20,
        tenant_bytes: 16 << 20,
    };
    for _ in 0..3 {
        let text = "x".repeat(200 << 10);
        scribe.write(&name("a"), room, OutputStream::Stderr, None, &text);
    }
    let counts = std::iter::from_fn(|| Some(reader.read()?.lines.len())).take(4);
    assert_eq!(counts.collect::<Vec<_>>(), [1, 1, 1, 0]);
}

#[tokio::test]
async fn a_reader_waits_for_what_comes_and_for_the_end() {
    let journals = journals();
    let mut reader = journals.open(1, "a");
    let waiting = tokio::spawn(async move {
        let first = reader.next().await;
        (first, reader)
    });
    tokio::task::yield_now().await;
    say(&journals, "b", 0..1, ROOM);
    say(&journals, "a", 7..8, ROOM);
    let (first, mut reader) = waiting.await.unwrap();
    assert_eq!(numbers(first), (0, vec![7]));

    let waiting = tokio::spawn(async move { reader.next().await });
    tokio::task::yield_now().await;
    journals.removed(1, Some("a"));
    assert_eq!(waiting.await.unwrap(), None);
    // One of the same name that is made later is another one, and begins with nothing.
    let mut again = journals.open(1, "a");
    assert_eq!(numbers(again.read()), (0, vec![]));
    journals.removed(1, None);
    assert_eq!(again.read(), None);
    say(&journals, "a", 0..5, ROOM);
    assert_eq!(journals.used_bytes(1), 0);
}

#[test]
fn what_nobody_reads_and_nothing_is_kept_of_takes_no_room() {
    let journals = journals();
    for number in 0..100 {
        drop(journals.open(1, &format!("m{number}")));
    }
    let shelf = journals.shelf(1);
    assert_eq!(format!("{shelf:?}").matches("Kept").count(), 0);
}

#[test]
fn an_ear_hears_what_is_said_in_its_call() {
    #[derive(Debug, Default)]
    struct Heard(std::sync::Mutex<Vec<String>>);
    impl Ear for Heard {
        fn hear(&self, line: &Line) {
            self.0.lock().unwrap().push(line.text.to_string());
        }
    }
    let journals = journals();
    let heard = Arc::new(Heard::default());
    let scribe = journals.scribe(1, CallName::Session(1), Some(heard.clone()));
    scribe.write(&name("a"), ROOM, OutputStream::Stdout, None, "one");
    say(&journals, "a", 0..1, ROOM);
    scribe.write(&name("b"), ROOM, OutputStream::Stdout, None, "two");
    assert_eq!(*heard.0.lock().unwrap(), ["one", "two"]);
    Scribe::default().write(&name("a"), ROOM, OutputStream::Stdout, None, "nowhere");
}

#[test]
fn a_call_is_called_by_its_session_and_exchange() {
    let names = [
        CallName::Ahead,
        CallName::Session(0xab),
        CallName::Exchange(0xab, ExchangeId(7)),
    ];
    let names = names.map(|name| name.to_string());
    assert_eq!(names, ["ahead", "00000000000000ab", "00000000000000ab#7"]);
}
