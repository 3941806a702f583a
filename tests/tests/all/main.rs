//! The whole of rpc-host, from outside: the real binary over TLS.
//!
//! | file | holds |
//! |---|---|
//! | `bootstrap` | the first start and the later ones |
//! | `tls` | who may speak to a node, and how |
//! | `certificates` | clients and servers with certificates, and files that are replaced |
//! | `isolation` | every operation on what another tenant has |
//! | `audit` | what the node remembers of its decisions |
//! | `tenants`, `tokens` | tenants, tokens, roles; what one tenant can learn of another |
//! | `uploads`, `artifacts` | modules: from bytes to what survives a crash |
//! | `registrations` | names, revisions, inspection |
//! | `swaps` | another target for a name, and what holds it back |
//! | `swap_under_load` | what clients see of swaps, all at once |
//! | `programs` | names served by programs, from the command line |
//! | `describe` | what is told about the exports of a module |
//! | `calls`, `values`, `written_by_hand` | functions, their arguments and results |
//! | `traps`, `deadlines` | calls that do not end well |
//! | `fairness`, `runaway` | tenants that would have more than their share, and guests that never end |
//! | `wasi`, `imports`, `logging` | what a guest finds around it, and what not |
//! | `output` | what guests write, kept and told to those who call |
//! | `leases` | what clients serve, and for how long |
//! | `localisation` | a module's import moved to a client, and back |
//! | `reverse_calls` | calls into clients: nested, idle, failing, round and round, in time |
//! | `lost_providers` | programs that serve a name, killed and stopped |
//! | `providers_under_load` | what clients see while those that serve a name come and go |
//! | `stand_ins` | what those have in common |
//! | `stdio` | nodes that speak over their stdin and stdout |
//! | `links`, `chains`, `call_graphs` | modules that use modules, and clients |
//! | `handles` | what the numbers of objects mean, on the wire |
//! | `instancing` | instances for a session, or for all |
//! | `callbacks` | objects of clients, called by guests, and resources that clients serve |
//! | `objects`, `client_objects` | objects that clients hold, and objects of clients, as the Rust client has them |
//! | `limits` | each limit, with a peer or guest that runs into it |
//! | `quotas` | what a tenant may use with all that it has, and how fast |
//! | `ready` | instances that are made before their calls come |
//! | `wire` | peers that do not keep to the protocol |
//! | `drain` | the end of a node |
//! | `cli`, `client` | both ways in, beyond what all others use of them |
//! | `volumes`, `volume_limits` | files that modules were granted, and how much of them there may be |
//! | `hostile` | programs that mean no good, one after the other |
//! | `secrets` | what must never be seen |
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panics"
)]

mod artifacts;
mod audit;
mod bootstrap;
mod call_graphs;
mod callbacks;
mod calls;
mod certificates;
mod chains;
mod cli;
mod client;
mod client_objects;
mod confinement;
mod deadlines;
mod describe;
mod drain;
mod fairness;
mod grants;
mod handles;
mod hostile;
#[cfg(feature = "http")]
mod http;
mod imports;
mod instancing;
mod isolation;
mod leases;
mod limits;
mod links;
mod localisation;
mod logging;
mod lost_providers;
mod objects;
mod output;
mod programs;
mod providers_under_load;
mod quotas;
mod ready;
mod registrations;
mod reverse_calls;
mod runaway;
mod secrets;
mod stand_ins;
mod stdio;
mod swap_under_load;
mod swaps;
mod tenants;
mod tls;
mod tokens;
mod traps;
mod uploads;
mod values;
mod volume_limits;
mod volumes;
mod wasi;
mod wire;
#[cfg(not(feature = "http"))]
mod without_http;
mod written_by_hand;

use std::fmt::Debug;

use rpc_host_client::{Error, ErrorCode, Failure, Options};

/// The failure that the node answered with.
#[track_caller]
fn failure<T: Debug>(outcome: Result<T, Error>) -> Failure {
    match outcome {
        Err(Error::Remote(failure) | Error::Unauthenticated(failure)) => failure,
        other => panic!("{other:?} where a failure was expected"),
    }
}

/// That the node refused with `code`, in words that hold all of `parts`.
#[track_caller]
fn refused<T: Debug>(outcome: Result<T, Error>, code: ErrorCode, parts: &[&str]) -> Failure {
    let failure = failure(outcome);
    assert_eq!(failure.code, code, "{failure:?}");
    for part in parts {
        assert!(failure.message.contains(part), "no {part:?} in {failure:?}");
    }
    failure
}

/// A registration without any grant, whose imports are answered by these names.
fn bound<'a>(bindings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Options {
    let bindings = bindings.into_iter();
    Options {
        bindings: bindings
            .map(|(import, name)| (import.to_owned(), name.to_owned()))
            .collect(),
        ..Options::default()
    }
}
