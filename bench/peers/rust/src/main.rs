//! Servers and clients of other RPC systems, each in a process of its own, for `cargo xtask bench`.
#![forbid(unsafe_code)]

mod http_peer;
mod tarpc_peer;
mod tls;
mod tonic_peer;

use anyhow::{Result, bail};
use rpc_host_bench_measure::obey;

const USAGE: &str = "usage: peers serve tonic|tarpc CERTIFICATE KEY, \
    peers client tonic|tarpc ADDRESS CERTIFICATE, or peers client http ADDRESS";

/// The longest message, with something to spare around 16 MiB.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["serve", "tonic", certificate, key] => tonic_peer::serve(certificate, key).await,
        ["serve", "tarpc", certificate, key] => tarpc_peer::serve(certificate, key).await,
        ["client", "tonic", address, certificate] => {
            obey(tonic_peer::Clients::new(address, certificate)?).await
        }
        ["client", "tarpc", address, certificate] => {
            obey(tarpc_peer::Clients::new(address, certificate)?).await
        }
        ["client", "http", address] => obey(http_peer::Clients::new(address)).await,
        _ => bail!(USAGE),
    }
}
