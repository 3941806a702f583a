//! What the instances of a root take that outlive its call.
//!
//! They hold places that calls could have, and nobody can tell for how long. So they are counted by
//! themselves: of a session, of a tenant and of the node, and who would have one too many is told so before
//! anything is made.

use std::sync::Arc;

use super::root::Caller;
use crate::account::{Held, Quantity};
use crate::objects::ObjectError;
use crate::sandbox::{Pinned, Prepared, Sandbox, Unpinned};

/// On whose account.
#[derive(Clone)]
pub(super) struct Payer {
    /// None of what sessions share.
    of_session: Option<Arc<Quantity>>,
    tenant: Arc<str>,
    /// How much of it the tenant may have.
    most: u64,
}

/// What a root takes.
#[derive(Default)]
pub(super) struct Pins {
    payer: Option<Payer>,
    held: Vec<(Option<Held>, Pinned)>,
}

impl Payer {
    pub(super) fn new(caller: &Caller, of_session: Option<Arc<Quantity>>) -> Self {
        let limits = caller.permit.settings().limits();
        Payer {
            of_session,
            tenant: Arc::clone(&caller.tenant),
            most: limits.max_pinned_instances_per_tenant,
        }
    }

    fn pay(
        &self,
        sandbox: &Sandbox,
        prepared: &Prepared,
    ) -> Result<(Option<Held>, Pinned), ObjectError> {
        let of_session = match &self.of_session {
            None => None,
            Some(of_session) => {
                let held = Held::try_take(of_session, prepared.places().into());
                let limit = of_session.limit();
                Some(held.ok_or(ObjectError::TooManyPinned { limit })?)
            }
        };
        let pinned = sandbox.pin(prepared, &self.tenant, self.most);
        let pinned = pinned.map_err(|full| match full {
            Unpinned::Tenant => ObjectError::TooManyPinnedOfTenant { limit: self.most },
            Unpinned::Node => ObjectError::NoRoomToPin,
        })?;
        Ok((of_session, pinned))
    }
}

impl Pins {
    /// Pays for what lives already, and for whatever is made from now on; the first who does so does it for all.
    pub(super) fn pay_with(
        &mut self,
        sandbox: &Sandbox,
        payer: Payer,
        live: &[Arc<Prepared>],
    ) -> Result<(), ObjectError> {
        if self.payer.is_some() {
            return Ok(());
        }
        for prepared in live {
            let paid = payer.pay(sandbox, prepared);
            match paid {
                Ok(paid) => self.held.push(paid),
                Err(full) => {
                    self.held.clear();
                    return Err(full);
                }
            }
        }
        self.payer = Some(payer);
        Ok(())
    }

    /// Pays for an instance that is about to be made, if it may outlive the call; tells whether it may.
    pub(super) fn pay(
        &mut self,
        sandbox: &Sandbox,
        prepared: &Prepared,
    ) -> Result<bool, ObjectError> {
        let Some(payer) = &self.payer else {
            return Ok(false);
        };
        self.held.push(payer.pay(sandbox, prepared)?);
        Ok(true)
    }

    /// Nothing lives any more.
    pub(super) fn give_back(&mut self) {
        self.held.clear();
    }
}
