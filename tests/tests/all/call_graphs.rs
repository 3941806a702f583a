//! Random graphs of modules that call one another, loops and loose ends included: a model says how each
//! call of them ends, and each ends so.
//!
//! What a module does is in the plan that it is given, see `tests/programs/hop`. A failure prints the seed;
//! with `CALL_GRAPHS_SEED` set to it the same graphs and plans come again.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rpc_host_client::{ErrorCode, Failure, Fault, NamedModule};
use rpc_host_tests::{HostOptions, PATIENCE, TestHost};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::{bound, failure};

const GRAPHS: usize = 12;
const NODES: usize = 8;
const PLANS_OF_GRAPH: usize = 60;
const IN_FLIGHT: usize = 16;
/// Fewer than there are nodes, so that some calls come to them.
const MAX_DEPTH: usize = 4;
const MAX_INSTANCES: usize = 4;
/// The time of a call that uses all of it.
const SPINNING: Duration = Duration::from_millis(250);

const IMPORTS: [&str; 4] = [
    "test:graph/one@0.1.0",
    "test:graph/two@0.1.0",
    "test:graph/three@0.1.0",
    "test:graph/four@0.1.0",
];

/// SplitMix64: as random as this needs to be, and the same for a seed everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// Where an import leads.
#[derive(Clone, Copy)]
enum Edge {
    To(usize),
    /// Bound to a name that nobody has.
    Absent,
    /// Not bound, and nobody is named like it.
    Unbound,
}

struct Graph {
    number: usize,
    edges: [[Edge; 4]; NODES],
}

impl Graph {
    /// Every other graph has no loops.
    fn random(number: usize, random: &mut Random) -> Self {
        let edges = std::array::from_fn(|node| {
            let first = if number.is_multiple_of(2) {
                0
            } else {
                node + 1
            };
            std::array::from_fn(|_| match random.below(25) {
                0 => Edge::Absent,
                _ if first < NODES && random.below(25) > 0 => {
                    Edge::To(first + random.below(NODES - first))
                }
                _ => Edge::Unbound,
            })
        });
        Graph { number, edges }
    }

    fn name(&self, node: usize) -> String {
        format!("g{}-h{node}", self.number)
    }

    fn absent(&self) -> String {
        format!("g{}-none", self.number)
    }
}

impl Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (node, edges) in self.edges.iter().enumerate() {
            write!(f, "\n{}:", self.name(node))?;
            for edge in edges {
                match edge {
                    Edge::To(other) => write!(f, " {}", self.name(*other))?,
                    Edge::Absent => f.write_str(" absent")?,
                    Edge::Unbound => f.write_str(" unbound")?,
                }
            }
        }
        Ok(())
    }
}

enum Step {
    Call(usize, Vec<Step>),
    Trap,
    Spin,
    Sleep,
    Unknown,
}

impl Step {
    /// A plan of some steps, which nests so deep at most.
    fn plan(random: &mut Random, depth: usize) -> Vec<Step> {
        let steps = random.below(3) + usize::from(depth > 4);
        let step = |random: &mut Random| match random.below(60) {
            0 => Step::Trap,
            1 => Step::Spin,
            2 => Step::Unknown,
            3..8 => Step::Sleep,
            _ if depth == 0 => Step::Sleep,
            _ => Step::Call(random.below(4), Step::plan(random, depth - 1)),
        };
        (0..steps).map(|_| step(random)).collect()
    }
}

struct Plan<'a>(&'a [Step]);

impl Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.0 {
            match step {
                Step::Call(import, inner) => write!(f, "{}({})", import + 1, Plan(inner))?,
                Step::Trap => f.write_str("t")?,
                Step::Spin => f.write_str("s")?,
                Step::Sleep => f.write_str("z")?,
                Step::Unknown => f.write_str("?")?,
            }
        }
        Ok(())
    }
}

/// How a call ends.
#[derive(Debug, PartialEq)]
enum End {
    Value(u32),
    GuestError(String),
    Failure {
        code: ErrorCode,
        fault: Fault,
        message: String,
    },
}

/// What must happen, by the rules alone.
struct Model<'a> {
    graph: &'a Graph,
    /// How often each has been visited in this call: it has one instance each.
    visits: [u32; NODES],
    /// The calls that wait for one another, outermost first.
    chain: Vec<usize>,
}

impl Model<'_> {
    fn start(graph: &Graph, node: usize, plan: &[Step]) -> End {
        let mut model = Model {
            graph,
            visits: [0; NODES],
            chain: Vec::new(),
        };
        model.visit(node, plan).map_or_else(|end| end, End::Value)
    }

    fn visit(&mut self, node: usize, plan: &[Step]) -> Result<u32, End> {
        self.chain.push(node);
        self.visits[node] += 1;
        let mut sum = self.visits[node];
        for step in plan {
            match step {
                Step::Call(import, inner) => {
                    let other = self.answering(node, *import)?;
                    sum += self.visit(other, inner)?;
                }
                Step::Trap => return Err(self.trapped(node)),
                Step::Spin => {
                    let message =
                        format!("the call did not end within {} ms", SPINNING.as_millis());
                    return Err(fails(ErrorCode::DeadlineExceeded, Fault::Guest, message));
                }
                Step::Sleep => {}
                Step::Unknown => {
                    return Err(End::GuestError("no such step: '?'".to_owned()));
                }
            }
        }
        self.chain.pop();
        Ok(sum)
    }

    fn answering(&self, node: usize, import: usize) -> Result<usize, End> {
        let unbound = |remedy: String| {
            let by = self.graph.name(node);
            let import = IMPORTS[import];
            let message = format!("`{by}` called `{import}`, which nothing answers; {remedy}");
            fails(ErrorCode::FailedPrecondition, Fault::Tenant, message)
        };
        let other = match self.graph.edges[node][import] {
            Edge::To(other) => other,
            Edge::Absent => {
                let absent = self.graph.absent();
                return Err(unbound(format!(
                    "it is bound to `{absent}`, so register that"
                )));
            }
            Edge::Unbound => {
                let import = IMPORTS[import];
                let name = import.split_once('@').unwrap().0;
                return Err(unbound(format!(
                    "register `{name}`, or bind another name to it with `--bind {import}=NAME`"
                )));
            }
        };
        let instances = self.visits.iter().filter(|visits| **visits > 0).count();
        if self.visits[other] == 0 && instances >= MAX_INSTANCES {
            let message = format!("one call led to more than {MAX_INSTANCES} modules");
            return Err(fails(ErrorCode::ResourceExhausted, Fault::Tenant, message));
        }
        let names = |chain: &[usize]| {
            let names: Vec<_> = chain.iter().map(|node| self.graph.name(*node)).collect();
            names.join(" → ")
        };
        if self.chain.len() >= MAX_DEPTH {
            let chain = names(&self.chain);
            let message = format!("calls lead to calls more than {MAX_DEPTH} deep: {chain}");
            return Err(fails(ErrorCode::ResourceExhausted, Fault::Tenant, message));
        }
        if self.chain.contains(&other) {
            let chain = names(&[&self.chain[..], &[other]].concat());
            let message = format!("this would wait for itself: {chain}");
            return Err(fails(ErrorCode::WouldDeadlock, Fault::Tenant, message));
        }
        Ok(other)
    }

    fn trapped(&self, node: usize) -> End {
        let place = match self.chain.len() {
            1 => String::new(),
            _ => format!("`{}`: ", self.graph.name(node)),
        };
        let message = format!("{place}the module panicked or aborted");
        fails(ErrorCode::Trapped, Fault::Guest, message)
    }
}

fn fails(code: ErrorCode, fault: Fault, message: String) -> End {
    End::Failure {
        code,
        fault,
        message,
    }
}

/// What is the same whenever it is so: a trap's own words, its frames, and who noticed that time was over
/// are for people.
fn told(failure: Failure) -> End {
    let Failure {
        code,
        fault,
        message,
        ..
    } = failure;
    let message = match code {
        ErrorCode::Trapped => message.split(": thread ").next().unwrap().to_owned(),
        ErrorCode::DeadlineExceeded => message.split(": ").next().unwrap().to_owned(),
        _ => message,
    };
    fails(code, fault, message)
}

/// Makes the call, and gives how it ended.
async fn call(module: NamedModule, plan: String, spins: bool) -> End {
    let time = if spins { SPINNING } else { PATIENCE };
    let call = module.function("start").arg(plan).timeout(time);
    let margin = PATIENCE;
    let ended = tokio::time::timeout(time + margin, call.call_result::<u32, String>()).await;
    match ended.expect("an end soon after its time") {
        Ok(Ok(value)) => End::Value(value),
        Ok(Err(error)) => End::GuestError(error),
        Err(error) => told(failure::<()>(Err(error))),
    }
}

fn seed() -> u64 {
    match std::env::var("CALL_GRAPHS_SEED") {
        Ok(seed) => seed.parse().expect("a seed is a whole number"),
        Err(_) => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            u64::from(now.unwrap().subsec_nanos())
        }
    }
}

#[tokio::test]
async fn every_call_into_any_graph_ends_as_the_rules_say() {
    let seed = seed();
    let mut random = Random(seed);
    let options = HostOptions::new()
        .limit("max-chain-depth", MAX_DEPTH as u64)
        .limit("max-instances-per-call", MAX_INSTANCES as u64);
    let tenant = TestHost::start_with(options).await.tenant().await;
    let hop = tenant
        .client
        .upload_module(rpc_host_tests::built("hop"))
        .await;
    let hop = hop.unwrap();
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut calls = JoinSet::new();
    for number in 0..GRAPHS {
        let graph = Arc::new(Graph::random(number, &mut random));
        for (node, edges) in graph.edges.iter().enumerate() {
            let names = edges.map(|edge| match edge {
                Edge::To(other) => Some(graph.name(other)),
                Edge::Absent => Some(graph.absent()),
                Edge::Unbound => None,
            });
            let bindings = IMPORTS.into_iter().zip(&names);
            let bindings = bindings.filter_map(|(import, name)| Some((import, name.as_deref()?)));
            let name = graph.name(node);
            let registered = tenant.client.register(&name, &hop, bound(bindings)).await;
            registered.unwrap_or_else(|error| panic!("seed {seed}: {name}: {error}"));
        }
        for _ in 0..PLANS_OF_GRAPH {
            let (node, depth) = (random.below(NODES), 1 + random.below(6));
            let plan = Step::plan(&mut random, depth);
            let expected = Model::start(&graph, node, &plan);
            let spins = matches!(
                expected,
                End::Failure {
                    code: ErrorCode::DeadlineExceeded,
                    ..
                }
            );
            let plan = Plan(&plan).to_string();
            let module = tenant.client.module(graph.name(node));
            let (room, graph) = (Arc::clone(&room), Arc::clone(&graph));
            calls.spawn(async move {
                let _room = room.acquire_owned().await.unwrap();
                let ended = call(module, plan.clone(), spins).await;
                let name = graph.name(node);
                assert_eq!(
                    ended, expected,
                    "seed {seed}: `{name}` with the plan {plan:?} in {graph}"
                );
                match ended {
                    End::Value(_) => "value".to_owned(),
                    End::GuestError(_) => "guest error".to_owned(),
                    End::Failure { code, .. } => code.to_string(),
                }
            });
        }
    }
    let mut kinds = BTreeMap::<String, usize>::new();
    for kind in calls.join_all().await {
        *kinds.entry(kind).or_default() += 1;
    }
    println!("seed {seed}: {kinds:?}");
    assert_eq!(kinds.values().sum::<usize>(), GRAPHS * PLANS_OF_GRAPH);
    // Each way to end is among them, by far more than chance could take away.
    for kind in [
        "value",
        "guest error",
        "trapped",
        "deadline-exceeded",
        "failed-precondition",
        "resource-exhausted",
        "would-deadlock",
    ] {
        assert!(
            kinds.contains_key(kind),
            "seed {seed}: no {kind} in {kinds:?}"
        );
    }
}
