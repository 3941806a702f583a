//! However an instance ends, nothing of it is left, and others do not notice.

use wasmtime::component::{Component, Linker};

use super::*;
use crate::account::Allowance;
use crate::capability::Kinds;
use crate::journal::{CallName, Scribe};
use crate::sandbox::artifact::{ArtifactKey, Opened};
use crate::sandbox::docs::Docs;
use crate::sandbox::{SandboxLimits, State};

/// An interface that every module is served, so that its name needs no grant. Here it is another one.
const SERVED: &str = "wasi:random/insecure-seed@0.2.0";

const COMPONENT: &str = r#"(component
    (import "wasi:random/insecure-seed@0.2.0" (instance $host
        (export "panic" (func))
        (export "panic-later" (func))))
    (core func $panic (canon lower (func $host "panic")))
    (core func $panic-later (canon lower (func $host "panic-later")))
    (core module $m
        (import "host" "panic" (func $panic))
        (import "host" "panic-later" (func $panic-later))
        (memory 1)
        (func $soil (i64.store (i32.const 8) (i64.const 0x5ec2e7)))
        (func (export "panic") (call $soil) (call $panic))
        (func (export "panic-later") (call $soil) (call $panic-later))
        (func (export "trap") (call $soil) unreachable)
        (func (export "spin") (call $soil) (loop (br 0)))
        (func (export "soil") (result i64) (i64.load (i32.const 8)))
        (func (export "count") (result i32)
            (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1)))
            (i32.load (i32.const 0))))
    (core instance $i (instantiate $m (with "host" (instance
        (export "panic" (func $panic))
        (export "panic-later" (func $panic-later))))))
    (func (export "panic") (canon lift (core func $i "panic")))
    (func (export "panic-later") (canon lift (core func $i "panic-later")))
    (func (export "trap") (canon lift (core func $i "trap")))
    (func (export "spin") (canon lift (core func $i "spin")))
    (func (export "soil") (result s64) (canon lift (core func $i "soil")))
    (func (export "count") (result u32) (canon lift (core func $i "count"))))"#;

mod data;

struct Bench {
    sandbox: Sandbox,
    prepared: Arc<Prepared>,
    account: Arc<Account>,
}

fn prepared(sandbox: &Sandbox, linker: Linker<State>, text: &str) -> Arc<Prepared> {
    let wasm = wat::parse_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let component = Component::from_binary(&sandbox.engine, &wasm);
    let opened = Opened {
        component: component.unwrap_or_else(|error| panic!("{error:?}\n{text}")),
        wit: String::new(),
        docs: Docs::default(),
    };
    let prepared = Prepared::link(&sandbox.engine, linker, opened, Kinds::default());
    Arc::new(prepared.unwrap())
}

impl Bench {
    fn new() -> Self {
        let limits = SandboxLimits {
            max_live_instances: 4,
            ..SandboxLimits::default()
        };
        let sandbox = Sandbox::new(limits, &ArtifactKey::new(&[7; 32])).unwrap();
        let mut linker = Linker::<State>::new(&sandbox.engine);
        let mut served = linker.instance(SERVED).unwrap();
        served
            .func_wrap("panic", |_, (): ()| -> wasmtime::Result<()> {
                panic!("a fault of the host, as the test wants it")
            })
            .unwrap();
        served
            .func_wrap_async("panic-later", |_, (): ()| {
                Box::new(async {
                    tokio::task::yield_now().await;
                    let nothing: wasmtime::Result<()> = Ok(());
                    assert!(
                        nothing.is_err(),
                        "a fault of the host, as the test wants it"
                    );
                    nothing
                })
            })
            .unwrap();
        let prepared = prepared(&sandbox, linker, COMPONENT);
        let allowance = Allowance::for_tests(1 << 30);
        Bench {
            sandbox,
            prepared,
            account: Arc::new(Account::new(7, Arc::from("team"), &allowance)),
        }
    }

    fn terms(&self, deadline: Instant, cpu: Duration) -> Terms {
        Terms {
            label: CallLabel {
                tenant: Arc::from("team"),
                module: Arc::from("m"),
                call: CallName::Session(1),
                scribe: Scribe::default(),
            },
            limits: CallLimits::for_tests(1 << 20),
            began_at: Duration::ZERO,
            deadline,
            budget: Budget::new(cpu, Arc::clone(&self.account)),
        }
    }

    async fn instance(&self) -> Instance {
        self.instance_of(&self.prepared).await
    }

    async fn instance_of(&self, prepared: &Arc<Prepared>) -> Instance {
        let deadline = Instant::now() + Duration::from_secs(60);
        let setting = Setting {
            account: Arc::clone(&self.account),
            terms: self.terms(deadline, Duration::from_secs(60)),
            grants: Arc::default(),
            outside: None,
            mounts: Vec::new(),
            buckets: None,
            is_inner: false,
            is_pinned: false,
            ahead: None,
        };
        let instance = self.sandbox.instantiate(prepared, setting);
        instance.await.unwrap()
    }

    /// Calls an export until `deadline`.
    async fn call(
        &self,
        instance: &mut Instance,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<Value>, SandboxError> {
        let (index, _) = self.prepared.functions().find(name).unwrap();
        let given = instance.call(index, Brought::Values(Vec::new()), deadline);
        given.await.and_then(Given::into_value)
    }

    async fn value(&self, instance: &mut Instance, name: &str) -> Option<Value> {
        let deadline = Instant::now() + Duration::from_secs(60);
        self.call(instance, name, deadline).await.unwrap()
    }

    /// What the engine has in use: instances, memories, stacks.
    fn in_use(&self) -> [u64; 3] {
        let metrics = self.sandbox.engine.pooling_allocator_metrics().unwrap();
        let stacks = metrics.stacks() as u64;
        [
            metrics.component_instances(),
            metrics.memories() as u64,
            stacks,
        ]
    }
}

#[tokio::test]
async fn however_an_instance_ends_nothing_of_it_is_left_and_others_go_on() {
    let bench = Arc::new(Bench::new());
    let mut neighbour = bench.instance().await;
    // It keeps the stack of its first call for the next.
    assert_eq!(
        bench.value(&mut neighbour, "count").await,
        Some(Value::U32(1))
    );
    let alone = (bench.in_use(), bench.account.memory().used());
    for (end, count) in ["trap", "deadline", "cancel", "panic", "panic-later"]
        .into_iter()
        .zip(2..)
    {
        let mut instance = bench.instance().await;
        let far = Instant::now() + Duration::from_secs(60);
        match end {
            "trap" => {
                let ended = bench.call(&mut instance, "trap", far).await;
                assert!(
                    matches!(ended, Err(SandboxError::Trapped { .. })),
                    "{ended:?}"
                );
            }
            "deadline" => {
                let near = Instant::now() + Duration::from_millis(20);
                let ended = bench.call(&mut instance, "spin", near).await;
                assert!(
                    matches!(ended, Err(SandboxError::DeadlineExceeded(_))),
                    "{ended:?}"
                );
            }
            "cancel" => {
                let spinning = bench.call(&mut instance, "spin", far);
                // The guest has its first turn, which ends at the next tick.
                tokio::select! {
                    biased;
                    ended = spinning => panic!("{ended:?}"),
                    () = tokio::task::yield_now() => {}
                }
            }
            panics => {
                let of_task = Arc::clone(&bench);
                let call = tokio::spawn(async move {
                    let mut instance = instance;
                    of_task.call(&mut instance, panics, far).await.map(drop)
                });
                assert!(call.await.unwrap_err().is_panic(), "{panics}");
                instance = bench.instance().await;
            }
        }
        drop(instance);
        assert_eq!(
            (bench.in_use(), bench.account.memory().used()),
            alone,
            "{end}"
        );
        let counted = bench.value(&mut neighbour, "count").await;
        assert_eq!(counted, Some(Value::U32(count)), "{end}");
        let mut next = bench.instance().await;
        assert_eq!(
            bench.value(&mut next, "soil").await,
            Some(Value::S64(0)),
            "{end}"
        );
        assert_eq!(
            bench.value(&mut next, "count").await,
            Some(Value::U32(1)),
            "{end}"
        );
    }
    drop(neighbour);
    assert_eq!(bench.in_use()[..2], [0, 0]);
}

#[tokio::test]
async fn each_call_of_an_instance_that_serves_several_has_its_own_time_and_budget() {
    let bench = Bench::new();
    let far = Instant::now() + Duration::from_secs(60);
    let much = Duration::from_secs(60);
    let mut instance = bench.instance().await;
    assert_eq!(
        bench.value(&mut instance, "count").await,
        Some(Value::U32(1))
    );
    instance.begin(bench.terms(far, Duration::from_millis(3)));
    assert_eq!(
        bench.value(&mut instance, "count").await,
        Some(Value::U32(2)),
        "what it keeps is there"
    );
    let spent = bench.call(&mut instance, "spin", far).await;
    assert!(matches!(spent, Err(SandboxError::Spent(_))), "{spent:?}");

    let mut instance = bench.instance().await;
    instance.begin(bench.terms(far, Duration::from_millis(1)));
    bench.value(&mut instance, "count").await;
    let near = Instant::now() + Duration::from_millis(50);
    instance.begin(bench.terms(near, much));
    let late = bench.call(&mut instance, "spin", near).await;
    assert!(
        matches!(late, Err(SandboxError::DeadlineExceeded(_))),
        "{late:?}"
    );
}
