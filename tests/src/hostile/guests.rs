//! Guests that are called, and do what they should not.

use rpc_host_client::Options;
use rpc_host_protocol::{ErrorCode, Fault, Value};

use super::program::{Attack, Cost, Expect, Guest, Program, Registered};
use super::{large, program::plain};

use Cost::{Cheap, Slow, Some as Middling};
use ErrorCode::{DeadlineExceeded, PermissionDenied, ResourceExhausted, Trapped, WouldDeadlock};
use Fault::Guest as ByGuest;
use Guest::{Built, Made, Written};

/// Limits of a registration.
type Narrowed = &'static [(&'static str, u64)];

const NO_LIMIT: Narrowed = &[];
/// Processor time for those that would compute without end: a few ticks.
const CPU: Narrowed = &[("max-cpu-ms-per-call", 20)];
/// Time for those that would wait without end.
const TIME: Narrowed = &[("max-call-timeout-ms", 150)];
/// 64 pages.
const MEMORY: Narrowed = &[("max-memory-bytes", 4 << 20)];

const SPENT: Expect = Expect::Failure(
    ResourceExhausted,
    ByGuest,
    &["used more than 20 ms of processor time"],
);
const LATE: Expect = Expect::Failure(DeadlineExceeded, ByGuest, &["did not end within 150 ms"]);

const fn trapped(parts: &'static [&'static str]) -> Expect {
    Expect::Failure(Trapped, ByGuest, parts)
}

const fn too_much(parts: &'static [&'static str]) -> Expect {
    Expect::Failure(ResourceExhausted, ByGuest, parts)
}

/// A guest under the name of its program.
pub(super) fn registered(
    name: &str,
    guest: Guest,
    limits: Narrowed,
    grants: &[&str],
) -> Registered {
    Registered {
        name: name.to_owned(),
        guest,
        options: Options {
            limits: limits
                .iter()
                .map(|(limit, value)| ((*limit).to_owned(), *value))
                .collect(),
            grants: grants.iter().map(|grant| (*grant).to_owned()).collect(),
            ..Options::default()
        },
    }
}

/// The same with imports that names answer.
pub(super) fn bound(mut registered: Registered, bindings: &[(&str, &str)]) -> Registered {
    registered.options.bindings = bindings
        .iter()
        .map(|(import, name)| ((*import).to_owned(), (*name).to_owned()))
        .collect();
    registered
}

/// `function` of a guest, with nothing but limits.
fn call(name: &str, guest: Guest, limits: Narrowed, function: &'static str) -> Attack {
    call_with(registered(name, guest, limits, &[]), function, Vec::new())
}

fn call_with(registered: Registered, function: &'static str, arguments: Vec<Value>) -> Attack {
    Attack::Call {
        registered: vec![registered],
        function,
        arguments,
    }
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

macro_rules! programs {
    ($($row:literal $name:literal $cost:ident, $what:literal,
        $guest:expr, $limits:expr, $function:literal => $expect:expr;)+) => {
        vec![$(Program {
            row: $row,
            name: $name,
            what: $what,
            cost: $cost,
            attack: call($name, $guest, $limits, $function),
            expect: $expect,
        }),+]
    };
}

pub(super) fn programs() -> Vec<Program> {
    let mut programs = on_their_own();
    programs.extend(with_more());
    programs.extend(with_others());
    programs
}

/// Those that need nothing but limits.
fn on_their_own() -> Vec<Program> {
    programs! {
        "R1" "endless-loop" Middling, "computes without end, and never calls the host",
            Written("r01-loop"), CPU, "run" => SPENT;
        "R1" "endless-loop-on-time" Slow, "the same, with processor time to spare",
            Written("r01-loop"), TIME, "run" => LATE;
        "R1" "endless-calls" Middling, "computes without end and without a loop",
            Written("r01-calls"), CPU, "run" => SPENT;
        "R2" "start-loop" Middling, "never ends its start function",
            Written("r02-start-loop"), CPU, "run" => SPENT;
        "R2" "start-loop-on-time" Slow, "the same until its deadline",
            Written("r02-start-loop"), TIME, "run" => LATE;
        "R2" "after-return-loop" Middling, "never comes back from being told that its answer was taken",
            Written("r02-post-return-loop"), CPU, "run" => SPENT;
        "R2" "destructor-loop" Middling, "never ends the destructor of a resource",
            Written("r02-destructor-loop"), CPU, "run" => SPENT;
        "R3" "recursion" Cheap, "calls itself with large frames until the stack is used up",
            Written("r03-recursion"), NO_LIMIT, "run" => trapped(&["overflowed its stack"]);
        "R3" "host-calls-at-depth" Middling, "calls the host from every depth of its stack",
            Written("r03-host-at-depth"), NO_LIMIT, "run" => trapped(&["overflowed its stack"]);
        "R4" "all-memory" Middling, "takes all memory that it gets, and writes to it",
            Written("r04-grow"), MEMORY, "run" => Expect::Value(Value::U32(64));
        "R4" "eight-memories" Middling, "takes memory in eight memories at once",
            Written("r04-memories"), MEMORY, "run" => Expect::Value(Value::U32(64));
        "R4" "too-much-at-once" Cheap, "needs more memory than its limit before it begins",
            Written("r04-too-large"), MEMORY, "run" => too_much(&["needs more memory than its limit of 4194304 bytes"]);
        "R5" "all-of-a-table" Cheap, "grows a table until it grows no more",
            Written("r05-table"), MEMORY, "run" => Expect::Value(Value::U32(65_536));
        "R5" "all-tables" Cheap, "grows four tables at once, past what its memory may be",
            Written("r05-tables"), &[("max-memory-bytes", 1 << 20)], "run" => Expect::Value(Value::U32(131_072));
        "R7" "fills-and-copies" Middling, "fills and copies megabytes without end, in single instructions",
            Written("r07-fill"), CPU, "run" => SPENT;
        "R8" "answer-of-four-gigabytes" Cheap, "answers with a list that says it has four gigabytes",
            Written("r08-lists"), NO_LIMIT, "four-gigabytes" => trapped(&["out of bounds"]);
        "R8" "answer-beyond-the-end" Cheap, "answers with a list that goes beyond its memory",
            Written("r08-lists"), NO_LIMIT, "beyond-the-end" => trapped(&["out of bounds"]);
        "R8" "answer-that-wraps" Cheap, "answers with a list whose end is before its beginning",
            Written("r08-lists"), NO_LIMIT, "wraps-around" => trapped(&["out of bounds"]);
        "R8" "answer-at-an-odd-place" Cheap, "answers with a list that is not aligned",
            Written("r08-lists"), NO_LIMIT, "odd-place" => trapped(&["aligned"]);
        "R8" "answer-of-many" Slow, "answers with more bytes than a reply may have",
            Written("r08-lists"), NO_LIMIT, "many" => too_much(&["returned more than the limit of 1048576 bytes"]);
        "R8" "answer-of-many-flags" Slow, "the same in values of a byte each",
            Written("r08-lists"), NO_LIMIT, "many-flags" => too_much(&["passed more than 16777216 bytes at once"]);
        "R8" "answer-of-shared-lists" Slow, "answers with thousands of lists that are all the same bytes",
            Written("r08-lists"), NO_LIMIT, "shared" => too_much(&["passed more than 16777216 bytes at once"]);
        "R8" "answer-of-shared-text" Slow, "the same with text",
            Written("r08-lists"), NO_LIMIT, "shared-text" => too_much(&["passed more than 16777216 bytes at once"]);
        "R8" "answer-of-long-text" Middling, "answers with more text than a reply may have",
            Written("r08-lists"), NO_LIMIT, "long-text" => too_much(&["returned more than the limit of 1048576 bytes"]);
        "R8" "answer-of-bad-text" Cheap, "answers with text that is none",
            Written("r08-lists"), NO_LIMIT, "bad-text" => trapped(&["utf-8"]);
        "R8" "answer-of-bad-character" Cheap, "answers with a character that does not exist",
            Written("r08-lists"), NO_LIMIT, "bad-char" => trapped(&["char"]);
        "R8" "answer-of-bad-case" Cheap, "answers with a case that its type does not have",
            Written("r08-lists"), NO_LIMIT, "bad-case" => trapped(&["discriminant"]);
        "R11" "print-flood" Middling, "prints eight megabytes that clear terminals",
            Written("r11-stdout"), NO_LIMIT, "flood" => Expect::Value(Value::U32(0));
        "R11" "print-lines" Middling, "prints empty lines without end",
            Written("r11-stdout"), CPU, "lines" => SPENT;
        "R11" "print-unasked" Cheap, "prints more at once than the stream said it would take",
            Written("r11-stdout"), NO_LIMIT, "unasked" => Expect::Value(Value::Option(None));
        "R11" "print-zeroes" Cheap, "prints zeros without end, which cost it nothing",
            Written("r11-stdout"), NO_LIMIT, "zeroes" => trapped(&[]);
        "R12" "hoard-of-resources" Middling, "makes resources and never lets go of one",
            Written("r12-resources"), NO_LIMIT, "hoard" => too_much(&["more than 10000 objects"]);
        "R12" "churn-of-resources" Middling, "makes a hundred thousand resources and lets go of each",
            Written("r12-resources"), NO_LIMIT, "churn" => Expect::Value(Value::U32(1));
        "R12" "hoard-between-components" Middling, "an inner component makes resources for another, which lets go of none",
            Written("r25-lend"), NO_LIMIT, "hoard" => too_much(&["more than 10000 objects"]);
        "R12" "lends-without-end" Middling, "lends a resource to another inner component, again and again",
            Written("r25-lend"), CPU, "lend-for-ever" => SPENT;
        "R13" "hoard-of-timers" Middling, "makes timers and never lets go of one",
            Written("r13-pollables"), NO_LIMIT, "hoard" => trapped(&[]);
        "R13" "hoard-of-streams" Middling, "asks for its stdout and never lets go of it",
            Written("r11-stdout"), NO_LIMIT, "hoard" => trapped(&[]);
        "R14" "sleeps" Slow, "sleeps for six hundred years",
            Written("r13-pollables"), TIME, "sleep" => LATE;
        "R15" "poll-many" Slow, "waits for one timer, named 260000 times",
            Written("r13-pollables"), NO_LIMIT, "poll-many" => too_much(&[]);
        "R15" "poll-nothing" Cheap, "waits for nothing",
            Written("r13-pollables"), NO_LIMIT, "poll-nothing" => trapped(&[]);
        "R15" "poll-beyond" Cheap, "waits for a list that goes beyond its memory",
            Written("r13-pollables"), NO_LIMIT, "poll-beyond" => trapped(&["out of bounds"]);
        "R16" "naps" Slow, "goes to sleep and wakes up at once, without end",
            Written("r13-pollables"), TIME, "nap" => LATE;
        "R16" "asks-the-time" Middling, "calls the host without end",
            Written("r13-pollables"), CPU, "ask-the-time" => SPENT;
        "R24" "canary" Cheap, "looks for what an earlier instance left in memory, table and globals",
            Written("r24-canary"), NO_LIMIT, "run" => Expect::Value(Value::U32(0));
        "R25" "drops-twice" Cheap, "lets go of a resource twice",
            Written("r12-resources"), NO_LIMIT, "drop-twice" => trapped(&["handle"]);
        "R25" "uses-what-is-gone" Cheap, "uses a resource that it let go of",
            Written("r12-resources"), NO_LIMIT, "use-after-drop" => trapped(&["handle"]);
        "R25" "makes-a-handle-up" Cheap, "uses a handle that it never had",
            Written("r12-resources"), NO_LIMIT, "made-up" => trapped(&["handle"]);
        "R25" "drops-nothing" Cheap, "lets go of handle zero",
            Written("r12-resources"), NO_LIMIT, "none" => trapped(&["handle"]);
        "R25" "keeps-what-was-lent" Cheap, "an inner component keeps what it was lent",
            Written("r25-lend"), NO_LIMIT, "keep" => trapped(&["borrow"]);
        "R25" "returns-twice-what-was-lent" Cheap, "an inner component gives back twice what it was lent",
            Written("r25-lend"), NO_LIMIT, "twice" => trapped(&["handle"]);
        "R25" "lends-what-is-gone" Cheap, "lends a resource that it let go of",
            Written("r25-lend"), NO_LIMIT, "lend-what-is-gone" => trapped(&["handle"]);
        "R26" "long-names" Cheap, "traps fifty frames deep in functions with names of a hundred kilobytes that clear terminals",
            Made(large::long_names), NO_LIMIT, "run" => trapped(&["panicked or aborted"]);
        "R27" "one-random-byte-too-many" Cheap, "asks for one random byte more than there are at once",
            Written("r27-random"), NO_LIMIT, "one-too-many" => trapped(&[]);
        "R27" "all-random-bytes" Cheap, "asks for all random bytes",
            Written("r27-random"), NO_LIMIT, "all-there-are" => trapped(&[]);
        "R27" "random-without-end" Middling, "asks for 64 KiB of random bytes without end",
            Written("r27-random"), CPU, "again" => SPENT;
        "U17" "start-trap" Cheap, "traps in its start function",
            Written("u17-start-trap"), NO_LIMIT, "run" => trapped(&["panicked or aborted"]);
        "R6" "instances-at-the-limit" Middling, "consists of 128 instances, as many as there may be",
            Made(large::most_instances), NO_LIMIT, "run" => Expect::Value(Value::U32(7));
        "E5" "environment" Cheap, "asks for the environment of the node",
            Built("wasi-probe"), NO_LIMIT, "environment" => Expect::Value(text(""));
        "E5" "arguments" Cheap, "asks for the command line of the node",
            Built("wasi-probe"), NO_LIMIT, "arguments" => Expect::Value(text(""));
        "E6" "input" Cheap, "reads the stdin of the node",
            Built("wasi-probe"), NO_LIMIT, "read-input" => Expect::Value(text("read: "));
        "E4" "connects" Cheap, "makes a socket",
            Built("sockets"), NO_LIMIT, "create-tcp-socket" => Expect::Failure(PermissionDenied, Fault::Tenant, &["needs the grant `sockets`"]);
    }
}

/// Those that need arguments or grants.
fn with_more() -> Vec<Program> {
    let program = |row, name, cost, what, attack, expect| Program {
        row,
        name,
        what,
        cost,
        attack,
        expect,
    };
    let log = |name: &str| registered(name, Written("r11-log"), NO_LIMIT, &["log"]);
    let probe = |name: &str| registered(name, Built("wasi-probe"), NO_LIMIT, &[]);
    let mut programs = vec![
        program(
            "R2",
            "room-for-arguments-loop",
            Middling,
            "never ends the allocation of room for its argument",
            call_with(
                registered(
                    "room-for-arguments-loop",
                    Written("r02-realloc-loop"),
                    CPU,
                    &[],
                ),
                "run",
                vec![text("anything")],
            ),
            SPENT,
        ),
        program(
            "R9",
            "long-line",
            Middling,
            "logs one line of four megabytes of line breaks",
            call_with(log("long-line"), "long", Vec::new()),
            Expect::Value(Value::U32(1)),
        ),
        program(
            "R9",
            "wide-line",
            Slow,
            "logs one line with four thousand fields, which are all the same bytes",
            call_with(log("wide-line"), "wide", Vec::new()),
            too_much(&["passed more than 16777216 bytes at once"]),
        ),
        program(
            "R11",
            "log-flood",
            Slow,
            "logs twenty thousand lines made to look like the node's own",
            call_with(log("log-flood"), "flood", Vec::new()),
            Expect::Value(Value::U32(1)),
        ),
        program(
            "R11",
            "log-at-no-level",
            Cheap,
            "logs at a level that does not exist",
            call_with(log("log-at-no-level"), "no-such-level", Vec::new()),
            trapped(&["discriminant"]),
        ),
        program(
            "E4",
            "looks-up-a-name",
            Cheap,
            "asks for the address of a host",
            call_with(
                registered("looks-up-a-name", Built("sockets"), NO_LIMIT, &[]),
                "look-up",
                vec![text("metadata.internal")],
            ),
            Expect::Failure(
                PermissionDenied,
                Fault::Tenant,
                &["needs the grant `sockets`"],
            ),
        ),
        program(
            "E4",
            "logs-without-grant",
            Cheap,
            "logs without the grant for it",
            call_with(
                registered("logs-without-grant", Written("r11-log"), NO_LIMIT, &[]),
                "long",
                Vec::new(),
            ),
            Expect::Failure(PermissionDenied, Fault::Tenant, &["needs the grant `log`"]),
        ),
        program(
            "E3",
            "lists-the-root",
            Cheap,
            "lists the root of the machine's files",
            call_with(probe("lists-the-root"), "list-folder", vec![text("/")]),
            Expect::Value(text(NO_FILES)),
        ),
    ];
    for (name, path, error) in [
        (
            "climbs-out-of-a-volume",
            "../../../../etc/passwd",
            "not-permitted",
        ),
        ("begins-at-the-root", "/etc/passwd", "not-permitted"),
        (
            "ends-a-path-early",
            "..\0/etc/passwd",
            "illegal-byte-sequence",
        ),
    ] {
        let probe = registered(name, Built("file-probe"), NO_LIMIT, &["fs:data=rw"]);
        let steps = vec![text(&format!("open\t0\tr\t{path}"))];
        programs.push(program(
            "E1",
            name,
            Cheap,
            "opens a file outside of the volume that it was granted",
            call_with(probe, "run", vec![Value::List(steps)]),
            Expect::Value(Value::List(vec![text(&format!("error: {error}"))])),
        ));
    }
    let paths: [(&str, &str, &str); 5] = [
        ("E1", "reads-by-dots", "../../../../etc/passwd"),
        ("E1", "reads-by-slashes", "//etc//passwd/"),
        ("E3", "reads-a-process", "/proc/self/environ"),
        ("E3", "reads-a-device", "/dev/zero"),
        ("E3", "reads-the-profile", "rpc-host-data/client.toml"),
    ];
    for (row, name, path) in paths {
        programs.push(program(
            row,
            name,
            Cheap,
            "reads a file that is not its own",
            call_with(probe(name), "read-file", vec![text(path)]),
            Expect::Value(text(NO_FILES)),
        ));
    }
    programs
}

/// What the standard library says where there are no files at all.
const NO_FILES: &str = "error: No such file or directory (os error 44)";

const ONE: &str = "test:graph/one@0.1.0";
const MIRROR: &str = "hostile:mirror/it@0.1.0";

/// Those that others have a part in.
fn with_others() -> Vec<Program> {
    let hop = |name: &str, next: &str, limits| {
        bound(registered(name, Built("hop"), limits, &[]), &[(ONE, next)])
    };
    let mirror = |name: &str, other: &str| {
        bound(
            registered(name, Written("r18-mirror"), NO_LIMIT, &[]),
            &[(MIRROR, other)],
        )
    };
    let deep = (0..17).map(|number| match number {
        0 => hop("deep-chain", "deep-1", NO_LIMIT),
        number => hop(
            &format!("deep-{number}"),
            &format!("deep-{}", number + 1),
            NO_LIMIT,
        ),
    });
    vec![
        Program {
            row: "R18",
            name: "asks-itself",
            what: "asks itself, and waits for the answer",
            cost: Cheap,
            attack: Attack::Call {
                registered: vec![mirror("asks-itself", "asks-itself")],
                function: "ask",
                arguments: Vec::new(),
            },
            expect: Expect::Failure(WouldDeadlock, Fault::Tenant, &["asks-itself → asks-itself"]),
        },
        Program {
            row: "R18",
            name: "ask-each-other",
            what: "two that ask each other, and wait for the answer",
            cost: Cheap,
            attack: Attack::Call {
                registered: vec![
                    mirror("ask-each-other", "asked-by-other"),
                    mirror("asked-by-other", "ask-each-other"),
                ],
                function: "ask",
                arguments: Vec::new(),
            },
            expect: Expect::Failure(
                WouldDeadlock,
                Fault::Tenant,
                &["ask-each-other → asked-by-other → ask-each-other"],
            ),
        },
        Program {
            row: "R18",
            name: "deep-chain",
            what: "a chain of calls one deeper than may be",
            cost: Middling,
            attack: Attack::Call {
                registered: deep.collect(),
                function: "start",
                arguments: vec![Value::String(format!(
                    "{}{}",
                    "1(".repeat(16),
                    ")".repeat(16)
                ))],
            },
            expect: Expect::Failure(ResourceExhausted, Fault::Tenant, &[]),
        },
        Program {
            row: "R18",
            name: "spins-in-another",
            what: "has another module compute without end, for its own account",
            cost: Middling,
            attack: Attack::Call {
                registered: vec![
                    hop("spins-in-another", "spun-by-another", CPU),
                    hop("spun-by-another", "none", NO_LIMIT),
                ],
                function: "start",
                arguments: vec![text("1(s)")],
            },
            expect: SPENT,
        },
        Program {
            row: "R22",
            name: "traps-in-another",
            what: "calls a module that calls one that traps",
            cost: Cheap,
            attack: Attack::Call {
                registered: vec![
                    hop("traps-in-another", "between-traps", NO_LIMIT),
                    hop("between-traps", "trapped-in", NO_LIMIT),
                    hop("trapped-in", "none", NO_LIMIT),
                ],
                function: "start",
                arguments: vec![text("1(1(t))")],
            },
            expect: trapped(&["`trapped-in`", "as planned"]),
        },
        Program {
            row: "E16",
            name: "exits-within-another",
            what: "traps between two calls of another module, which stays behind",
            cost: Cheap,
            attack: Attack::Call {
                registered: vec![
                    hop("exits-within-another", "left-behind", NO_LIMIT),
                    hop("left-behind", "none", NO_LIMIT),
                ],
                function: "start",
                arguments: vec![text("11t1")],
            },
            expect: trapped(&["as planned"]),
        },
        Program {
            row: "E4",
            name: "asks-the-web",
            what: "sends a request by HTTP without a grant",
            cost: Cheap,
            attack: call("asks-the-web", Made(asks_the_web), NO_LIMIT, "run"),
            expect: Expect::Failure(PermissionDenied, Fault::Tenant, &["needs the grant `http`"]),
        },
        Program {
            row: "R21",
            name: "traps",
            what: "traps at once",
            cost: Cheap,
            attack: call(
                "traps",
                Made(|| plain("(func (export \"run\") unreachable)", &["run"])),
                NO_LIMIT,
                "run",
            ),
            expect: trapped(&["panicked or aborted"]),
        },
    ]
}

fn asks_the_web() -> Vec<u8> {
    crate::component(
        r#"(component
            (import "wasi:http/outgoing-handler@0.2.10" (instance $web (export "handle" (func))))
            (core func $handle (canon lower (func $web "handle")))
            (core module $m
                (import "web" "handle" (func $handle))
                (func (export "run") (call $handle)))
            (core instance $i (instantiate $m (with "web" (instance (export "handle" (func $handle))))))
            (func (export "run") (canon lift (core func $i "run"))))"#,
    )
}
