//! A call into a client: of what it serves, or of an object of its own.
//!
//! What goes out and comes back are values of a root, by whose numbers its objects are known. On the wire each is
//! either the client's own, by the number that the client chose, or one that the client is told of by a number of
//! its session: for good where it is given, for the time of the call where it is lent.

use std::sync::Arc;
use std::time::Duration;

use rpc_host_protocol::cbor::{check_value, decode_value, encode_arguments, encode_value};
use rpc_host_protocol::message::CallHeader;
use rpc_host_protocol::payload::Payload;
use rpc_host_protocol::types::{Name, ResultType, Type};
use rpc_host_protocol::value::{Handle, ValueLimits};
use rpc_host_protocol::{Signature, Value};
use tokio::time::{Instant, timeout_at};

use super::Node;
use super::abroad::ClientObject;
use super::across::{given_spot_of, spot_of};
use super::border::each_handle;
use super::calls::NULL;
use super::holdings::{Holdings, let_go};
use super::pins::Payer;
use super::root::{Caller, Root};
use crate::chain::Chain;
use crate::error::HostError;
use crate::objects::ObjectError;
use crate::provider::{LeaseEnd, ProviderError, Serving};
use crate::sandbox::{ArgumentRoom, Brought, Function, Given, Resource, SandboxError};
use crate::session::{ClientReply, Reach, ReachError};

/// Who is called.
pub(super) enum Far<'a> {
    /// Whoever serves a name.
    Serving(&'a Serving),
    /// Whoever has an object; by the interface that its method is of.
    Object(&'a ClientObject, &'a str),
}

/// A call into a client.
pub(super) struct FarCall<'a> {
    pub(super) node: &'a Node,
    pub(super) caller: &'a Arc<Caller>,
    pub(super) far: Far<'a>,
    /// The function, by the path that the client knows.
    pub(super) function: &'a Function,
    /// The same, in the types of whoever calls it.
    pub(super) signature: &'a Signature,
    /// Until when, if the chain has more time.
    pub(super) until: Instant,
    /// What leads to this call.
    pub(super) chain: &'a Chain,
    /// Room that the arguments take until they are encoded.
    pub(super) room: Option<ArgumentRoom>,
    /// Whether it is known of what interface each resource of the function's is, and not only what it is called.
    pub(super) knows_interfaces: bool,
}

impl FarCall<'_> {
    /// Makes the call. What the client answers is taken for as little as any value from outside: it has to be of
    /// the function's type. `root` knows the objects, where there can be any; `resource` tells what an object is
    /// that comes back, of a resource of the function's.
    ///
    /// # Errors
    /// However the call ends that does not end with an answer.
    pub(super) async fn make(
        mut self,
        arguments: Brought,
        root: Option<&Arc<Root>>,
        resource: impl Fn(&Name) -> Resource,
    ) -> Result<Given, HostError> {
        let within = Duration::from_millis(self.node.limits.max_call_timeout_ms);
        let deadline = self.chain.deadline().min(self.until);
        let deadline = deadline.min(Instant::now() + within);
        let signature = self.signature;
        let mut lent = Lent::of(self.caller);
        let is_data = matches!(arguments, Brought::Encoded(_));
        let arguments = match arguments {
            Brought::Encoded(data) => data.into_bytes(),
            Brought::Values(mut values) => {
                if let Some(root) = root.filter(|_| signature.holds_handles()) {
                    lent = self.send_out(&mut values, root)?;
                }
                encode_arguments(&values, &[]).into()
            }
        };
        // The client has them now, and nobody here.
        drop(self.room.take());
        let answered = self.call(arguments, deadline).await;
        lent.is_answered = matches!(answered, Ok(_) | Err(ProviderError::Failed { .. }));
        drop(lent);
        let reply = match answered {
            Ok(reply) => reply,
            Err(error) => {
                let value = fallen_short(signature, error)?;
                return Ok(match is_data {
                    true => Given::Encoded(encode_value(&value)),
                    false => Given::Value(Some(value)),
                });
            }
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let sandbox = self.node.targets.sandbox();
        let tenant = &self.caller.tenant;
        let _room = sandbox.answer_room(tenant, reply.value.len(), left).await?;
        let Some(ty) = &signature.result else {
            if reply.value != [NULL] {
                let function = self.function;
                let text = format!("`{function}` gives nothing, and it answered with something");
                return Err(self.failed(&text).into());
            }
            return Ok(match is_data {
                true => Given::Encoded(reply.value),
                false => Given::Value(None),
            });
        };
        let limits = ValueLimits::default();
        let unfit = |error| self.failed(&format!("what it answered is no result: {error}"));
        if is_data {
            check_value(&reply.value, ty, "result", limits).map_err(unfit)?;
            return Ok(Given::Encoded(reply.value));
        }
        let value = decode_value(&reply.value, ty, "result", limits);
        let mut value = value.map_err(unfit)?;
        if ty.holds_handles() {
            match root {
                Some(root) => self.take_in(&mut value, ty, root, resource)?,
                None => {
                    return Err(self
                        .failed("nobody could hold the object in its answer")
                        .into());
                }
            }
        }
        Ok(Given::Value(Some(value)))
    }

    async fn call(
        &self,
        arguments: Payload,
        deadline: Instant,
    ) -> Result<ClientReply, ProviderError> {
        let (object, interface) = match self.far {
            Far::Serving(serving) => {
                let calling = serving.call(self.function, arguments, deadline, self.chain);
                return calling.await;
            }
            Far::Object(object, interface) => (object, interface),
        };
        let inner = self.chain.then(interface.into(), None, deadline)?;
        let left = inner.deadline().saturating_duration_since(Instant::now());
        let header = CallHeader {
            module: interface.to_owned(),
            function: self.function.to_string(),
            timeout_ms: Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            ..CallHeader::default()
        };
        let (name, session) = (interface.to_owned(), object.session());
        let deadline = inner.deadline();
        let called = timeout_at(deadline, object.reach().call(header, arguments, inner));
        match called.await {
            Ok(Ok(reply)) => Ok(reply),
            Err(_elapsed) => Err(ProviderError::DeadlineExceeded {
                name,
                session,
                waited_for: "did not answer",
            }),
            Ok(Err(ReachError::Lost)) => Err(ProviderError::Lost {
                name,
                session,
                how: LeaseEnd::Disconnected,
            }),
            Ok(Err(ReachError::Full(limit))) => Err(ProviderError::Full { name, limit }),
            Ok(Err(ReachError::TooLong { bytes, limit_bytes })) => Err(ProviderError::TooLong {
                name,
                bytes,
                limit_bytes,
            }),
            // In the client's own words: a function may have a place for them.
            Ok(Err(ReachError::Failed(failure))) => Err(self.failed(&failure.message)),
            Ok(Err(error @ (ReachError::Malformed(_) | ReachError::TooMuch))) => {
                Err(self.failed(&error.to_string()))
            }
        }
    }

    fn failed(&self, text: &str) -> ProviderError {
        match self.far {
            Far::Serving(serving) => ProviderError::failed(serving, text),
            Far::Object(object, interface) => {
                ProviderError::failed_at(interface, object.session(), text)
            }
        }
    }

    fn reach(&self) -> &Reach {
        match self.far {
            Far::Serving(serving) => serving.reach(),
            Far::Object(object, _) => object.reach(),
        }
    }

    fn holdings(&self) -> Result<Arc<Holdings>, ProviderError> {
        let session = self.reach().session();
        let lost = || match self.far {
            Far::Serving(serving) => ProviderError::Lost {
                name: serving.name().to_owned(),
                session,
                how: LeaseEnd::Disconnected,
            },
            Far::Object(_, interface) => ProviderError::Lost {
                name: interface.to_owned(),
                session,
                how: LeaseEnd::Disconnected,
            },
        };
        self.node.holdings().of(session).ok_or_else(lost)
    }

    /// Objects as the client knows them.
    fn send_out(&self, arguments: &mut [Value], root: &Arc<Root>) -> Result<Lent, HostError> {
        let mut sent = Vec::new();
        let parameters = &self.signature.parameters;
        for (argument, parameter) in arguments.iter_mut().zip(parameters) {
            each_handle(argument, &parameter.ty, &mut |handle, _, is_borrowed| {
                sent.push((handle, is_borrowed));
            });
        }
        let mut lent = Lent::of(self.caller);
        let mut sent = sent.into_iter();
        while let Some((handle, is_borrowed)) = sent.next() {
            match self.send_one(&mut lent, *handle, is_borrowed, root) {
                Ok(known) => *handle = known,
                Err(error) => {
                    // Whoever gave these has them no more, and the client never will.
                    let given = sent.filter(|(_, is_borrowed)| !is_borrowed);
                    let given = given.map(|(handle, _)| given_spot_of(root, *handle));
                    let_go(given.collect(), self.caller);
                    return Err(error);
                }
            }
        }
        Ok(lent)
    }

    fn send_one(
        &self,
        lent: &mut Lent,
        object: Handle,
        is_borrowed: bool,
        root: &Arc<Root>,
    ) -> Result<Handle, HostError> {
        let session = self.reach().session();
        let of_client = ClientObject::of(root.handles(), object);
        if let Some(own) = of_client.filter(|one| one.session() == session) {
            let known = Handle::Client(own.number());
            if !is_borrowed {
                // Let go of when the call is over that it comes back in.
                lent.back.push(own);
                drop(root.handles().remove_abroad(object));
            }
            return Ok(known);
        }
        root.pin();
        if is_borrowed {
            let holdings = self.holdings_of(lent)?;
            let number = holdings.table().tell_for_a_call(spot_of(root, object))?;
            lent.numbers.push(number);
            return Ok(Handle::Host(number));
        }
        let spot = given_spot_of(root, object);
        let told = self.holdings_of(lent).map_err(HostError::from);
        let told = told.and_then(|holdings| {
            let of_session = Some(Arc::clone(holdings.pinned()));
            root.pay_with(Payer::new(self.caller, of_session))?;
            Ok(holdings.table().tell(spot.clone())?)
        });
        match told {
            Ok(number) => {
                lent.given.push(number);
                Ok(Handle::Host(number))
            }
            Err(error) => {
                let_go(vec![spot], self.caller);
                Err(error)
            }
        }
    }

    fn holdings_of(&self, lent: &mut Lent) -> Result<Arc<Holdings>, ProviderError> {
        Ok(match &lent.holdings {
            Some(holdings) => Arc::clone(holdings),
            None => Arc::clone(lent.holdings.insert(self.holdings()?)),
        })
    }

    /// Objects as the root knows them.
    fn take_in(
        &self,
        value: &mut Value,
        ty: &Type,
        root: &Arc<Root>,
        resource: impl Fn(&Name) -> Resource,
    ) -> Result<(), HostError> {
        let mut received = Vec::new();
        each_handle(value, ty, &mut |handle, name, _| {
            received.push((handle, name))
        });
        let reach = self.reach();
        let objects: Vec<_> = received
            .iter()
            .map(|(handle, _)| match **handle {
                Handle::Client(number) => Some(ClientObject::answered(reach, number)),
                Handle::Host(_) => None,
            })
            .collect();
        for ((handle, name), object) in received.into_iter().zip(objects) {
            *handle = match object {
                Some(object) => {
                    let limit = self.node.limits.max_objects_per_call;
                    let enlisted = object.enlist(root.handles(), resource(name));
                    enlisted.ok_or(SandboxError::TooManyObjects { limit })?
                }
                None => self.take_back(*handle, root, &resource(name))?,
            };
        }
        Ok(())
    }

    /// An object of the root that the client held and gives back, where one of the resource `wanted` has to be.
    fn take_back(
        &self,
        handle: Handle,
        root: &Arc<Root>,
        wanted: &Resource,
    ) -> Result<Handle, HostError> {
        let number = handle.number();
        let holdings = self.holdings()?;
        let given = || {
            let object = match holdings.table().find(number) {
                Ok(spot) if Arc::ptr_eq(&spot.root, root) => spot.object,
                Ok(_) => return Err(ObjectError::Elsewhere { number }),
                Err(error) => return Err(error),
            };
            if !self.is_one(object, root, wanted) {
                let wanted = wanted.to_string();
                return Err(ObjectError::OfAnotherResource { number, wanted });
            }
            let mut table = holdings.table();
            table.check_free(number)?;
            let forgotten = table.forget(number);
            drop(table);
            drop(forgotten);
            Ok(object)
        };
        Ok(given().map_err(|error| self.failed(&format!("what it answered: {error}")))?)
    }

    /// Whether an object is of this resource, as far as that is known.
    fn is_one(&self, object: Handle, root: &Root, wanted: &Resource) -> bool {
        let handles = root.handles();
        match self.knows_interfaces {
            true => handles.answers_for(object, wanted),
            false => handles
                .kind(object)
                .is_some_and(|kind| *kind.name == *wanted.name),
        }
    }
}

/// What a call into a client has with it.
struct Lent {
    caller: Arc<Caller>,
    holdings: Option<Arc<Holdings>>,
    /// Numbers that the client has for the time of the call.
    numbers: Vec<u64>,
    /// Numbers that it keeps, unless it never came to know them.
    given: Vec<u64>,
    is_answered: bool,
    /// Objects that have come back to it.
    back: Vec<Arc<ClientObject>>,
}

impl Lent {
    fn of(caller: &Arc<Caller>) -> Self {
        Lent {
            caller: Arc::clone(caller),
            holdings: None,
            numbers: Vec::new(),
            given: Vec::new(),
            is_answered: false,
            back: Vec::new(),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(holdings) = &self.holdings else {
            return;
        };
        let numbers = self.numbers.iter();
        let over: Vec<_> = {
            let mut table = holdings.table();
            numbers.map(|number| table.forget(*number)).collect()
        };
        drop(over);
        if !self.is_answered {
            holdings.untell(&self.given, &self.caller);
        }
    }
}

/// A client that failed: where the function has a way of its own to fail, with a text that says what went wrong, that
/// is how it does.
fn fallen_short(signature: &Signature, error: ProviderError) -> Result<Value, HostError> {
    match (error, &signature.result) {
        (
            ProviderError::Failed { text, .. },
            Some(Type::Result(ResultType { err: Some(err), .. })),
        ) if **err == Type::String => {
            let text = Value::String(text);
            Ok(Value::Result(Err(Some(Box::new(text)))))
        }
        (error, _) => Err(error.into()),
    }
}
