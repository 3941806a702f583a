//! Random graphs of modules and clients that call one another, loops and loose ends included: a model says
//! how each call of them ends, and each ends so.
//!
//! What is done at a node is in the plan that it is given, see `tests/programs/hop`. A failure prints the
//! seed; with `CALL_GRAPHS_SEED` set to it the same graphs and plans come again.

mod client;
mod graph;
mod model;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rpc_host_client::{Client, ErrorCode, Lease, NamedModule, Scope};
use rpc_host_tests::{HostOptions, PATIENCE, TestHost};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::stand_ins::another;
use crate::{bound, failure};
use client::Node;
use graph::{Edge, Graph, IMPORTS, NODES, Plan, Step};
use model::{End, Model, told};

const GRAPHS: usize = 12;
const PLANS_OF_GRAPH: usize = 60;
const IN_FLIGHT: u32 = 16;
/// A call that spins takes the room of so many: it wants a processor for itself.
const ROOM_OF_SPINNING: u32 = 8;
/// More than there can be calls under way, so that none waits for a place.
const WINDOW: u32 = 256;
/// Fewer than there are nodes, so that some calls come to them.
const MAX_DEPTH: usize = 4;
const MAX_INSTANCES: usize = 4;
/// The time of a call that uses all of it.
const SPINNING: Duration = Duration::from_millis(250);

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

/// Serves the nodes of a graph that clients serve.
async fn serve(client: &Client, graph: &Arc<Graph>, scope: Scope) -> Vec<Lease> {
    let mut leases = Vec::new();
    for node in (0..NODES).filter(|node| graph.served[*node]) {
        let (client, name) = (client.clone(), graph.name(node));
        let graph = Arc::clone(graph);
        let served = Node {
            client: client.clone(),
            graph,
            node,
        };
        let provision = client.provision(&name, move |call| served.clone().serve(call));
        let lease = provision.scope(scope).window(WINDOW).start().await;
        leases.push(lease.unwrap_or_else(|error| panic!("{name}: {error}")));
    }
    leases
}

/// Makes all calls into all graphs, and counts the ways in which they ended.
async fn explore(seed: u64, has_clients: bool) -> BTreeMap<String, usize> {
    let mut random = Random(seed);
    let options = HostOptions::new()
        .limit("max-chain-depth", MAX_DEPTH as u64)
        .limit("max-instances-per-call", MAX_INSTANCES as u64);
    let tenant = TestHost::start_with(options).await.tenant().await;
    let other = another(&tenant).await;
    let hop = tenant.client.upload_module(rpc_host_tests::built("hop"));
    let hop = hop.await.unwrap();
    let room = Arc::new(Semaphore::new(IN_FLIGHT as usize));
    let mut calls = JoinSet::new();
    let mut leases = Vec::new();
    for number in 0..GRAPHS {
        let graph = Arc::new(Graph::random(number, has_clients, &mut random));
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
        // By the session that calls, to itself; or by another one, to all.
        let (by, scope) = match number % 4 {
            0 | 1 => (&tenant.client, Scope::Session),
            _ => (&other, Scope::Tenant),
        };
        leases.extend(serve(by, &graph, scope).await);
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
                let needed = if spins { ROOM_OF_SPINNING } else { 1 };
                let _room = room.acquire_many_owned(needed).await.unwrap();
                let mut ended = call(module, plan.clone(), spins).await;
                if has_clients {
                    ended = ended.whoever_was_late();
                }
                let name = graph.name(node);
                assert_eq!(
                    ended, expected,
                    "seed {seed}: `{name}` with the plan {plan:?} in {graph}"
                );
                match ended {
                    End::Value(_) => "value".to_owned(),
                    // A client passes a failure on as a text that is its code.
                    End::GuestError(text) => format!("guest error: {text}"),
                    End::Failure { code, .. } => code.to_string(),
                }
            });
        }
    }
    let mut kinds = BTreeMap::<String, usize>::new();
    for kind in calls.join_all().await {
        *kinds.entry(kind).or_default() += 1;
    }
    for lease in leases {
        assert!(lease.loss().is_none(), "seed {seed}: {lease:?}");
    }
    assert_eq!(kinds.values().sum::<usize>(), GRAPHS * PLANS_OF_GRAPH);
    kinds
}

/// The ways in which a call of a module can end: each is among them, by far more than chance could take away.
const KINDS: [&str; 7] = [
    "value",
    "guest error: no such step: '?'",
    "trapped",
    "deadline-exceeded",
    "failed-precondition",
    "resource-exhausted",
    "would-deadlock",
];

#[tokio::test]
async fn every_call_into_any_graph_ends_as_the_rules_say() {
    let seed = seed();
    let kinds = explore(seed, false).await;
    println!("seed {seed}: {kinds:?}");
    for kind in KINDS {
        assert!(
            kinds.contains_key(kind),
            "seed {seed}: no {kind} in {kinds:?}"
        );
    }
}

#[tokio::test]
async fn every_call_through_modules_and_clients_ends_as_the_rules_say() {
    let seed = seed();
    let kinds = explore(seed, true).await;
    println!("seed {seed}: {kinds:?}");
    let of_clients = [client::NOWHERE, "resource-exhausted", "failed-precondition"];
    let of_clients = of_clients.map(|text| format!("guest error: {text}"));
    let of_clients = of_clients.iter().map(String::as_str);
    // What a client passes on comes in place of this, mostly.
    let of_modules = KINDS
        .into_iter()
        .filter(|kind| *kind != "resource-exhausted");
    for kind in of_modules.chain(of_clients) {
        assert!(
            kinds.contains_key(kind),
            "seed {seed}: no {kind} in {kinds:?}"
        );
    }
}
