//! Instances that are there because a registration says so: one for each session, or one for all.
//!
//! Its calls take turns in one line, whatever becomes of the instance meanwhile. One that failed is made anew by the
//! next call. One that is shared follows its registration: the first call after a swap makes it anew from the new
//! target, with the state of the old one if the old one gives it (`export-state`) and the new one takes it
//! (`import-state`); the old one stays for those who hold objects of it. One of a session stays what it was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rpc_host_protocol::cbor::{decode_value, encode_arguments};
use rpc_host_protocol::error::printable;
use rpc_host_protocol::operation::Instancing;
use rpc_host_protocol::payload::Payload;
use rpc_host_protocol::types::{ResultType, Type};
use rpc_host_protocol::value::{ValueError, ValueLimits};
use rpc_host_protocol::{Signature, Value};
use tokio::time::Instant;

use super::calls::call_budget;
use super::line::{Line, Ticket, Turn};
use super::pins::Payer;
use super::root::{Caller, Lasts, Member, Present, Root};
use super::{Node, audited};
use crate::account::{Held, Quantity};
use crate::budget::Budget;
use crate::chain::Chain;
use crate::error::HostError;
use crate::objects::{Gone, ObjectError};
use crate::registry::{Registration, RegistrationName};
use crate::sandbox::{Brought, Encoded, Function, Functions, Prepared};
use crate::tenant::TenantId;

/// What a module exports that gives what it keeps to the one that comes after it, and what takes it.
const EXPORT_STATE: &str = "export-state";
const IMPORT_STATE: &str = "import-state";
/// So much of what a module says went wrong with that goes to the log.
const MAX_WHY_BYTES: usize = 512;

/// One instance that is kept, with all that it leads to.
pub(super) struct Kept {
    line: Arc<Line>,
    line_number: u64,
    /// Whose it is: none where all share it.
    of_session: Option<Arc<Quantity>>,
    present: Mutex<Option<Living>>,
}

/// What is there, and what it was made of.
#[derive(Clone)]
pub(super) struct Living {
    pub(super) root: Arc<Root>,
    pub(super) member: Arc<Member>,
}

impl Kept {
    pub(super) fn new(of_session: Option<Arc<Quantity>>) -> Self {
        Kept {
            line: Arc::default(),
            line_number: Root::next_line_number(),
            of_session,
            present: Mutex::default(),
        }
    }

    pub(super) fn lasts(&self) -> Lasts {
        match self.of_session {
            Some(_) => Lasts::Session,
            None => Lasts::Ever,
        }
    }

    pub(super) fn line(&self) -> (&Arc<Line>, u64) {
        (&self.line, self.line_number)
    }

    /// Gets a place at the end of the line; none where the chain has the turn already.
    pub(super) fn join(&self, chain: Option<&Chain>) -> Option<Ticket> {
        let has_turn = chain.is_some_and(|chain| chain.has_turn(self.line_number));
        (!has_turn).then(|| self.line.join())
    }

    /// What calls are made in now, for a call of `registration` that has the turn. It is made where it is not
    /// there, or not any more.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) async fn enter(
        self: &Arc<Self>,
        node: &Node,
        caller: &Arc<Caller>,
        registration: &Arc<Registration>,
        prepared: &Arc<Prepared>,
        turn: Turn,
    ) -> Result<(Turn, Living), HostError> {
        let present = self.present().clone();
        let alive = present.filter(|living| living.root.gone().is_none());
        let Some(old) = alive else {
            let living = self.make(node, caller, registration, prepared)?;
            return Ok((turn, living));
        };
        let follows = self.lasts() == Lasts::Ever;
        if !follows || !old.is_before(registration) {
            return Ok((turn, old));
        }
        // It goes on even if the caller does not wait for it: else whoever calls first after a swap, and has
        // no time, would have the state lost.
        let (kept, node, caller) = (Arc::clone(self), node.clone(), Arc::clone(caller));
        let (registration, prepared) = (Arc::clone(registration), Arc::clone(prepared));
        let swapping = tokio::spawn(async move {
            let swapped = kept.swap(&node, &caller, &old, &registration, &prepared);
            let swapped = swapped.await;
            // It had a turn, too.
            old.root.end_of_turn();
            (turn, swapped)
        });
        match swapping.await {
            Ok((turn, living)) => Ok((turn, living?)),
            Err(_panic) => Err(ObjectError::InstanceGone { why: Gone::Failed }.into()),
        }
    }

    /// What calls are made in now, for one that is part of the call that has the turn.
    ///
    /// # Errors
    /// When it is gone: whoever has the turn is about to hear of it.
    pub(super) fn within(&self) -> Result<Living, ObjectError> {
        let present = self.present().clone();
        let living = present.ok_or(ObjectError::InstanceGone { why: Gone::Failed })?;
        living.root.check_alive()?;
        Ok(living)
    }

    /// It is not kept any more, and what calls are made in is gone.
    pub(super) fn end(&self, why: Gone) {
        let present = self.present().take();
        if let Some(living) = present {
            living.root.end(why);
        }
    }

    /// It is not kept any more. Those who hold something of it go on.
    pub(super) fn leave(&self) {
        let present = self.present().take();
        drop(present);
    }

    fn make(
        self: &Arc<Self>,
        node: &Node,
        caller: &Arc<Caller>,
        registration: &Arc<Registration>,
        prepared: &Arc<Prepared>,
    ) -> Result<Living, HostError> {
        let root = Root::kept(node.clone(), self);
        root.pay_with(Payer::new(caller, self.of_session.clone()))?;
        let member = root.member(registration, prepared)?;
        let living = Living { root, member };
        let before = self.present().replace(living.clone());
        drop(before);
        Ok(living)
    }

    /// Another revision takes the place of the old one.
    async fn swap(
        self: &Arc<Self>,
        node: &Node,
        caller: &Arc<Caller>,
        old: &Living,
        registration: &Arc<Registration>,
        prepared: &Arc<Prepared>,
    ) -> Result<Living, HostError> {
        let exports = old.member.prepared().functions();
        let giving = state_function(exports, EXPORT_STATE, gives_state);
        let taking = state_function(prepared.functions(), IMPORT_STATE, takes_state);
        let (Some(giving), Some(taking)) = (giving, taking) else {
            return self.make(node, caller, registration, prepared);
        };
        let until = {
            let limits = caller.permit.settings().limits();
            Instant::now() + Duration::from_millis(limits.default_call_timeout_ms)
        };
        let given = self.call_state(
            old,
            giving,
            encode_arguments(&[], &[]).into(),
            caller,
            until,
        );
        let given = given.await.and_then(|state| {
            let state = encode_arguments(state.as_slice(), &[]);
            // It is in no instance meanwhile.
            let held = Held::try_take(caller.account.memory(), state.capacity() as u64);
            let held = held.ok_or("there is no room for it in the tenant's memory")?;
            Ok((state, held))
        });
        let handed_over = match given {
            Err(why) => Err(why),
            Ok((state, _held)) => {
                let living = self.make(node, caller, registration, prepared)?;
                let taken = self.call_state(&living, taking, state.into(), caller, until);
                taken.await.map(|_nothing| living)
            }
        };
        let why = match handed_over {
            Ok(living) => return Ok(living),
            Err(why) => why,
        };
        let name = registration.name.as_str();
        let why = printable(&why, MAX_WHY_BYTES);
        let tenant = &caller.tenant;
        tracing::warn!(%tenant, name, why, "the state of a module was not handed over; its next instance starts clean");
        audited::lost_state(&node.audit, caller, name);
        // What took a part of it is nobody's to use.
        if let Some(half) = self.present().take()
            && !Arc::ptr_eq(&half.root, &old.root)
        {
            half.root.end(Gone::Failed);
        }
        self.make(node, caller, registration, prepared)
    }

    /// Has a module give its state, or take it.
    async fn call_state(
        &self,
        living: &Living,
        index: usize,
        arguments: Payload,
        caller: &Arc<Caller>,
        until: Instant,
    ) -> Result<Option<Value>, String> {
        let limits = caller.permit.settings().limits();
        let budget = Budget::new(call_budget(limits), Arc::clone(&caller.account));
        let depth = u32::try_from(limits.max_chain_depth).unwrap_or(u32::MAX);
        let chain = Chain::begin(living.member.name().into(), until, depth, budget);
        let present = Present {
            caller: Arc::clone(caller),
            chain: chain.with_turn(self.line_number),
        };
        let Living { root, member } = living;
        let functions = member.prepared().functions();
        let signature = functions.iter().nth(index).map(|one| &one.signature);
        let signature = signature.ok_or("there is no such function")?;
        let told = |error: ValueError| error.to_string();
        let arguments = Encoded::check(arguments, signature, u64::MAX).map_err(told)?;
        let called = root.enter(member, index, Brought::Encoded(arguments), present);
        let data = called.await.and_then(|given| Ok(given.into_data()?));
        let data = data.map_err(|error| error.to_string())?;
        let Some(ty) = &signature.result else {
            return Ok(None);
        };
        let value = decode_value(&data, ty, "result", ValueLimits::default());
        match value.map_err(told)? {
            Value::Result(Ok(value)) => Ok(value.map(|value| *value)),
            Value::Result(Err(Some(why))) => match *why {
                Value::String(why) => Err(why),
                _ => Err("it failed".to_owned()),
            },
            value => Ok(Some(value)),
        }
    }

    fn present(&self) -> MutexGuard<'_, Option<Living>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Living {
    /// Whether it was made of an earlier revision.
    fn is_before(&self, registration: &Registration) -> bool {
        self.member.registration().current.number < registration.current.number
    }
}

/// The function of this name that gives or takes the state of a module, in whatever interface it is.
fn state_function(
    functions: &Functions,
    name: &str,
    fits: impl Fn(&Signature) -> bool,
) -> Option<usize> {
    let is_it = |function: &&Function| *function.name == *name && fits(&function.signature);
    let mut all = functions.iter().enumerate();
    all.find(|(_, function)| is_it(function))
        .map(|(index, _)| index)
}

fn is_bytes(ty: &Type) -> bool {
    matches!(ty, Type::List(inner) if **inner == Type::U8)
}

/// `func() -> list<u8>`, or a result of that with a text.
fn gives_state(signature: &Signature) -> bool {
    let gives = |ty: &Type| match ty {
        Type::Result(ResultType { ok: Some(ok), err }) => is_bytes(ok) && is_text(err.as_deref()),
        ty => is_bytes(ty),
    };
    signature.parameters.is_empty() && signature.result.as_ref().is_some_and(gives)
}

/// `func(state: list<u8>)`, or with a result of nothing and a text.
fn takes_state(signature: &Signature) -> bool {
    let [state] = &signature.parameters[..] else {
        return false;
    };
    let gives_nothing = match &signature.result {
        None => true,
        Some(Type::Result(ResultType { ok: None, err })) => is_text(err.as_deref()),
        Some(_) => false,
    };
    is_bytes(&state.ty) && gives_nothing
}

fn is_text(ty: Option<&Type>) -> bool {
    ty.is_none_or(|ty| *ty == Type::String)
}

/// The instances that sessions share.
#[derive(Default)]
pub(super) struct Shared {
    kept: Mutex<HashMap<(TenantId, RegistrationName), Arc<Kept>>>,
}

impl Shared {
    /// The one of a registration.
    pub(super) fn of(&self, registration: &Registration) -> Arc<Kept> {
        let key = (registration.tenant, registration.name.clone());
        let mut kept = self.kept();
        let one = kept.entry(key).or_insert_with(|| Arc::new(Kept::new(None)));
        Arc::clone(one)
    }

    /// A registration has changed: where it is shared no more, nothing of it is kept.
    pub(super) fn changed(&self, registration: &Registration) {
        if registration.current.instancing == Instancing::Shared {
            return;
        }
        let key = (registration.tenant, registration.name.clone());
        let left = self.kept().remove(&key);
        if let Some(left) = left {
            left.leave();
        }
    }

    /// A registration, or a tenant with all that it has, was removed.
    pub(super) fn removed(&self, tenant: TenantId, name: Option<&str>) {
        let removed: Vec<_> = {
            let mut kept = self.kept();
            let is_meant = |key: &(TenantId, RegistrationName)| {
                key.0 == tenant && name.is_none_or(|name| key.1.as_str() == name)
            };
            kept.extract_if(|key, _| is_meant(key)).collect()
        };
        for (_, kept) in removed {
            kept.end(Gone::Removed);
        }
    }

    /// What sessions share of a tenant, for those who look what has to end with something else.
    pub(super) fn of_tenant(&self, tenant: TenantId) -> Vec<Arc<Root>> {
        let kept: Vec<_> = {
            let kept = self.kept();
            let of_tenant = kept.iter().filter(|((of, _), _)| *of == tenant);
            of_tenant.map(|(_, kept)| Arc::clone(kept)).collect()
        };
        let roots = kept
            .iter()
            .filter_map(|kept| kept.present().as_ref().map(|living| living.root.clone()));
        roots.collect()
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<(TenantId, RegistrationName), Arc<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use rpc_host_protocol::types::Field;

    use super::*;

    fn signature(parameter: Option<Type>, result: Option<Type>) -> Signature {
        let parameters = parameter.map(|ty| Field {
            name: "state".into(),
            ty,
        });
        Signature {
            parameters: parameters.into_iter().collect(),
            result,
        }
    }

    #[test]
    fn state_is_bytes_and_nothing_else() {
        let bytes = || Type::List(Arc::new(Type::U8));
        let result = |ok: Option<Type>, err: Option<Type>| {
            Type::Result(ResultType {
                ok: ok.map(Arc::new),
                err: err.map(Arc::new),
            })
        };
        let text = || Some(Type::String);
        for (gives, expected) in [
            (signature(None, Some(bytes())), true),
            (signature(None, Some(result(Some(bytes()), text()))), true),
            (signature(None, Some(Type::String)), false),
            (signature(None, None), false),
            (signature(Some(bytes()), Some(bytes())), false),
            (
                signature(None, Some(result(Some(bytes()), Some(Type::U8)))),
                false,
            ),
        ] {
            assert_eq!(gives_state(&gives), expected, "{gives}");
        }
        for (takes, expected) in [
            (signature(Some(bytes()), None), true),
            (signature(Some(bytes()), Some(result(None, text()))), true),
            (signature(Some(bytes()), Some(result(None, None))), true),
            (signature(Some(bytes()), Some(Type::Bool)), false),
            (signature(Some(Type::String), None), false),
            (signature(None, None), false),
        ] {
            assert_eq!(takes_state(&takes), expected, "{takes}");
        }
    }
}
