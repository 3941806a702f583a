//! What each kind of message carries.

use serde::{Deserialize, Deserializer, Serialize};

use crate::assembler::RawMessage;
use crate::cbor::{EnvelopeError, decode_envelope, encode_envelope, split_envelope};
use crate::error::Failure;
use crate::frame::{ExchangeId, FLAG_RESULT, Kind};
use crate::operation::{FunctionDescription, Operation, is_false};
use crate::payload::Payload;

/// The client's first message. It may be larger than nothing else before it is answered.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Hello {
    /// The protocol versions that the client speaks.
    pub versions: Vec<u32>,
    /// Its name and version, for the log.
    pub client: String,
    /// What it proves its identity with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

impl std::fmt::Debug for Hello {
    /// Never shows the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hello")
            .field("versions", &self.versions)
            .field("client", &self.client)
            .field("token", &self.token.as_ref().map(|_| "…"))
            .finish()
    }
}

/// The host's answer to a hello that it accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Welcome {
    /// The version that both sides use from now on.
    pub version: u32,
    /// The host's name and version.
    pub host: String,
    /// Names this session in the host's log.
    pub session: String,
    /// The tenant that the token belongs to.
    pub tenant: String,
    /// The token's role.
    pub role: String,
    /// Bytes of the longest message that the host takes.
    pub max_message_bytes: u64,
    /// How many calls may be in flight at once.
    pub max_calls_in_flight: u32,
    /// How long the connection may be silent before the host closes it; a ping breaks the silence.
    pub idle_timeout_ms: u64,
}

/// What a call is about; its arguments follow as two more CBOR items (see [`crate::cbor`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CallHeader {
    /// The registration; in a call into a client the name it provides, or the interface of its object.
    pub module: String,
    /// The function: `add`, `calc.add` or `demo:calc/calc@0.1.0.add`.
    pub function: String,
    /// Time left for the call; the host's default where it is absent, and never more than its ceiling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Of a call into the host: the number of the host's call that the client makes it for. It is then
    /// part of that chain: its time and its depth are counted from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<u32>,
    /// Of a call into the host: patterns of the grants that are in force for it and all that it leads to, of
    /// those that are without it. None are where it is empty, all where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Of a call into a client: the lease that it rests on. Calls of a client's own objects rest on none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// Of a call into the host: a handle. The call is done where this object lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<u64>,
    /// Of a call into the host: whether to send what the guest writes, see [`Output`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub output: bool,
}

/// Begins an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UploadHeader {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// How many bytes will come.
    pub size_bytes: u64,
}

/// How much of an upload has been taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Ack {
    /// Bytes taken so far.
    pub received_bytes: u64,
    /// How many more bytes may be sent before the next ack.
    pub window_bytes: u64,
}

/// Offers to serve a name from this client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Provide {
    /// The registration name to answer for.
    pub name: String,
    /// For whom.
    pub scope: ProvideScope,
    /// How long the offer stands without a sign of life.
    pub lease_ms: u64,
    /// How many calls the client serves at once.
    pub window: u32,
    /// Who answers when the offer has ended.
    #[serde(default)]
    pub fallback: Fallback,
    /// The interface as WIT text, for a name that nobody imports and nothing has answered yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wit: Option<String>,
}

/// Who answers for a name when the offer to serve it has ended without being withdrawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// Whatever answered before.
    #[default]
    Previous,
    /// Nobody: calls end with `provider-lost` until somebody decides otherwise.
    Error,
}

/// Whose calls a provided name answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProvideScope {
    /// Those of the session that provides it.
    Session,
    /// Those of the whole tenant.
    Tenant,
}

/// Ends an offer. Answered by a reply whose value is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Withdraw {
    /// The name.
    pub name: String,
    /// The lease, of those of this session; whichever it has on the name, where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// Whether to end another session's offer to the whole tenant.
    #[serde(default, skip_serializing_if = "is_false")]
    pub steal: bool,
}

/// What answers a [`Provide`] that is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Leased {
    /// Names this offer; never used twice while a host runs.
    pub lease: u64,
    /// How long it stands without a sign of life.
    pub lease_ms: u64,
    /// How many calls come at once, at most.
    pub window: u32,
    /// The functions that may be called.
    pub functions: Vec<FunctionDescription>,
}

/// The host has ended an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lapse {
    /// The name.
    pub name: String,
    /// The lease.
    pub lease: u64,
    /// Why.
    pub failure: Failure,
}

/// The most objects that one [`Release`] lets go of.
pub const MAX_RELEASED_HANDLES: usize = 4096;

/// Lets go of objects: each with the number of times that it was received.
///
/// From a client these are objects of the host; on the connection itself nobody answers, on an exchange
/// of its own it is answered when the destructors have ended. From the host these are objects of the client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Release {
    /// Number and count, at most [`MAX_RELEASED_HANDLES`]; a count is 1 or more.
    #[serde(deserialize_with = "released")]
    pub handles: Vec<(u64, u32)>,
}

fn released<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<(u64, u32)>, D::Error> {
    use serde::de::Error;
    let handles: Vec<(u64, u32)> = Vec::deserialize(input)?;
    if handles.len() > MAX_RELEASED_HANDLES {
        let problem = format!("more than {MAX_RELEASED_HANDLES} handles in one release");
        return Err(D::Error::custom(problem));
    }
    match handles.iter().find(|(_, count)| *count == 0) {
        None => Ok(handles),
        Some((number, _)) => Err(D::Error::custom(format!("handle {number} has the count 0"))),
    }
}

/// A line that a guest wrote: to whoever calls it and asked for that, and to whoever reads its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Output {
    /// Where it wrote it.
    pub stream: OutputStream,
    /// The line, without its end.
    pub text: String,
    /// Of a line of the log: `trace`, `debug`, `info`, `warn`, `error` or `critical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// Of a line that was kept: when it was written, in milliseconds since 1970, UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<u64>,
    /// Of a line that was kept: the call in which it was written, as the host's log names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// This is no line of a guest's: so many are missing here, as they came faster than they were read. The text says the
    /// same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

/// Where a guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputStream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
    /// The log that it is granted.
    Log,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Event {
    /// What, in one word.
    pub event: String,
    /// For a person.
    pub message: String,
}

/// A number that comes back in the pong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Beat {
    /// Chosen by the side that asks.
    pub nonce: u64,
}

/// Why no more exchanges are taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Goaway {
    /// Code, text and fault; `unavailable` where the host is stopping.
    pub failure: Failure,
}

/// A decoded message.
///
/// Values stay encoded: whoever knows their type decodes them.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    missing_docs,
    reason = "the kinds are documented where they are numbered"
)]
pub enum Message {
    Hello(Hello),
    Welcome(Welcome),
    Call {
        header: CallHeader,
        /// Two CBOR items: an array of positional arguments and a map of named ones.
        arguments: Payload,
    },
    Reply {
        /// One CBOR item.
        value: Vec<u8>,
        /// Whether the function returns a WIT `result`.
        is_result: bool,
    },
    Failure(Failure),
    Cancel,
    Request(Operation),
    Upload(UploadHeader),
    Chunk(Vec<u8>),
    Ack(Ack),
    Provide(Provide),
    Withdraw(Withdraw),
    Release(Release),
    Event(Event),
    Ping(Beat),
    Pong(Beat),
    Goaway(Goaway),
    Lapse(Lapse),
    Output(Output),
}

/// Why bytes are no message of their kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {kind}: {cause}", kind = .kind.name())]
pub struct MessageError {
    /// What they should have been.
    pub kind: Kind,
    /// What is wrong.
    pub cause: EnvelopeError,
}

impl Message {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Message::Hello(_) => Kind::Hello,
            Message::Welcome(_) => Kind::Welcome,
            Message::Call { .. } => Kind::Call,
            Message::Reply { .. } => Kind::Reply,
            Message::Failure(_) => Kind::Failure,
            Message::Cancel => Kind::Cancel,
            Message::Request(_) => Kind::Request,
            Message::Upload(_) => Kind::Upload,
            Message::Chunk(_) => Kind::Chunk,
            Message::Ack(_) => Kind::Ack,
            Message::Provide(_) => Kind::Provide,
            Message::Withdraw(_) => Kind::Withdraw,
            Message::Release(_) => Kind::Release,
            Message::Event(_) => Kind::Event,
            Message::Ping(_) => Kind::Ping,
            Message::Pong(_) => Kind::Pong,
            Message::Goaway(_) => Kind::Goaway,
            Message::Lapse(_) => Kind::Lapse,
            Message::Output(_) => Kind::Output,
        }
    }

    /// A call with these arguments: two CBOR items, an array of positional ones and a map of named ones.
    pub fn call(header: CallHeader, arguments: impl Into<Payload>) -> Message {
        Message::Call {
            header,
            arguments: arguments.into(),
        }
    }

    /// Its bytes, as a message of exchange `id`.
    pub fn encode(self, id: ExchangeId) -> RawMessage {
        let kind = self.kind();
        let mut flags = 0;
        let payload = match self {
            Message::Hello(body) => encode_envelope(&body),
            Message::Welcome(body) => encode_envelope(&body),
            Message::Call { header, arguments } => {
                let mut payload = arguments;
                payload.put_in_front(&encode_envelope(&header));
                return RawMessage {
                    kind,
                    flags,
                    id,
                    payload,
                };
            }
            Message::Reply { value, is_result } => {
                if is_result {
                    flags = FLAG_RESULT;
                }
                value
            }
            Message::Failure(body) => encode_envelope(&body),
            Message::Cancel => Vec::new(),
            Message::Request(body) => encode_envelope(&body),
            Message::Upload(body) => encode_envelope(&body),
            Message::Chunk(bytes) => bytes,
            Message::Ack(body) => encode_envelope(&body),
            Message::Provide(body) => encode_envelope(&body),
            Message::Withdraw(body) => encode_envelope(&body),
            Message::Release(body) => encode_envelope(&body),
            Message::Event(body) => encode_envelope(&body),
            Message::Ping(body) | Message::Pong(body) => encode_envelope(&body),
            Message::Goaway(body) => encode_envelope(&body),
            Message::Lapse(body) => encode_envelope(&body),
            Message::Output(body) => encode_envelope(&body),
        };
        RawMessage {
            kind,
            flags,
            id,
            payload: payload.into(),
        }
    }

    /// The message that these bytes are.
    pub fn decode(raw: RawMessage) -> Result<Message, MessageError> {
        let RawMessage {
            kind,
            flags,
            payload,
            ..
        } = raw;
        let malformed = |cause| MessageError { kind, cause };
        macro_rules! envelope {
            ($case:ident) => {
                decode_envelope(&payload)
                    .map(Message::$case)
                    .map_err(malformed)
            };
        }
        match kind {
            Kind::Hello => envelope!(Hello),
            Kind::Welcome => envelope!(Welcome),
            Kind::Call => {
                let (header, arguments) = split_envelope(&payload).map_err(malformed)?;
                let header_bytes = payload.len() - arguments.len();
                let mut arguments = payload;
                arguments.leave_out(header_bytes);
                Ok(Message::Call { header, arguments })
            }
            Kind::Reply => Ok(Message::Reply {
                value: payload.into_vec(),
                is_result: flags & FLAG_RESULT != 0,
            }),
            Kind::Failure => envelope!(Failure),
            Kind::Cancel if payload.is_empty() => Ok(Message::Cancel),
            Kind::Cancel => Err(malformed(EnvelopeError::Content(
                "a cancel carries nothing".to_owned(),
            ))),
            Kind::Request => envelope!(Request),
            Kind::Upload => envelope!(Upload),
            Kind::Chunk => Ok(Message::Chunk(payload.into_vec())),
            Kind::Ack => envelope!(Ack),
            Kind::Provide => envelope!(Provide),
            Kind::Withdraw => envelope!(Withdraw),
            Kind::Release => envelope!(Release),
            Kind::Event => envelope!(Event),
            Kind::Ping => envelope!(Ping),
            Kind::Pong => envelope!(Pong),
            Kind::Goaway => envelope!(Goaway),
            Kind::Lapse => envelope!(Lapse),
            Kind::Output => envelope!(Output),
        }
    }
}
