//! Clients that call all the time while those that serve a name come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rpc_host_client::{Client, Error, ErrorCode, Incoming, Options, ProviderError, Scope};
use rpc_host_tests::{TestHost, TestTenant, built, in_time};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::stand_ins::{ADA, VERIFIER, another, tenant_with_app, whoami};

const CLIENTS: usize = 4;
const KILLS: usize = 12;
const PROMOTIONS: usize = 10;

/// Vouches for everybody, as eve.
const EVE: &str =
    r#"n=0; while read -r call; do n=$((n + 1)); echo "{\"id\": $n, \"ok\": \"eve\"}"; done"#;

/// What a call came to, and when it began.
struct Seen<T> {
    began: Instant,
    answer: T,
}

/// One client that calls as fast as it can, until it is told to end. `latest` is what it saw last.
struct Reader<T> {
    latest: watch::Receiver<Option<Arc<Seen<T>>>>,
    calling: JoinHandle<Vec<Arc<Seen<T>>>>,
}

impl<T: Send + Sync + 'static> Reader<T> {
    fn start<F>(is_over: watch::Receiver<bool>, call: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = T> + Send,
    {
        let (tell, latest) = watch::channel(None);
        let calling = tokio::spawn(async move {
            let mut all = Vec::new();
            while !*is_over.borrow() {
                let began = Instant::now();
                let answer = call().await;
                let seen = Arc::new(Seen { began, answer });
                tell.send_replace(Some(Arc::clone(&seen)));
                all.push(seen);
            }
            all
        });
        Reader { latest, calling }
    }

    /// Waits until a call that began after `since` has given what `is_it` holds of.
    async fn sees(&mut self, what: &str, since: Instant, is_it: impl Fn(&T) -> bool) {
        let is_it = |seen: &Option<Arc<Seen<T>>>| {
            let seen = seen.as_ref();
            seen.is_some_and(|seen| seen.began > since && is_it(&seen.answer))
        };
        in_time(what, self.latest.wait_for(is_it)).await.unwrap();
    }
}

async fn all_see<T: Send + Sync + 'static>(
    readers: &mut [Reader<T>],
    what: &str,
    is_it: impl Fn(&T) -> bool,
) {
    let since = Instant::now();
    for reader in readers {
        reader.sees(what, since, &is_it).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    OfTheModule,
    OfTheProgram,
    Lost,
}

/// How a call through `app` ended. There is nothing else.
fn end(outcome: Result<Result<String, String>, Error>) -> End {
    match outcome {
        Ok(Ok(user)) if user == "ada" => End::OfTheModule,
        Ok(Ok(user)) if user == "eve" => End::OfTheProgram,
        Err(Error::Remote(failure)) if failure.code == ErrorCode::ProviderLost => {
            assert!(failure.retryable, "{failure:?}");
            End::Lost
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_are_killed_under_load_and_no_answer_is_wrong() {
    const LEASE: Duration = Duration::from_secs(10);
    let tenant = tenant_with_app(TestHost::start().await).await;
    let (finish, is_over) = watch::channel(false);
    let mut readers = Vec::new();
    for _ in 0..CLIENTS {
        let client = another(&tenant).await;
        readers.push(Reader::start(is_over.clone(), move || {
            let client = client.clone();
            async move { end(whoami(&client, ADA).await) }
        }));
    }
    for kill in 0..KILLS {
        let arguments = ["provide", VERIFIER, "--lease", "10s", "--exec"];
        let script = ["/bin/sh", "--", "-c", EVE];
        let mut program = tenant.command(arguments.into_iter().chain(script)).start();
        program.line().await;
        let is_program = |end: &End| *end == End::OfTheProgram;
        all_see(&mut readers, "the program's answer", is_program).await;
        let killed = Instant::now();
        program.signal("KILL").await;
        let is_module = |end: &End| *end == End::OfTheModule;
        all_see(&mut readers, "the module's answer", is_module).await;
        let took = killed.elapsed();
        assert!(took < LEASE, "kill {kill}: nobody stood in for {took:?}");
        program.end().await;
    }
    let last = Instant::now();
    let is_module = |end: &End| *end == End::OfTheModule;
    all_see(&mut readers, "the module's answer", is_module).await;
    finish.send_replace(true);
    let mut ends = BTreeMap::<End, usize>::new();
    for reader in readers {
        let all = in_time("the last call", reader.calling).await.unwrap();
        for seen in all {
            *ends.entry(seen.answer).or_default() += 1;
            assert!(seen.began < last || seen.answer == End::OfTheModule);
        }
    }
    println!("{ends:?}");
    let lost = ends.get(&End::Lost).copied().unwrap_or_default();
    // Each has one call under way, so a kill cannot cost more; a second, if it began before the end of
    // the connection was known.
    assert!(lost <= 2 * KILLS * CLIENTS, "{ends:?}");
    for end in [End::OfTheModule, End::OfTheProgram] {
        assert!(ends[&end] >= KILLS * CLIENTS, "{ends:?}");
    }
}

/// Who answers now. While that changes, it is either.
#[derive(Clone, Default)]
struct Phase(Arc<AtomicU64>);

impl Phase {
    const CLIENT: u64 = 2;

    /// Module, changing, client, changing, module, …
    fn next(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// The sum that a call gives that was made within a phase.
    fn sum(phase: u64) -> Option<i64> {
        match phase % 4 {
            0 => Some(BY_MODULE),
            Self::CLIENT => Some(BY_CLIENT),
            _ => None,
        }
    }
}

const BY_MODULE: i64 = 5;
const BY_CLIENT: i64 = 500;

async fn add(client: &Client) -> i64 {
    let add = client.module("calc").function("add").args((2, 3));
    in_time("a sum", add.call()).await.unwrap()
}

fn promotion(number: usize) -> Options {
    // Another revision each time, and so a change.
    let bytes = (1 << 26) + u64::try_from(number).unwrap();
    Options {
        limits: [("max-memory-bytes".to_owned(), bytes)].into(),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modules_take_the_place_of_clients_under_load_again_and_again_and_no_call_fails() {
    let host = TestHost::start().await;
    let tenant: TestTenant = host.tenant().await;
    let module = tenant.register("calc", built("calc")).await;
    let phase = Phase::default();
    let (finish, is_over) = watch::channel(false);
    let mut readers = Vec::new();
    for _ in 0..CLIENTS {
        let client = another(&tenant).await;
        let phase = phase.clone();
        readers.push(Reader::start(is_over.clone(), move || {
            let (client, phase) = (client.clone(), phase.clone());
            async move {
                let before = phase.now();
                let sum = add(&client).await;
                let is_settled = before == phase.now();
                match Phase::sum(before).filter(|_| is_settled) {
                    Some(expected) => assert_eq!(sum, expected, "in phase {before}"),
                    None => assert!([BY_MODULE, BY_CLIENT].contains(&sum), "{sum}"),
                }
                sum
            }
        }));
    }
    let serving = another(&tenant).await;
    for number in 0..PROMOTIONS {
        phase.next();
        let wrong = |_call: Incoming| async move { Ok::<_, ProviderError>(BY_CLIENT) };
        let lease = serving.provide("calc", wrong, Scope::Tenant).await.unwrap();
        phase.next();
        all_see(&mut readers, "the client's answer", |sum| *sum == BY_CLIENT).await;
        phase.next();
        let promoted = serving.promote("calc", &module, promotion(number)).await;
        promoted.unwrap();
        phase.next();
        all_see(&mut readers, "the module's answer", |sum| *sum == BY_MODULE).await;
        let lost = in_time("the news", lease.lost()).await.to_string();
        assert!(lost.contains("promoted"), "{lost}");
    }
    finish.send_replace(true);
    for reader in readers {
        let all = in_time("the last call", reader.calling).await.unwrap();
        assert!(all.len() >= 2 * PROMOTIONS, "{}", all.len());
    }
    let shown = tenant.client.show("calc").await.unwrap();
    assert_eq!(shown.current.revision, 1 + PROMOTIONS as u64);
}
