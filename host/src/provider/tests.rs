//! Leases under a clock that stands still unless it is told to go on.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::message::{Fallback, Lapse, Message, Provide, ProvideScope};
use rpc_host_protocol::{ErrorCode, Failure, Fault, Signature};
use tokio::task::JoinHandle;
use tokio::time::{Instant, advance};

use super::{Found, Lease, LeaseEnd, Offer, ProviderError, Providers};
use crate::budget::Budget;
use crate::chain::{Chain, ChainError};
use crate::clock::{ManualClock, WallClock};
use crate::config::Limits;
use crate::registry::RegistrationName;
use crate::sandbox::{Function, Functions};
use crate::session::fixture::FarEnd;
use crate::session::{ClientReply, SessionId};
use crate::tenant::{Credential, Principal, TenantId};

const SECOND: Duration = Duration::from_secs(1);
const NAME: &str = "acme:log/logger";

fn providers() -> Providers {
    Providers::new(ManualClock::at(1000))
}

fn tenant() -> TenantId {
    Principal::for_tests("team").tenant()
}

fn name() -> RegistrationName {
    NAME.parse().unwrap()
}

fn holder() -> Credential {
    Principal::for_tests("team").credential()
}

/// An offer for ten seconds and one call at once.
fn offered(scope: ProvideScope) -> Provide {
    Provide {
        name: NAME.to_owned(),
        scope,
        lease_ms: 10_000,
        window: 1,
        fallback: Fallback::Previous,
        wit: None,
    }
}

fn try_grant(
    providers: &Providers,
    provide: &Provide,
    client: &FarEnd,
) -> Result<Arc<Lease>, ProviderError> {
    try_grant_within(&Limits::default(), providers, provide, client)
}

fn try_grant_within(
    limits: &Limits,
    providers: &Providers,
    provide: &Provide,
    client: &FarEnd,
) -> Result<Arc<Lease>, ProviderError> {
    let name = provide.name.parse().unwrap();
    let offer = Offer::check(&name, provide, limits).unwrap();
    let functions = Functions::from_iter([function()]);
    providers.grant(offer, tenant(), holder(), functions, client.reach.clone())
}

fn grant(providers: &Providers, scope: ProvideScope, client: &FarEnd) -> Arc<Lease> {
    try_grant(providers, &offered(scope), client).unwrap()
}

fn function() -> Function {
    Function {
        interface: Some("acme:log/logger@0.1.0".into()),
        name: "log".into(),
        signature: Signature::default(),
        docs: None,
    }
}

fn chain() -> Chain {
    chain_of(60 * SECOND)
}

fn chain_of(time: Duration) -> Chain {
    let budget = Budget::new(SECOND, crate::account::Account::for_tests(0));
    Chain::begin("app".into(), Instant::now() + time, 8, budget)
}

/// A call of whoever serves the name now, in a task of its own.
fn call(providers: &Providers, chain: Chain) -> JoinHandle<Result<ClientReply, ProviderError>> {
    let serving = providers.serving_tenant(tenant(), NAME).unwrap();
    tokio::spawn(async move {
        let deadline = chain.deadline();
        serving
            .call(&function(), Vec::new().into(), deadline, &chain)
            .await
    })
}

fn id_of(found: Option<Found>) -> Option<u64> {
    match found {
        Some(Found::Serving(serving)) => Some(serving.id()),
        Some(Found::Lost(_)) | None => None,
    }
}

fn is_lost(found: Option<Found>) -> bool {
    matches!(found, Some(Found::Lost(ProviderError::Lost { .. })))
}

async fn lapse(client: &mut FarEnd) -> Lapse {
    loop {
        if let (0, Message::Lapse(lapse)) = client.receive().await {
            return lapse;
        }
    }
}

fn other_session() -> SessionId {
    SessionId::random().unwrap()
}

#[tokio::test]
async fn a_session_finds_its_own_before_the_tenants_and_nobody_elses() {
    let providers = providers();
    let (one, two) = (FarEnd::new(), FarEnd::new());
    assert!(providers.find(tenant(), None, NAME).is_none());
    let own = grant(&providers, ProvideScope::Session, &one);
    let find = |session| id_of(providers.find(tenant(), session, NAME));
    assert_eq!(find(Some(one.reach.session())), Some(own.id()));
    assert_eq!(find(Some(two.reach.session())), None);
    assert_eq!(find(None), None, "whoever is sealed finds no overlay");
    let wide = grant(&providers, ProvideScope::Tenant, &two);
    assert_eq!(find(Some(one.reach.session())), Some(own.id()));
    assert_eq!(find(Some(two.reach.session())), Some(wide.id()));
    assert_eq!(find(None), Some(wide.id()));
    assert!(own.id() < wide.id());
    let foreign = TenantId::for_tests(8);
    assert!(
        providers
            .find(foreign, Some(one.reach.session()), NAME)
            .is_none()
    );
    assert!(providers.find(tenant(), None, "acme:log/other").is_none());
    providers
        .withdraw(tenant(), one.reach.session(), &name(), None)
        .unwrap();
    assert_eq!(
        find(Some(one.reach.session())),
        Some(wide.id()),
        "it falls back"
    );
}

#[tokio::test]
async fn a_call_is_answered_by_the_client_with_its_lease() {
    let providers = providers();
    let mut client = FarEnd::new();
    let lease = grant(&providers, ProvideScope::Tenant, &client);
    let answered = call(&providers, chain());
    let (id, header, _) = client.called().await;
    assert_eq!(header.module, NAME);
    assert_eq!(header.function, "acme:log/logger@0.1.0.log");
    assert_eq!(header.lease, Some(lease.id()));
    assert!(header.timeout_ms.unwrap() > 59_000, "{header:?}");
    client.answer(id, b"value");
    assert_eq!(answered.await.unwrap().unwrap().value, b"value");

    let failed = call(&providers, chain());
    let (id, ..) = client.called().await;
    client.fail(
        id,
        Failure::new(ErrorCode::Unknown, Fault::Application, "full"),
    );
    let error = failed.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ProviderError::Failed { text, .. } if text == "full"),
        "{error}"
    );

    let failed = call(&providers, chain());
    let (id, ..) = client.called().await;
    let text = "no\nspace\u{1b}[31m".repeat(1000);
    client.fail(id, Failure::new(ErrorCode::DataLoss, Fault::Host, text));
    let error = failed.await.unwrap().unwrap_err();
    assert!(matches!(error, ProviderError::Failed { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("failed: no\\nspace\\u{1b}"), "{text}");
    assert!(text.contains(&client.reach.session().to_string()), "{text}");
    assert!(text.len() < 1200, "{}", text.len());
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_asked_and_then_given_up() {
    let providers = providers();
    let mut client = FarEnd::new();
    let began = Instant::now();
    let lease = grant(&providers, ProvideScope::Tenant, &client);
    let waiting = call(&providers, chain());
    let (call_id, ..) = client.called().await;
    // It is asked at a third of its time, and as long as it answers it stays.
    for _ in 0..10 {
        assert!(matches!(client.receive().await, (0, Message::Ping(_))));
        client.breathe();
    }
    let heard = Instant::now();
    assert!(heard - began >= 33 * SECOND, "{:?}", heard - began);
    assert!(lease.ended().is_none());
    for _ in 0..2 {
        assert!(matches!(client.receive().await, (0, Message::Ping(_))));
    }
    let error = waiting.await.unwrap().unwrap_err();
    let silence = heard.elapsed();
    assert!(
        silence >= 10 * SECOND - SECOND / 100 && silence <= 10 * SECOND,
        "{silence:?}"
    );
    let how = LeaseEnd::Expired(10 * SECOND);
    assert!(
        matches!(&error, ProviderError::Lost { how: found, .. } if *found == how),
        "{error}"
    );
    assert!(
        providers.find(tenant(), None, NAME).is_none(),
        "it falls back"
    );

    // When it wakes up, it hears of it, and what it says reaches nobody.
    let lapse = lapse(&mut client).await;
    assert_eq!((&*lapse.name, lapse.lease), (NAME, lease.id()));
    assert_eq!(lapse.failure.code, ErrorCode::DeadlineExceeded);
    client.answer(call_id, b"late");
    assert_eq!(client.late_answers(), 1);
    let again = grant(&providers, ProvideScope::Tenant, &client);
    assert!(again.id() > lease.id());
}

#[tokio::test]
async fn an_answer_under_an_ended_lease_is_not_believed() {
    let providers = providers();
    let mut client = FarEnd::new();
    grant(&providers, ProvideScope::Tenant, &client);
    let waiting = call(&providers, chain());
    let (id, ..) = client.called().await;
    // Both are there before the caller runs again.
    client.answer(id, b"just in time?");
    let session = client.reach.session();
    providers
        .withdraw(tenant(), session, &name(), None)
        .unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    let how = LeaseEnd::Withdrawn;
    assert!(
        matches!(&error, ProviderError::Lost { how: found, .. } if *found == how),
        "{error}"
    );
}

#[tokio::test]
async fn a_lost_connection_ends_its_leases_and_their_calls_at_once() {
    let providers = providers();
    let mut client = FarEnd::new();
    let lease = grant(&providers, ProvideScope::Tenant, &client);
    grant(&providers, ProvideScope::Session, &client);
    let waiting = call(&providers, chain());
    client.called().await;
    let queued = call(&providers, chain());
    let session = client.reach.session();
    client.leave();
    // Nobody finds it even before it is noted.
    assert!(providers.find(tenant(), Some(session), NAME).is_none());
    assert!(!providers.is_serving(tenant(), session));
    providers.session_ended(tenant(), session);
    for call in [waiting, queued] {
        let error = call.await.unwrap().unwrap_err();
        assert!(
            matches!(
                error,
                ProviderError::Lost {
                    how: LeaseEnd::Disconnected,
                    ..
                }
            ),
            "{error}"
        );
    }
    assert!(providers.list(tenant(), session).is_empty());
    let text = ProviderError::lost(&lease, LeaseEnd::Disconnected).to_string();
    assert!(text.ends_with("which ended with its connection"), "{text}");
    let refused = try_grant(&providers, &offered(ProvideScope::Tenant), &client);
    assert!(matches!(refused, Err(ProviderError::Lost { .. })));
    assert!(providers.list(tenant(), session).is_empty());
}

#[tokio::test(start_paused = true)]
async fn whoever_chose_so_leaves_an_error_behind_until_somebody_decides() {
    let providers = providers();
    let provide = Provide {
        fallback: Fallback::Error,
        ..offered(ProvideScope::Tenant)
    };
    let lose = || {
        let client = FarEnd::new();
        try_grant(&providers, &provide, &client).unwrap();
        client.leave();
        assert!(
            is_lost(providers.find(tenant(), None, NAME)),
            "before it is noted"
        );
        providers.session_ended(tenant(), client.reach.session());
        assert!(is_lost(providers.find(tenant(), None, NAME)));
        assert!(providers.check_unserved(tenant(), NAME, None).is_ok());
        client.reach.session()
    };
    let session = lose();
    let listed = providers.list(tenant(), other_session());
    let entry = listed[0].entry(ManualClock::at(5000).now());
    assert_eq!((entry.serving, entry.session), (false, session.to_string()));
    // It can be withdrawn, served anew by anybody, or answered for by a registration.
    providers.steal(tenant(), holder(), &name(), None).unwrap();
    assert!(providers.find(tenant(), None, NAME).is_none());
    lose();
    let client = FarEnd::new();
    let lease = grant(&providers, ProvideScope::Tenant, &client);
    assert_eq!(
        id_of(providers.find(tenant(), None, NAME)),
        Some(lease.id())
    );
    providers.session_ended(tenant(), client.reach.session());
    lose();
    providers.registered(tenant(), NAME, None);
    assert!(providers.find(tenant(), None, NAME).is_none());

    // What is withdrawn leaves nothing behind, and a lost overlay goes with its session.
    let client = FarEnd::new();
    try_grant(&providers, &provide, &client).unwrap();
    providers
        .withdraw(tenant(), client.reach.session(), &name(), None)
        .unwrap();
    assert!(providers.find(tenant(), None, NAME).is_none());
    let overlay = Provide {
        scope: ProvideScope::Session,
        ..provide.clone()
    };
    try_grant(&providers, &overlay, &client).unwrap();
    advance(11 * SECOND).await;
    let session = Some(client.reach.session());
    while !is_lost(providers.find(tenant(), session, NAME)) {
        tokio::task::yield_now().await;
    }
    providers.session_ended(tenant(), client.reach.session());
    assert!(providers.list(tenant(), client.reach.session()).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_client_gets_no_more_calls_at_once_than_it_said() {
    let providers = providers();
    let mut client = FarEnd::new();
    let lease = grant(&providers, ProvideScope::Tenant, &client);
    let first = call(&providers, chain());
    let (id, ..) = client.called().await;
    let second = call(&providers, chain());
    let late = chain_of(SECOND);
    let too_late = call(&providers, late);
    let error = too_late.await.unwrap().unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("had no place for another call in time"),
        "{error}"
    );
    let entry = lease.entry(ManualClock::at(5000).now());
    assert_eq!((entry.window, entry.in_flight), (1, 1));
    assert_eq!((entry.since_ms, entry.serving), (1000, true));
    assert!(
        (13_900..=14_000).contains(&entry.until_ms),
        "{}",
        entry.until_ms
    );
    client.breathe();
    client.answer(id, b"");
    first.await.unwrap().unwrap();
    let (id, ..) = client.called().await;
    client.answer(id, b"");
    second.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_in_time_is_told_to_stop() {
    let providers = providers();
    let mut client = FarEnd::new();
    grant(&providers, ProvideScope::Tenant, &client);
    let soon = chain_of(SECOND);
    let waiting = call(&providers, soon);
    let (id, header, _) = client.called().await;
    assert_eq!(header.timeout_ms, Some(1000));
    let error = waiting.await.unwrap().unwrap_err();
    assert!(
        matches!(error, ProviderError::DeadlineExceeded { .. }),
        "{error}"
    );
    assert_eq!(client.receive().await, (id, Message::Cancel));
}

#[tokio::test]
async fn a_chain_that_would_wait_for_itself_is_told_so() {
    let providers = providers();
    let mut client = FarEnd::new();
    let lease = grant(&providers, ProvideScope::Tenant, &client);
    let outer = call(&providers, chain());
    let (id, ..) = client.called().await;
    // The client calls back, and what it calls calls the client.
    let within = client.chain_of(id);
    assert!(within.rests_on(lease.id()));
    let inner = within
        .then("helper".into(), None, within.deadline())
        .unwrap();
    let error = call(&providers, inner).await.unwrap().unwrap_err();
    let text = error.to_string();
    let way = format!("app → {NAME} → helper → {NAME}");
    assert!(text.ends_with(&way), "{text}");
    assert!(matches!(
        error,
        ProviderError::WouldDeadlock { window: 1, .. }
    ));
    // Another chain only waits.
    let other = call(&providers, chain());
    client.answer(id, b"");
    outer.await.unwrap().unwrap();
    let (id, ..) = client.called().await;
    client.answer(id, b"");
    other.await.unwrap().unwrap();
}

#[tokio::test]
async fn with_room_a_chain_may_come_back_until_it_is_too_deep() {
    let providers = providers();
    let mut client = FarEnd::new();
    let provide = Provide {
        window: 16,
        ..offered(ProvideScope::Tenant)
    };
    try_grant(&providers, &provide, &client).unwrap();
    let mut chain = chain();
    let mut calls = Vec::new();
    for _ in 1..8 {
        calls.push(call(&providers, chain));
        let (id, ..) = client.called().await;
        chain = client.chain_of(id);
    }
    let error = call(&providers, chain).await.unwrap().unwrap_err();
    let limit = 8;
    assert!(
        matches!(&error, ProviderError::Chain(ChainError::TooDeep { limit: found, .. }) if *found == limit),
        "{error}"
    );
    for call in calls {
        call.abort();
    }
}

#[tokio::test]
async fn one_client_serves_a_name_to_the_tenant_until_it_is_stolen() {
    let providers = providers();
    let (mut one, two) = (FarEnd::new(), FarEnd::new());
    let lease = grant(&providers, ProvideScope::Tenant, &one);
    let taken = try_grant(&providers, &offered(ProvideScope::Tenant), &two).unwrap_err();
    let text = taken.to_string();
    assert!(matches!(taken, ProviderError::Taken { .. }));
    let session = one.reach.session().to_string();
    for part in [
        NAME,
        &session,
        "`rpc-host withdraw acme:log/logger --steal`",
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let promoted = Some(lease.id());
    assert!(providers.check_unserved(tenant(), NAME, promoted).is_ok());
    let refused = providers.check_unserved(tenant(), NAME, Some(77));
    let refused = refused.unwrap_err();
    assert!(
        refused.to_string().contains("`rpc-host promote "),
        "{refused}"
    );
    let theirs = providers.withdraw(tenant(), two.reach.session(), &name(), None);
    assert!(matches!(theirs, Err(ProviderError::NotServing { .. })));
    let another = providers.steal(tenant(), holder(), &name(), Some(lease.id() + 1));
    assert!(matches!(another, Err(ProviderError::NotServed { .. })));

    let waiting = call(&providers, chain());
    one.called().await;
    providers
        .steal(tenant(), holder(), &name(), Some(lease.id()))
        .unwrap();
    let error = waiting.await.unwrap().unwrap_err();
    let how = LeaseEnd::Stolen(holder());
    assert!(
        matches!(&error, ProviderError::Lost { how: found, .. } if *found == how),
        "{error}"
    );
    let lapse = lapse(&mut one).await;
    assert_eq!(lapse.failure.code, ErrorCode::Aborted);
    assert!(
        lapse.failure.message.contains("00112233445566aa"),
        "{lapse:?}"
    );
    grant(&providers, ProvideScope::Tenant, &two);
}

#[tokio::test]
async fn what_is_provided_anew_or_promoted_lets_calls_under_way_finish() {
    let providers = providers();
    let mut client = FarEnd::new();
    let first = grant(&providers, ProvideScope::Tenant, &client);
    let before = call(&providers, chain());
    let (before_id, ..) = client.called().await;
    // It found the old lease, and has yet to get a place there.
    let queued = call(&providers, chain());
    let second = grant(&providers, ProvideScope::Tenant, &client);
    assert_eq!(
        id_of(providers.find(tenant(), None, NAME)),
        Some(second.id())
    );
    let after = call(&providers, chain());
    let (after_id, header, _) = client.called().await;
    assert_eq!(header.lease, Some(second.id()));
    client.answer(after_id, b"new");
    assert_eq!(after.await.unwrap().unwrap().value, b"new");
    client.answer(before_id, b"old");
    assert_eq!(before.await.unwrap().unwrap().value, b"old");
    let (queued_id, header, _) = client.called().await;
    assert_eq!(header.lease, Some(first.id()));
    client.answer(queued_id, b"old too");
    assert_eq!(queued.await.unwrap().unwrap().value, b"old too");
    let told = lapse(&mut client).await;
    assert_eq!(
        (told.lease, told.failure.code),
        (first.id(), ErrorCode::Aborted)
    );

    let under_way = call(&providers, chain());
    let (id, ..) = client.called().await;
    providers.registered(tenant(), NAME, Some(first.id()));
    assert!(
        providers.serving_tenant(tenant(), NAME).is_some(),
        "that one is over"
    );
    providers.registered(tenant(), NAME, Some(second.id()));
    assert!(providers.find(tenant(), None, NAME).is_none());
    client.answer(id, b"last");
    assert_eq!(under_way.await.unwrap().unwrap().value, b"last");
    let told = lapse(&mut client).await;
    assert_eq!(told.lease, second.id());
    assert!(told.failure.message.contains("promoted"), "{told:?}");
}

#[tokio::test]
async fn sessions_and_tenants_have_so_many_leases_and_no_more() {
    let limits = Limits {
        max_leases_per_session: 2,
        max_leases_per_tenant: 3,
        ..Limits::default()
    };
    let providers = Providers::new(ManualClock::at(1000));
    let (one, two) = (FarEnd::new(), FarEnd::new());
    let named = |name: &str| Provide {
        name: name.to_owned(),
        ..offered(ProvideScope::Session)
    };
    for name in ["a", "b", "b"] {
        try_grant_within(&limits, &providers, &named(name), &one).unwrap();
    }
    let refused = |name: &str, client: &FarEnd| {
        let error = try_grant_within(&limits, &providers, &named(name), client).unwrap_err();
        let ProviderError::TooMany { of, limit } = error else {
            panic!("{error}");
        };
        (of, limit)
    };
    assert_eq!(refused("c", &one), ("session", 2));
    try_grant_within(&limits, &providers, &named("c"), &two).unwrap();
    assert_eq!(refused("d", &two), ("tenant", 3));
    providers
        .withdraw(tenant(), one.reach.session(), &"a".parse().unwrap(), None)
        .unwrap();
    try_grant_within(&limits, &providers, &named("d"), &two).unwrap();
    providers.forget(tenant());
    assert!(providers.list(tenant(), two.reach.session()).is_empty());
    assert!(providers.is_empty());
}

#[tokio::test]
async fn a_thousand_clients_leave_nothing_behind() {
    let providers = providers();
    for number in 0..1000 {
        let client = FarEnd::new();
        let scope = [ProvideScope::Session, ProvideScope::Tenant][number % 2];
        let lease = grant(&providers, scope, &client);
        client.leave();
        providers.session_ended(tenant(), client.reach.session());
        let weak = Arc::downgrade(&lease);
        drop((client, lease));
        while weak.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    }
    assert!(providers.is_empty());
}
