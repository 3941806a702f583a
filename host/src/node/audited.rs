//! From what is asked of the node, and how it ended, to a line of the audit log.
//!
//! Changes are told however they end. What only looks, and calls, are told when they are not allowed, or
//! when they meet a limit.

use rpc_host_protocol::message::{Provide, ProvideScope, UploadHeader, Withdraw};
use rpc_host_protocol::operation::{Register, SwapTo, TenantSettings};
use rpc_host_protocol::{ErrorCode, Fault, Operation};

use super::root::Caller;
use crate::audit::{Audit, Entry, Outcome, grant};
use crate::error::HostError;
use crate::provider::ProviderError;
use crate::registry::RegistryError;
use crate::sandbox::SandboxError;
use crate::session::Origin;
use crate::tenant::{Credential, Principal, Shown, TenantError, Token};

const HELLO: &str = "hello";
const CALL: &str = "call";
const UPLOAD: &str = "upload";
const PROVIDE: &str = "provide";
const WITHDRAW: &str = "withdraw";
const STEAL: &str = "steal";
/// A guest called what it has no grant for.
const UNGRANTED: &str = "ungranted";
/// A call met a limit.
const LIMIT: &str = "limit";
/// The state of a shared instance did not come to the one that took its place.
const LOST_STATE: &str = "lost-state";

/// Something that was asked for and has not ended. When it goes before that, nobody waited for its end,
/// and the log says so.
pub(super) struct Pending {
    audit: Audit,
    /// None when it was told.
    asked: Option<Asked>,
}

struct Asked {
    entry: Entry,
    matter: Matter,
}

/// What is told of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Matter {
    /// That it was not allowed.
    Look,
    /// However it ends. It costs nothing to repeat, so there is a limit to how often.
    Light,
    /// However it ends, each time: once allowed, it was written to the disk.
    Durable,
}

impl Pending {
    pub(super) fn operation(
        audit: &Audit,
        principal: &Principal,
        origin: Origin,
        operation: &Operation,
    ) -> Self {
        let entry = asked_by(principal, origin, operation.name());
        Pending::new(audit, of_operation(operation, entry))
    }

    pub(super) fn upload(
        audit: &Audit,
        principal: &Principal,
        origin: Origin,
        header: &UploadHeader,
    ) -> Self {
        let size = format!("{} bytes", header.size_bytes);
        let entry = asked_by(principal, origin, UPLOAD).object(&header.digest);
        let entry = entry.detail(&size);
        // Nothing is kept of it before all its bytes are there.
        let matter = Matter::Light;
        Pending::new(audit, Asked { entry, matter })
    }

    /// From now on it may come to something that lasts, whether somebody waits for it or not.
    pub(super) fn may_last(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.matter = Matter::Durable;
        }
    }

    pub(super) fn provide(
        audit: &Audit,
        principal: &Principal,
        origin: Origin,
        provide: &Provide,
    ) -> Self {
        let scope = match provide.scope {
            ProvideScope::Session => "to its session",
            ProvideScope::Tenant => "to the tenant",
        };
        let entry = asked_by(principal, origin, PROVIDE).object(&provide.name);
        let (entry, matter) = (entry.detail(scope), Matter::Light);
        Pending::new(audit, Asked { entry, matter })
    }

    pub(super) fn withdraw(
        audit: &Audit,
        principal: &Principal,
        origin: Origin,
        withdraw: &Withdraw,
    ) -> Self {
        let event = if withdraw.steal { STEAL } else { WITHDRAW };
        let entry = asked_by(principal, origin, event).object(&withdraw.name);
        let matter = Matter::Light;
        Pending::new(audit, Asked { entry, matter })
    }

    fn new(audit: &Audit, asked: Asked) -> Self {
        Pending {
            audit: audit.clone(),
            asked: Some(asked),
        }
    }

    /// Says more about it.
    pub(super) fn note(&mut self, more: impl FnOnce(Entry) -> Entry) {
        if let Some(mut asked) = self.asked.take() {
            asked.entry = more(asked.entry);
            self.asked = Some(asked);
        }
    }

    /// Nothing was changed by it.
    pub(super) fn changes_nothing(&mut self) {
        if let Some(asked) = &mut self.asked
            && asked.matter == Matter::Durable
        {
            asked.matter = Matter::Light;
        }
    }

    /// Tells how it ended.
    pub(super) fn end<T>(mut self, ended: &Result<T, HostError>) {
        let Some(Asked { entry, matter }) = self.asked.take() else {
            return;
        };
        let error = match ended {
            Ok(_) if matter == Matter::Look => return,
            Ok(_) => {
                let entry = entry.outcome(Outcome::Allowed);
                self.audit.record(match matter {
                    Matter::Durable => entry.kept(),
                    Matter::Light | Matter::Look => entry,
                });
                return;
            }
            Err(error) => error,
        };
        let (code, _) = error.code_and_fault();
        let is_forbidden = matches!(
            code,
            ErrorCode::PermissionDenied | ErrorCode::Unauthenticated
        );
        if matter != Matter::Look || is_forbidden {
            self.audit.record(ended_by(entry, error));
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(Asked { entry, matter }) = self.asked.take() {
            match matter {
                Matter::Look => {}
                Matter::Light => self.audit.record(entry),
                Matter::Durable => self.audit.record(entry.kept()),
            }
        }
    }
}

/// Somebody has said hello.
pub(super) fn hello(
    audit: &Audit,
    (token, shown): (Option<&str>, &Shown),
    origin: Origin,
    ended: &Result<Principal, HostError>,
) {
    match ended {
        Ok(principal) => {
            let entry = asked_by(principal, origin, HELLO);
            audit.record(entry.outcome(Outcome::Allowed));
        }
        Err(error) => {
            let entry = Entry::new(HELLO, Outcome::Unknown);
            let entry = entry.origin(origin.session, origin.peer);
            // What it claims to be, of which nothing is secret.
            let claimed = token.and_then(|token| token.parse::<Token>().ok());
            let claimed = claimed.map(|token| Credential::Token(token.id()));
            let entry = match claimed.or_else(|| shown.credential()) {
                Some(credential) => entry.credential(credential),
                None => entry,
            };
            audit.record(ended_by(entry, error));
        }
    }
}

/// A call of `module` has failed.
pub(super) fn failed_call(
    audit: &Audit,
    principal: &Principal,
    origin: Origin,
    module: &str,
    error: &HostError,
) {
    let event = match (error, error.code_and_fault().0) {
        (HostError::Tenant(_), ErrorCode::PermissionDenied) => CALL,
        (_, ErrorCode::PermissionDenied) => UNGRANTED,
        (_, ErrorCode::ResourceExhausted) => LIMIT,
        _ => return,
    };
    let entry = asked_by(principal, origin, event).object(module);
    audit.record(ended_by(entry, error).once());
}

/// A shared instance was swapped, and its state was not handed over.
pub(super) fn lost_state(audit: &Audit, caller: &Caller, module: &str) {
    let entry = Entry::new(LOST_STATE, Outcome::Failed)
        .tenant(Some(caller.tenant.to_string()))
        .credential(caller.permit.holder())
        .object(module);
    audit.record(entry.once());
}

/// Who asks, and by which way.
fn asked_by(principal: &Principal, origin: Origin, event: &'static str) -> Entry {
    Entry::new(event, Outcome::Unknown)
        .tenant(Some(principal.tenant_name().to_string()))
        .credential(principal.credential())
        .role(principal.role().as_str())
        .origin(origin.session, origin.peer)
}

/// What an operation is about. There is no catch-all: a new one does not compile until someone has said
/// what is told of it.
fn of_operation(operation: &Operation, entry: Entry) -> Asked {
    let (entry, matter) = match operation {
        Operation::Register(request) | Operation::Promote(request) => {
            (registers(entry, request), Matter::Durable)
        }
        Operation::Swap(request) => {
            let entry = entry.object(&request.name);
            let entry = match &request.to {
                SwapTo::Digest(digest) => entry.digest(digest),
                SwapTo::Revision(number) => entry.detail(&format!("to revision {number}")),
            };
            (forced(entry, request.force), Matter::Durable)
        }
        Operation::Rollback(request) => {
            let entry = entry.object(&request.name);
            (forced(entry, request.force), Matter::Durable)
        }
        Operation::Remove(request) => (entry.object(&request.name), Matter::Durable),
        Operation::RemoveModule(request) => (entry.object(&request.digest), Matter::Durable),
        Operation::TenantCreate(request) | Operation::TenantSet(request) => (
            set(entry.of_tenant(&request.name), request),
            Matter::Durable,
        ),
        Operation::TenantRemove(request) => (entry.of_tenant(&request.name), Matter::Durable),
        Operation::TokenCreate(request) => {
            let entry = about(entry, request.tenant.as_deref());
            let until = match request.expires_in_s {
                None => "for ever".to_owned(),
                Some(seconds) => format!("for {seconds} s"),
            };
            let detail = format!("role {}, {until}", request.role);
            (entry.detail(&detail), Matter::Durable)
        }
        Operation::TokenRevoke(request) => (entry.object(&request.id), Matter::Durable),
        Operation::TokenList(request) => (about(entry, request.tenant.as_deref()), Matter::Look),
        Operation::TenantShow(request) => (entry.of_tenant(&request.name), Matter::Look),
        Operation::Show(request) | Operation::History(request) | Operation::Inspect(request) => {
            (entry.object(&request.name), Matter::Look)
        }
        Operation::Describe(request) => (entry.object(&request.name), Matter::Look),
        Operation::Logs(request) => (entry.object(&request.name), Matter::Look),
        Operation::Limits(of) => match &of.name {
            Some(name) => (entry.object(name), Matter::Look),
            None => (entry, Matter::Look),
        },
        Operation::Providers {}
        | Operation::List {}
        | Operation::Modules {}
        | Operation::TenantList {} => (entry, Matter::Look),
    };
    Asked { entry, matter }
}

fn registers(entry: Entry, request: &Register) -> Entry {
    let entry = entry.object(&request.name).digest(&request.digest);
    forced(entry.grants(&request.grants), request.force)
}

/// What an operator sets for a tenant.
fn set(entry: Entry, request: &TenantSettings) -> Entry {
    let mut told = Vec::new();
    if let Some(allow) = &request.allow {
        let allow: Vec<_> = allow.iter().map(|pattern| grant(pattern)).collect();
        told.push(format!("allow {}", allow.join(" ")));
    }
    for (limit, value) in request.limits.iter().flatten() {
        told.push(format!("limit {limit}={value}"));
    }
    if let Some(weight) = request.weight {
        told.push(format!("weight {weight}"));
    }
    match told.is_empty() {
        true => entry,
        false => entry.detail(&told.join(", ")),
    }
}

fn forced(entry: Entry, is_forced: bool) -> Entry {
    let detail = match (is_forced, &entry.detail) {
        (false, _) => return entry,
        (true, None) => "by force".to_owned(),
        (true, Some(detail)) => format!("{detail}, by force"),
    };
    entry.detail(&detail)
}

fn about(entry: Entry, tenant: Option<&str>) -> Entry {
    match tenant {
        Some(tenant) => entry.of_tenant(tenant),
        None => entry,
    }
}

fn ended_by(entry: Entry, error: &HostError) -> Entry {
    let (code, fault) = error.code_and_fault();
    let outcome = match fault {
        Fault::Host => Outcome::Failed,
        Fault::Peer | Fault::Tenant | Fault::Guest | Fault::Application => Outcome::Refused,
    };
    let why = is_told(error).then(|| error.to_string());
    entry.outcome(outcome).code(code).why(why.as_deref())
}

/// Whether the words of an error hold names and numbers only. Those of others may hold what a client sent
/// or a guest said.
fn is_told(error: &HostError) -> bool {
    match error {
        HostError::Tenant(error) => !matches!(error, TenantError::Storage(_)),
        HostError::Registry(error) => {
            !matches!(error, RegistryError::Grant(_) | RegistryError::Storage(_))
        }
        HostError::Chain(_) | HostError::Object(_) | HostError::Unimplemented(_) => true,
        HostError::Provider(error) => !matches!(
            error,
            ProviderError::Failed { .. } | ProviderError::Differs { .. }
        ),
        // Others may tell what a guest said last.
        HostError::Sandbox(SandboxError::Outside(failure)) => {
            failure.code == ErrorCode::PermissionDenied
        }
        HostError::Sandbox(error) => matches!(
            error,
            SandboxError::NotAComponent(_)
                | SandboxError::InvalidComponent(_)
                | SandboxError::TooComplex { .. }
                | SandboxError::CompileTimeout(_)
                | SandboxError::CompilerOutOfMemory { .. }
                | SandboxError::CompilerDied(_)
                | SandboxError::CompilerQueueFull { .. }
                | SandboxError::ArtifactTooLarge { .. }
                | SandboxError::RefusedImport { .. }
                | SandboxError::MissingGrant(_)
                | SandboxError::Spent(_)
                | SandboxError::ResultTooLarge { .. }
                | SandboxError::TooMuchData { .. }
                | SandboxError::TooManyObjects { .. }
                | SandboxError::OutOfMemory { .. }
        ),
        HostError::Policy(_) | HostError::Volume(_) | HostError::Value(_) => false,
    }
}
