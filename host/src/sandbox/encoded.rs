//! What a call brings and gives where no live object crosses: as it is on the wire, checked and not converted.

use std::time::Duration;

use rpc_host_protocol::cbor::check_arguments;
use rpc_host_protocol::payload::Payload;
use rpc_host_protocol::value::{ValueError, ValueLimits};
use rpc_host_protocol::{Signature, Type, Value};
use tokio::time::Instant;
use wasmtime::component::Val;

use super::SandboxError;

/// A time that is not longer is not worth counting.
const SHORT: Duration = Duration::from_micros(50);

/// A time, or none if it is not worth counting.
pub(super) fn worth_counting(took: Duration) -> Duration {
    if took > SHORT { took } else { Duration::ZERO }
}

/// What is ever kept of a result.
const MOST_BYTES: u64 = 1 << 30;

/// What a call takes.
#[derive(Debug)]
pub enum Brought {
    /// Values, among them live objects, maybe.
    Values(Vec<Value>),
    /// Data alone.
    Encoded(Encoded),
}

/// What a call gives, in the form in which it took.
#[derive(Debug)]
pub enum Given {
    /// A value, if the function gives one.
    Value(Option<Value>),
    /// The same as data.
    Encoded(Vec<u8>),
    /// Data that would be longer than whoever calls takes.
    TooLarge,
}

impl Given {
    /// The value, for whoever brought values.
    pub(crate) fn into_value(self) -> Result<Option<Value>, SandboxError> {
        match self {
            Given::Value(value) => Ok(value),
            Given::TooLarge => Err(SandboxError::ResultTooLarge {
                limit_bytes: MOST_BYTES,
            }),
            Given::Encoded(_) => Err(SandboxError::Internal(
                "a call with values was answered with data".to_owned(),
            )),
        }
    }

    /// The data, for whoever brought data.
    pub(crate) fn into_data(self) -> Result<Vec<u8>, SandboxError> {
        match self {
            Given::Encoded(data) => Ok(data),
            Given::TooLarge => Err(SandboxError::ResultTooLarge {
                limit_bytes: MOST_BYTES,
            }),
            Given::Value(_) => Err(SandboxError::Internal(
                "a call with data was answered with a value".to_owned(),
            )),
        }
    }
}

/// Arguments as they came, of which it is known that they are of the types of their function: they were checked, or a guest
/// gave them for a function of the same types.
#[derive(Debug)]
pub struct Encoded {
    bytes: Payload,
    /// How long it took to know it.
    pub(super) took: Duration,
    /// What its reply may take.
    pub(super) max_reply_bytes: u64,
}

impl Encoded {
    /// Arguments of a function of this signature, which may reply with so much.
    ///
    /// # Errors
    /// When they are not.
    pub fn check(
        bytes: Payload,
        signature: &Signature,
        max_reply_bytes: u64,
    ) -> Result<Encoded, ValueError> {
        let began = Instant::now();
        check_arguments(&bytes, signature, ValueLimits::default())?;
        Ok(Encoded {
            bytes,
            took: worth_counting(began.elapsed()),
            max_reply_bytes,
        })
    }

    /// Arguments that a guest gave for a function of these types, which it took so long to read. What they may be, and
    /// what the reply, is bounded by what a guest may hand over.
    pub(super) fn of_guest(bytes: Vec<u8>, took: Duration) -> Encoded {
        Encoded {
            bytes: bytes.into(),
            took,
            max_reply_bytes: u64::MAX,
        }
    }

    /// As they are on the wire.
    pub(crate) fn into_bytes(self) -> Payload {
        self.bytes
    }

    /// The same for the engine.
    pub(super) fn arguments<'a>(&'a self, signature: &'a Signature) -> Arguments<'a> {
        Arguments {
            bytes: &self.bytes,
            signature,
        }
    }
}

/// What the engine takes arguments from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arguments<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) signature: &'a Signature,
}

/// What the engine makes of a result.
#[derive(Debug)]
pub(super) struct Reply {
    /// Nothing where it would have been longer than it may.
    pub(super) bytes: Option<Vec<u8>>,
    /// How long that took, where it is worth counting.
    pub(super) took: Duration,
}

/// Whether what a function takes and gives crosses as data.
pub(super) fn is_data(signature: &Signature) -> bool {
    !signature.holds_handles()
}

/// What a byte of arguments may take, with itself.
#[derive(Clone, Copy, Debug)]
pub struct Growth(pub(super) usize);

impl Growth {
    /// Where they stay data.
    pub fn of_data(signature: &Signature) -> Self {
        let holds_map = |ty: &Type| ty.any(&|ty| matches!(ty, Type::Map(..)));
        let mut types = signature.parameters.iter().map(|one| &one.ty);
        match types.any(holds_map) {
            // Its keys are kept together until it ends.
            true => Growth::of_values(),
            // As they came, and again as they are passed on.
            false => Growth(2),
        }
    }

    /// Where each of a list becomes a value of the engine's.
    pub fn of_values() -> Self {
        Growth(size_of::<Val>())
    }
}
