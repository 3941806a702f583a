//! Runs an example of the documentation against a real node.

use std::fmt::Debug;

use crate::{TestHost, in_time};

/// Runs `example` in a directory in which a node has left its profile, as beside `rpc-host serve`.
///
/// # Panics
/// When the example ends with an error.
pub fn documented<E: Debug>(example: impl AsyncFnOnce() -> Result<(), E>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let host = TestHost::start().await;
        std::env::set_current_dir(host.directory()).unwrap();
        in_time("the example", example()).await.unwrap();
    });
}
