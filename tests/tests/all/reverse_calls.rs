//! Calls into clients: nested, idle, failing, round and round, and all of them in time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rpc_host_client::provider::{Provider, Serving};
use rpc_host_client::{Client, Error, ErrorCode, Fault, Incoming, ProviderError, Scope, interface};
use rpc_host_tests::{Cable, HostOptions, PATIENCE, TestHost, TestTenant, built, in_time};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use crate::stand_ins::{
    ADA, LOGGER, Silent, VERIFIER, Verifier, Vouch, another, nobody_serves, tenant_with_app, user,
    whoami,
};
use crate::{bound, refused};

const TICKER: &str = "module:ticker/ticker";

interface! {
    /// `module:ticker/ticker`
    trait Ticker {
        async fn next(&self) -> u32;
        async fn ping(&self, number: u64) -> u64;
    }
}

#[derive(Clone, Default)]
struct Counting {
    ticks: Arc<AtomicU32>,
    pings: Arc<AtomicU32>,
}

impl Ticker for Counting {
    async fn next(&self) -> u32 {
        self.ticks.fetch_add(1, Ordering::SeqCst)
    }

    async fn ping(&self, number: u64) -> u64 {
        self.pings.fetch_add(1, Ordering::SeqCst);
        number
    }
}

async fn apps() -> TestTenant {
    tenant_with_app(TestHost::shared().await).await
}

#[tokio::test]
async fn a_module_calls_its_caller_a_thousand_times_before_it_returns() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("caller", built("caller")).await;
    let client = another(&tenant).await;
    let counting = Counting::default();
    // Nobody else answers the import: what it is, the module says that imports it.
    let lease = client.provide(TICKER, counting.clone(), Scope::Session);
    let lease = lease.await.unwrap();
    let caller = client.module("caller");
    let pings = caller.call::<u64>("pings", (1000_u64,));
    assert_eq!(in_time("the pings", pings).await.unwrap(), 1000);
    assert_eq!(counting.pings.load(Ordering::SeqCst), 1000);
    let ticks = caller.call::<Vec<u32>>("ticks", (1000_u32,));
    let ticks = in_time("the ticks", ticks).await.unwrap();
    assert!(ticks.into_iter().eq(0..1000), "in order, each once");
    assert!(lease.loss().is_none());
}

/// How long one of a hundred calls takes, all of which this user answers.
async fn median(client: &Client, answer: &str) -> Duration {
    let mut took = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        assert_eq!(user(whoami(client, ADA).await), answer);
        took.push(began.elapsed());
    }
    took.sort();
    took[50]
}

/// It makes no call itself, and its program waits for something else meanwhile.
#[tokio::test]
async fn a_client_that_does_nothing_answers_at_once() {
    let tenant = apps().await;
    let profile = tenant.profile();
    let (ready, is_ready) = oneshot::channel();
    let (finish, finished) = std::sync::mpsc::channel::<()>();
    let idle = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let _lease = runtime.block_on(async {
            let client = Client::connect(profile).await.unwrap();
            let stub = Vouch::for_user("idle");
            client.provide(VERIFIER, stub, Scope::Tenant).await.unwrap()
        });
        ready.send(()).unwrap();
        // Blocked, in a way that no runtime knows of.
        finished.recv().unwrap();
    });
    in_time("the idle client", is_ready).await.unwrap();
    let of_client = median(&tenant.client, "idle").await;
    finish.send(()).unwrap();
    in_time("its end", tokio::task::spawn_blocking(|| idle.join()))
        .await
        .unwrap()
        .unwrap();
    // As fast as this machine is now; one that looked now and then whether there is a call would be slower.
    nobody_serves(&tenant.client).await;
    let of_module = median(&tenant.client, "ada").await;
    let at_once = 5 * of_module + Duration::from_millis(40);
    assert!(of_client < at_once, "{of_client:?}, and {of_module:?}");
}

/// Fails in each way that a program can.
async fn fails(call: Incoming) -> Result<Result<String, String>, ProviderError> {
    let (token,): (String,) = call.args()?;
    match token.as_str() {
        "raise" => Err(ProviderError::new("no such card").with_code(ErrorCode::NotFound)),
        "panic" => panic!("as planned"),
        "declare" => Ok(Err("a stranger".to_owned())),
        "wrong" => Err(call.unknown()),
        "hang" => std::future::pending().await,
        other => Ok(Ok(other.to_owned())),
    }
}

#[tokio::test]
async fn however_a_client_fails_its_caller_is_told_and_the_next_call_is_as_good() {
    let tenant = apps().await;
    let serving = another(&tenant).await;
    let lease = serving.provide(VERIFIER, fails, Scope::Tenant).await;
    let lease = lease.unwrap();
    let client = &tenant.client;
    for (token, said) in [
        ("raise", "no such card"),
        ("panic", "the program panicked: as planned"),
        ("declare", "a stranger"),
        (
            "wrong",
            "the program that serves acme:auth/verifier has no ",
        ),
    ] {
        // `verify` returns a result whose error is a text, so that is how it fails.
        let error = whoami(client, token).await.unwrap().unwrap_err();
        assert!(error.contains(said), "{error}");
        assert_eq!(user(whoami(client, "ada").await), "ada");
    }
    let hanging = client.module("app").function("handle");
    let hanging = hanging
        .args(("hang", "whoami"))
        .timeout(Duration::from_millis(200));
    let outcome = hanging.call_result::<String, String>().await;
    refused(outcome, ErrorCode::DeadlineExceeded, &["within 200 ms"]);
    assert_eq!(user(whoami(client, "ada").await), "ada");
    assert!(lease.loss().is_none(), "failing is no reason to lose it");

    // Of a function that has no error of its own, a failure is the end of the call.
    let silent_log = |call: Incoming| async move {
        let (level, _message): (String, String) = call.args()?;
        match level.as_str() {
            "info" => Err(ProviderError::new("the disk is full")),
            _ => Ok(()),
        }
    };
    let _lease = serving.provide(LOGGER, silent_log, Scope::Tenant).await;
    let failure = refused(
        whoami(client, "ada").await,
        ErrorCode::Unknown,
        &[
            "`acme:log/logger` is served by the client of session",
            "the disk is full",
        ],
    );
    assert_eq!(failure.fault, Fault::Application);
}

#[tokio::test]
async fn a_call_that_needs_a_silent_client_of_another_session_ends_with_its_own_time() {
    let tenant = apps().await;
    let silent_one = another(&tenant).await;
    let (silent, mut heard) = Silent::new();
    let _lease = silent_one.provide(VERIFIER, silent, Scope::Tenant).await;
    for time in [100, 400] {
        let time = Duration::from_millis(time);
        let began = Instant::now();
        let call = tenant.client.module("app").function("handle");
        let call = call.args((ADA, "whoami")).timeout(time);
        refused(
            call.call_result::<String, String>().await,
            ErrorCode::DeadlineExceeded,
            &["the call did not end within", "did not answer in time"],
        );
        let took = began.elapsed();
        assert!(took >= time && took < time + PATIENCE / 3, "{took:?}");
        let told = heard.call().await.time_left().unwrap();
        assert!(told <= time, "the client knows too: {told:?}");
    }
}

/// Serves a name by calling another one for it: as often as `rounds` says, and then answers.
struct RoundAndRound {
    client: Client,
    rounds: AtomicU32,
    rounds_made: Arc<AtomicU32>,
}

impl Verifier for RoundAndRound {
    async fn verify(&self, token: String) -> Result<String, String> {
        let left = self.rounds.load(Ordering::SeqCst);
        if left == 0 {
            return Ok("ada".to_owned());
        }
        self.rounds.store(left - 1, Ordering::SeqCst);
        self.rounds_made.fetch_add(1, Ordering::SeqCst);
        match whoami(&self.client, &token).await {
            Ok(answer) => answer.map(|user| format!("{user}!")),
            Err(error) => Err(format!("{}: {error}", error.code())),
        }
    }
}

#[tokio::test]
async fn a_call_that_goes_round_through_its_client_is_served_until_it_is_too_deep() {
    let tenant = apps().await;
    for (rounds, window, outcome) in [
        (3, 16, Ok("ada!!!")),
        // The application, the client, the application, …
        (u32::MAX, 16, Err("calls lead to calls more than 16 deep")),
        // Where the client takes few calls at once, there is no place for the next one before that.
        (u32::MAX, 3, Err("takes 3 calls at once")),
    ] {
        let client = another(&tenant).await;
        let rounds_made = Arc::<AtomicU32>::default();
        let round = RoundAndRound {
            client: client.clone(),
            rounds: AtomicU32::new(rounds),
            rounds_made: rounds_made.clone(),
        };
        let offer = client.provision(VERIFIER, round).window(window);
        let lease = offer.start().await.unwrap();
        let began = Instant::now();
        let answer = whoami(&client, ADA).await.unwrap();
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
        let made = rounds_made.load(Ordering::SeqCst);
        match outcome {
            Ok(user) => {
                assert_eq!((answer.as_deref(), made), (Ok(user), rounds));
            }
            Err(why) => {
                let error = answer.unwrap_err();
                let way = "app → acme:auth/verifier → app → acme:auth/verifier";
                assert!(error.contains(why) && error.contains(way), "{error}");
                assert!(made <= 8, "{made} rounds in 16 calls");
            }
        }
        lease.withdraw().await.unwrap();
    }
}

/// `hop` counts the visits of its instance: one that was entered again would say so.
#[tokio::test]
async fn a_module_that_waits_for_a_client_is_not_entered_again_but_another_instance_is() {
    let tenant = TestHost::shared().await.tenant().await;
    let hop = bound([("test:graph/one@0.1.0", "at-client")]);
    tenant.register_with("hop", built("hop"), hop).await;
    let client = another(&tenant).await;
    let visits = {
        let client = client.clone();
        move |call: Incoming| {
            let hop = client.module("hop");
            async move {
                let (plan,): (String,) = call.args()?;
                let visited = hop.call_result::<u32, String>("start", (plan,)).await?;
                Ok::<_, ProviderError>(visited.map(|visited| 100 + visited))
            }
        }
    };
    let _lease = client
        .provide("at-client", visits, Scope::Session)
        .await
        .unwrap();
    let hop = client.module("hop");
    let start = hop.call_result::<u32, String>("start", ("1()1(1)",));
    let visited = in_time("the visits", start).await.unwrap();
    let (once, twice) = (100 + 1, 100 + (1 + 100 + 1));
    assert_eq!(visited, Ok(1 + once + twice));
}

/// Answers when a call of the host's own that takes a while is done.
struct Slowly {
    client: Client,
    duration: Duration,
    tell: mpsc::UnboundedSender<Told>,
}

/// What a test is told of a call that is served.
#[derive(Debug, PartialEq)]
enum Told {
    Begun,
    /// Or stopped, after so long.
    Ended(Duration),
}

struct Stopwatch(Instant, mpsc::UnboundedSender<Told>);

impl Stopwatch {
    fn start(tell: &mpsc::UnboundedSender<Told>) -> Self {
        // The test may be over, here and below.
        let _told = tell.send(Told::Begun);
        Stopwatch(Instant::now(), tell.clone())
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        let _told = self.1.send(Told::Ended(self.0.elapsed()));
    }
}

/// The calls that are served slowly, as a test is told of them.
struct Stopwatches(mpsc::UnboundedReceiver<Told>);

impl Stopwatches {
    async fn begun(&mut self) {
        let told = in_time("the call at the client", self.0.recv()).await;
        assert_eq!(told, Some(Told::Begun));
    }

    async fn ended(&mut self) -> Duration {
        match in_time("the client's end", self.0.recv()).await {
            Some(Told::Ended(after)) => after,
            other => panic!("{other:?}"),
        }
    }
}

impl Slowly {
    fn new(client: &Client, duration: Duration) -> (Self, Stopwatches) {
        let (tell, told) = mpsc::unbounded_channel();
        let client = client.clone();
        let slowly = Slowly {
            client,
            duration,
            tell,
        };
        (slowly, Stopwatches(told))
    }
}

impl Provider for Slowly {
    fn serve(self: Arc<Self>, call: Incoming) -> Serving {
        Box::pin(async move {
            let _until_it_is_dropped = Stopwatch::start(&self.tell);
            assert!(call.time_left().is_some());
            let duration_ms = u64::try_from(self.duration.as_millis())?;
            let sleeper = self.client.module("sleeper");
            let slept: u64 = sleeper.call("sleep", (duration_ms,)).await.map_err(told)?;
            rpc_host_client::provider::Answer::of(&Ok::<_, String>(format!("slept {slept}")))
        })
    }
}

fn told(error: Error) -> ProviderError {
    ProviderError::new(error.to_string()).with_code(error.code())
}

#[tokio::test]
async fn a_deadline_holds_for_all_of_a_chain_through_a_client() {
    let tenant = apps().await;
    tenant.register("sleeper", built("sleeper")).await;
    let client = another(&tenant).await;
    let handle = async |time: Duration| {
        let call = client.module("app").function("handle");
        let call = call.args((ADA, "whoami")).timeout(time);
        call.call_result::<String, String>().await
    };
    let (slowly, mut stopwatches) = Slowly::new(&client, PATIENCE);
    let _lease = client.provide(VERIFIER, slowly, Scope::Session).await;
    let began = Instant::now();
    let short = Duration::from_millis(300);
    match handle(short).await {
        // What is served has the same deadline, and on a busy machine may be the first to be told of it.
        Ok(Err(told)) => assert!(told.contains("deadline-exceeded"), "{told}"),
        late => {
            let parts = ["the call did not end within 300 ms"];
            refused(late, ErrorCode::DeadlineExceeded, &parts);
        }
    }
    let took = began.elapsed();
    assert!(took >= short && took < PATIENCE / 3, "{took:?}");
    stopwatches.begun().await;
    let served = stopwatches.ended().await;
    assert!(served < PATIENCE / 3, "stopped too: {served:?}");

    // As slow as that, and in time.
    let (slowly, _told) = Slowly::new(&client, Duration::from_millis(600));
    let _lease = client.provide(VERIFIER, slowly, Scope::Session).await;
    let slept = handle(PATIENCE).await.unwrap().unwrap();
    let slept: u64 = slept.strip_prefix("slept ").unwrap().parse().unwrap();
    assert!(slept >= 600, "{slept}");
}

#[tokio::test]
async fn a_client_gets_as_many_calls_at_once_as_it_said_and_the_next_when_one_is_done() {
    let tenant = TestHost::shared().await.tenant().await;
    tenant.register("calc", built("calc")).await;
    let serving = another(&tenant).await;
    const WINDOW: u32 = 5;
    let (arrivals, mut arrived) = mpsc::unbounded_channel();
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let held = {
        let go = go.clone();
        move |call: Incoming| {
            let (arrivals, go) = (arrivals.clone(), go.clone());
            async move {
                let (a, b): (i64, i64) = call.args()?;
                let _told = arrivals.send(());
                go.acquire().await?.forget();
                Ok::<i64, ProviderError>(1000 + a + b)
            }
        }
    };
    let offer = serving
        .provision("calc", held)
        .scope(Scope::Tenant)
        .window(WINDOW);
    let lease = offer.start().await.unwrap();
    let mut calls = JoinSet::new();
    for number in 0..i64::from(3 * WINDOW) {
        let add = tenant.client.module("calc").function("add");
        calls.spawn(async move { add.args((number, 0)).call::<i64>().await.unwrap() - number });
    }
    for _ in 0..WINDOW {
        in_time("a call in the window", arrived.recv())
            .await
            .unwrap();
    }
    let [entry] = &serving.providers().await.unwrap()[..] else {
        panic!("one lease");
    };
    assert_eq!((entry.in_flight, entry.lease), (WINDOW, lease.number()));
    assert!(arrived.try_recv().is_err(), "no more than the window");
    for _ in 0..2 * WINDOW {
        go.add_permits(1);
        in_time("the next call", arrived.recv()).await.unwrap();
    }
    go.add_permits(WINDOW as usize);
    let sums = in_time("all calls", calls.join_all()).await;
    assert_eq!(sums, [1000; 3 * WINDOW as usize]);
}

#[tokio::test]
async fn a_slow_client_holds_up_only_the_calls_that_need_it() {
    let tenant = apps().await;
    tenant.register("calc", built("calc")).await;
    // One connection for all: it serves two names, and it calls.
    let client = another(&tenant).await;
    let wrong_by_one = |call: Incoming| async move {
        let (a, b): (i64, i64) = call.args()?;
        Ok::<_, ProviderError>(a + b + 1)
    };
    let _quick = client.provide("calc", wrong_by_one, Scope::Session).await;
    tenant.register("calc-here", built("calc")).await;
    let go = Arc::new(Notify::new());
    let slow = {
        let go = go.clone();
        move |_call: Incoming| {
            let go = go.clone();
            async move {
                go.notified().await;
                Ok::<String, String>("late".to_owned())
            }
        }
    };
    let _slow = client.provide(VERIFIER, slow, Scope::Session).await;
    let slow_calls: Vec<_> = (0..16)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { whoami(&client, ADA).await })
        })
        .collect();
    in_time("all slow calls at the client", async {
        let under_way = async || {
            let entries = client.providers().await.unwrap();
            let slow = entries.iter().find(|entry| entry.name == VERIFIER);
            slow.map(|entry| entry.in_flight)
        };
        while under_way().await != Some(16) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (at_client, at_host) = (client.module("calc"), client.module("calc-here"));
    let began = Instant::now();
    for number in 0..200_i64 {
        let by_client: i64 = at_client.call("add", (number, 1)).await.unwrap();
        let by_module: i64 = at_host.call("add", (number, 1)).await.unwrap();
        assert_eq!((by_client, by_module), (number + 2, number + 1));
    }
    let took = began.elapsed();
    assert!(took < PATIENCE / 2, "400 calls in {took:?}");
    assert!(slow_calls.iter().all(|call| !call.is_finished()));
    go.notify_waiters();
    for call in slow_calls {
        assert_eq!(user(in_time("a slow call", call).await.unwrap()), "late");
    }
}

/// Each is lost while the node waits for it twice over: for the call that it serves, and that one for a call
/// of its own.
#[tokio::test]
async fn clients_that_are_lost_in_mid_call_leave_nothing_behind() {
    // Room for so few that whatever stayed would be missed.
    let options = HostOptions::new().open();
    let options = options.limit("max-live-instances", 16);
    let host = TestHost::start_with(options).await;
    let tenant = tenant_with_app(Arc::clone(&host)).await;
    tenant.register("sleeper", built("sleeper")).await;
    let open_files = || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", host.pid()));
        files.unwrap().count()
    };
    let lose_one = async |scope: Scope| {
        let (cable, client) = Cable::client_of(&tenant).await;
        let (slowly, mut stopwatches) = Slowly::new(&client, PATIENCE);
        let lease = client.provide(VERIFIER, slowly, scope).await.unwrap();
        let by = match scope {
            Scope::Session => client.clone(),
            Scope::Tenant => tenant.client.clone(),
        };
        let waiting = tokio::spawn(async move { whoami(&by, ADA).await });
        stopwatches.begun().await;
        cable.cut().await;
        let outcome = in_time("the end of the call", waiting).await.unwrap();
        match scope {
            Scope::Session => assert!(matches!(outcome, Err(Error::Lost { .. })), "{outcome:?}"),
            Scope::Tenant => {
                refused(outcome, ErrorCode::ProviderLost, &[]);
            }
        }
        in_time("the news", lease.lost()).await;
        stopwatches.ended().await;
    };
    // All components are loaded when it is counted what is open.
    let sleeper = tenant.client.module("sleeper");
    sleeper.call::<u64>("sleep", (0_u64,)).await.unwrap();
    assert_eq!(user(whoami(&tenant.client, ADA).await), "ada");
    lose_one(Scope::Tenant).await;
    let files = open_files();
    for _ in 0..50 {
        lose_one(Scope::Session).await;
        lose_one(Scope::Tenant).await;
    }
    in_time("what they had is closed", async {
        while open_files() > files {
            tokio::task::yield_now().await;
        }
    })
    .await;
    nobody_serves(&tenant.client).await;
    assert_eq!(user(whoami(&tenant.client, ADA).await), "ada");
}
