//! Requests about modules, registrations, tenants and tokens, and what answers them.
//!
//! A request is answered by one reply whose value is the type named beside the operation, or by a
//! failure. Names are checked by the host; here they are text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::message::{Fallback, ProvideScope};
use crate::types::Signature;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Points a name at an uploaded module, in a new revision. → [`RevisionEntry`]
    Register(Register),
    /// Points a registration at another module or at an earlier revision, and keeps all else of it.
    /// → [`RevisionEntry`]
    Swap(Swap),
    /// Points a registration at what it was before its present revision. → [`RevisionEntry`]
    Rollback(Rollback),
    /// Points a name that a client serves at an uploaded module, and lets the client go when the calls
    /// that it has are done. → [`RevisionEntry`]
    Promote(Register),
    /// What clients serve: to the tenant, and to the session that asks. → `Vec<`[`ProviderEntry`]`>`
    Providers {},
    /// All limits, as they are in force for the tenant, or for one of its registrations. →
    /// `Vec<`[`LimitEntry`]`>`
    Limits(LimitsOf),
    /// All registrations of the tenant. → `Vec<`[`RegistrationEntry`]`>`
    List {},
    /// One registration. → [`RegistrationEntry`]
    Show(Named),
    /// The revisions of one registration, newest first. → `Vec<`[`RevisionEntry`]`>`
    History(Named),
    /// Takes a registration away. → nothing
    Remove(Named),
    /// What the module behind a registration exports and imports. → [`Inspection`]
    Inspect(Named),
    /// The functions of a registration as data. → [`Description`]
    Describe(Describe),
    /// The lines that calls of a registration wrote, oldest first, each as an
    /// [`Output`](crate::message::Output) before the answer. → nothing
    Logs(Logs),
    /// All modules of the tenant. → `Vec<`[`ModuleEntry`]`>`
    Modules {},
    /// Deletes a module that no registration points at. → nothing
    RemoveModule(ByDigest),
    /// Makes a tenant. → [`TenantEntry`]
    TenantCreate(TenantSettings),
    /// Sets something for a tenant. → [`TenantEntry`]
    TenantSet(TenantSettings),
    /// All tenants. → `Vec<`[`TenantEntry`]`>`
    TenantList {},
    /// One tenant. → [`TenantEntry`]
    TenantShow(Named),
    /// Removes a tenant with all it has. → nothing
    TenantRemove(Named),
    /// Makes a token. → [`NewToken`]
    TokenCreate(TokenCreate),
    /// The tokens of a tenant. → `Vec<`[`TokenEntry`]`>`
    TokenList(TokenList),
    /// Makes a token worthless at once. → nothing
    TokenRevoke(TokenRevoke),
}

impl Operation {
    /// Its name, as on the wire.
    pub fn name(&self) -> &'static str {
        match self {
            Operation::Register(_) => "register",
            Operation::Swap(_) => "swap",
            Operation::Rollback(_) => "rollback",
            Operation::Promote(_) => "promote",
            Operation::Providers {} => "providers",
            Operation::Limits(_) => "limits",
            Operation::List {} => "list",
            Operation::Show(_) => "show",
            Operation::History(_) => "history",
            Operation::Remove(_) => "remove",
            Operation::Inspect(_) => "inspect",
            Operation::Describe(_) => "describe",
            Operation::Logs(_) => "logs",
            Operation::Modules {} => "modules",
            Operation::RemoveModule(_) => "remove-module",
            Operation::TenantCreate(_) => "tenant-create",
            Operation::TenantSet(_) => "tenant-set",
            Operation::TenantList {} => "tenant-list",
            Operation::TenantShow(_) => "tenant-show",
            Operation::TenantRemove(_) => "tenant-remove",
            Operation::TokenCreate(_) => "token-create",
            Operation::TokenList(_) => "token-list",
            Operation::TokenRevoke(_) => "token-revoke",
        }
    }
}

/// See [`Operation::Register`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Register {
    /// The registration.
    pub name: String,
    /// The module.
    pub digest: String,
    /// What the module may do. Nothing, if empty.
    #[serde(default)]
    pub grants: Vec<String>,
    /// Limits below the node's own, by name.
    #[serde(default)]
    pub limits: BTreeMap<String, u64>,
    /// Which registration answers an import.
    #[serde(default)]
    pub bindings: BTreeMap<String, String>,
    /// Whether its imports are answered by the tenant's registrations alone, whatever a session serves
    /// to itself.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sealed: bool,
    /// How long its instances live.
    #[serde(default, skip_serializing_if = "Instancing::is_default")]
    pub instancing: Instancing,
    /// Refuse unless this is the present revision (0: the name is not taken).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// Whether to do it even if others that depend on the name then lack something.
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

/// How long the instances of a registration live, beyond what holds them anyway: an object that
/// somebody holds keeps its instance, whatever stands here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instancing {
    /// Each call has a fresh one.
    #[default]
    Call,
    /// Each session has one, until it ends.
    Session,
    /// There is one for all, whose calls take turns.
    Shared,
}

impl Instancing {
    /// Its name, as on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Instancing::Call => "call",
            Instancing::Session => "session",
            Instancing::Shared => "shared",
        }
    }

    fn is_default(&self) -> bool {
        *self == Instancing::default()
    }
}

/// See [`Operation::Swap`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Swap {
    /// The registration.
    pub name: String,
    /// At what to point it.
    pub to: SwapTo,
    /// Refuse unless this is the present revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// As in [`Register`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

/// At what a swap points a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwapTo {
    /// A module, under the grants, limits and bindings that hold now.
    Digest(String),
    /// An earlier revision, with the grants, limits and bindings that held then.
    Revision(u64),
}

/// See [`Operation::Rollback`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rollback {
    /// The registration.
    pub name: String,
    /// Refuse unless this is the present revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_revision: Option<u64>,
    /// As in [`Register`].
    #[serde(default, skip_serializing_if = "is_false")]
    pub force: bool,
}

/// For fields that are left out where they are false.
pub(crate) fn is_false(value: &bool) -> bool {
    !*value
}

/// An operation on a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Named {
    /// The name.
    pub name: String,
}

/// An operation on a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ByDigest {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
}

/// See [`Operation::Describe`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Describe {
    /// The registration.
    pub name: String,
    /// Only this function, by any path that a call may use; all of them where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
}

/// See [`Operation::Logs`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Logs {
    /// The registration.
    pub name: String,
    /// Only so many of the lines that are kept, the newest; all of them where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<u32>,
    /// Whether to go on with what is written from now on, until the request is cancelled.
    #[serde(default, skip_serializing_if = "is_false")]
    pub follow: bool,
}

/// See [`Operation::TenantCreate`] and [`Operation::TenantSet`]. What is absent stays as it is; a new tenant
/// has what the node has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TenantSettings {
    /// The tenant.
    pub name: String,
    /// Patterns of the grants that its registrations may have, of those that the node allows: `any` alone
    /// for all of them, none for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// All limits below the node's own, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<BTreeMap<String, u64>>,
    /// Its share where tenants compete, from 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
}

/// See [`Operation::TokenCreate`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TokenCreate {
    /// The tenant; the caller's own where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// `reader`, `caller`, `deployer` or `admin`.
    pub role: String,
    /// How long it is good for; for ever where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// See [`Operation::TokenList`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TokenList {
    /// The tenant; the caller's own where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
}

/// See [`Operation::TokenRevoke`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TokenRevoke {
    /// The token's public id.
    pub id: String,
}

/// One revision of a registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RevisionEntry {
    /// The registration.
    pub name: String,
    /// Counts from 1.
    pub revision: u64,
    /// The module.
    pub digest: String,
    /// What it may do.
    pub grants: Vec<String>,
    /// Its own limits.
    pub limits: BTreeMap<String, u64>,
    /// Which registration answers an import.
    pub bindings: BTreeMap<String, String>,
    /// Whether its imports are answered by the tenant's registrations alone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sealed: bool,
    /// How long its instances live.
    #[serde(default, skip_serializing_if = "Instancing::is_default")]
    pub instancing: Instancing,
    /// The earlier revision that it brought back, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u64>,
    /// Milliseconds since 1970, UTC.
    pub created_at_ms: u64,
    /// The public id of the token that made it.
    pub created_by: String,
}

/// A name that a client serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProviderEntry {
    /// The name.
    pub name: String,
    /// To whom.
    pub scope: ProvideScope,
    /// Whether it is served now. If not, the client is lost, and asked that nobody else answers.
    pub serving: bool,
    /// The session that serves it, as the host's log names it.
    pub session: String,
    /// The public id of the token that the session was opened with.
    pub served_by: String,
    /// The lease.
    pub lease: u64,
    /// Since when: milliseconds since 1970, UTC.
    pub since_ms: u64,
    /// Until when, if nothing more is heard of the client: milliseconds since 1970, UTC.
    pub until_ms: u64,
    /// How many calls it takes at once.
    pub window: u32,
    /// How many it has now.
    pub in_flight: u32,
    /// How many answers of its session came when nobody waited for them any more, and were discarded.
    pub late_answers: u64,
    /// Who answers when it is lost.
    pub fallback: Fallback,
}

/// One registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RegistrationEntry {
    /// The present revision.
    pub current: RevisionEntry,
    /// Bytes of its module.
    pub size_bytes: u64,
    /// Grants that are not in force, because the node or the tenant does not allow them any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<WithheldGrant>,
    /// How its calls fared by instances that were ready for them. Only of one that was called lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<ReadyEntry>,
}

/// Instances of a registration that are made before a call comes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ReadyEntry {
    /// How many are ready now.
    pub instances: u64,
    /// Calls that found one.
    pub hits: u64,
    /// Calls that did not, and had one made.
    pub misses: u64,
}

/// A grant that is not in force as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WithheldGrant {
    /// The grant, without what a variable of the environment holds.
    pub grant: String,
    /// What is left of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// Who does not allow it: `node` or `tenant`.
    pub by: String,
}

/// One uploaded module. Also what answers an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ModuleEntry {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// Bytes of the component.
    pub size_bytes: u64,
    /// Whether the tenant had it before.
    pub already_known: bool,
}

/// What a component exports and imports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Inspection {
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// Bytes of the component.
    pub size_bytes: u64,
    /// Its world as WIT text.
    pub wit: String,
    /// What can be called.
    pub exports: Vec<FunctionEntry>,
    /// What it wants from outside.
    pub imports: Vec<ImportEntry>,
}

/// One function that can be called, as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FunctionEntry {
    /// The interface that it is in; `None` at world level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The function.
    pub name: String,
    /// As WIT writes it.
    pub signature: String,
}

/// One import, and what stands behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ImportEntry {
    /// The interface or function.
    pub name: String,
    /// What stands behind it.
    pub standing: ImportStanding,
    /// In words: the grant that opens it, or the registration that answers.
    pub note: String,
}

/// What stands behind an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImportStanding {
    /// The host serves it, by a grant or because it gives no power.
    Granted,
    /// It is linked, but a call of it ends with an error that names the missing grant.
    Inert,
    /// Another registration answers.
    Bound,
    /// It holds types only; nothing is called.
    TypesOnly,
    /// Nothing answers now; a call of it ends with an error that says what to register.
    Unbound,
    /// Nothing can answer: the component cannot be uploaded.
    Refused,
}

/// The functions of a registration as data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Description {
    /// All of them, or the one asked for.
    pub functions: Vec<FunctionDescription>,
    /// The resources that they are about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceDescription>,
    /// What the WIT says about the module, if it says something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
}

/// One resource as data. Its constructor, methods and statics are among the functions, by the names that WIT
/// gives them: `[constructor]counter`, `[method]counter.increment`, `[static]counter.merge`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ResourceDescription {
    /// The interface that it is in; `None` at world level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The resource.
    pub name: String,
    /// What the WIT says about it, if it says something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
}

/// One function as data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FunctionDescription {
    /// The interface that it is in; `None` at world level.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The function.
    pub name: String,
    /// What it takes and gives; empty where that is not told as data.
    pub signature: Signature,
    /// Why that is not told, for people, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undescribed: Option<String>,
    /// What the WIT says about it, if it says something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docs: Option<String>,
}

/// See [`Operation::Limits`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LimitsOf {
    /// A registration; the tenant's own limits where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LimitEntry {
    /// Its name, with its unit.
    pub name: String,
    /// What it limits.
    pub limits: String,
    /// What it counts: `bytes`, `ms`, `bytes per second`, `per second`, or nothing for a number of
    /// things.
    pub unit: String,
    /// What is in force.
    pub value: u64,
    /// What the node allows anybody; `value` is this or less.
    pub node: u64,
    /// What a node allows that says nothing.
    pub default: u64,
    /// What no node can allow more than. A fixed limit has all three the same.
    pub ceiling: u64,
    /// How much of it the tenant uses at the moment, where that is one number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TenantEntry {
    /// Its name.
    pub name: String,
    /// Milliseconds since 1970, UTC.
    pub created_at_ms: u64,
    /// How many registrations it has.
    pub registrations: u64,
    /// How many modules it has.
    pub modules: u64,
    /// Bytes of its modules.
    pub stored_bytes: u64,
    /// How many tokens it has.
    pub tokens: u64,
    /// Patterns of the grants that its registrations may have, of those that the node allows; `any` alone
    /// for all of them.
    pub allow: Vec<String>,
    /// Limits below the node's own, by name.
    pub limits: BTreeMap<String, u64>,
    /// Its share where tenants compete.
    pub weight: u32,
}

/// A token, without what makes it one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TokenEntry {
    /// Its public id.
    pub id: String,
    /// Its tenant.
    pub tenant: String,
    /// `reader`, `caller`, `deployer` or `admin`.
    pub role: String,
    /// Milliseconds since 1970, UTC.
    pub created_at_ms: u64,
    /// Milliseconds since 1970, UTC; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at_ms: Option<u64>,
}

/// A new token. Its secret is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NewToken {
    /// What the host keeps of it.
    pub entry: TokenEntry,
    /// What its holder keeps.
    pub token: String,
}

impl std::fmt::Debug for NewToken {
    /// Never shows the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken")
            .field("entry", &self.entry)
            .finish_non_exhaustive()
    }
}
