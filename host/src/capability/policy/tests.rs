use super::*;

fn policy(texts: &[&str]) -> Policy {
    Policy::parse(texts, 64).unwrap()
}

fn left(policy: &Policy, grant: &str) -> Option<String> {
    let grant: Grant = grant.parse().unwrap();
    policy.meet(&grant).map(|left| left.to_string())
}

#[test]
fn nothing_is_allowed_by_default() {
    for grant in [
        "log",
        "env:A=1",
        "clock:frozen",
        "random:seeded=1",
        "fs:a=ro",
        "kv:a=ro",
        "http:a.b",
    ] {
        for nothing in [Policy::default(), policy(&[]), policy(&["none"])] {
            assert_eq!(left(&nothing, grant), None, "{grant}");
        }
        assert_eq!(left(&Policy::Any, grant).as_deref(), Some(grant));
        assert_eq!(left(&policy(&["any"]), grant).as_deref(), Some(grant));
        let kind = grant.split(':').next().unwrap();
        assert_eq!(left(&policy(&[kind]), grant).as_deref(), Some(grant));
    }
}

#[test]
fn what_leaves_the_node_or_times_a_neighbour_is_not_allowed_unless_somebody_says_so() {
    let node = Policy::of_node();
    for allowed in [
        "log",
        "env:A=1",
        "clock:frozen",
        "random:seeded=1",
        "fs:a=rw",
        "kv:a=rw",
    ] {
        assert!(node.allows(&allowed.parse().unwrap()), "{allowed}");
    }
    for refused in ["clock:precise", "http:example.com"] {
        assert!(!node.allows(&refused.parse().unwrap()), "{refused}");
    }
}

#[test]
fn a_pattern_matches_by_kind_or_with_parameters_and_may_leave_less() {
    #[rustfmt::skip]
    let table: &[(&[&str], &str, Option<&str>)] = &[
        (&["env:A"], "env:A=1", Some("env:A=1")),
        (&["env:A"], "env:B=1", None),
        (&["env:A"], "log", None),
        (&["clock:frozen"], "clock:precise", None),
        (&["kv:a"], "kv:a=rw", Some("kv:a=rw")),
        (&["kv:a=rw"], "kv:a=ro", Some("kv:a=ro")),
        (&["kv:a=ro"], "kv:a=rw", Some("kv:a=ro")),
        (&["kv:a=ro"], "kv:b=ro", None),
        (&["kv:a"], "fs:a=ro", None),
        (&["kv=ro"], "kv:a=rw", Some("kv:a=ro")),
        (&["kv=ro"], "fs:a=ro", None),
        (&["kv=ro", "kv:a"], "kv:a=rw", Some("kv:a=rw")),
        (&["kv:a", "kv=ro"], "kv:b=rw", Some("kv:b=ro")),
        (&["fs:a=ro", "fs:a=rw"], "fs:a=rw", Some("fs:a=rw")),
        (&["http:a.b"], "http:a.b", Some("http:a.b")),
        (&["http:a.b"], "http:a.b:80", Some("http:a.b:80")),
        (&["http:a.b:80"], "http:a.b", None),
        (&["http:a.b:80"], "http:a.b:81", None),
        (&["http:b"], "http:a.b", None),
        (&["http:*.b.c"], "http:a.b.c:80", Some("http:a.b.c:80")),
        (&["http:*.b.c"], "http:*.a.b.c", Some("http:*.a.b.c")),
        (&["http:*.b.c"], "http:b.c", None),
        (&["http:*.b.c"], "http:ab.c", None),
        (&["http:a.b.c"], "http:*.b.c", None),
    ];
    for (patterns, grant, expected) in table {
        assert_eq!(
            left(&policy(patterns), grant).as_deref(),
            *expected,
            "{patterns:?} {grant}"
        );
    }
}

#[test]
fn a_policy_is_its_text() {
    let texts = [
        "log",
        "kv=ro",
        "env:KEY",
        "clock:frozen",
        "fs:a",
        "fs:b=ro",
        "kv:a=rw",
        "http:a.b",
        "http:a.b:80",
    ];
    let read = policy(&texts);
    assert_eq!(Policy::parse(&read.texts(), 64).unwrap(), read);
    assert_eq!(read.texts().len(), texts.len());
    for text in texts {
        assert_eq!(policy(&[text]).texts(), [text]);
    }
    assert_eq!(policy(&["any"]).texts(), ["any"]);
    assert!(policy(&["none"]).texts().is_empty());
}

#[test]
fn what_is_no_policy_is_refused() {
    for text in [
        "",
        "*",
        "All",
        "log:x",
        "log=ro",
        "env:",
        "env:A=1",
        "env=ro",
        "clock:coarse",
        "clock=ro",
        "random:seeded=1",
        "fs:",
        "fs:a=",
        "fs:a=x",
        "fs=x",
        "fs:../a",
        "kv:A",
        "kvx",
        "http:*",
        "http:",
        "http:a.b=ro",
    ] {
        assert!(Policy::parse(&[text], 64).is_err(), "{text:?}");
    }
    for value in ["env:KEY=hunter2", "env=hunter2", "envy=hunter2"] {
        let refused = Policy::parse(&[value], 64).unwrap_err();
        assert!(!refused.to_string().contains("hunter2"), "{refused}");
    }
    assert!(Policy::parse(&["any", "log"], 64).is_err());
    assert!(Policy::parse(&["log", "none"], 64).is_err());
    assert_eq!(
        Policy::parse(&["log", "kv"], 1),
        Err(PolicyError::TooMany { limit: 1 })
    );
}

#[test]
fn a_wider_policy_is_told_from_one_within() {
    #[rustfmt::skip]
    let within: &[(&[&str], &[&str])] = &[
        (&[], &[]),
        (&["log"], &["log"]),
        (&["kv:a", "kv=ro", "kv:b=ro"], &["kv"]),
        (&["kv:a=ro", "kv=ro"], &["kv=ro"]),
        (&["kv:a=ro"], &["kv:a"]),
        (&["kv:a=rw"], &["kv:a"]),
        (&["env:A"], &["env"]),
        (&["clock:frozen"], &["clock"]),
        (&["http:a.b:80"], &["http:a.b"]),
        (&["http:a.b.c"], &["http:*.b.c"]),
        (&["any"], &["log"]),
        (&["kv"], &["any"]),
    ];
    for (one, other) in within {
        assert!(
            policy(one).within(&policy(other)).is_ok(),
            "{one:?} {other:?}"
        );
    }
    #[rustfmt::skip]
    let wider: &[(&[&str], &[&str])] = &[
        (&["log"], &[]),
        (&["kv"], &["kv=ro"]),
        (&["kv"], &["kv:a"]),
        (&["kv:a"], &["kv:a=ro"]),
        (&["kv:a"], &["kv=ro"]),
        (&["kv:a"], &["fs:a"]),
        (&["env"], &["env:A"]),
        (&["clock"], &["clock:frozen"]),
        (&["http:a.b"], &["http:a.b:80"]),
        (&["http:*.b.c"], &["http:a.b.c"]),
        (&["log", "kv"], &["log"]),
    ];
    for (one, other) in wider {
        assert!(
            policy(one).within(&policy(other)).is_err(),
            "{one:?} {other:?}"
        );
    }
}

#[test]
fn a_policy_knows_of_which_kinds_it_leaves_anything() {
    assert!(Policy::Any.knows(Kind::Http));
    assert!(
        !Policy::of_node().knows(Kind::Http),
        "nothing leaves a node by default"
    );
    for patterns in [&["http"], &["http:a.b"]] {
        assert!(policy(patterns).knows(Kind::Http) && !policy(patterns).knows(Kind::Kv));
    }
}
