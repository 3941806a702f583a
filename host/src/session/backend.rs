//! What a session asks of the node behind it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::message::{CallHeader, Leased, Provide, Release, UploadHeader, Withdraw};
use rpc_host_protocol::operation::ModuleEntry;
use rpc_host_protocol::payload::Payload;
use rpc_host_protocol::{ExchangeId, Failure, Operation};

use super::{Outlet, Reach, SessionId, Told};
use crate::chain::Chain;
use crate::journal::Ear;
use crate::processor::Meter;
use crate::tenant::{Principal, Shown};

/// The node, as sessions see it.
///
/// Dropping a future that it gives ends what the future stands for: a cancel, a lost connection and
/// the end of a drain are all told that way.
pub trait Backend: Send + Sync + 'static {
    /// Where an upload's bytes go.
    type Upload: UploadSink;
    /// A call that has its place among others.
    type Call: Send + 'static;

    /// Who presents this token, shows this, or both. The failure is the same for what is unknown, wrong,
    /// expired or revoked, and for nothing.
    ///
    /// # Errors
    /// When the peer has to be turned away.
    fn authenticate(
        &self,
        token: Option<&str>,
        shown: &Shown,
        origin: Origin,
    ) -> Result<Principal, Failure>;

    /// Whether token and certificate are still good. Asked before each exchange, so it has to be cheap.
    fn still_valid(&self, principal: &Principal) -> bool;

    /// A session begins, whose client is at the end of `reach`.
    fn session_began(&self, principal: &Principal, origin: Origin, reach: Reach);

    /// What has to be decided about a call in the order in which calls came. Waits for nothing and does no
    /// work; whatever is wrong with the call is told when it is made.
    fn begin_call(&self, principal: &Principal, call: CallRequest) -> Self::Call;

    /// Calls a function. Dropping the future ends the guest.
    fn call(
        &self,
        principal: &Principal,
        call: Self::Call,
    ) -> impl Future<Output = Result<CallReply, Failure>> + Send;

    /// The client lets go of objects. What is given waits until they have ended; that they end does not rest
    /// on it.
    ///
    /// # Errors
    /// When the session does not hold them so often. Then it holds all of them as before.
    fn release(
        &self,
        principal: &Principal,
        origin: Origin,
        release: &Release,
    ) -> Result<impl Future<Output = Result<(), Failure>> + Send + 'static, Failure>;

    /// The same where nobody waits for it: what is not held so often is left alone.
    fn release_unanswered(&self, principal: &Principal, origin: Origin, release: &Release);

    /// Does an operation; gives the reply's CBOR item. What comes before that goes to `outlet`.
    fn operate(
        &self,
        principal: &Principal,
        origin: Origin,
        operation: Operation,
        outlet: Outlet,
    ) -> impl Future<Output = Result<Vec<u8>, Failure>> + Send;

    /// Takes an upload, or knows the module already.
    fn begin_upload(
        &self,
        principal: &Principal,
        origin: Origin,
        header: UploadHeader,
    ) -> impl Future<Output = Result<UploadStart<Self::Upload>, Failure>> + Send;

    /// Lets the client at the end of `reach` serve a name.
    fn provide(
        &self,
        principal: &Principal,
        origin: Origin,
        provide: Provide,
        reach: Reach,
    ) -> impl Future<Output = Result<Leased, Failure>> + Send;

    /// Ends what a client serves.
    fn withdraw(
        &self,
        principal: &Principal,
        origin: Origin,
        withdraw: Withdraw,
    ) -> Result<(), Failure>;

    /// Whether the client of a session serves something.
    fn is_serving(&self, principal: &Principal, session: SessionId) -> bool;

    /// A session is over, and its reach has ended. Whatever its client served, it serves no more; what it held
    /// is let go of.
    fn session_ended(&self, principal: &Principal, session: SessionId);
}

/// Room among those that have not said who they are. Dropped by whoever has.
pub trait Doorstep: Send {
    /// Whoever stands here showed nothing that is good: tells how long the answer has to wait.
    fn failed(&self) -> Duration;
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The session that it came in by.
    pub session: SessionId,
    /// What is at the other end.
    pub peer: Peer,
}

/// What is at the other end of a connection, as far as the node can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Whoever has this address.
    Address(IpAddr),
    /// Whoever started the process: the connection is its stdin and stdout.
    Stdio,
}

impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Address(address) => address.fmt(formatter),
            Peer::Stdio => formatter.write_str("stdio"),
        }
    }
}

/// Takes the bytes of one upload. Dropped before [`UploadSink::finish`], it forgets them.
pub trait UploadSink: Send + 'static {
    /// Takes the next bytes.
    fn write(&mut self, bytes: Vec<u8>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// All bytes are there. When this gives a module, it is verified, compiled and durable.
    fn finish(self) -> impl Future<Output = Result<ModuleEntry, Failure>> + Send;
}

/// How an upload begins.
#[derive(Debug)]
pub enum UploadStart<U> {
    /// The tenant has the module; no byte needs to be sent.
    Known(ModuleEntry),
    /// The bytes go here.
    Proceed(U),
}

/// A call that a client makes.
#[derive(Clone, Debug)]
pub struct CallRequest {
    /// Where it comes from.
    pub origin: Origin,
    /// Its number in that session.
    pub exchange: ExchangeId,
    /// Module, function, time left.
    pub header: CallHeader,
    /// Two CBOR items: an array of positional arguments and a map of named ones.
    pub arguments: Payload,
    /// What it is part of, if the client makes it for a call of the host's.
    pub chain: Option<Chain>,
    /// Hears what its guests say, if the client wants that.
    pub ear: Option<Arc<dyn Ear>>,
    /// Earlier ones like it took long, and so this one is likely to. Counts whether it does.
    pub meter: Option<Meter>,
}

/// How a call ends that went well.
#[derive(Debug)]
pub struct CallReply {
    /// One CBOR item.
    pub value: Vec<u8>,
    /// Whether the function returns a WIT `result`.
    pub is_result: bool,
    /// What is undone if it never leaves.
    pub told: Told,
}

impl CallReply {
    /// A reply that tells of nothing that would have to be undone.
    pub fn new(value: Vec<u8>, is_result: bool) -> Self {
        CallReply {
            value,
            is_result,
            told: Told::default(),
        }
    }
}
