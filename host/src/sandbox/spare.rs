//! Memory that instances take which no call has: those that are ready for one, and those that served one
//! and are not cleared away yet.
//!
//! A call never lacks what is held so: it counts beside the memory of calls, and what is made ahead has to
//! fit under the tenant's limit together with that. Whoever would need it has it taken away.

use std::sync::Arc;

use crate::account::{Account, Held, Quantity};

/// What an instance takes beside its memories and tables: its stack, as far as it is used, and its records.
pub(super) const INSTANCE_BYTES: u64 = 64 << 10;

/// Some of it, of a tenant and of the node. Dropped, it is free again.
#[derive(Debug)]
pub(super) struct Spare {
    account: Arc<Account>,
    of_tenant: Held,
    of_node: Held,
}

impl Spare {
    /// Room for an instance whose memories and tables take so much.
    pub(super) fn try_take(
        account: &Arc<Account>,
        of_node: &Arc<Quantity>,
        memory_bytes: u64,
    ) -> Option<Self> {
        let mut spare = Spare {
            of_tenant: Held::none(account.spare_memory()),
            of_node: Held::none(of_node),
            account: Arc::clone(account),
        };
        let bytes = memory_bytes.checked_add(INSTANCE_BYTES)?;
        spare.try_grow(bytes).then_some(spare)
    }

    /// Takes more. `false`: there is no more; whoever is told so gives up all of it.
    #[must_use = "what was not taken may not be used"]
    pub(super) fn try_grow(&mut self, more: u64) -> bool {
        self.leaves_as_much_to_others(more)
            && self.account.has_to_spare(more)
            && self.of_tenant.try_grow(more)
            && self.of_node.try_grow(more)
    }

    /// A tenant has at most half of what the node has.
    fn leaves_as_much_to_others(&self, more: u64) -> bool {
        let of_tenant = self.account.spare_memory().used().saturating_add(more);
        of_tenant <= self.of_node.of().limit().div_ceil(2)
    }

    /// What the tenant may have at most.
    pub(super) fn limit(&self) -> u64 {
        self.of_tenant.of().limit()
    }

    /// Of memories and tables.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.of_tenant.amount().saturating_sub(INSTANCE_BYTES)
    }
}
