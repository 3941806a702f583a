//! A storm of objects against a node: `cargo xtask storm` builds everything and runs this.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program whose output is its result"
)]

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use rpc_host_tests::storm::{Course, Lap, Outcome, storm};
use rpc_host_tests::{HostOptions, TestHost, built};

const USAGE: &str = "usage: cargo xtask storm [--handles N] [--tasks N] [--seed S]

  --handles N   how many handles the node gives (1000000)
  --tasks N     how many tasks use them at once (8)
  --seed S      what they do (the time of day)";

/// More growth than this, after the warm-up, is a leak.
const MAX_GROWTH_BYTES: i64 = 16 << 20;

#[tokio::main(flavor = "multi_thread", worker_threads = 8)]
async fn main() -> ExitCode {
    let course = match course(std::env::args().skip(1)) {
        Ok(course) => course,
        Err(misuse) => {
            eprintln!("error: {misuse}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!(
        "{} handles with seed {}, {} tasks of one client",
        course.handles, course.seed, course.tasks
    );
    let options = HostOptions::new().log_kept(1000);
    let tenant = TestHost::start_with(options).await.tenant().await;
    tenant.register("counter", built("counter")).await;
    let outcome = storm(&tenant, course, progress).await;
    println!("\n{}", table(&outcome, &course));
    let (node, client) = outcome.growth_bytes();
    if node > MAX_GROWTH_BYTES || client > MAX_GROWTH_BYTES {
        eprintln!("error: memory grew");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn course(mut arguments: impl Iterator<Item = String>) -> Result<Course, String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut course = Course {
        handles: 1_000_000,
        tasks: 8,
        seed: now.map_or(1, |since| since.as_secs()),
    };
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => {
                let value = arguments.next();
                let value = value.ok_or_else(|| format!("`{argument}` needs a value"))?;
                (argument, value)
            }
        };
        let number = value.parse::<u64>().ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| format!("`{value}` is not a number above 0"))?;
        match name.as_str() {
            "--handles" => course.handles = number,
            "--tasks" => course.tasks = usize::try_from(number).unwrap_or(usize::MAX).min(64),
            "--seed" => course.seed = number,
            _ => return Err(format!("there is no `{name}`")),
        }
    }
    Ok(course)
}

fn progress(lap: &Lap) {
    println!(
        "{:>9} handles   node {:>7.1} MB resident   client {:>7.1} MB",
        lap.received,
        megabytes(lap.node.resident_bytes),
        megabytes(lap.client.resident_bytes),
    );
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The result, in Markdown.
fn table(outcome: &Outcome, course: &Course) -> String {
    let counts = &outcome.counts;
    let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let per_second = of(&counts.calls) as f64 / outcome.elapsed.as_secs_f64();
    let (node, client) = outcome.growth_bytes();
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let grown = |bytes: i64| format!("{:+.1} MB", bytes as f64 / 1e6);
    let rows = [
        ("what", "result".to_owned()),
        ("---", "---".to_owned()),
        (
            "handles that the node gave",
            format!(
                "{}, seed {}, {} tasks",
                of(&counts.received),
                course.seed,
                course.tasks
            ),
        ),
        ("copied for another task", of(&counts.shared).to_string()),
        ("lent to calls", of(&counts.lent).to_string()),
        ("given away with calls", of(&counts.given).to_string()),
        ("closed and waited for", of(&counts.closed).to_string()),
        ("dropped", of(&counts.dropped).to_string()),
        (
            "instances that they lived in",
            of(&counts.worlds).to_string(),
        ),
        (
            "calls",
            format!(
                "{} in {:.1} s, {per_second:.0} a second",
                of(&counts.calls),
                outcome.elapsed.as_secs_f64()
            ),
        ),
        ("lost, or taken for another", "0".to_owned()),
        (
            "left on the node",
            format!(
                "0, {:.0} ms after the last was dropped",
                outcome.cleared.as_secs_f64() * 1e3
            ),
        ),
        ("growth of the node after the warm-up", grown(node)),
        ("growth of the client", grown(client)),
    ];
    let lines = rows.map(|(what, result)| format!("| {what} | {result} |\n"));
    lines.concat()
}
