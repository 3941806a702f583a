//! How a call ended that did not return.

use rpc_host_protocol::Failure;
use rpc_host_protocol::error::printable;
use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::limiter::Refusal;
use super::{CallLimits, SandboxError};
use crate::budget::Spent;
use crate::capability::MissingGrant;

/// What a guest printed on stderr is often the only account of its end that a person can read.
const MAX_LAST_WORDS_BYTES: usize = 1024;
const MAX_FRAMES: usize = 20;

/// `refusal`: why the guest was refused memory, if it was.
pub(super) fn classify(
    error: &wasmtime::Error,
    stderr: &str,
    limits: &CallLimits,
    refusal: Option<Refusal>,
) -> SandboxError {
    if let Some(missing) = error.downcast_ref::<MissingGrant>() {
        return missing.clone().into();
    }
    if let Some(spent) = error.downcast_ref::<Spent>() {
        return (*spent).into();
    }
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return SandboxError::Outside(Box::new(failure.clone()));
    }
    if error.downcast_ref::<PoolConcurrencyLimitError>().is_some() {
        return SandboxError::Busy;
    }
    // The engine keeps the types of these errors to itself; the words are held by end-to-end tests.
    let words = error.root_cause().to_string();
    if words.contains("fuel allocated for hostcalls") {
        return SandboxError::TooMuchData {
            limit_bytes: limits.max_hostcall_bytes,
        };
    }
    if words.contains("store handle limit exceeded") {
        return SandboxError::TooManyObjects {
            limit: limits.max_handles,
        };
    }
    let trap = error.downcast_ref::<Trap>();
    let exit = error.downcast_ref::<I32Exit>();
    let backtrace = error.downcast_ref::<WasmBacktrace>();
    if trap.is_none()
        && exit.is_none()
        && let Some(refusal) = refusal
    {
        // Instantiation failed for want of memory.
        return match refusal {
            Refusal::Instance { limit_bytes } => SandboxError::OutOfMemory { limit_bytes },
            Refusal::Tenant { limit_bytes } => SandboxError::TenantOutOfMemory {
                limit_bytes,
                ended: String::new(),
            },
        };
    }
    let mut message = match (trap, exit) {
        (Some(Trap::UnreachableCodeReached), _) => "the module panicked or aborted".to_owned(),
        (Some(Trap::StackOverflow), _) => "the module overflowed its stack".to_owned(),
        (Some(trap), _) => trap.to_string(),
        (None, Some(I32Exit(status))) => format!("the module exited with status {status}"),
        (None, None) => format!("{:#}", error.root_cause()),
    };
    // Advice that the reader cannot follow: a guest has no environment.
    let lines = stderr
        .lines()
        .filter(|line| !line.starts_with("note: run with `RUST_BACKTRACE="));
    let last_words = lines
        .filter(|line| !line.trim().is_empty())
        .collect::<Vec<_>>()
        .join(" | ");
    if !last_words.is_empty() {
        // The end of it: that is where the reason stands.
        let start = last_words.len().saturating_sub(MAX_LAST_WORDS_BYTES);
        let start = (start..=last_words.len()).find(|at| last_words.is_char_boundary(*at));
        let end = last_words
            .get(start.unwrap_or_default()..)
            .unwrap_or_default();
        message.push_str(": ");
        message.push_str(&printable(end, 2 * MAX_LAST_WORDS_BYTES));
    }
    match refusal {
        Some(Refusal::Instance { limit_bytes }) => message.push_str(&format!(
            " (after it asked for more memory than its limit of {limit_bytes} bytes)"
        )),
        // Less of its other modules would leave it more, so this is the tenant's to settle.
        Some(Refusal::Tenant { limit_bytes }) => {
            return SandboxError::TenantOutOfMemory {
                limit_bytes,
                ended: format!(" ({message})"),
            };
        }
        None => {}
    }
    let frames = backtrace.map(WasmBacktrace::frames).unwrap_or_default();
    let backtrace = frames
        .iter()
        .take(MAX_FRAMES)
        .map(|frame| match frame.func_name() {
            Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
            None => format!("function {}", frame.func_index()),
        });
    SandboxError::Trapped {
        message,
        backtrace: backtrace.collect(),
    }
}
