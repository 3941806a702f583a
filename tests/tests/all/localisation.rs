//! A module's import moved to a client: for whom, from when, until when, and what is left of it.
//!
//! What is held here is what goes wrong where a swap is an entry in a table of the whole process: it holds for
//! everybody, those that imported before do not see it, and what it leaves behind has to be repaired.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rpc_host_client::{
    Client, Error, ErrorCode, ImportStanding, Incoming, Lost, Options, ProviderError, Scope,
    interface,
};
use rpc_host_tests::{Cable, HostOptions, LogLine, TestHost, TestTenant, built, in_time};

use crate::secrets::search;
use crate::stand_ins::{
    ADA, Silent, VERIFIER, Verifier, Vouch, another, nobody_serves, tenant_with_app, user, whoami,
};
use crate::{bound, refused};

async fn apps() -> TestTenant {
    tenant_with_app(TestHost::shared().await).await
}

#[tokio::test]
async fn what_a_session_swaps_for_itself_is_swapped_for_nobody_else() {
    let tenant = apps().await;
    let (one, other) = (another(&tenant).await, another(&tenant).await);
    assert_eq!(user(whoami(&other, ADA).await), "ada");
    let (stub, others_stub) = (Vouch::for_user("stub"), Vouch::for_user("other"));
    let lease = one.provide(VERIFIER, stub.clone(), Scope::Session).await;
    let lease = lease.unwrap();
    for _ in 0..10 {
        assert_eq!(user(whoami(&one, ADA).await), "stub");
        assert_eq!(user(whoami(&other, ADA).await), "ada");
        assert_eq!(user(whoami(&another(&tenant).await, ADA).await), "ada");
    }
    assert_eq!(stub.calls(), 10, "its own, and nobody else's");

    // Each may have one of its own.
    let others = other.provide(VERIFIER, others_stub.clone(), Scope::Session);
    let others = others.await.unwrap();
    assert_eq!(user(whoami(&one, ADA).await), "stub");
    assert_eq!(user(whoami(&other, ADA).await), "other");
    lease.withdraw().await.unwrap();
    assert_eq!(user(whoami(&one, ADA).await), "ada");
    assert_eq!(user(whoami(&other, ADA).await), "other");
    assert_eq!((stub.calls(), others_stub.calls()), (11, 2));
    others.withdraw().await.unwrap();
}

#[tokio::test]
async fn who_serves_itself_and_hangs_hangs_alone() {
    let tenant = apps().await;
    let (stuck, other) = (another(&tenant).await, another(&tenant).await);
    let (silent, mut heard) = Silent::new();
    let _lease = stuck.provide(VERIFIER, silent, Scope::Session).await;
    let waiting = tokio::spawn(async move { whoami(&stuck, ADA).await });
    heard.call().await;
    for client in [&other, &another(&tenant).await] {
        assert_eq!(user(whoami(client, ADA).await), "ada");
    }
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn what_a_client_serves_to_the_tenant_reaches_those_that_called_before() {
    let tenant = apps().await;
    let (one, other) = (another(&tenant).await, another(&tenant).await);
    for client in [&one, &other] {
        assert_eq!(user(whoami(client, ADA).await), "ada");
    }
    let stub = Vouch::for_user("stub");
    let lease = one.provide(VERIFIER, stub.clone(), Scope::Tenant).await;
    for client in [&other, &one, &another(&tenant).await] {
        assert_eq!(user(whoami(client, "any token").await), "stub");
    }
    assert_eq!(stub.calls(), 3);
    lease.unwrap().withdraw().await.unwrap();
    assert_eq!(user(whoami(&other, ADA).await), "ada");
}

const TICKER: &str = "module:ticker/ticker";

interface! {
    /// `module:ticker/ticker`
    trait Ticker {
        async fn next(&self) -> u32;
        async fn ping(&self, number: u64) -> u64;
    }
}

/// Ticks that no module counts up to.
struct FarAhead(AtomicU32);

impl FarAhead {
    const FIRST: u32 = 1 << 30;

    fn new() -> Self {
        FarAhead(AtomicU32::new(Self::FIRST))
    }
}

impl Ticker for FarAhead {
    async fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    async fn ping(&self, number: u64) -> u64 {
        number
    }
}

/// Lets `caller` tick until a tick does not follow the one before, and `change` something meanwhile.
async fn ticks_around(
    tenant: &TestTenant,
    client: &Client,
    run: usize,
    change: impl Future<Output = ()>,
) -> Result<(u32, u32), Error> {
    let caller = client.module("caller");
    let ticking = tokio::spawn(async move { caller.call("ticks_until_reset", ()).await });
    let log = tenant.host.log();
    let begins = || {
        let is_it =
            |line: &LogLine| line.field("tenant") == tenant.name && line.message() == "ticking";
        log.lines().into_iter().filter(is_it).count()
    };
    log.line("of the first tick", |_| begins() >= run).await;
    change.await;
    in_time("another tick", ticking).await.unwrap()
}

#[tokio::test]
async fn a_module_that_is_running_finds_who_answers_now_at_its_next_call() {
    let tenant = TestHost::shared().await.tenant().await;
    let ticker = tenant.register(TICKER, built("ticker")).await;
    let with_log = Options {
        grants: vec!["log".to_owned()],
        ..Options::default()
    };
    tenant
        .register_with("caller", built("caller"), with_log)
        .await;
    let client = another(&tenant).await;
    // The module, and then the client: for this session alone, and for all.
    let mut lease = None;
    for (run, scope) in [(1, Scope::Session), (2, Scope::Tenant)] {
        let provide = async {
            let provided = client.provide(TICKER, FarAhead::new(), scope).await;
            lease = Some(provided.unwrap());
        };
        let ticked = ticks_around(&tenant, &client, run, provide).await;
        let (last, next) = ticked.unwrap();
        assert!((1..FarAhead::FIRST).contains(&last), "{last}");
        assert_eq!(next, FarAhead::FIRST);
        if scope == Scope::Session {
            lease.take().unwrap().withdraw().await.unwrap();
        }
    }
    // The client, and then a module again.
    let promote = async {
        let promoted = client.promote(TICKER, &ticker, Options::default()).await;
        promoted.unwrap();
    };
    let (last, next) = ticks_around(&tenant, &client, 3, promote).await.unwrap();
    assert!(last > FarAhead::FIRST, "{last}");
    assert_eq!(next, 1);
}

#[tokio::test]
async fn after_a_client_is_gone_everybody_has_the_module_and_nothing_needs_repair() {
    let tenant = apps().await;
    let other = another(&tenant).await;
    let (cable, leaving) = Cable::client_of(&tenant).await;
    let (silent, mut heard) = Silent::new();
    let lease = leaving.provide(VERIFIER, silent, Scope::Tenant).await;
    let waiting = {
        let other = other.clone();
        tokio::spawn(async move { whoami(&other, ADA).await })
    };
    heard.call().await;
    cable.cut().await;
    refused(
        in_time("the end of the call", waiting).await.unwrap(),
        ErrorCode::ProviderLost,
        &["ended with its connection"],
    );
    let lost = in_time("the news", lease.unwrap().lost()).await;
    assert!(matches!(lost, Lost::Connection(_)), "{lost:?}");
    let newcomer = another(&tenant).await;
    for client in [&other, &newcomer] {
        assert_eq!(user(whoami(client, ADA).await), "ada");
    }
    nobody_serves(&newcomer).await;
    let imports = newcomer.inspect("app").await.unwrap().imports;
    let is_bound = |name: &str| {
        let mut of_name = imports.iter().filter(|one| one.name.starts_with(name));
        of_name.all(|one| one.standing == ImportStanding::Bound)
    };
    assert!(is_bound("acme:"), "{imports:?}");
    assert_eq!(newcomer.show(VERIFIER).await.unwrap().current.revision, 1);
    // The name is free for the next.
    let stub = Vouch::for_user("next");
    let next = newcomer.provide(VERIFIER, stub, Scope::Tenant).await;
    assert_eq!(user(whoami(&other, ADA).await), "next");
    next.unwrap().withdraw().await.unwrap();
}

#[tokio::test]
async fn who_withdraws_in_mid_call_is_lost_to_that_call_alone() {
    let tenant = apps().await;
    for scope in [Scope::Session, Scope::Tenant] {
        let client = another(&tenant).await;
        let (silent, mut heard) = Silent::new();
        let lease = client.provide(VERIFIER, silent, scope).await.unwrap();
        let waiting = {
            let client = client.clone();
            tokio::spawn(async move { whoami(&client, ADA).await })
        };
        heard.call().await;
        lease.withdraw().await.unwrap();
        refused(
            in_time("the end of the call", waiting).await.unwrap(),
            ErrorCode::ProviderLost,
            &["was withdrawn by its client"],
        );
        assert_eq!(user(whoami(&client, ADA).await), "ada");
    }
}

/// An interface of one function, as WIT.
fn wit(version: &str, function: &str) -> String {
    format!("package acme:auth@{version}; interface verifier {{ {function}; }}")
}

#[tokio::test]
async fn what_is_not_of_the_interface_is_refused_when_it_is_offered() {
    let tenant = apps().await;
    let client = another(&tenant).await;
    let right = "verify: func(token: string) -> result<string, string>";
    for (version, function, part) in [
        ("0.2.0", right, "is missing"),
        ("0.1.0", "check: func(token: string) -> bool", "is missing"),
        (
            "0.1.0",
            "verify: func(token: string) -> option<string>",
            "func(token: string) -> option<string>",
        ),
        (
            "0.1.0",
            "verify: func(token: string, when: u64) -> result<string, string>",
            "u64",
        ),
    ] {
        for scope in [Scope::Session, Scope::Tenant] {
            let offer = client
                .provision(VERIFIER, Vouch::for_user("wrong"))
                .scope(scope)
                .wit(wit(version, function));
            let parts = [
                "what is offered is not what `acme:auth/verifier` stands for",
                part,
            ];
            refused(offer.start().await, ErrorCode::FailedPrecondition, &parts);
            assert_eq!(user(whoami(&client, ADA).await), "ada");
        }
    }
    let offer = client
        .provision(VERIFIER, Vouch::for_user("right"))
        .wit(wit("0.1.0", right));
    let _lease = offer.start().await.unwrap();
    assert_eq!(user(whoami(&client, ADA).await), "right");
}

/// What imports a name that a client serves is held to what the client serves when it calls: a client may be
/// gone by then, so it holds nothing back before.
#[tokio::test]
async fn a_module_of_another_interface_never_reaches_the_client() {
    let tenant = TestHost::shared().await.tenant().await;
    let client = another(&tenant).await;
    let stub = Vouch::for_user("wrong");
    let function = "verify: func(token: string) -> result<string, string>";
    let offer = client
        .provision("later", stub.clone())
        .scope(Scope::Tenant)
        .wit(wit("0.2.0", function));
    let _lease = offer.start().await.unwrap();
    let module = tenant.client.upload_module(built("app")).await.unwrap();
    let bindings = bound([("acme:auth/verifier@0.1.0", "later")]);
    let registered = tenant.client.register("app", &module, bindings).await;
    registered.unwrap();
    let failure = refused(
        whoami(&client, ADA).await,
        ErrorCode::FailedPrecondition,
        &["`later`", "does not offer it"],
    );
    assert!(!failure.retryable);
    assert_eq!(stub.calls(), 0);
}

/// Holds a key that is nobody else's affair.
struct KeyHolder(&'static str);

impl Verifier for KeyHolder {
    async fn verify(&self, token: String) -> Result<String, String> {
        match token
            .strip_prefix("signed-by-")
            .and_then(|rest| rest.split_once(':'))
        {
            Some((key, user)) if key == self.0 => Ok(user.to_owned()),
            _ => Err("not signed with the key".to_owned()),
        }
    }
}

#[tokio::test]
async fn a_secret_that_a_client_keeps_is_nowhere_on_the_node() {
    const KEY: &str = "correct-horse-battery-staple";
    const WRONG: &str = "signed-by-guessed-nonsense:eve";
    let host = TestHost::start_with(HostOptions::new().log_level("trace")).await;
    let tenant = tenant_with_app(host).await;
    let keeper = another(&tenant).await;
    let lease = keeper
        .provide(VERIFIER, KeyHolder(KEY), Scope::Tenant)
        .await;
    let right = format!("signed-by-{KEY}:ada");
    assert_eq!(user(whoami(&tenant.client, &right).await), "ada");
    let refusal = whoami(&tenant.client, WRONG).await.unwrap();
    assert_eq!(refusal, Err("not signed with the key".to_owned()));
    // Nor does a program that fails tell it: its words are all that the node gets.
    let replaced = |call: Incoming| async move {
        let (token,): (String,) = call.args()?;
        let known = token.len() == KEY.len();
        match known {
            true => Ok(Ok::<_, String>("ada".to_owned())),
            false => Err(ProviderError::new("the key is on a card that is not there")),
        }
    };
    let replaced = keeper.provide(VERIFIER, replaced, Scope::Tenant).await;
    let refusal = whoami(&tenant.client, &right).await.unwrap();
    assert_eq!(
        refusal,
        Err("the key is on a card that is not there".to_owned())
    );
    drop((lease, replaced, keeper));

    let host = &tenant.host;
    // So that nothing is left unwritten.
    host.signal("TERM").await;
    assert!(host.end().await.success());
    let log = host.log().text();
    assert!(log.contains("refused: not signed with the key"), "{log}");
    let (key_in_log, wrong_in_log) = (log.contains(KEY), log.contains(WRONG));
    assert!(!key_in_log && !wrong_in_log, "a secret in the log");
    for secret in [KEY, WRONG] {
        let mut found = Vec::new();
        search(Path::new(&host.data()), secret.as_bytes(), &mut found);
        assert_eq!(found, [""; 0]);
    }
}

/// A lease that is short, and a client that is busy with its own affairs in between: signs of life are sent
/// by themselves.
#[tokio::test]
async fn a_client_that_has_nothing_to_say_keeps_what_it_serves() {
    let tenant = apps().await;
    let quiet = another(&tenant).await;
    let offer = quiet
        .provision(VERIFIER, Vouch::for_user("quiet"))
        .scope(Scope::Tenant)
        .lease(Duration::from_secs(1));
    let lease = offer.start().await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(2500), lease.lost())
            .await
            .is_err(),
        "lost: {:?}",
        lease.loss()
    );
    assert_eq!(user(whoami(&tenant.client, ADA).await), "quiet");
}
