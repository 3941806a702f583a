//! What one call costs the node, counted instead of timed: instructions and allocations, through the whole server path.
//!
//! A test of the host makes calls one after the other, and callgrind counts what it does meanwhile. Counts do not
//! depend on what else the machine does, and hardly on the machine, so what is found is held to what is recorded. The
//! test is of the development profile: what is counted of the host and the protocol is their code as it is written, and
//! no build is made for it that the other tests do not need.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, io};

use anyhow::{Context as _, bail, ensure};

use crate::step;
use crate::workspace::Workspace;

/// The test that makes the calls, and the function that it calls when a count ends.
const TEST: &str = "serve::counted::calls_of_one_client_can_be_counted";
const END_OF_COUNT: &str = "*serve*counted*a_count_ends*";
/// Calls in each count, as the test makes them.
const CALLS: u64 = 200;
/// Counts that there have to be, beside the first: that one is of what comes before all calls are alike.
const LEAST_COUNTS: usize = 5;

/// Where it is recorded what a call may cost.
const BUDGET: &str = "bench/instructions.toml";
/// How much more instructions a call may take, as a part of them: another day's compiler is not a reason to stop.
const MORE_INSTRUCTIONS: f64 = 0.03;
/// How many more allocations: a table that grows now and then is none of each call.
const MORE_ALLOCATIONS: f64 = 0.5;
/// The functions by which memory is asked for.
const ALLOCATING: [&str; 5] = [
    "malloc",
    "calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
];

/// What one call costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cost {
    instructions: f64,
    allocations: f64,
}

/// Count, and hold what was found to what is recorded; or record it.
pub(crate) fn run(workspace: &Workspace, update: bool) -> anyhow::Result<()> {
    let place = workspace.target().join("instructions");
    match fs::remove_dir_all(&place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(&place)?,
    }
    let clock = slow_clock(workspace, &place)?;
    let test = test_program(workspace)?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["-q", "--tool=callgrind"])
        .arg(format!("--dump-before={END_OF_COUNT}"))
        .arg(format!(
            "--callgrind-out-file={}",
            place.join("calls").display()
        ))
        .arg(test)
        // In the first thread: the one that waits for tests would be counted as well.
        .args([TEST, "--exact", "--test-threads=1"])
        .env("LD_PRELOAD", clock)
        .current_dir(workspace.root());
    step::run(&mut valgrind).context(
        "valgrind counts the instructions; `apt-get install valgrind`, or your system's way, brings it",
    )?;
    let cost = found(&place)?;
    let budget = workspace.root().join(BUDGET);
    if update {
        fs::write(&budget, to_text(cost))?;
        println!("{BUDGET}: {}", shown(cost));
        return Ok(());
    }
    let recorded = fs::read_to_string(&budget).with_context(|| BUDGET.to_owned())?;
    let recorded =
        from_text(&recorded).with_context(|| format!("{BUDGET} is not as it is written"))?;
    println!("a call: {}", shown(cost));
    println!("recorded: {}", shown(recorded));
    verdict(cost, recorded)
}

/// Compiles the clock that goes slower.
fn slow_clock(workspace: &Workspace, place: &Path) -> anyhow::Result<PathBuf> {
    let library = place.join("slow_clock.so");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O2", "-o"])
        .arg(&library)
        .arg("bench/slow_clock.c")
        .current_dir(workspace.root());
    step::run(&mut compiler)?;
    Ok(library)
}

/// Builds the tests of the host's library as `cargo xtask test` does, and finds their program.
fn test_program(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let mut build = step::cargo();
    build
        .args(["test", "--workspace", "--lib", "--no-run", "--color=never"])
        .current_dir(workspace.root())
        .stderr(Stdio::piped());
    eprintln!("$ {}", step::line(&build));
    let built = build.output()?;
    let said = String::from_utf8_lossy(&built.stderr);
    ensure!(built.status.success(), "the tests do not compile:\n{said}");
    let program = said.lines().find_map(program_of).with_context(|| {
        format!("cargo does not say where the tests of the host's library are:\n{said}")
    })?;
    Ok(workspace.root().join(program))
}

/// What cargo says of each program: `  Executable unittests src/lib.rs (target/debug/deps/rpc_host-0123)`.
fn program_of(line: &str) -> Option<&str> {
    let (_, path) = line.trim().strip_suffix(')')?.split_once(" (")?;
    let name = path.rsplit('/').next()?;
    name.starts_with("rpc_host-").then_some(path)
}

/// The median of what was counted; the first count and what came after the last are of something else.
fn found(place: &Path) -> anyhow::Result<Cost> {
    let mut costs = Vec::new();
    for number in 2.. {
        let file = place.join(format!("calls.{number}"));
        match fs::read_to_string(&file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            text => costs.push(counted(&text?).context("callgrind's file is not as expected")?),
        }
    }
    ensure!(
        costs.len() >= LEAST_COUNTS,
        "callgrind told {} counts only; is `{END_OF_COUNT}` still called?",
        costs.len()
    );
    costs.sort_by(|one, other| one.instructions.total_cmp(&other.instructions));
    Ok(costs.get(costs.len() / 2).copied().unwrap_or_default())
}

/// What callgrind wrote of one count, for each call.
fn counted(text: &str) -> Option<Cost> {
    let number = |text: &str| text.split_whitespace().next()?.parse::<u64>().ok();
    let total = text.lines().find_map(|line| line.strip_prefix("totals:"));
    let mut allocating = Vec::new();
    let (mut allocations, mut called) = (0, false);
    for line in text.lines() {
        // A function is named where it comes first, and later on by its number alone.
        let function = line
            .strip_prefix("cfn=")
            .map(|function| (function, true))
            .or_else(|| line.strip_prefix("fn=").map(|function| (function, false)));
        if let Some((function, is_called)) = function {
            let (id, name) = function.split_once(')')?;
            if ALLOCATING.contains(&name.trim()) {
                allocating.push(id);
            }
            called = is_called && allocating.contains(&id);
        } else if let Some(calls) = line.strip_prefix("calls=")
            && called
        {
            allocations += number(calls)?;
        }
    }
    let of_a_call = |all: u64| {
        let whole = u32::try_from(all / CALLS).ok()?;
        let rest = u32::try_from(all % CALLS).ok()?;
        let calls = u32::try_from(CALLS).ok()?;
        Some(f64::from(whole) + f64::from(rest) / f64::from(calls))
    };
    Some(Cost {
        instructions: of_a_call(number(total?)?)?,
        allocations: of_a_call(allocations)?,
    })
}

fn shown(cost: Cost) -> String {
    let Cost {
        instructions,
        allocations,
    } = cost;
    format!("{instructions:.0} instructions, {allocations:.2} allocations")
}

fn to_text(cost: Cost) -> String {
    let Cost {
        instructions,
        allocations,
    } = cost;
    format!(
        "# What one call takes of the server, from the bytes that come in to those that go out, without TLS, in the\n\
         # development profile. `cargo xtask instructions` holds it to this, and writes it with `--update`.\n\
         instructions = {instructions:.0}\n\
         allocations = {allocations:.2}\n"
    )
}

fn from_text(text: &str) -> Option<Cost> {
    let value = |name: &str| {
        let values = text.lines().filter_map(|line| line.split_once('='));
        let mut values = values.filter(|(key, _)| key.trim() == name);
        values.next()?.1.trim().parse().ok()
    };
    Some(Cost {
        instructions: value("instructions")?,
        allocations: value("allocations")?,
    })
}

fn verdict(cost: Cost, recorded: Cost) -> anyhow::Result<()> {
    let rows = [
        (
            "instructions",
            cost.instructions - recorded.instructions,
            recorded.instructions * MORE_INSTRUCTIONS,
        ),
        (
            "allocations",
            cost.allocations - recorded.allocations,
            MORE_ALLOCATIONS,
        ),
    ];
    for (what, more, allowed) in rows {
        if more > allowed {
            bail!(
                "a call takes {more:.1} {what} more than recorded, and {allowed:.1} would be allowed; \
                 `callgrind_annotate --inclusive=yes target/instructions/calls.2` shows where they are. If they \
                 are worth it, record them with `cargo xtask instructions --update` and say why in the commit"
            );
        }
        if more < -allowed {
            println!(
                "that is {:.1} {what} fewer: record it with `cargo xtask instructions --update`",
                -more
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Cost = Cost {
        instructions: 1000.5,
        allocations: 1.5,
    };

    #[test]
    fn a_count_of_callgrind_is_read() {
        let text = "events: Ir\nfn=(1) main\n16 3\ncfn=(2) malloc\ncalls=100 5\n16 400\ncfn=(3) free\n\
                    calls=77 1\n16 9\nfn=(4) other\ncfn=(2)\ncalls=200 5\n16 1\nfn=(2)\n1 7\ncfn=(3)\ncalls=9 1\n\
                    2 2\ntotals: 200100\n";
        assert_eq!(counted(text), Some(COST));
        assert_eq!(counted("fn=(1) main\n"), None);
    }

    #[test]
    fn the_program_of_the_hosts_tests_is_found() {
        let said =
            |name: &str| format!("  Executable unittests src/lib.rs (target/debug/deps/{name})");
        let program = "target/debug/deps/rpc_host-01ab";
        assert_eq!(program_of(&said("rpc_host-01ab")), Some(program));
        assert_eq!(program_of(&said("rpc_host_protocol-01ab")), None);
        assert_eq!(program_of("    Finished `test` profile"), None);
    }

    #[test]
    fn what_is_recorded_is_read_as_it_was_written() {
        let recorded = from_text(&to_text(COST)).unwrap();
        assert_eq!(recorded.allocations, 1.5);
        assert!(verdict(COST, recorded).is_ok());
        assert_eq!(from_text("instructions = many\nallocations = 1"), None);
    }

    #[test]
    fn more_than_a_little_more_than_recorded_is_an_error() {
        let more = |instructions: f64, allocations: f64| Cost {
            instructions: COST.instructions * instructions,
            allocations: COST.allocations + allocations,
        };
        assert!(verdict(more(1.02, 0.4), COST).is_ok());
        assert!(verdict(more(0.5, -1.0), COST).is_ok());
        assert!(verdict(more(1.04, 0.0), COST).is_err());
        assert!(verdict(more(1.0, 1.0), COST).is_err());
    }
}
