//! Many hostile programs at once, in random order: `cargo xtask gauntlet` builds everything and runs this.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program whose output is its result"
)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rpc_host_tests::hostile::{Arena, Course, Ground, Lap, Outcome, Seed, gauntlet, programs};

const USAGE: &str = "usage: cargo xtask gauntlet [--runs N] [--seed S] [--again PROGRAM:SEED]

  --runs N               how many programs to run (20000)
  --seed S               in which order (the time of day)
  --again PROGRAM:SEED   that one run once more, alone: what is told of a run that did not end as expected";

const DEFAULT_RUNS: u64 = 20_000;
const TENANTS: usize = 6;
const AT_ONCE: usize = 24;

enum Order {
    Course(Course),
    Again(String, u64),
}

#[tokio::main]
async fn main() -> ExitCode {
    let order = match order(std::env::args().skip(1)) {
        Ok(order) => order,
        Err(misuse) => {
            eprintln!("error: {misuse}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let is_good = match order {
        Order::Again(program, seed) => again(&program, seed).await,
        Order::Course(course) => run(course).await,
    };
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn order(mut arguments: impl Iterator<Item = String>) -> Result<Order, String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut course = Course {
        runs: DEFAULT_RUNS,
        seed: now.map_or(1, |since| since.as_secs()),
        tenants: TENANTS,
        at_once: AT_ONCE,
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
        let number = || {
            let number = value.parse::<u64>().ok().filter(|number| *number > 0);
            number.ok_or_else(|| format!("`{value}` is not a number above 0"))
        };
        match name.as_str() {
            "--runs" => course.runs = number()?,
            "--seed" => course.seed = number()?,
            "--again" => {
                let of = value.rsplit_once(':');
                let of = of.and_then(|(name, seed)| Some((name, seed.parse().ok()?)));
                let (name, seed) = of.ok_or_else(|| format!("`{value}` is not PROGRAM:SEED"))?;
                return Ok(Order::Again(name.to_owned(), seed));
            }
            _ => return Err(format!("there is no `{name}`")),
        }
    }
    Ok(Order::Course(course))
}

/// One run alone.
async fn again(name: &str, seed: u64) -> bool {
    let programs = programs();
    let Some(program) = programs.iter().find(|program| program.name == name) else {
        eprintln!("error: there is no program `{name}`");
        return false;
    };
    let ground = Ground {
        places: 64,
        tenants: TENANTS,
        compile_timeout: Duration::from_secs(30),
    };
    let arena = Arena::start(std::slice::from_ref(program), ground).await;
    let mut seed = Seed::new(seed);
    // What chose the program.
    seed.draw();
    let end = program.run(arena.scene(seed)).await;
    println!("{} {name}: {}", program.row, program.what);
    println!("{end:?}");
    arena.is_well().await;
    match program.expect.check(&end) {
        Ok(()) => true,
        Err(problem) => {
            eprintln!("error: {problem}");
            false
        }
    }
}

async fn run(course: Course) -> bool {
    println!(
        "{} runs with seed {}, {} at once, by {} tenants",
        course.runs, course.seed, course.at_once, course.tenants
    );
    let programs = Arc::new(programs());
    let outcome = gauntlet(Arc::clone(&programs), course, progress).await;
    for surprise in &outcome.surprises {
        println!(
            "\n{}: {}\n  again with: cargo xtask gauntlet --again {}:{}",
            surprise.program, surprise.problem, surprise.program, surprise.seed
        );
    }
    for problem in &outcome.problems {
        println!("\n{problem}");
    }
    println!("\n{}", table(&outcome, &course));
    outcome.is_good()
}

fn progress(lap: &Lap, elapsed: Duration) {
    println!(
        "{:>9} runs {:>6.0} s   {:>7.1} MB resident   {:>3} threads   {} open   {} connections",
        lap.runs,
        elapsed.as_secs_f64(),
        megabytes(lap.vitals.resident_bytes),
        lap.vitals.threads,
        open(lap),
        lap.vitals.connections,
    );
}

fn open(lap: &Lap) -> String {
    match lap.vitals.descriptors {
        Some(count) => count.to_string(),
        None => "not shown".to_owned(),
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The result, in Markdown.
fn table(outcome: &Outcome, course: &Course) -> String {
    let mut rows = vec![("what".to_owned(), "result".to_owned())];
    let mut row = |what: &str, result: String| rows.push((what.to_owned(), result));
    let seconds = outcome.elapsed.as_secs_f64();
    row("programs", outcome.programs.to_string());
    row(
        "runs",
        format!(
            "{}, seed {}, {} at once by {} tenants, {:.0} s",
            outcome.runs, course.seed, course.at_once, course.tenants, seconds
        ),
    );
    row("programs that were run", outcome.of_each.len().to_string());
    row("unexpected ends", outcome.surprises.len().to_string());
    row(
        "crashes of the node, lines of panic, wrong or missing answers to the victim, places not given back",
        outcome.problems.len().to_string(),
    );
    row(
        "calls of the victim meanwhile",
        format!(
            "{}, half within {:.1} ms, 99 % within {:.1} ms",
            outcome.victim.len(),
            outcome.victim_within(50).as_secs_f64() * 1e3,
            outcome.victim_within(99).as_secs_f64() * 1e3
        ),
    );
    if let (Some(first), Some(last)) = (outcome.laps.first(), outcome.laps.last()) {
        let pair = |of: fn(&Lap) -> String| format!("{} → {}", of(first), of(last));
        row(
            "resident memory before and after",
            pair(|lap| format!("{:.1} MB", megabytes(lap.vitals.resident_bytes))),
        );
        row(
            "growth of it after the warm-up, by the line that fits best",
            format!("{:+.2} MB in 10000 runs", outcome.growth_bytes() / 1e6),
        );
        row("threads", pair(|lap| lap.vitals.threads.to_string()));
        row("descriptors", pair(open));
        row(
            "connections",
            pair(|lap| lap.vitals.connections.to_string()),
        );
        row(
            "data directory",
            pair(|lap| format!("{:.1} MB", megabytes(lap.disk_bytes))),
        );
        let logged = last.log_bytes.saturating_sub(first.log_bytes);
        row("log", format!("{:.1} MB", megabytes(logged)));
    }
    let width = rows.iter().map(|(what, _)| what.chars().count()).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for (number, (what, result)) in rows.iter().enumerate() {
        text.push_str(&format!("| {what:width$} | {result} |\n"));
        if number == 0 {
            text.push_str("|---|---|\n");
        }
    }
    text
}
