//! A session of a hostile client that calls one module and holds objects of it.

use rpc_host_protocol::cbor::{encode_arguments, encode_value, handles};
use rpc_host_protocol::message::{CallHeader, Message, Release};
use rpc_host_protocol::operation::{
    Instancing, Named, Register, RegistrationEntry, RevisionEntry, Swap, SwapTo,
};
use rpc_host_protocol::value::Handle;
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Operation, Value};

use super::Scene;
use super::program::End;
use crate::RawPeer;

/// What a step gave, or how the program ended early.
pub(super) type Step<T> = Result<T, End>;

/// How an exchange ended.
pub(super) type Outcome = Result<Vec<u8>, Failure>;

/// An object of the node's.
pub(super) fn handle(number: u64) -> Value {
    Value::Handle(Handle::Host(number))
}

/// An object of the client's own.
pub(super) fn own(number: u64) -> Value {
    Value::Handle(Handle::Client(number))
}

pub(super) fn odd<T>(what: impl Into<String>) -> Step<T> {
    Err(End::Odd(what.into()))
}

/// That it is refused, by whose fault and with which code.
pub(super) fn refused(outcome: Outcome, fault: Fault, code: ErrorCode) -> Step<()> {
    match outcome {
        Err(failure) if failure.code == code && failure.fault == fault => Ok(()),
        Err(failure) if is_full(&failure) => Err(End::AllWell),
        other => odd(format!("{other:?}, not `{code}` by {fault}")),
    }
}

/// Others of the tenant may have all that there is, and the program is through then.
pub(super) fn unless_full(outcome: Outcome) -> Step<Vec<u8>> {
    match outcome {
        Ok(reply) => Ok(reply),
        Err(failure) if is_full(&failure) => Err(End::AllWell),
        Err(failure) => Err(End::Failure(failure)),
    }
}

fn is_full(failure: &Failure) -> bool {
    match failure.code {
        ErrorCode::Unavailable => true,
        ErrorCode::ResourceExhausted => failure.fault != Fault::Guest,
        _ => false,
    }
}

/// A session, and the module that it calls.
pub(super) struct Holder {
    pub(super) peer: RawPeer,
    module: String,
}

impl Holder {
    pub(super) async fn of(scene: &mut Scene, module: &str) -> Self {
        Holder {
            peer: scene.peer().await,
            module: module.to_owned(),
        }
    }

    /// What a call says, on an object or on none.
    pub(super) fn header(&self, function: &str, on: Option<u64>) -> CallHeader {
        CallHeader {
            module: self.module.clone(),
            function: function.to_owned(),
            on,
            ..CallHeader::default()
        }
    }

    pub(super) async fn begin(&mut self, header: CallHeader, arguments: &[Value]) -> ExchangeId {
        let id = self.peer.fresh_id();
        let arguments = encode_arguments(arguments, &[]);
        self.peer.send(id, Message::call(header, arguments)).await;
        id
    }

    pub(super) async fn call(
        &mut self,
        function: &str,
        on: Option<u64>,
        arguments: &[Value],
    ) -> Outcome {
        let header = self.header(function, on);
        let id = self.begin(header, arguments).await;
        self.peer.outcome(id).await
    }

    /// A new object.
    pub(super) async fn object(
        &mut self,
        function: &str,
        on: Option<u64>,
        arguments: &[Value],
    ) -> Step<u64> {
        let reply = unless_full(self.call(function, on, arguments).await)?;
        match handles(&reply).next() {
            Some(Handle::Host(number)) => Ok(number),
            other => odd(format!("{other:?} from `{function}`")),
        }
    }

    /// A call that gives this.
    pub(super) async fn gives(
        &mut self,
        function: &str,
        arguments: &[Value],
        expected: &Value,
    ) -> Step<()> {
        let reply = unless_full(self.call(function, None, arguments).await)?;
        match reply == encode_value(expected) {
            true => Ok(()),
            false => odd(format!("{reply:?} from `{function}`, not {expected:?}")),
        }
    }

    /// Lets go of objects, and waits until they have ended.
    pub(super) async fn release(&mut self, handles: &[(u64, u32)]) -> Outcome {
        let id = self.peer.fresh_id();
        let handles = handles.to_vec();
        self.peer
            .send(id, Message::Release(Release { handles }))
            .await;
        self.peer.outcome(id).await
    }

    /// Lets go of objects, and waits for nothing.
    pub(super) async fn drops(&mut self, handles: &[(u64, u32)]) {
        let handles = handles.to_vec();
        let release = Message::Release(Release { handles });
        self.peer.send(ExchangeId::CONNECTION, release).await;
    }
}

/// A name that this run has for itself, of a module that the tenant has under other names.
pub(super) struct Own {
    peer: RawPeer,
    pub(super) name: String,
}

impl Own {
    /// Points a new name at what `of` points at.
    pub(super) async fn new(scene: &mut Scene, of: &str, instancing: Instancing) -> Step<Self> {
        let name = format!("own-{:016x}", scene.seed.draw());
        let mut own = Own {
            peer: scene.peer().await,
            name,
        };
        let entry = own.entry(of).await?;
        let register = Operation::Register(Register {
            name: own.name.clone(),
            digest: entry.current.digest,
            limits: entry.current.limits,
            bindings: entry.current.bindings,
            instancing,
            ..Register::default()
        });
        match own.peer.operate::<RevisionEntry>(register).await {
            Ok(_) => Ok(own),
            Err(failure) => Err(End::Failure(failure)),
        }
    }

    /// Points it at what `to` points at.
    pub(super) async fn swap(&mut self, to: &str) -> Step<()> {
        let to = SwapTo::Digest(self.entry(to).await?.current.digest);
        let swap = Operation::Swap(Swap {
            name: self.name.clone(),
            to,
            if_revision: None,
            force: true,
        });
        match self.peer.operate::<RevisionEntry>(swap).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(End::Failure(failure)),
        }
    }

    /// Takes it away again, however the run went.
    pub(super) async fn over(mut self, outcome: Step<End>) -> Step<End> {
        let named = Operation::Remove(Named { name: self.name });
        match self.peer.operate::<Option<()>>(named).await {
            Ok(_null) => outcome,
            Err(failure) => Err(End::Failure(failure)),
        }
    }

    async fn entry(&mut self, name: &str) -> Step<RegistrationEntry> {
        let name = name.to_owned();
        let entry = self.peer.operate(Operation::Show(Named { name })).await;
        entry.map_err(End::Failure)
    }
}
