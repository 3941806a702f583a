//! A storm of objects: several tasks of one client make, copy, lend, give, close and drop what a node gives them,
//! as many as one likes, and watch what the node has of it.
//!
//! Each object has a value that the client knows, so one that is lost, or taken for another, is noticed at its
//! next use. Objects live in instances that are there for nobody else, so what is held of them too long is
//! seen in the tenant's memory, which has to come back to nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rpc_host_client::{Client, Error, ErrorCode, NamedModule, Object};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::hostile::{Seed, Vitals};
use crate::tenant::TestTenant;

/// Objects of one instance, and then comes another.
const OBJECTS_OF_A_WORLD: u64 = 400;
/// So many of them are there at once.
const MAX_KEPT: usize = 48;
/// The most that one call makes.
const MAX_MADE: u64 = 24;
/// Copies that a neighbour has not looked at yet.
const MAX_SENT: usize = 64;
/// How often the node is looked at.
const LAPS: u64 = 40;
/// The first part of the laps, while everything grows to its size.
const WARM_UP: usize = 10;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    /// How many handles the node is to give.
    pub handles: u64,
    /// How many tasks use them.
    pub tasks: usize,
    /// Decides what each of them does.
    pub seed: u64,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Counts {
    /// Handles that the node gave.
    pub received: AtomicU64,
    /// Copies of them in the client, for a neighbour.
    pub shared: AtomicU64,
    /// Lent to a call.
    pub lent: AtomicU64,
    /// Given away with a call.
    pub given: AtomicU64,
    /// Closed, and waited for.
    pub closed: AtomicU64,
    /// Dropped.
    pub dropped: AtomicU64,
    /// Instances that were made for them.
    pub worlds: AtomicU64,
    /// Calls.
    pub calls: AtomicU64,
}

/// How it stands.
#[derive(Clone, Copy, Debug)]
pub struct Lap {
    /// Handles that the node has given.
    pub received: u64,
    /// The node.
    pub node: Vitals,
    /// The client: this process.
    pub client: Vitals,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// What was done.
    pub counts: Arc<Counts>,
    /// How it stood meanwhile.
    pub laps: Vec<Lap>,
    /// How long it took.
    pub elapsed: Duration,
    /// How long it took from the last drop until nothing was left on the node.
    pub cleared: Duration,
}

impl Outcome {
    /// Bytes by which what is resident grew after the warm-up, in the node and in the client: the mean of the
    /// last quarter over that of the first.
    pub fn growth_bytes(&self) -> (i64, i64) {
        let laps = self.laps.get(WARM_UP..).unwrap_or_default();
        let quarter = laps.len().div_ceil(4);
        let mean = |laps: &[Lap], of: fn(&Lap) -> u64| {
            let sum: u64 = laps.iter().map(of).sum();
            i64::try_from(sum / (laps.len().max(1) as u64)).unwrap_or(i64::MAX)
        };
        let growth = |of| mean(&laps[laps.len() - quarter..], of) - mean(&laps[..quarter], of);
        (
            growth(|lap| lap.node.resident_bytes),
            growth(|lap| lap.client.resident_bytes),
        )
    }
}

/// Raises a storm from one client of a tenant that has the module `counter`.
///
/// # Panics
/// When an object is not what it should be, or something is left.
pub async fn storm(tenant: &TestTenant, course: Course, progress: impl Fn(&Lap)) -> Outcome {
    let began = Instant::now();
    let counts = Arc::new(Counts::default());
    let client = tenant.client_again().await;
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..course.tasks).map(|_| mpsc::channel(MAX_SENT)).unzip();
    let mut tasks = Vec::new();
    for (number, copies) in receivers.into_iter().enumerate() {
        let neighbour = senders[(number + 1) % course.tasks].clone();
        let user = User {
            module: client.module("counter"),
            counts: counts.clone(),
            handles: course.handles,
            seed: Seed::new(course.seed.wrapping_add(number as u64)),
            neighbour,
            kept: Vec::new(),
            anchor: None,
            left: 0,
        };
        tasks.push(tokio::spawn(user.rage()));
        tasks.push(tokio::spawn(look_at(copies, counts.clone())));
    }
    drop(senders);

    let mut laps = Vec::new();
    let storming = async {
        for task in tasks {
            task.await.unwrap();
        }
    };
    let mut storming = std::pin::pin!(storming);
    let mut watch = tokio::time::interval(Duration::from_millis(20));
    loop {
        tokio::select! {
            () = &mut storming => break,
            _ = watch.tick() => {
                let received = counts.received.load(Ordering::Relaxed);
                if received >= laps.len() as u64 * course.handles / LAPS {
                    let lap = lap(tenant, received);
                    progress(&lap);
                    laps.push(lap);
                }
            }
        }
    }
    let elapsed = began.elapsed();
    let cleared = Instant::now();
    crate::in_time(
        "the objects of the storm to go",
        nothing_is_left(&tenant.client),
    )
    .await;
    Outcome {
        counts,
        laps,
        elapsed,
        cleared: cleared.elapsed(),
    }
}

fn lap(tenant: &TestTenant, received: u64) -> Lap {
    let address = tenant.host.address();
    Lap {
        received,
        node: Vitals::of(tenant.host.pid(), &address),
        client: Vitals::of(std::process::id(), &address),
    }
}

/// Waits until the tenant's instances, each of which is there for an object that somebody holds, are gone.
async fn nothing_is_left(client: &Client) {
    loop {
        let limits = client.limits(None).await.unwrap();
        let is_memory = |name: &str| name == "max-memory-bytes-per-tenant";
        let memory = limits.iter().find(|limit| is_memory(&limit.name));
        if memory.unwrap().used == Some(0) {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Looks at copies of a neighbour's objects, and drops them.
async fn look_at(mut copies: mpsc::Receiver<Kept>, counts: Arc<Counts>) {
    while let Some(Kept { object, value, .. }) = copies.recv().await {
        count(&counts.calls, 1);
        let found: u64 = object.call("counter.value", ()).await.unwrap();
        assert_eq!(found, value, "{object:?}");
        count(&counts.dropped, 1);
        drop(object);
    }
}

fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}

/// An object, and where it has to stand.
struct Kept {
    object: Object,
    value: u64,
    /// A neighbour has a copy of it, so that it is not given away or closed.
    is_shared: bool,
}

impl Kept {
    fn new(object: Object, value: u64) -> Self {
        Kept {
            object,
            value,
            is_shared: false,
        }
    }
}

#[derive(Deserialize, Serialize)]
struct Pair {
    name: String,
    left: Object,
    right: Option<Object>,
}

/// One of those who use objects.
struct User {
    module: NamedModule,
    counts: Arc<Counts>,
    handles: u64,
    seed: Seed,
    neighbour: mpsc::Sender<Kept>,
    kept: Vec<Kept>,
    /// The object that the others are made beside.
    anchor: Option<Object>,
    /// How many are still made in this instance.
    left: u64,
}

impl User {
    async fn rage(mut self) {
        while self.counts.received.load(Ordering::Relaxed) < self.handles {
            if self.left == 0 {
                self.new_world().await;
            }
            self.step().await;
            if self.kept.len() > MAX_KEPT {
                self.drop_some();
            }
        }
        self.end_world();
    }

    fn end_world(&mut self) {
        count(
            &self.counts.dropped,
            self.kept.len() + usize::from(self.anchor.is_some()),
        );
        self.kept.clear();
        self.anchor = None;
    }

    /// An instance of its own for what comes.
    async fn new_world(&mut self) {
        self.end_world();
        let object = loop {
            count(&self.counts.calls, 1);
            match self.module.object("counter", (0,)).await {
                Ok(object) => break object,
                // Those before have not ended yet.
                Err(Error::Remote(failure)) if failure.code == ErrorCode::ResourceExhausted => {
                    tokio::task::yield_now().await;
                }
                Err(other) => panic!("{other}"),
            }
        };
        count(&self.counts.worlds, 1);
        count(&self.counts.received, 1);
        self.anchor = Some(object);
        self.left = OBJECTS_OF_A_WORLD;
    }

    fn anchor(&self) -> &Object {
        self.anchor.as_ref().expect("there is one while it rages")
    }

    /// Calls a function where the objects live.
    async fn call<T: serde::de::DeserializeOwned>(
        &self,
        function: &str,
        arguments: impl rpc_host_client::Arguments,
    ) -> T {
        count(&self.counts.calls, 1);
        let call = self.module.function(function).on(self.anchor());
        let outcome = call.args(arguments).call().await;
        outcome.unwrap_or_else(|error| panic!("{function}: {error}"))
    }

    fn keep(&mut self, objects: impl IntoIterator<Item = (Object, u64)>) {
        for (object, value) in objects {
            count(&self.counts.received, 1);
            self.left = self.left.saturating_sub(1);
            self.kept.push(Kept::new(object, value));
        }
    }

    fn any(&mut self) -> Option<usize> {
        let length = self.kept.len();
        (length > 0).then(|| self.seed.index(length))
    }

    /// An object that nobody else has.
    fn take(&mut self) -> Option<Kept> {
        let index = self.any()?;
        (!self.kept[index].is_shared).then(|| self.kept.swap_remove(index))
    }

    async fn step(&mut self) {
        match self.seed.below(12) {
            0..=2 => self.make().await,
            3 => self.copy().await,
            4 => self.share().await,
            5 | 6 => self.lend().await,
            7 => self.give_one().await,
            8 => self.give_and_get_back().await,
            9 => self.give_several().await,
            10 => self.close().await,
            _ => self.drop_some(),
        }
    }

    async fn make(&mut self) {
        let values: Vec<u64> = (0..=self.seed.below(MAX_MADE))
            .map(|_| self.seed.draw())
            .collect();
        let made: Vec<Object> = self.call("make", (&values,)).await;
        assert_eq!(made.len(), values.len());
        self.keep(made.into_iter().zip(values));
    }

    async fn copy(&mut self) {
        let Some(index) = self.any() else { return };
        let Kept { object, value, .. } = &self.kept[index];
        count(&self.counts.calls, 1);
        count(&self.counts.lent, 1);
        let (copy, value): (Object, u64) = (object.call("copy", ()).await.unwrap(), *value);
        self.keep([(copy, value)]);
    }

    async fn share(&mut self) {
        let Some(index) = self.any() else { return };
        let kept = &mut self.kept[index];
        kept.is_shared = true;
        let copy = Kept::new(kept.object.clone(), kept.value);
        count(&self.counts.shared, 1);
        self.neighbour.send(copy).await.unwrap();
    }

    async fn lend(&mut self) {
        let some = &self.kept[..self.seed.index(self.kept.len() + 1)];
        let objects: Vec<&Object> = some.iter().map(|kept| &kept.object).collect();
        count(&self.counts.lent, objects.len());
        let sum: u64 = self.call("sum", (objects,)).await;
        let values = some.iter().map(|kept| kept.value);
        assert_eq!(sum, values.fold(0, u64::wrapping_add));
    }

    async fn give_one(&mut self) {
        let Some(Kept { object, value, .. }) = self.take() else {
            return;
        };
        count(&self.counts.given, 1);
        assert_eq!(self.call::<u64>("consume", (object,)).await, value);
    }

    async fn give_and_get_back(&mut self) {
        let Some(Kept { object, value, .. }) = self.take() else {
            return;
        };
        count(&self.counts.given, 1);
        let back = if self.seed.below(2) == 0 {
            self.call("same", (object,)).await
        } else {
            let kept: u32 = self.call("keep", (object,)).await;
            assert_eq!(kept, 1);
            self.call::<Option<Object>>("take", ()).await.unwrap()
        };
        count(&self.counts.lent, 1);
        assert_eq!(self.call::<u64>("peek", (&back,)).await, value);
        self.keep([(back, value)]);
    }

    async fn give_several(&mut self) {
        let (left, right) = (self.seed.draw(), self.seed.draw());
        let right = (right % 2 == 0).then_some(right);
        let pair: Pair = self.call("couple", ("pair", left, right)).await;
        assert_eq!(pair.right.is_some(), right.is_some());
        let objects = 1 + usize::from(right.is_some());
        count(&self.counts.received, objects);
        count(&self.counts.given, objects);
        assert_eq!(pair.name, "pair");
        let sum: u64 = self.call("sum-pair", (pair,)).await;
        assert_eq!(sum, left.wrapping_add(right.unwrap_or(0)));
    }

    async fn close(&mut self) {
        let Some(Kept { object, .. }) = self.take() else {
            return;
        };
        count(&self.counts.closed, 1);
        object.close().await.unwrap();
    }

    /// Drops a part of what is kept; now and then in another thread.
    fn drop_some(&mut self) {
        let from = self.kept.len() / 2;
        let dropped = self.kept.split_off(from);
        count(&self.counts.dropped, dropped.len());
        if self.seed.below(4) == 0 {
            tokio::task::spawn_blocking(move || drop(dropped));
        }
    }
}
