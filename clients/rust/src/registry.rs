//! Registrations and modules.

use std::collections::BTreeMap;

use rpc_host_protocol::Operation;
use rpc_host_protocol::operation::{
    ByDigest, Describe, Description, Inspection, Instancing, LimitEntry, LimitsOf, ModuleEntry,
    Named, Register, RegistrationEntry, RevisionEntry, Rollback, Swap, SwapTo,
};

use crate::client::Client;
use crate::error::Error;
use crate::upload::Module;

/// What a registration says besides its name and module. By default: no grants, no limits of its own,
/// no bindings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What the module may do.
    pub grants: Vec<String>,
    /// Limits below the node's own, by name.
    pub limits: BTreeMap<String, u64>,
    /// Which registration answers an import.
    pub bindings: BTreeMap<String, String>,
    /// Whether its imports are answered by the tenant's registrations alone, whatever a session serves
    /// to itself.
    pub sealed: bool,
    /// How long its instances live.
    pub instancing: Instancing,
    /// Refuse unless this is the present revision (0: the name is not taken).
    pub if_revision: Option<u64>,
    /// Whether to do it even if others that depend on the name then lack something.
    pub force: bool,
}

impl Options {
    pub(crate) fn of(self, name: &str, module: &Module) -> Register {
        let Options {
            grants,
            limits,
            bindings,
            sealed,
            instancing,
            if_revision,
            force,
        } = self;
        Register {
            name: name.to_owned(),
            digest: module.digest().to_owned(),
            grants,
            limits,
            bindings,
            sealed,
            instancing,
            if_revision,
            force,
        }
    }
}

/// Under which conditions a swap or a rollback is made. By default: if nobody who depends on the name
/// would lack something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeOptions {
    /// Refuse unless this is the present revision.
    pub if_revision: Option<u64>,
    /// Whether to do it even if others that depend on the name then lack something.
    pub force: bool,
}

fn named(name: &str) -> Named {
    Named {
        name: name.to_owned(),
    }
}

impl Client {
    /// Points a name at a module, in a new revision.
    pub async fn register(
        &self,
        name: &str,
        module: &Module,
        options: Options,
    ) -> Result<RevisionEntry, Error> {
        self.operate(Operation::Register(options.of(name, module)))
            .await
    }

    /// Points a registration at another module, under the grants, limits and bindings that it has, or
    /// at an earlier revision with those that held then. When this returns, the swap is durable and every
    /// call that begins sees it; those under way end as they began.
    pub async fn swap(
        &self,
        name: &str,
        to: SwapTo,
        options: ChangeOptions,
    ) -> Result<RevisionEntry, Error> {
        let ChangeOptions { if_revision, force } = options;
        let swap = Swap {
            name: name.to_owned(),
            to,
            if_revision,
            force,
        };
        self.operate(Operation::Swap(swap)).await
    }

    /// Points a registration at what it was before its present revision. Done twice, it is as it was.
    pub async fn rollback(
        &self,
        name: &str,
        options: ChangeOptions,
    ) -> Result<RevisionEntry, Error> {
        let ChangeOptions { if_revision, force } = options;
        let rollback = Rollback {
            name: name.to_owned(),
            if_revision,
            force,
        };
        self.operate(Operation::Rollback(rollback)).await
    }

    /// All limits, as they are in force for the tenant, or for one of its registrations.
    pub async fn limits(&self, name: Option<&str>) -> Result<Vec<LimitEntry>, Error> {
        let name = name.map(str::to_owned);
        self.operate(Operation::Limits(LimitsOf { name })).await
    }

    /// All registrations of the tenant.
    pub async fn list(&self) -> Result<Vec<RegistrationEntry>, Error> {
        self.operate(Operation::List {}).await
    }

    /// One registration.
    pub async fn show(&self, name: &str) -> Result<RegistrationEntry, Error> {
        self.operate(Operation::Show(named(name))).await
    }

    /// The revisions of a registration, newest first.
    pub async fn history(&self, name: &str) -> Result<Vec<RevisionEntry>, Error> {
        self.operate(Operation::History(named(name))).await
    }

    /// Takes a registration away.
    pub async fn remove(&self, name: &str) -> Result<(), Error> {
        self.operate(Operation::Remove(named(name))).await
    }

    /// What the module behind a registration exports and imports.
    pub async fn inspect(&self, name: &str) -> Result<Inspection, Error> {
        self.operate(Operation::Inspect(named(name))).await
    }

    /// The functions of a registration as data: all, or the one that a call of `function` would mean.
    pub async fn describe(&self, name: &str, function: Option<&str>) -> Result<Description, Error> {
        let describe = Describe {
            name: name.to_owned(),
            function: function.map(str::to_owned),
        };
        self.operate(Operation::Describe(describe)).await
    }

    /// All modules of the tenant.
    pub async fn modules(&self) -> Result<Vec<ModuleEntry>, Error> {
        self.operate(Operation::Modules {}).await
    }

    /// Deletes a module that no registration points at.
    pub async fn remove_module(&self, digest: &str) -> Result<(), Error> {
        let digest = digest.to_owned();
        self.operate(Operation::RemoveModule(ByDigest { digest }))
            .await
    }
}
