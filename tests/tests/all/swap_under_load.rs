//! Swaps under load: a name is swapped again and again, and the node restarted, while clients call it as
//! fast as they can. No call fails but for the restarts, none is answered by two versions, and all that
//! was seen fits one register (see `register_history`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_host_client::{ChangeOptions, Client, Error, ErrorCode, Options, SwapTo};
use rpc_host_tests::{
    Reading, RegisterHistory, Span, TestHost, TestTenant, Writing, component, in_time,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Half of them call the name itself, half a module that imports it.
const CLIENTS: usize = 8;
const SWAPS: u32 = 1_000;
/// Each version comes back after so many swaps, which is long after any call that saw it is over.
const VERSIONS: u32 = 24;
/// After how many swaps the node is restarted.
const RESTARTS: [u32; 2] = [300, 700];
/// Far more than it takes on two busy cores.
const LONGEST: Duration = Duration::from_secs(150);

/// A component that tells its version from two places: a constant of one core module, and a global of
/// another.
fn version(number: u32) -> Vec<u8> {
    component(&format!(
        r#"(component
            (core module $one (func (export "version") (result i32) (i32.const {number})))
            (core instance $one (instantiate $one))
            (core module $other
                (import "one" "version" (func $version (result i32)))
                (memory (export "memory") 1)
                (global $number i32 (i32.const {number}))
                (func (export "version") (result i32)
                    (i32.store (i32.const 16) (call $version))
                    (i32.store (i32.const 20) (global.get $number))
                    (i32.const 16)))
            (core instance $other (instantiate $other (with "one" (instance $one))))
            (func $version (result (tuple u32 u32))
                (canon lift (core func $other "version") (memory $other "memory")))
            (instance $exported (export "version" (func $version)))
            (export "test:swap/versioned" (instance $exported)))"#
    ))
}

/// A component that passes on what an imported one tells.
fn reader() -> Vec<u8> {
    component(
        r#"(component
            (import "test:swap/versioned" (instance $imported
                (export "version" (func (result (tuple u32 u32))))))
            (core module $memory (memory (export "memory") 1))
            (core instance $memory (instantiate $memory))
            (core func $version (canon lower (func $imported "version") (memory $memory "memory")))
            (core module $m
                (import "outside" "version" (func $version (param i32)))
                (func (export "version") (result i32) (call $version (i32.const 16)) (i32.const 16)))
            (core instance $i (instantiate $m
                (with "outside" (instance (export "version" (func $version))))))
            (func (export "version") (result (tuple u32 u32))
                (canon lift (core func $i "version") (memory $memory "memory"))))"#,
    )
}

/// The node as the clients have to know it: how often it was restarted, and whether all is over.
#[derive(Clone, Copy, Default)]
struct News {
    starts: usize,
    is_over: bool,
}

/// What all tasks share.
#[derive(Clone)]
struct Scene {
    tenant: Arc<TestTenant>,
    clock: Instant,
    news: watch::Receiver<News>,
}

/// A call or a swap that failed.
#[derive(Debug)]
struct Failed {
    span: Span,
    error: Error,
}

impl Scene {
    async fn connect(&self) -> Client {
        Client::connect(self.tenant.profile()).await.unwrap()
    }

    /// What `work` gave, and from when to when it was under way.
    async fn timed<T>(&self, work: impl Future<Output = T>) -> (T, Span) {
        let begun = self.clock.elapsed();
        let outcome = work.await;
        let done = self.clock.elapsed();
        (outcome, Span { begun, done })
    }

    /// Waits for the start after the `known`th.
    async fn next_start(&mut self, known: usize) -> usize {
        let news = self.news.wait_for(|news| news.starts > known);
        in_time("the node's next start", news).await.unwrap().starts
    }

    /// Calls until all is over. After a failure it waits for the next start, so that there is at most one
    /// for each.
    async fn read(mut self, name: &'static str) -> (Vec<Reading>, Vec<Failed>) {
        let (mut reads, mut failures) = (Vec::new(), Vec::new());
        let mut starts = self.news.borrow().starts;
        let mut client = self.connect().await;
        while !self.news.borrow().is_over {
            let module = client.module(name);
            match self.timed(module.call("version", ())).await {
                (Ok(version), span) => reads.push(Reading { span, version }),
                (Err(error), span) => {
                    failures.push(Failed { span, error });
                    starts = self.next_start(starts).await;
                    client = self.connect().await;
                }
            }
        }
        (reads, failures)
    }

    /// Swaps, each time on the condition that nobody else has; gives what was written and what failed.
    async fn write(
        mut self,
        digests: Vec<String>,
        progress: watch::Sender<u32>,
    ) -> (Vec<Writing>, Vec<Failed>) {
        let mut failures = Vec::new();
        let mut starts = self.news.borrow().starts;
        let mut client = self.connect().await;
        // What each revision stands for, from the first.
        let mut versions = vec![1_u32];
        let mut writes = Vec::new();
        for swap in 1..=SWAPS {
            let present = u64::try_from(versions.len()).unwrap();
            let before = versions.len().checked_sub(2).map(|place| versions[place]);
            // A swap to the next version; now and then a step back.
            let (version, to) = match (swap % 10, before) {
                (4, Some(before)) => (before, None),
                (7, Some(before)) => (before, Some(SwapTo::Revision(present - 1))),
                _ => {
                    let version = swap % VERSIONS + 1;
                    let digest = digests[version as usize - 1].clone();
                    (version, Some(SwapTo::Digest(digest)))
                }
            };
            let begun = self.clock.elapsed();
            loop {
                let options = ChangeOptions {
                    if_revision: Some(present),
                    ..ChangeOptions::default()
                };
                let change = async {
                    match to.clone() {
                        Some(to) => client.swap("it", to, options).await,
                        None => client.rollback("it", options).await,
                    }
                };
                let (outcome, span) = self.timed(change).await;
                let made = match outcome {
                    Ok(made) => made,
                    Err(error) => {
                        failures.push(Failed { span, error });
                        starts = self.next_start(starts).await;
                        client = self.connect().await;
                        // It may have been made, and the answer lost.
                        let now = client.show("it").await.unwrap().current;
                        if now.revision == present {
                            continue;
                        }
                        now
                    }
                };
                assert_eq!(made.revision, present + 1);
                assert_eq!(made.digest, digests[version as usize - 1]);
                break;
            }
            let done = self.clock.elapsed();
            let span = Span { begun, done };
            writes.push(Writing { span, version });
            versions.push(version);
            progress.send_replace(swap);
        }
        (writes, failures)
    }
}

/// Restarts the node after so many swaps, and tells from when to when it was not there.
async fn restart(
    host: &TestHost,
    clock: Instant,
    mut progress: watch::Receiver<u32>,
    news: &watch::Sender<News>,
) -> Vec<Span> {
    let mut absences = Vec::new();
    for swaps in RESTARTS {
        progress.wait_for(|made| *made >= swaps).await.unwrap();
        let begun = clock.elapsed();
        host.signal("TERM").await;
        assert_eq!(host.end().await.code(), Some(0));
        host.start_again().await;
        let done = clock.elapsed();
        absences.push(Span { begun, done });
        news.send_modify(|news| news.starts += 1);
    }
    absences
}

fn is_farewell(text: &str) -> bool {
    text.contains("the host is stopping")
}

/// That whatever failed of one client failed because the node was not there: at most once each time, and
/// in the words for that.
fn check_failures(who: &str, failures: &[Failed], absences: &[Span]) {
    for Failed { span, error } in failures {
        let is_said = match error {
            Error::Remote(failure) => failure.retryable && is_farewell(&failure.message),
            // It was sent while the node said goodbye.
            Error::Lost { reason } => is_farewell(reason),
            // It came after the goodbye, and nobody is there.
            Error::Connect { .. } => true,
            _ => false,
        };
        assert!(is_said, "{who}: {error:?}");
        assert_eq!(error.code(), ErrorCode::Unavailable, "{who}: {error:?}");
        let is_absent = |absence: &Span| span.begun <= absence.done && absence.begun <= span.done;
        assert!(
            absences.iter().any(is_absent),
            "{who}: {error:?} at {span:?}, and the node was there but for {absences:?}"
        );
    }
    assert!(failures.len() <= absences.len(), "{who}: {failures:#?}");
}

async fn prepare(tenant: &TestTenant) -> Vec<String> {
    let mut digests = Vec::new();
    for number in 1..=VERSIONS {
        let module = tenant.client.upload_module(version(number)).await.unwrap();
        digests.push(module.digest().to_owned());
    }
    tenant.register("it", version(1)).await;
    let bound = Options {
        bindings: [("test:swap/versioned".to_owned(), "it".to_owned())].into(),
        ..Options::default()
    };
    tenant.register_with("reader", reader(), bound).await;
    digests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_and_none_is_mixed_and_all_of_them_see_one_register() {
    let host = TestHost::start().await;
    let tenant = Arc::new(host.tenant().await);
    let digests = prepare(&tenant).await;
    let (news, _) = watch::channel(News::default());
    let (progress, made) = watch::channel(0);
    let scene = Scene {
        tenant: Arc::clone(&tenant),
        clock: Instant::now(),
        news: news.subscribe(),
    };
    let first = Writing {
        span: scene.timed(async {}).await.1,
        version: 1,
    };
    let readers: Vec<JoinHandle<_>> = (0..CLIENTS)
        .map(|client| if client % 2 == 0 { "it" } else { "reader" })
        .map(|name| tokio::spawn(scene.clone().read(name)))
        .collect();
    let writer = tokio::spawn(scene.clone().write(digests, progress));

    let work = async {
        let absences = restart(&host, scene.clock, made, &news).await;
        let (writes, failures) = writer.await.unwrap();
        check_failures("the writer", &failures, &absences);
        (absences, writes)
    };
    let (absences, writes) = tokio::time::timeout(LONGEST, work).await.unwrap();
    news.send_modify(|news| news.is_over = true);
    let mut history = RegisterHistory {
        writes: [&[first], &writes[..]].concat(),
        reads: Vec::new(),
    };
    for (client, reader) in readers.into_iter().enumerate() {
        let (reads, failures) = in_time("the last call", reader).await.unwrap();
        check_failures(&format!("client {client}"), &failures, &absences);
        assert!(reads.len() >= 100, "client {client}: {}", reads.len());
        history.reads.extend(reads);
    }
    history.check().unwrap_or_else(|wrong| panic!("{wrong}"));
    for version in 1..=VERSIONS {
        let is_it = |read: &Reading| read.version.0 == version;
        assert!(history.reads.iter().any(is_it), "nobody saw {version}");
    }
    let client = Client::connect(tenant.profile()).await.unwrap();
    let last = client.show("it").await.unwrap().current;
    assert_eq!(last.revision, u64::from(SWAPS) + 1, "none more, none less");
}
