//! Every hostile program once, and the list of threats that they are for.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rpc_host_tests::hostile::{
    Arena, Ground, Guest, Held, Program, Seed, THREATS, guests_folder, programs,
};

/// Enough for the deepest chain of calls within the part of the places that a tenant may have.
const PLACES: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_program_ends_as_it_has_to_and_nobody_else_notices() {
    let programs = programs();
    let ground = Ground {
        places: PLACES,
        tenants: 1,
        compile_timeout: Duration::from_secs(8),
    };
    let arena = Arena::start(&programs, ground).await;
    arena.is_well().await;
    let mut wrong = Vec::new();
    for (number, program) in programs.iter().enumerate() {
        let begun = Instant::now();
        let scene = arena.scene(Seed::new(number as u64));
        let end = program.run(scene).await;
        if let Err(problem) = program.expect.check(&end) {
            wrong.push(format!("{} {}: {problem}", program.row, program.name));
        }
        arena.is_well().await;
        println!(
            "{:>6} ms  {} {}",
            begun.elapsed().as_millis(),
            program.row,
            program.name
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Enough of them, and none under another's name.
#[test]
fn programs_have_names_of_their_own() {
    let programs = programs();
    assert!(programs.len() >= 60, "{}", programs.len());
    let names: HashSet<&str> = programs.iter().map(|program| program.name).collect();
    assert_eq!(names.len(), programs.len(), "two have one name");
    let said: HashSet<&str> = programs.iter().map(|program| program.what).collect();
    assert!(said.len() > programs.len() / 2);
}

/// A guest that nothing runs would look like a proof.
#[test]
fn every_guest_that_lies_there_has_a_program_that_runs_it() {
    let programs = programs();
    let registered = programs.iter().flat_map(Program::registered);
    let mut run: HashSet<String> = registered
        .filter_map(|registered| match registered.guest {
            Guest::Written(name) => Some(name.to_owned()),
            Guest::Built(_) | Guest::Made(_) => None,
        })
        .collect();
    // Uploaded to be refused; and the one that belongs to the suite itself.
    run.extend(["u16-beyond-wasi", "holder"].map(str::to_owned));
    for entry in fs::read_dir(guests_folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(run.contains(name), "nothing runs {}", path.display());
        assert_eq!(path.extension().unwrap(), "wat", "{}", path.display());
    }
}

#[test]
fn every_threat_is_answered_for() {
    let programs = programs();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut known = HashSet::new();
    for threat in THREATS {
        assert!(known.insert(threat.row), "{} is there twice", threat.row);
        let of_it = programs.iter().filter(|program| program.row == threat.row);
        let count = of_it.count();
        match threat.held {
            Held::Programs => assert!(count > 0, "no program is for {}", threat.row),
            Held::Tests(tests) => {
                assert!(!tests.is_empty(), "{}", threat.row);
                for test in tests {
                    let (path, name) = test.split_once('#').unwrap();
                    let text = fs::read_to_string(root.join(path)).unwrap_or_default();
                    assert!(text.contains(&format!("fn {name}(")), "there is no {test}");
                }
            }
            Held::Open(reason) => {
                assert!(reason.len() > 20, "{}: {reason:?}", threat.row);
                assert_eq!(count, 0, "{} is held by programs", threat.row);
            }
        }
    }
    for program in &programs {
        assert!(
            known.contains(program.row),
            "{} is for no threat",
            program.name
        );
    }
    // The list that people read is the same.
    let readme = fs::read_to_string(root.join("tests/hostile/README.md")).unwrap();
    let listed: Vec<&str> = readme
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| ")?.split_once(" | ")?.0))
        .filter(|row| {
            let (letter, number) = row.split_at(1.min(row.len()));
            "UREPA".contains(letter)
                && !number.is_empty()
                && number.bytes().all(|it| it.is_ascii_digit())
        })
        .collect();
    let rows: Vec<&str> = THREATS.iter().map(|threat| threat.row).collect();
    assert_eq!(listed, rows, "tests/hostile/README.md lists other threats");
}
