//! Many hostile programs at once, in random order, for a long time, and what that does to a node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::arena::{Arena, Ground};
use super::program::{Program, choose};
use super::seed::Seed;
use super::vitals::Vitals;

/// Laps of a course: after each the node has to be as it was before the first.
const LAPS: u64 = 20;
/// Of those, so many to warm up: what they take is not counted as growth.
const WARM_UP: usize = 5;
/// Places for instances.
const PLACES: usize = 192;
/// Time to compile one module.
const COMPILE_TIMEOUT: Duration = Duration::from_secs(30);
/// Unexpected ends after which it makes no sense to go on.
const MAX_SURPRISES: usize = 20;
/// How long the victim waits between two calls.
const VICTIM_REST: Duration = Duration::from_millis(5);

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// How many programs.
    pub runs: u64,
    /// In which order.
    pub seed: u64,
    /// By how many tenants.
    pub tenants: usize,
    /// How many at once.
    pub at_once: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many programs there are.
    pub programs: usize,
    /// How many runs were made.
    pub runs: u64,
    /// The time for them.
    pub elapsed: Duration,
    /// Runs of each program, by its name.
    pub of_each: BTreeMap<&'static str, u64>,
    /// Programs that did not end as expected.
    pub surprises: Vec<Surprise>,
    /// What went wrong with the node or the victim.
    pub problems: Vec<String>,
    /// The node before the first lap and after each.
    pub laps: Vec<Lap>,
    /// How long the victim's calls took, in order of length.
    pub victim: Vec<Duration>,
}

/// A program that did not end as expected.
#[derive(Debug)]
pub struct Surprise {
    /// Which one.
    pub program: &'static str,
    /// What it chose by.
    pub seed: u64,
    /// How it ended.
    pub problem: String,
}

/// The node when nothing runs.
#[derive(Clone, Copy, Debug)]
pub struct Lap {
    /// Runs until then.
    pub runs: u64,
    /// What the node takes of the machine.
    pub vitals: Vitals,
    /// Bytes that it has written to its log.
    pub log_bytes: u64,
    /// Bytes of its data directory.
    pub disk_bytes: u64,
}

impl Outcome {
    /// Whether the node has stood it.
    pub fn is_good(&self) -> bool {
        self.surprises.is_empty() && self.problems.is_empty()
    }

    /// By how much the resident memory grows in ten thousand runs, in bytes: the slope of the line that
    /// fits best through the laps after the warm-up.
    pub fn growth_bytes(&self) -> f64 {
        let laps = self.laps.get(WARM_UP..).unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let points: Vec<(f64, f64)> = laps
            .iter()
            .map(|lap| (lap.runs as f64, lap.vitals.resident_bytes as f64))
            .collect();
        slope(&points) * 10_000.0
    }

    /// The time that so many of a hundred calls of the victim's did not exceed.
    pub fn victim_within(&self, percent: usize) -> Duration {
        let last = self.victim.len().saturating_sub(1);
        self.victim
            .get(last * percent / 100)
            .copied()
            .unwrap_or_default()
    }
}

/// The slope of the line through these points with the least squares of what it misses them by.
fn slope(points: &[(f64, f64)]) -> f64 {
    #[allow(clippy::cast_precision_loss, reason = "a handful")]
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let along: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let both: f64 = points
        .iter()
        .map(|point| (point.0 - x) * (point.1 - y))
        .sum();
    if along > 0.0 { both / along } else { 0.0 }
}

/// What the run of this number chooses by.
fn seed_of(course: &Course, run: u64) -> u64 {
    Seed::new(course.seed ^ run.wrapping_mul(0xa24b_aed4_963e_e407)).draw()
}

/// Runs a course. `progress` is told of each lap.
pub async fn gauntlet(
    programs: Arc<Vec<Program>>,
    course: Course,
    mut progress: impl FnMut(&Lap, Duration),
) -> Outcome {
    let ground = Ground {
        places: PLACES,
        tenants: course.tenants,
        compile_timeout: COMPILE_TIMEOUT,
    };
    let arena = Arc::new(Arena::start(&programs, ground).await);
    let mut outcome = Outcome {
        programs: programs.len(),
        ..Outcome::default()
    };
    arena.warm().await;
    arena.is_well().await;
    outcome.laps.push(lap(&arena, 0));
    let begun = Instant::now();
    let is_over = Arc::new(AtomicBool::new(false));
    let victim = tokio::spawn(victim(Arc::clone(&arena), Arc::clone(&is_over)));
    for number in 0..LAPS {
        let runs = course.runs * number / LAPS..course.runs * (number + 1) / LAPS;
        run_lap(&arena, &programs, &course, runs.clone(), &mut outcome).await;
        outcome.runs = runs.end;
        outcome.elapsed = begun.elapsed();
        // In a task of its own, because it says by a panic what is wrong.
        let judging = Arc::clone(&arena);
        let judged = tokio::spawn(async move { judging.is_well().await });
        if let Err(error) = judged.await {
            outcome.problems.push(words(error));
            break;
        }
        let lap = lap(&arena, runs.end);
        progress(&lap, begun.elapsed());
        outcome.laps.push(lap);
        if outcome.surprises.len() >= MAX_SURPRISES {
            break;
        }
    }
    outcome.elapsed = begun.elapsed();
    is_over.store(true, Ordering::Relaxed);
    match victim.await {
        Ok((times, problems)) => {
            outcome.victim = times;
            outcome.problems.extend(problems);
        }
        Err(error) => outcome.problems.push(words(error)),
    }
    outcome.victim.sort_unstable();
    outcome
}

/// Runs the programs of one lap, so many at once.
async fn run_lap(
    arena: &Arc<Arena>,
    programs: &Arc<Vec<Program>>,
    course: &Course,
    runs: std::ops::Range<u64>,
    outcome: &mut Outcome,
) {
    let mut under_way = JoinSet::new();
    for run in runs {
        if under_way.len() >= course.at_once
            && let Some(ended) = under_way.join_next().await
        {
            outcome.add(ended);
        }
        if outcome.surprises.len() >= MAX_SURPRISES {
            break;
        }
        let seed = seed_of(course, run);
        under_way.spawn(run_one(Arc::clone(arena), Arc::clone(programs), seed));
    }
    while let Some(ended) = under_way.join_next().await {
        outcome.add(ended);
    }
}

type Ended = (&'static str, u64, Result<(), String>);

async fn run_one(arena: Arc<Arena>, programs: Arc<Vec<Program>>, seed: u64) -> Ended {
    let mut choice = Seed::new(seed);
    let Some(program) = choose(&programs, &mut choice) else {
        return ("none", seed, Err("there are no programs".to_owned()));
    };
    let name = program.name;
    let programs = Arc::clone(&programs);
    // In a task of its own: a panic is an end that nobody expects.
    let running = tokio::spawn(async move {
        let program = programs.iter().find(|program| program.name == name);
        match program {
            Some(program) => program
                .expect
                .check(&program.run(arena.scene(choice)).await),
            None => Err("it is gone".to_owned()),
        }
    });
    let ended = running.await.unwrap_or_else(|error| Err(words(error)));
    (name, seed, ended)
}

impl Outcome {
    fn add(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let (program, seed, ended) = match ended {
            Ok(ended) => ended,
            Err(error) => ("none", 0, Err(words(error))),
        };
        *self.of_each.entry(program).or_default() += 1;
        if let Err(problem) = ended {
            self.surprises.push(Surprise {
                program,
                seed,
                problem,
            });
        }
    }
}

/// What a task said when it panicked.
fn words(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            text.unwrap_or("a panic without words").to_owned()
        }
        Err(error) => error.to_string(),
    }
}

/// Calls all the time, and expects right answers.
async fn victim(arena: Arc<Arena>, is_over: Arc<AtomicBool>) -> (Vec<Duration>, Vec<String>) {
    let (mut times, mut problems) = (Vec::new(), Vec::new());
    while !is_over.load(Ordering::Relaxed) && problems.is_empty() {
        match arena.victim_calls().await {
            Ok(time) => times.push(time),
            Err(problem) => problems.push(problem),
        }
        tokio::time::sleep(VICTIM_REST).await;
    }
    (times, problems)
}

fn lap(arena: &Arena, runs: u64) -> Lap {
    Lap {
        runs,
        vitals: arena.vitals(),
        log_bytes: arena.host.log().bytes(),
        disk_bytes: size_of(&arena.host.data()),
    }
}

/// Bytes of all files below a directory.
fn size_of(directory: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return 0; // It went away since.
    };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_line_is_found_through_what_lies_around_it() {
        let points = [(0.0, 1.0), (1.0, 2.9), (2.0, 5.2), (3.0, 6.9)];
        assert!((slope(&points) - 2.0).abs() < 0.1, "{}", slope(&points));
        assert!(slope(&[(0.0, 7.0), (1.0, 7.0)]).abs() < 1e-9);
        assert!(slope(&[(3.0, 7.0)]).abs() < 1e-9);
        assert!(slope(&[]).abs() < 1e-9);
    }

    #[test]
    fn a_seed_gives_the_same_course_again_and_another_one_another() {
        let programs = super::super::programs();
        let names = |seed: u64| {
            let course = Course {
                runs: 100,
                seed,
                tenants: 1,
                at_once: 1,
            };
            let chosen = (0..course.runs).map(|run| {
                let mut seed = Seed::new(seed_of(&course, run));
                choose(&programs, &mut seed).unwrap().name
            });
            chosen.collect::<Vec<_>>()
        };
        assert_eq!(names(7), names(7));
        assert_ne!(names(7), names(8));
    }
}
