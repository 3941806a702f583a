//! What a hostile program is: what it does, and how that has to end.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use rpc_host_client::{Error, Options};
use rpc_host_protocol::cbor::encode_value;
use rpc_host_protocol::error::MAX_FAILURE_TEXT_BYTES;
use rpc_host_protocol::{ErrorCode, Failure, Fault, Value};

use super::Scene;
use super::seed::Seed;
use crate::{built, component};

/// One hostile program. There is no default for any part of it, least of all for its end.
pub struct Program {
    /// The threat in the list of `tests/hostile/README.md`.
    pub row: &'static str,
    /// Unique among all programs; also what its guest is registered as.
    pub name: &'static str,
    /// What it does, in a sentence.
    pub what: &'static str,
    /// How often it is run, beside the others.
    pub cost: Cost,
    /// What it does.
    pub attack: Attack,
    /// How it ends.
    pub expect: Expect,
}

/// What a run takes of the machine, and so how often the gauntlet can afford one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// About a millisecond.
    Cheap,
    /// Some ten milliseconds, or a connection of its own.
    Some,
    /// A deadline, or a process.
    Slow,
    /// Seconds.
    Dear,
}

impl Cost {
    /// Runs of a program of this cost, for one of the dearest.
    pub fn weight(self) -> u64 {
        match self {
            Cost::Cheap => 2000,
            Cost::Some => 200,
            Cost::Slow => 20,
            Cost::Dear => 1,
        }
    }
}

/// What a program does.
pub enum Attack {
    /// Calls a guest, the first of these registrations; it takes nothing else.
    Call {
        /// What has to be registered beforehand.
        registered: Vec<Registered>,
        /// Which function of the first.
        function: &'static str,
        /// Its arguments.
        arguments: Vec<Value>,
    },
    /// Uploads these bytes.
    Upload(fn() -> Vec<u8>),
    /// Whatever a client can do.
    Client {
        /// What has to be registered beforehand.
        registered: Vec<Registered>,
        /// What it does, and how that ended.
        run: fn(Scene) -> Doing,
    },
}

/// A client program that is running.
pub type Doing = Pin<Box<dyn Future<Output = End> + Send>>;

/// A guest under a name.
#[derive(Clone)]
pub struct Registered {
    /// The name.
    pub name: String,
    /// The component.
    pub guest: Guest,
    /// Grants, limits and bindings.
    pub options: Options,
}

/// Where a guest comes from.
#[derive(Clone, Copy)]
pub enum Guest {
    /// A file of `tests/hostile/guests`, without its ending.
    Written(&'static str),
    /// A program that `cargo xtask modules` builds.
    Built(&'static str),
    /// Made by a function.
    Made(fn() -> Vec<u8>),
}

impl Guest {
    /// Its bytes.
    pub fn bytes(self) -> Vec<u8> {
        match self {
            Guest::Written(name) => {
                let path = guests().join(name).with_extension("wat");
                let text = std::fs::read_to_string(&path);
                let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                wat::parse_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
            }
            Guest::Built(name) => built(name),
            Guest::Made(make) => make(),
        }
    }
}

/// Where the guests lie that are written by hand.
pub fn guests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("hostile/guests")
}

/// A component of one core module, all of whose functions `names` take and give nothing.
pub(super) fn plain(core: &str, names: &[&str]) -> Vec<u8> {
    let lifted: String = names
        .iter()
        .map(|name| format!("(func (export \"{name}\") (canon lift (core func $i \"{name}\")))"))
        .collect();
    component(&format!(
        "(component (core module $m {core}) (core instance $i (instantiate $m)) {lifted})"
    ))
}

/// How a program may end.
pub enum Expect {
    /// With a failure of this code and fault, whose message has all these parts.
    Failure(ErrorCode, Fault, &'static [&'static str]),
    /// The node says why it ends the connection, with this code and these parts of a message.
    Dismissal(ErrorCode, &'static [&'static str]),
    /// The node ends the connection, without having to say why.
    HangUp,
    /// With this result.
    Value(Value),
    /// The program has looked at each step by itself, and at this place in its own words all is well.
    AllWell,
}

/// How a program ended.
#[derive(Debug)]
pub enum End {
    /// With a failure of its exchange.
    Failure(Failure),
    /// With a connection that the node ended, and said why.
    Dismissal(Failure),
    /// With a connection that the node ended.
    HangUp,
    /// With a reply.
    Value(Vec<u8>),
    /// See [`Expect::AllWell`].
    AllWell,
    /// In a way that no program expects.
    Odd(String),
}

impl End {
    /// How an operation of the client library ended.
    pub fn of<T>(outcome: Result<T, Error>) -> End {
        match outcome {
            Ok(_) => End::Odd("it was let through".to_owned()),
            Err(error) => End::of_error(error),
        }
    }

    /// How something of the client library failed.
    pub fn of_error(error: Error) -> End {
        match error {
            Error::Remote(failure) | Error::Unauthenticated(failure) => End::Failure(failure),
            Error::Lost { .. } => End::HangUp,
            other => End::Odd(format!("{other:?}")),
        }
    }
}

impl Expect {
    /// Whether it ended so; if not, what is wrong.
    ///
    /// # Errors
    /// What is wrong, for a person.
    pub fn check(&self, end: &End) -> Result<(), String> {
        if let End::Failure(failure) | End::Dismissal(failure) = end {
            well_formed(failure)?;
        }
        let is_so = match (self, end) {
            (Expect::Failure(code, fault, parts), End::Failure(failure)) => {
                failure.code == *code && failure.fault == *fault && says(failure, parts)
            }
            (Expect::Dismissal(code, parts), End::Dismissal(failure)) => {
                failure.code == *code && says(failure, parts)
            }
            // A reason is as good as none.
            (Expect::HangUp, End::HangUp | End::Dismissal(_)) => true,
            (Expect::Value(value), End::Value(bytes)) => encode_value(value) == *bytes,
            (Expect::AllWell, End::AllWell) => true,
            _ => false,
        };
        if is_so {
            Ok(())
        } else {
            Err(format!("expected {self}, and it ended with {end:?}"))
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expect::Failure(code, fault, parts) => {
                write!(formatter, "`{code}`, fault `{fault}`")?;
                said(formatter, parts)
            }
            Expect::Dismissal(code, parts) => {
                write!(formatter, "the connection ended with `{code}`")?;
                said(formatter, parts)
            }
            Expect::HangUp => formatter.write_str("the connection ended"),
            Expect::Value(value) => write!(formatter, "the value {value:?}"),
            Expect::AllWell => formatter.write_str("each step answered as it should be"),
        }
    }
}

fn said(formatter: &mut fmt::Formatter<'_>, parts: &[&str]) -> fmt::Result {
    match parts {
        [] => Ok(()),
        parts => write!(formatter, ", saying {}", parts.join(" … ")),
    }
}

fn says(failure: &Failure, parts: &[&str]) -> bool {
    parts.iter().all(|part| failure.message.contains(part))
}

/// What holds for every failure, whatever an outsider did to bring it about.
fn well_formed(failure: &Failure) -> Result<(), String> {
    let frames = failure.backtrace.iter();
    let bytes = failure.message.len() + frames.clone().map(String::len).sum::<usize>();
    if bytes > MAX_FAILURE_TEXT_BYTES {
        return Err(format!("a failure of {bytes} bytes of text"));
    }
    let mut texts = frames.chain([&failure.message]);
    match texts.find(|text| text.chars().any(char::is_control)) {
        Some(text) => Err(format!("a failure with control characters: {text:?}")),
        None => Ok(()),
    }
}

impl Program {
    /// Runs it once.
    pub async fn run(&self, scene: Scene) -> End {
        match &self.attack {
            Attack::Call {
                function,
                arguments,
                ..
            } => scene.call(self.name, function, arguments).await,
            Attack::Upload(bytes) => {
                let bytes = bytes();
                End::of(scene.tenant.client.upload_module(bytes).await)
            }
            Attack::Client { run, .. } => run(scene).await,
        }
    }

    /// What has to be registered before it can run.
    pub fn registered(&self) -> &[Registered] {
        match &self.attack {
            Attack::Call { registered, .. } | Attack::Client { registered, .. } => registered,
            Attack::Upload(_) => &[],
        }
    }
}

/// A choice among programs by their weights.
pub fn choose<'a>(programs: &'a [Program], seed: &mut Seed) -> Option<&'a Program> {
    let total = programs.iter().map(|program| program.cost.weight()).sum();
    let mut at = seed.below(total);
    programs.iter().find(|program| {
        let weight = program.cost.weight();
        let is_it = at < weight;
        at = at.saturating_sub(weight);
        is_it
    })
}
