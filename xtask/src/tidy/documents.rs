//! The documents say what the code says.

use std::fs;
use std::path::Path;

use super::root;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const DOCUMENTS: [&str; 11] = [
    "LIMITS.md",
    "GRANTS.md",
    "SERVING.md",
    "README.md",
    "PROTOCOL.md",
    "ARCHITECTURE.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "clients/python/README.md",
    "clients/python/MIGRATING.md",
];

/// A promise names the test that holds it, as `path/to/file.rs#name_of_the_test`, or of a file in Python.
#[test]
fn every_test_that_a_document_names_is_there() {
    let mut missing = Vec::new();
    for document in DOCUMENTS {
        for quoted in read(document).split('`').skip(1).step_by(2) {
            let (path, start) = match quoted.split_once('#') {
                Some((path, test)) if path.ends_with(".rs") => (path, format!("fn {test}(")),
                Some((path, test)) if path.ends_with(".py") => (path, format!("def {test}(")),
                _ => continue,
            };
            let test = start.trim_end_matches('(');
            let text = fs::read_to_string(root().join(path)).unwrap_or_default();
            if !text.contains(&start) {
                missing.push(format!("{document}: `{path}` has no test `{test}`"));
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn links_between_documents_lead_somewhere() {
    for document in DOCUMENTS {
        for link in read(document).split("](").skip(1) {
            let link = link.split(')').next().unwrap_or_default();
            let path = link.split('#').next().unwrap_or_default();
            let is_outside = link.contains("://") || path.is_empty();
            let folder = Path::new(document).parent().unwrap_or(Path::new(""));
            assert!(
                is_outside || root().join(folder).join(path).exists(),
                "{document}: {link}"
            );
        }
    }
}

#[test]
fn the_protocol_names_every_kind_of_message() {
    let (code, document) = (read("protocol/src/frame.rs"), read("PROTOCOL.md"));
    let mut count = 0;
    for line in code.lines() {
        // `Hello = 1, "hello";`
        let Some((number, name)) = line
            .trim()
            .strip_suffix("\";")
            .and_then(|line| line.split_once(" = "))
            .and_then(|(_, rest)| rest.split_once(", \""))
        else {
            continue;
        };
        count += 1;
        let row = format!("| {number} | `{name}` |");
        assert!(document.contains(&row), "PROTOCOL.md lacks the row {row}");
    }
    assert!(count >= 17, "found {count} kinds");
}

#[test]
fn the_protocol_names_every_error_code() {
    let (code, document) = (read("protocol/src/error.rs"), read("PROTOCOL.md"));
    let mut count = 0;
    for line in code.lines() {
        // `Cancelled = "cancelled", retryable: false;`
        let Some((name, retryable)) = line
            .trim()
            .strip_suffix(';')
            .and_then(|line| line.split_once("\", retryable: "))
            .and_then(|(name, retryable)| Some((name.split_once(" = \"")?.1, retryable)))
        else {
            continue;
        };
        count += 1;
        let retryable = if retryable == "true" { "yes" } else { "no" };
        let row = format!("| `{name}` | {retryable} |");
        assert!(document.contains(&row), "PROTOCOL.md lacks the row {row}");
    }
    assert!(count >= 19, "found {count} codes");
}

#[test]
fn the_protocol_names_every_operation() {
    let (code, document) = (read("protocol/src/operation.rs"), read("PROTOCOL.md"));
    let mut count = 0;
    for line in code.lines() {
        // `Operation::Register(_) => "register",`
        let Some((_, name)) = line.trim().strip_suffix("\",").and_then(|line| {
            let operation = line.strip_prefix("Operation::")?;
            operation.split_once(" => \"")
        }) else {
            continue;
        };
        count += 1;
        let row = format!("| `{name}` |");
        assert!(
            document.contains(&row),
            "PROTOCOL.md lacks a row for `{name}`"
        );
    }
    assert!(count >= 16, "found {count} operations");
}
