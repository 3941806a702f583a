//! A guest without a node around it, for benchmarks of what a call costs in the sandbox.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a measurement, which ends where it fails"
)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::{Component, Linker};

use super::artifact::Opened;
use super::docs::Docs;
use super::{
    ArtifactKey, Brought, CallLabel, CallLimits, Encoded, Given, Instance, Prepared, Sandbox,
    SandboxLimits, Setting, State, Terms,
};
use crate::account::{Account, Allowance};
use crate::budget::Budget;
use crate::capability::Kinds;
use crate::journal::{CallName, Scribe};

/// Longer than any benchmark takes.
const FOREVER: Duration = Duration::from_secs(1 << 20);
const MEMORY_BYTES: u64 = 64 << 20;

/// Where guests are made.
pub struct Workbench {
    sandbox: Sandbox,
    account: Arc<Account>,
}

/// A live component, which serves one call after the other.
pub struct Guest {
    instance: Instance,
    prepared: Arc<Prepared>,
    account: Arc<Account>,
}

impl Workbench {
    /// One of a tenant that may use as much as it likes.
    pub fn new() -> Self {
        let limits = SandboxLimits {
            max_live_instances: 4,
            ..SandboxLimits::default()
        };
        let allowance = Allowance::for_tests(MEMORY_BYTES);
        Workbench {
            sandbox: Sandbox::new(limits, &ArtifactKey::new(&[7; 32])).unwrap(),
            account: Arc::new(Account::new(7, Arc::from("team"), &allowance)),
        }
    }

    /// A component that is given as text, compiled and alive.
    pub async fn guest(&self, text: &str) -> Guest {
        let engine = &self.sandbox.engine;
        let opened = Opened {
            component: Component::from_binary(engine, &wat::parse_str(text).unwrap()).unwrap(),
            wit: String::new(),
            docs: Docs::default(),
        };
        let linker = Linker::<State>::new(engine);
        let prepared = Arc::new(Prepared::link(engine, linker, opened, Kinds::default()).unwrap());
        let setting = Setting {
            account: Arc::clone(&self.account),
            terms: terms(&self.account),
            grants: Arc::default(),
            outside: None,
            mounts: Vec::new(),
            buckets: None,
            is_inner: false,
            is_pinned: false,
            ahead: None,
        };
        let instance = self.sandbox.instantiate(&prepared, setting).await.unwrap();
        Guest {
            instance,
            prepared,
            account: Arc::clone(&self.account),
        }
    }
}

impl Default for Workbench {
    fn default() -> Self {
        Workbench::new()
    }
}

impl Guest {
    /// Calls a function as a call that came with these arguments does: they are checked, lowered, and what it gives is
    /// lifted, encoded.
    pub async fn call(&mut self, function: &str, arguments: Vec<u8>) -> Vec<u8> {
        self.instance.begin(terms(&self.account));
        let (index, function) = self.prepared.functions().find(function).unwrap();
        let data = Encoded::check(arguments.into(), &function.signature, MEMORY_BYTES).unwrap();
        let deadline = Instant::now() + FOREVER;
        let given = self
            .instance
            .call(index, Brought::Encoded(data), deadline)
            .await;
        match given.unwrap() {
            Given::Encoded(reply) => reply,
            Given::Value(None) => Vec::new(),
            other => panic!("{other:?} in the place of data"),
        }
    }
}

impl fmt::Debug for Workbench {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Workbench").finish_non_exhaustive()
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Guest").finish_non_exhaustive()
    }
}

fn terms(account: &Arc<Account>) -> Terms {
    Terms {
        label: CallLabel {
            tenant: Arc::from("team"),
            module: Arc::from("it"),
            call: CallName::Session(1),
            scribe: Scribe::default(),
        },
        limits: CallLimits {
            timeout: FOREVER,
            max_hostcall_bytes: MEMORY_BYTES,
            ..CallLimits::for_tests(MEMORY_BYTES)
        },
        began_at: Duration::ZERO,
        deadline: Instant::now() + FOREVER,
        budget: Budget::new(FOREVER, Arc::clone(account)),
    }
}
