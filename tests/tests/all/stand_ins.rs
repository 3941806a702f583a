//! What the tests of client-served names have in common: an application, and clients that stand in for what
//! it uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rpc_host_client::provider::{Provider, Serving};
use rpc_host_client::{Client, Error, Incoming, Options, interface};
use rpc_host_tests::{TestHost, TestTenant, built, in_time};
use tokio::sync::mpsc;

pub(crate) const LOGGER: &str = "acme:log/logger";
pub(crate) const VERIFIER: &str = "acme:auth/verifier";

/// The registered verifier vouches for its holder.
pub(crate) const ADA: &str = "ada.a13596a938c65f23b37cbf9d15edeba52a5fad4ad6ba4c57e43b96f64e635cad";

interface! {
    /// `acme:auth/verifier`
    pub trait Verifier {
        async fn verify(&self, token: String) -> Result<String, String>;
    }
}

/// Says of every token that it is this user's, and counts them.
#[derive(Clone)]
pub(crate) struct Vouch {
    user: &'static str,
    calls: Arc<AtomicUsize>,
}

impl Vouch {
    pub(crate) fn for_user(user: &'static str) -> Self {
        let calls = Arc::default();
        Vouch { user, calls }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Verifier for Vouch {
    async fn verify(&self, _token: String) -> Result<String, String> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Ok(self.user.to_owned())
    }
}

/// Answers no call. What it gets is told to the test.
pub(crate) struct Silent(mpsc::UnboundedSender<Incoming>);

/// The calls that a silent one gets.
pub(crate) struct Heard(mpsc::UnboundedReceiver<Incoming>);

impl Silent {
    pub(crate) fn new() -> (Self, Heard) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Silent(sender), Heard(receiver))
    }
}

impl Provider for Silent {
    fn serve(self: Arc<Self>, call: Incoming) -> Serving {
        // The test may be over.
        let _told = self.0.send(call);
        Box::pin(std::future::pending())
    }
}

impl Heard {
    pub(crate) async fn call(&mut self) -> Incoming {
        in_time("a call", self.0.recv()).await.unwrap()
    }
}

/// A tenant in which `app` uses the registered logger and verifier.
pub(crate) async fn tenant_with_app(host: Arc<TestHost>) -> TestTenant {
    let tenant = host.tenant().await;
    for (name, file) in [(VERIFIER, "verifier"), (LOGGER, "logger"), ("app", "app")] {
        let options = Options {
            grants: vec!["log".to_owned()],
            ..Options::default()
        };
        tenant.register_with(name, built(file), options).await;
    }
    tenant
}

/// A client of its own connection.
pub(crate) async fn another(tenant: &TestTenant) -> Client {
    Client::connect(tenant.profile()).await.unwrap()
}

/// Waits until nothing is served: a client that is lost answers no call any more, and is off the list a moment
/// later.
pub(crate) async fn nobody_serves(client: &Client) {
    in_time("an empty list", async {
        while !client.providers().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// Whom `app` takes the holder of a token for.
pub(crate) async fn whoami(client: &Client, token: &str) -> Result<Result<String, String>, Error> {
    let handle = client.module("app").function("handle");
    let call = handle.args((token, "whoami"));
    in_time("an answer of `app`", call.call_result()).await
}

/// The same, where there is nothing to go wrong.
#[track_caller]
pub(crate) fn user(outcome: Result<Result<String, String>, Error>) -> String {
    outcome.unwrap().unwrap()
}
