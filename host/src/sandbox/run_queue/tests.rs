use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Processors that give turns, in a time of their own.
struct Model {
    queue: RunQueue<u64>,
    begun: Instant,
    now: Duration,
    /// When each turn under way ends, and whose it is.
    under_way: Vec<(Duration, Given, u64, Duration)>,
    processors: usize,
    used: HashMap<u64, Duration>,
    weights: HashMap<u64, u32>,
    /// How long a turn of each tenant takes.
    turns: HashMap<u64, Duration>,
}

impl Model {
    fn new(processors: usize) -> Self {
        Model {
            queue: RunQueue::new(),
            begun: Instant::now(),
            now: Duration::ZERO,
            under_way: Vec::new(),
            processors,
            used: HashMap::new(),
            weights: HashMap::new(),
            turns: HashMap::new(),
        }
    }

    /// A tenant with so many jobs that never end.
    fn tenant(&mut self, tenant: u64, weight: u32, jobs: usize, turn: Duration) {
        self.weights.insert(tenant, weight);
        self.turns.insert(tenant, turn);
        self.used.entry(tenant).or_default();
        for _ in 0..jobs {
            self.push(tenant);
        }
    }

    fn push(&mut self, tenant: u64) -> Place {
        let never = self.begun + Duration::from_secs(1 << 30);
        let weight = self.weights[&tenant];
        self.queue
            .push(tenant, weight, Duration::ZERO, never, tenant)
    }

    fn fill(&mut self) {
        while self.under_way.len() < self.processors {
            let Some((given, tenant)) = self.queue.next(self.begun + self.now) else {
                return;
            };
            let turn = self.turns[&tenant];
            self.under_way.push((self.now + turn, given, tenant, turn));
        }
    }

    /// Lets the next turn end, and whose it was wait for another.
    fn step(&mut self) {
        self.fill();
        let next = (0..self.under_way.len()).min_by_key(|at| self.under_way[*at].0);
        let (at, given, tenant, took) = self.under_way.swap_remove(next.expect("a turn"));
        self.now = at;
        self.queue.end(&given, took);
        *self.used.get_mut(&tenant).unwrap() += took;
        self.push(tenant);
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    fn part(&self, tenant: u64) -> f64 {
        let all: Duration = self.used.values().sum();
        self.used[&tenant].as_secs_f64() / all.as_secs_f64()
    }
}

#[test]
fn tenants_share_by_weight_however_many_jobs_they_have_and_however_long_their_turns() {
    let mut model = Model::new(2);
    model.tenant(1, 100, 2, MS * 5);
    model.tenant(2, 300, 4, MS * 4);
    model.tenant(3, 50, 200, MS);
    model.tenant(4, 100, 7, MS * 3);
    model.run(Duration::from_secs(20));
    for (tenant, expected) in [(1, 100), (2, 300), (3, 50), (4, 100)] {
        let expected = f64::from(expected) / 550.0;
        let part = model.part(tenant);
        assert!(
            (part / expected - 1.0).abs() < 0.05,
            "tenant {tenant} has {part:.3} of the time, not {expected:.3}"
        );
    }
}

#[test]
fn no_processor_rests_while_somebody_waits() {
    let mut model = Model::new(2);
    model.tenant(1, 1, 3, MS * 5);
    model.run(Duration::from_secs(1));
    let used = model.used[&1];
    assert!(used >= Duration::from_millis(1990), "{used:?}");
}

#[test]
fn whoever_comes_new_waits_for_one_turn_and_no_longer() {
    let mut model = Model::new(1);
    for tenant in 1..=8 {
        model.tenant(tenant, 1000, 32, MS * 5);
    }
    model.run(Duration::from_secs(10));
    let begun = model.now;
    model.tenant(9, 100, 1, MS);
    model.step();
    while model.used[&9].is_zero() {
        model.step();
    }
    assert!(model.now - begun <= MS * 11, "{:?}", model.now - begun);
}

#[test]
fn a_rest_saves_up_no_more_than_a_head_start() {
    let mut model = Model::new(1);
    model.tenant(1, 100, 1, MS * 5);
    model.tenant(2, 100, 1, MS * 5);
    // Away for a hundred turns of the other.
    let away = model.queue.order.iter().find(|(_, tenant)| *tenant == 2);
    assert!(away.is_some());
    let place = Place {
        tenant: 2,
        number: 2,
        deadline: model.begun + Duration::from_secs(1 << 30),
    };
    assert_eq!(model.queue.remove(&place), Some(2));
    model.run(MS * 500);
    model.push(2);
    let before = model.used[&2];
    model.run(MS * 100);
    let had = model.used[&2] - before;
    assert!(had <= MS * 60, "{had:?} of 100 ms after a rest");
}

#[test]
fn a_turn_and_then_a_short_rest_is_no_way_to_get_more() {
    let mut model = Model::new(1);
    model.tenant(1, 100, 1, MS * 5);
    model.weights.insert(2, 100);
    let (mut had, mut whole) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..1000 {
        // Comes back just when a turn is given, and uses all of it.
        let place = model.push(2);
        let (given, who) = model.queue.next(model.begun).unwrap();
        if who == 2 {
            had += MS * 5;
        } else {
            model.queue.remove(&place);
            model.push(1);
        }
        whole += MS * 5;
        model.queue.end(&given, MS * 5);
    }
    let part = had.as_secs_f64() / whole.as_secs_f64();
    assert!((0.45..=0.55).contains(&part), "{part}");
}

#[test]
fn what_was_used_of_the_quick_way_counts_within_a_bound() {
    let order = |owed: Duration| {
        let mut queue = RunQueue::new();
        let never = Instant::now() + Duration::from_secs(1 << 30);
        queue.push(1, 100, owed, never, 1);
        queue.push(2, 100, Duration::ZERO, never, 2);
        queue.push(2, 100, Duration::ZERO, never, 2);
        (0..3)
            .map(|_| {
                let (given, who) = queue.next(Instant::now()).unwrap();
                queue.end(&given, MS);
                who
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(order(Duration::ZERO), [1, 2, 2]);
    assert_eq!(order(MS * 10), [2, 2, 1]);
    let mut model = Model::new(1);
    model.tenant(1, 100, 1, MS * 5);
    model.run(MS * 100);
    model.weights.insert(2, 100);
    model.turns.insert(2, MS * 5);
    model.used.insert(2, Duration::ZERO);
    let never = model.begun + Duration::from_secs(1 << 30);
    let owed = Duration::from_secs(3600);
    model.queue.push(2, 100, owed, never, 2);
    model.run(MS * 100);
    assert!(model.used[&2] >= MS * 30, "{:?}", model.used[&2]);
}

#[test]
fn what_is_overdue_goes_first_whoever_it_belongs_to() {
    let mut queue = RunQueue::new();
    let now = Instant::now();
    let never = now + Duration::from_secs(1 << 30);
    queue.push(1, 1000, Duration::ZERO, never, "other");
    queue.push(2, 1, Duration::from_secs(1), never, "first of its line");
    queue.push(2, 1, Duration::ZERO, now, "overdue");
    queue.push(2, 1, Duration::ZERO, now - MS, "overdue for longer");
    let order: Vec<_> = std::iter::from_fn(|| {
        let (given, who) = queue.next(now)?;
        queue.end(&given, MS);
        Some(who)
    })
    .collect();
    let expected = [
        "overdue for longer",
        "overdue",
        "other",
        "first of its line",
    ];
    assert_eq!(order, expected);
}

#[test]
fn what_is_overdue_says_nothing_about_the_time_of_others() {
    let mut queue = RunQueue::new();
    let now = Instant::now();
    let never = now + Duration::from_secs(1 << 30);
    // Two that were at work for long, of which one has had far more than the other.
    for (tenant, turns) in [(1, 100), (2, 1)] {
        for _ in 0..turns {
            queue.push(tenant, 100, Duration::ZERO, never, ());
            let (given, ()) = queue.next(now).unwrap();
            queue.end(&given, MS * 5);
        }
    }
    let before = queue.now;
    queue.push(1, 100, Duration::ZERO, now, ());
    let (given, ()) = queue.next(now).unwrap();
    assert_eq!(queue.now, before);
    queue.end(&given, MS);
}

#[test]
fn tenants_that_rest_are_forgotten() {
    let mut queue = RunQueue::new();
    let never = Instant::now() + Duration::from_secs(1 << 30);
    for tenant in 0..100 * MANY_TENANTS as u64 {
        queue.push(tenant, 100, Duration::ZERO, never, ());
        let (given, ()) = queue.next(Instant::now()).unwrap();
        queue.end(&given, MS);
    }
    assert!(
        queue.tenants.len() <= 2 * MANY_TENANTS,
        "{}",
        queue.tenants.len()
    );
    assert!(!queue.is_busy());
}

/// What happens to a queue.
#[derive(Clone, Debug)]
enum Event {
    Push { tenant: u64, weight: u32 },
    Next,
    End { took_us: u64 },
    Remove { which: usize },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..6_u64, 1..=1000_u32).prop_map(|(tenant, weight)| Event::Push { tenant, weight }),
        Just(Event::Next),
        (0..50_000_u64).prop_map(|took_us| Event::End { took_us }),
        (0..64_usize).prop_map(|which| Event::Remove { which }),
    ]
}

proptest! {
    /// Whatever happens, everybody who waits is given one turn or leaves, within a line in order.
    #[test]
    fn nobody_is_lost_or_served_twice(events in prop::collection::vec(event(), 0..300)) {
        let mut queue = RunQueue::new();
        let now = Instant::now();
        let never = now + Duration::from_secs(1 << 30);
        let mut waiting: Vec<(u64, u64, Place)> = Vec::new();
        let mut under_way = Vec::new();
        for (number, event) in (0_u64..).zip(events) {
            match event {
                Event::Push { tenant, weight } => {
                    let place = queue.push(tenant, weight, MS, never, number);
                    waiting.push((tenant, number, place));
                }
                Event::Next => match queue.next(now) {
                    None => prop_assert!(waiting.is_empty()),
                    Some((given, who)) => {
                        let at = waiting.iter().position(|(_, number, _)| *number == who);
                        let (tenant, ..) = waiting.remove(at.expect("somebody who waits"));
                        prop_assert!(waiting.iter().all(|(of, number, _)| *of != tenant || *number > who));
                        under_way.push(given);
                    }
                },
                Event::End { took_us } => {
                    if let Some(given) = under_way.pop() {
                        queue.end(&given, Duration::from_micros(took_us));
                    }
                }
                Event::Remove { which } => {
                    if which < waiting.len() {
                        let (_, number, place) = waiting.remove(which);
                        prop_assert_eq!(queue.remove(&place), Some(number));
                        prop_assert_eq!(queue.remove(&place), None);
                    }
                }
            }
            prop_assert_eq!(queue.is_busy(), !waiting.is_empty() || !under_way.is_empty());
            prop_assert_eq!(queue.due.len(), waiting.len());
        }
    }
}
