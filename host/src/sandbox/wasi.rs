//! WASI for one instance, made when its guest first asks for any of it: short functions never do, and to make it
//! takes longer than to call them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_host_protocol::message::OutputStream;
use wasmtime_wasi::WasiCtx;

use super::output::Output;
use super::{CallLabel, CallLimits};
use crate::account::Account;
use crate::capability::{self, FrozenAt, Grants};

/// What there is of it.
pub(super) struct Wasi {
    /// When the instance began, for the clock that counts from there.
    made_at: Instant,
    /// When its present call began, since 1970.
    began_at: Duration,
    /// Whether anybody is to hear what it prints.
    is_heard: bool,
    made: Option<Made>,
}

struct Made {
    ctx: WasiCtx,
    /// Where its clock stands, if it stands still.
    frozen_at: Option<FrozenAt>,
    stdout: Output,
    stderr: Output,
}

impl Wasi {
    /// For an instance whose first call began so long after 1970.
    pub(super) fn new(began_at: Duration, is_heard: bool) -> Self {
        Wasi {
            made_at: Instant::now(),
            began_at,
            is_heard,
            made: None,
        }
    }

    /// For a guest that asks for it in such a call.
    pub(super) fn ctx(
        &mut self,
        (account, label): (&Arc<Account>, &CallLabel),
        limits: &CallLimits,
        grants: &Grants,
    ) -> &mut WasiCtx {
        let Wasi {
            made_at,
            began_at,
            is_heard,
            made,
        } = self;
        let made = made.get_or_insert_with(|| {
            let output = |stream| {
                let output = Output::new(stream, account, label, limits);
                match is_heard {
                    true => output,
                    false => output.unheard(),
                }
            };
            let (stdout, stderr) = (output(OutputStream::Stdout), output(OutputStream::Stderr));
            let outputs = (stdout.clone(), stderr.clone());
            let (ctx, frozen_at) = capability::wasi_ctx(outputs, grants, (*made_at, *began_at));
            Made {
                ctx,
                frozen_at,
                stdout,
                stderr,
            }
        });
        &mut made.ctx
    }

    /// Another call of the instance begins.
    pub(super) fn begin(&mut self, began_at: Duration, label: &CallLabel, limits: &CallLimits) {
        self.began_at = began_at;
        let Some(made) = &self.made else {
            return;
        };
        made.stdout.begin(label, limits);
        made.stderr.begin(label, limits);
        if let Some(frozen_at) = &made.frozen_at {
            frozen_at.set(began_at);
        }
    }

    /// The last call is over.
    pub(super) fn end(&mut self) {
        self.settle();
        self.made = None;
    }

    /// Tells the rest of what was printed in this call.
    pub(super) fn settle(&self) {
        if let Some(made) = &self.made {
            made.stdout.settle();
            made.stderr.settle();
        }
    }

    /// The end of what was printed on stderr.
    pub(super) fn last_words(&self) -> String {
        let made = self.made.as_ref();
        made.map_or_else(String::new, |made| made.stderr.last_words())
    }
}
