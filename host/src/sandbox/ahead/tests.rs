//! What is ready is as good as fresh, nobody else's, and never in anybody's way.

use rpc_host_protocol::Value;
use wasmtime::component::Component;

use super::*;
use crate::account::{Account, Allowance};
use crate::capability::{Grants, Kinds};
use crate::sandbox::artifact::{ArtifactKey, Opened};
use crate::sandbox::demand::PAUSE_WITHOUT_ROOM;
use crate::sandbox::docs::Docs;
use crate::sandbox::spare::INSTANCE_BYTES;
use crate::sandbox::stocks::{MANY_OF_TENANT, MAX_REMEMBERED};
use crate::sandbox::{Ahead, Brought, Given, Prepared, SandboxError, SandboxLimits};

const FAR: Duration = Duration::from_secs(60);
const PAGE: u64 = 64 << 10;

/// A component that counts its calls, in memory of so many pages, and that is started so.
fn component(pages: u64, start: &str) -> String {
    format!(
        r#"(component
    (import "wasi:random/insecure@0.2.0" (instance $host
        (export "get-insecure-random-u64" (func (result u64)))))
    (core func $random (canon lower (func $host "get-insecure-random-u64")))
    (core module $m
        (import "host" "random" (func $random (result i64)))
        (memory {pages})
        (global $started (mut i32) (i32.const 0))
        (func $start {start})
        (start $start)
        (func (export "count") (result i32)
            (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
            (i32.load (i32.const 0)))
        (func (export "grow") (result i32) (memory.grow (i32.const 8)))
        (func (export "started") (result i32) (global.get $started))
        (func (export "random") (result i64) (call $random)))
    (core instance $i (instantiate $m (with "host" (instance
        (export "random" (func $random))))))
    (func (export "count") (result u32) (canon lift (core func $i "count")))
    (func (export "grow") (result s32) (canon lift (core func $i "grow")))
    (func (export "started") (result u32) (canon lift (core func $i "started")))
    (func (export "random") (result u64) (canon lift (core func $i "random"))))"#
    )
}

struct Bench {
    sandbox: Arc<Sandbox>,
    prepared: Arc<Prepared>,
    account: Arc<Account>,
}

/// What a call comes with.
#[derive(Clone)]
struct Call {
    account: Arc<Account>,
    module: &'static str,
    revision: u64,
    grants: Arc<Grants>,
    max_memory_bytes: u64,
}

fn account(tenant: u64, max_memory_bytes: u64) -> Arc<Account> {
    let allowance = Allowance::for_tests(max_memory_bytes);
    Arc::new(Account::new(
        tenant,
        Arc::from(format!("t{tenant}")),
        &allowance,
    ))
}

impl Bench {
    fn new(start: &str) -> Self {
        let limits = SandboxLimits {
            max_live_instances: 4,
            max_ready_instances: 8,
            ..SandboxLimits::default()
        };
        Self::with(limits, 1, start)
    }

    fn with(limits: SandboxLimits, pages: u64, start: &str) -> Self {
        let sandbox = Sandbox::new(limits, &ArtifactKey::new(&[7; 32])).unwrap();
        let prepared = prepared(&sandbox, pages, start);
        Bench {
            sandbox: Arc::new(sandbox),
            prepared,
            account: account(7, 64 * PAGE),
        }
    }

    fn plain(&self) -> Call {
        Call {
            account: Arc::clone(&self.account),
            module: "m",
            revision: 1,
            grants: Arc::default(),
            max_memory_bytes: 32 * PAGE,
        }
    }

    fn setting(&self, call: &Call) -> Setting {
        Setting {
            account: Arc::clone(&call.account),
            terms: Terms {
                label: CallLabel {
                    tenant: Arc::clone(call.account.name()),
                    module: Arc::from(call.module),
                    call: CallName::Session(1),
                    scribe: Scribe::default(),
                },
                limits: CallLimits::for_tests(call.max_memory_bytes),
                began_at: Duration::ZERO,
                deadline: Instant::now() + FAR,
                budget: Budget::new(FAR, Arc::clone(&call.account)),
            },
            grants: Arc::clone(&call.grants),
            outside: None,
            mounts: Vec::new(),
            buckets: None,
            is_inner: false,
            is_pinned: false,
            ahead: Some(Ahead {
                revision: call.revision,
                most_of_tenant: 8,
            }),
        }
    }

    /// A call as the node makes it.
    async fn call(&self, call: &Call, function: &str) -> Result<Option<Value>, SandboxError> {
        let mut live = self.instance(call).await?;
        let (index, _) = self.prepared.functions().find(function).unwrap();
        let none = Brought::Values(Vec::new());
        let called = live.call(index, none, Instant::now() + FAR).await;
        self.sandbox.retire(live);
        called.and_then(Given::into_value)
    }

    async fn instance(&self, call: &Call) -> Result<Instance, SandboxError> {
        let setting = self.setting(call);
        self.sandbox.instantiate(&self.prepared, setting).await
    }

    fn usage(&self, call: &Call) -> StockUse {
        let tenant = call.account.tenant();
        self.sandbox.ready_use(tenant, Some(call.module))
    }

    /// Calls until so many are ready.
    async fn has_ready(&self, call: &Call, ready: u64) {
        while self.usage(call).ready < ready {
            self.call(call, "count").await.unwrap();
            settled(self).await;
        }
    }
}

fn prepared(sandbox: &Sandbox, pages: u64, start: &str) -> Arc<Prepared> {
    let wasm = wat::parse_str(component(pages, start)).unwrap();
    let opened = Opened {
        component: Component::from_binary(&sandbox.engine, &wasm).unwrap(),
        wit: String::new(),
        docs: Docs::default(),
    };
    let linker = sandbox.linker.clone();
    let prepared = Prepared::link(&sandbox.engine, linker, opened, Kinds::default());
    Arc::new(prepared.unwrap())
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(FAR, waiting).await;
    assert!(waited.is_ok(), "{what}");
}

/// Until what calls left to be done is done.
async fn settled(bench: &Bench) {
    until("all is tended", || bench.sandbox.stocks.is_at_rest()).await;
}

#[tokio::test]
async fn a_call_that_finds_one_ready_is_as_one_that_does_not() {
    let bench = Bench::new("");
    let plain = bench.plain();
    for call in 0..20_u64 {
        let counted = bench.call(&plain, "count").await.unwrap();
        assert_eq!(counted, Some(Value::U32(1)), "nothing of a call is left");
        settled(&bench).await;
        let StockUse {
            hits,
            misses,
            ready,
        } = bench.usage(&plain);
        let expected = match call {
            0 => (0, 1, 0),
            _ => (call - 1, 2, 1),
        };
        assert_eq!((hits, misses, ready), expected);
        assert_eq!(plain.account.memory().used(), 0, "no call is under way");
    }
    assert!(plain.account.spare_memory().used() >= PAGE);
    bench.sandbox.stop_making_ready();
    assert_eq!(plain.account.spare_memory().used(), 0);
    assert_eq!(bench.sandbox.stocks.memory.used(), 0);
}

#[tokio::test]
async fn a_guest_is_started_once_and_its_start_is_there() {
    let bench = Bench::new("(global.set $started (i32.add (global.get $started) (i32.const 1)))");
    let plain = bench.plain();
    for _ in 0..5 {
        let started = bench.call(&plain, "started").await.unwrap();
        assert_eq!(started, Some(Value::U32(1)));
        settled(&bench).await;
    }
    assert!(bench.usage(&plain).hits >= 3);
}

#[tokio::test]
async fn what_is_ready_is_of_one_tenant_registration_and_revision_with_its_grants_and_limits() {
    let bench = Bench::new("");
    let plain = bench.plain();
    let grants = Grants::parse(["env:A=1"]).unwrap();
    for (what, other) in [
        (
            "tenant",
            Call {
                account: account(8, 64 * PAGE),
                ..plain.clone()
            },
        ),
        (
            "account",
            Call {
                account: account(7, 64 * PAGE),
                ..plain.clone()
            },
        ),
        (
            "registration",
            Call {
                module: "n",
                ..plain.clone()
            },
        ),
        (
            "grants",
            Call {
                grants: Arc::new(grants),
                ..plain.clone()
            },
        ),
        (
            "limits",
            Call {
                max_memory_bytes: 31 * PAGE,
                ..plain.clone()
            },
        ),
        (
            "revision",
            Call {
                revision: 2,
                ..plain.clone()
            },
        ),
    ] {
        bench.has_ready(&plain, 1).await;
        let hits = |of: &Call| bench.usage(of).hits;
        let before = hits(&plain) + hits(&other);
        bench.call(&other, "count").await.unwrap();
        assert_eq!(hits(&plain) + hits(&other), before, "{what}");
        settled(&bench).await;
    }
    // The last one was a swap: what was ready before it is gone, and a call of the revision before gets nothing.
    assert_eq!(bench.usage(&plain).ready, 0);
    let hits = bench.usage(&plain).hits;
    for _ in 0..5 {
        bench.call(&plain, "count").await.unwrap();
        settled(&bench).await;
    }
    assert_eq!(bench.usage(&plain).hits, hits);
}

#[tokio::test]
async fn a_component_that_was_loaded_anew_has_nothing_ready() {
    let mut bench = Bench::new("");
    let plain = bench.plain();
    bench.has_ready(&plain, 1).await;
    bench.prepared = prepared(&bench.sandbox, 1, "");
    let hits = bench.usage(&plain).hits;
    bench.call(&plain, "count").await.unwrap();
    assert_eq!(bench.usage(&plain).hits, hits);
}

#[tokio::test]
async fn a_guest_that_calls_out_when_it_is_started_is_started_by_its_call() {
    let bench = Bench::new("(drop (call $random))");
    let plain = bench.plain();
    for _ in 0..10 {
        bench.call(&plain, "count").await.unwrap();
        settled(&bench).await;
    }
    let StockUse {
        hits,
        misses,
        ready,
    } = bench.usage(&plain);
    assert_eq!((hits, misses, ready), (0, 10, 0));
    assert!(bench.prepared.calls_out_at_start());
    assert_eq!(plain.account.spare_memory().used(), 0);
}

#[tokio::test]
async fn a_guest_that_calls_out_when_it_is_called_is_not_mistaken_for_one() {
    let bench = Bench::new("");
    let plain = bench.plain();
    for _ in 0..10 {
        bench.call(&plain, "random").await.unwrap();
        settled(&bench).await;
    }
    assert!(bench.usage(&plain).hits >= 8);
}

#[tokio::test]
async fn a_guest_that_cannot_start_fails_its_own_calls_as_ever() {
    let bench = Bench::new("unreachable");
    let plain = bench.plain();
    for _ in 0..10 {
        let ended = bench.call(&plain, "count").await;
        assert!(
            matches!(ended, Err(SandboxError::Trapped { .. })),
            "{ended:?}"
        );
        settled(&bench).await;
    }
    assert_eq!(bench.usage(&plain).ready, 0);
    assert_eq!(plain.account.spare_memory().used(), 0);
}

#[tokio::test]
async fn a_guest_that_sees_that_memory_is_short_when_it_starts_is_not_kept() {
    // The first page is there, more is not, in the half of the room for what is ready that a tenant may have.
    let limits = SandboxLimits {
        max_ready_memory_bytes: 2 * (PAGE + INSTANCE_BYTES),
        ..SandboxLimits::default()
    };
    let start = "(global.set $started (i32.ge_s (memory.grow (i32.const 1)) (i32.const 0)))";
    let bench = Bench::with(limits, 1, start);
    let plain = bench.plain();
    for _ in 0..5 {
        let grown = bench.call(&plain, "started").await.unwrap();
        assert_eq!(grown, Some(Value::U32(1)));
        settled(&bench).await;
    }
    assert_eq!(bench.usage(&plain).hits, 0);
}

#[tokio::test]
async fn a_guest_that_never_starts_keeps_nobody_waiting() {
    let bench = Bench::new("(loop (br 0))");
    let plain = bench.plain();
    let stock = {
        let setting = bench.setting(&plain);
        bench
            .sandbox
            .stocks
            .find(&bench.prepared, &setting)
            .unwrap()
    };
    let (other, start) = (prepared(&bench.sandbox, 1, ""), Instant::now());
    for _ in 0..2 {
        assert!(stock.take(8).is_none());
    }
    let turn = stock.leave(None).unwrap();
    let tending = tokio::spawn(Arc::clone(&bench.sandbox).tend(Arc::clone(&stock), turn));
    let of_other = Bench {
        sandbox: Arc::clone(&bench.sandbox),
        prepared: other,
        account: account(8, 64 * PAGE),
    };
    let call = of_other.plain();
    for _ in 0..10 {
        of_other.call(&call, "count").await.unwrap();
    }
    assert!(start.elapsed() < MAX_START, "{:?}", start.elapsed());
    tending.await.unwrap();
    assert!(stock.leave(None).is_none(), "it is not tried again at once");
    assert_eq!(bench.usage(&plain).ready, 0);
    assert!(plain.account.cpu() > Duration::ZERO, "the tenant pays");
    assert_eq!(plain.account.spare_memory().used(), 0);
}

#[tokio::test]
async fn what_is_ready_gives_way_to_the_memory_of_calls() {
    let limits = SandboxLimits::default();
    let mut bench = Bench::with(limits, 4, "");
    bench.account = account(7, 14 * PAGE);
    let plain = bench.plain();
    bench.has_ready(&plain, 1).await;
    let mut live = bench.instance(&plain).await.unwrap();
    let other = bench.instance(&plain).await.unwrap();
    drop(other);
    bench.has_ready(&plain, 1).await;
    let (grow, _) = bench.prepared.functions().find("grow").unwrap();
    let far = Instant::now() + FAR;
    let grown = live.call(grow, Brought::Values(Vec::new()), far).await;
    let grown = grown.and_then(Given::into_value).unwrap();
    assert_eq!(grown, Some(Value::S32(4)), "the call has what it needs");
    assert_eq!(bench.usage(&plain).ready, 0);
    assert!(plain.account.has_to_spare(0));
    let grown = live.call(grow, Brought::Values(Vec::new()), far).await;
    let grown = grown.and_then(Given::into_value).unwrap();
    assert_eq!(
        grown,
        Some(Value::S32(-1)),
        "the tenant's limit is where it was"
    );
}

#[tokio::test]
async fn no_more_are_ready_than_limits_say() {
    let limits = SandboxLimits {
        max_live_instances: 64,
        max_ready_instances_per_registration: 3,
        max_ready_instances: 8,
        ..SandboxLimits::default()
    };
    let bench = Bench::with(limits, 1, "");
    let of = |module| Call {
        module,
        ..bench.plain()
    };
    let modules = ["a", "b", "c"];
    for _ in 0..10 {
        for module in modules {
            let mut live = Vec::new();
            for _ in 0..10 {
                live.push(bench.instance(&of(module)).await.unwrap());
            }
            for instance in live {
                bench.sandbox.retire(instance);
            }
            settled(&bench).await;
            tokio::time::sleep(PAUSE_WITHOUT_ROOM).await;
        }
    }
    let ready = modules.map(|module| bench.usage(&of(module)).ready);
    assert!(ready.iter().all(|ready| *ready <= 3), "{ready:?}");
    assert_eq!(ready[0], 3, "of one registration");
    assert_eq!(ready.iter().sum::<u64>(), 4, "half of all is one tenant's");
    let other = Call {
        account: account(8, 64 * PAGE),
        ..bench.plain()
    };
    bench.has_ready(&other, 1).await;
}

#[tokio::test]
async fn no_more_memory_is_ready_than_the_limit_says() {
    let limits = SandboxLimits {
        max_ready_memory_bytes: 1,
        ..SandboxLimits::default()
    };
    let bench = Bench::with(limits, 1, "");
    let plain = bench.plain();
    for _ in 0..10 {
        bench.call(&plain, "count").await.unwrap();
        settled(&bench).await;
    }
    let StockUse {
        hits,
        misses,
        ready,
    } = bench.usage(&plain);
    assert_eq!((hits, misses, ready), (0, 10, 0));
}

#[tokio::test]
async fn a_tenant_has_half_of_the_memory_for_what_is_ready() {
    let limits = SandboxLimits {
        max_ready_memory_bytes: 6 * (PAGE + INSTANCE_BYTES),
        ..SandboxLimits::default()
    };
    let bench = Bench::with(limits, 1, "");
    let plain = bench.plain();
    for _ in 0..10 {
        let mut live = Vec::new();
        for _ in 0..8 {
            live.push(bench.instance(&plain).await.unwrap());
        }
        for instance in live {
            bench.sandbox.retire(instance);
        }
        settled(&bench).await;
        tokio::time::sleep(PAUSE_WITHOUT_ROOM).await;
    }
    assert_eq!(bench.usage(&plain).ready, 3);
    let other = Call {
        account: account(8, 64 * PAGE),
        ..bench.plain()
    };
    bench.has_ready(&other, 1).await;
}

#[tokio::test]
async fn what_is_ready_for_calls_that_come_seldom_gives_way_where_room_is_short() {
    let limits = SandboxLimits {
        max_ready_memory_bytes: 4 * (PAGE + INSTANCE_BYTES),
        ready_instance_idle_ms: 3_600_000,
        ..SandboxLimits::default()
    };
    let bench = Bench::with(limits, 1, "");
    let of = |module| Call {
        module,
        ..bench.plain()
    };
    let (seldom, often) = (["a", "b"].map(of), of("c"));
    for one in &seldom {
        bench.has_ready(one, 1).await;
    }
    let of_other = Call {
        account: account(8, 64 * PAGE),
        ..bench.plain()
    };
    bench.has_ready(&of_other, 1).await;
    // In this span and in the one before nobody called them.
    for _ in 0..2 {
        bench.sandbox.stocks.look().await;
    }
    assert_eq!(seldom.each_ref().map(|one| bench.usage(one).ready), [1, 1]);
    let mut calls = 0;
    while bench.usage(&often).ready == 0 {
        calls += 1;
        assert!(calls < 10, "others have all the room");
        bench.call(&often, "count").await.unwrap();
        settled(&bench).await;
        tokio::time::sleep(PAUSE_WITHOUT_ROOM).await;
    }
    assert_eq!(seldom.map(|one| bench.usage(&one).ready), [0, 0]);
    assert_eq!(bench.usage(&of_other).ready, 1, "nobody else gives way");
}

#[tokio::test]
async fn calls_have_their_places_whatever_is_ready() {
    let limits = SandboxLimits {
        max_live_instances: 2,
        max_ready_instances: 2,
        ..SandboxLimits::default()
    };
    let bench = Bench::with(limits, 1, "");
    let plain = bench.plain();
    let other = Call {
        account: account(8, 64 * PAGE),
        ..bench.plain()
    };
    bench.has_ready(&plain, 1).await;
    bench.has_ready(&other, 1).await;
    // One for each tenant, and the engine has as many beside them.
    let _live = bench.instance(&plain).await.unwrap();
    let _live = bench.instance(&other).await.unwrap();
}

#[tokio::test]
async fn registrations_beyond_what_is_remembered_do_without_until_others_are_forgotten() {
    let bench = Bench::new("");
    let stocks = &bench.sandbox.stocks;
    let find = |tenant: &Arc<Account>, number: usize| {
        let call = Call {
            account: Arc::clone(tenant),
            ..bench.plain()
        };
        let mut setting = bench.setting(&call);
        setting.terms.label.module = Arc::from(format!("m{number}"));
        stocks.find(&bench.prepared, &setting)
    };
    let (greedy, other) = (account(7, 64 * PAGE), account(8, 64 * PAGE));
    // How many of them have a stock, called so often.
    let found = |registrations: std::ops::Range<usize>, calls| {
        let found = registrations.filter_map(|number| find(&greedy, number));
        let called = found.inspect(|stock| (0..calls).for_each(|_| drop(stock.take(1))));
        called.count()
    };
    let half = MAX_REMEMBERED / 2;
    let of_other = find(&other, 0).unwrap();
    assert_eq!(
        found(0..MAX_REMEMBERED, 1),
        half,
        "what one tenant may have"
    );
    // Nothing is made for what is called once, so it makes room for others, as long as there are many.
    let few = MANY_OF_TENANT - 1;
    assert!(stocks.look().await);
    assert_eq!(found(half..MAX_REMEMBERED, 2), half - few);
    assert!(stocks.look().await);
    assert_eq!(found(MAX_REMEMBERED..2 * MAX_REMEMBERED, 2), few);
    // All that is left is called often.
    assert!(stocks.look().await);
    assert_eq!(found(2 * MAX_REMEMBERED..3 * MAX_REMEMBERED, 2), 0);
    let still = find(&other, 0).unwrap();
    assert!(Arc::ptr_eq(&of_other, &still), "nobody else's is forgotten");
    stocks.forget(7, None);
    stocks.look().await;
    assert!(find(&greedy, MAX_REMEMBERED).is_some());
}

#[tokio::test]
async fn a_component_that_nobody_loads_any_more_is_let_go_of() {
    let mut bench = Bench::new("");
    let plain = bench.plain();
    bench.call(&plain, "count").await.unwrap();
    settled(&bench).await;
    let old = Arc::downgrade(&bench.prepared);
    bench.prepared = prepared(&bench.sandbox, 1, "");
    assert!(old.upgrade().is_none());
    bench.call(&plain, "count").await.unwrap();
}

#[tokio::test]
async fn used_ones_do_not_pile_up_where_calls_are_faster_than_what_clears_them_away() {
    let limits = SandboxLimits {
        max_live_instances: 64,
        ..SandboxLimits::default()
    };
    let bench = Bench::with(limits, 1, "");
    let plain = bench.plain();
    let mut live = Vec::new();
    for _ in 0..20 {
        live.push(bench.instance(&plain).await.unwrap());
    }
    // This thread is the only one, and nothing else has it yet.
    for instance in live {
        bench.sandbox.retire(instance);
    }
    let alive = || {
        let metrics = bench.sandbox.engine.pooling_allocator_metrics();
        metrics.unwrap().component_instances()
    };
    // Half of those that may be ready at most, and a few more.
    assert_eq!(alive(), 8);
    assert_eq!(plain.account.memory().used(), 0, "no call has any of it");
    settled(&bench).await;
    assert_eq!(alive(), bench.usage(&plain).ready);
}

#[tokio::test]
async fn nothing_is_kept_while_nobody_calls() {
    let limits = SandboxLimits {
        ready_instance_idle_ms: 20,
        ..SandboxLimits::default()
    };
    let bench = Bench::with(limits, 1, "");
    let plain = bench.plain();
    while bench.usage(&plain).hits == 0 {
        bench.call(&plain, "count").await.unwrap();
        settled(&bench).await;
    }
    until("all is gone", || {
        bench.usage(&plain).ready == 0 && plain.account.spare_memory().used() == 0
    })
    .await;
    let weak = Arc::downgrade(&bench.prepared);
    until("its component can be let go of", || {
        weak.strong_count() == 1
    })
    .await;
    assert!(bench.usage(&plain).hits > 0, "how calls fared is known");
    let metrics = bench.sandbox.engine.pooling_allocator_metrics().unwrap();
    assert_eq!(metrics.component_instances(), 0);
}

#[tokio::test]
async fn what_was_removed_is_gone_at_once() {
    let bench = Bench::new("");
    let plain = bench.plain();
    let other = Call {
        module: "n",
        ..plain.clone()
    };
    for of_all in [false, true] {
        bench.has_ready(&plain, 1).await;
        bench.has_ready(&other, 1).await;
        let module = (!of_all).then_some("m");
        bench.sandbox.forget_ready(7, module);
        assert_eq!(bench.usage(&plain).ready, 0);
        assert_eq!(bench.usage(&other).ready, u64::from(!of_all));
    }
    assert_eq!(plain.account.spare_memory().used(), 0);
    let live = bench.instance(&plain).await.unwrap();
    bench.sandbox.forget_ready(7, None);
    bench.sandbox.retire(live);
    settled(&bench).await;
    assert_eq!(
        bench.usage(&plain).ready,
        0,
        "nothing is made for what is gone"
    );
}

#[tokio::test]
async fn a_node_that_stops_makes_nothing_ready() {
    let bench = Bench::new("");
    let plain = bench.plain();
    bench.has_ready(&plain, 1).await;
    bench.sandbox.stop_making_ready();
    for _ in 0..5 {
        bench.call(&plain, "count").await.unwrap();
        settled(&bench).await;
    }
    assert_eq!(bench.usage(&plain), StockUse::default());
    let metrics = bench.sandbox.engine.pooling_allocator_metrics().unwrap();
    assert_eq!(metrics.component_instances(), 0);
}
