//! How modules and registrations are stored. Private forms, converted by hand.

use std::collections::BTreeMap;
use std::sync::Arc;

use rpc_host_protocol::operation::Instancing;
use serde::{Deserialize, Serialize};

use super::called::Called;
use super::{
    Bindings, Digest, ImportName, Module, Registration, RegistrationName, RegistryError, Revision,
};
use crate::capability::{Grant, Grants};
use crate::clock::Timestamp;
use crate::config::{Narrowing, Scope};
use crate::storage::{Entry, Key, StorageError, damaged, decode};
use crate::tenant::{TenantId, owned};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ModuleRecord {
    size_bytes: u64,
    uploaded_at_ms: u64,
    uploaded_by: String,
    /// Absent in records of a time when no import could be answered by a registration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    imports: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RegistrationRecord {
    created_at_ms: u64,
    first_kept: u64,
    current: RevisionRecord,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RevisionRecord {
    number: u64,
    digest: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    grants: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, u64>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    bindings: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sealed: bool,
    /// Absent where each call has a fresh instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instancing: Option<Instancing>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restores: Option<u64>,
    created_at_ms: u64,
    created_by: String,
}

/// What clients have called under a name, by the paths that they used.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CalledRecord {
    pub(super) paths: Vec<Arc<str>>,
}

pub(super) fn modules(tenant: TenantId) -> Key {
    owned(tenant).join("module")
}

pub(super) fn module(tenant: TenantId, digest: &Digest) -> Key {
    modules(tenant).join(&digest.hex())
}

pub(super) fn registrations(tenant: TenantId) -> Key {
    owned(tenant).join("registration")
}

pub(super) fn registration(tenant: TenantId, name: &RegistrationName) -> Key {
    registrations(tenant).join(name.as_str())
}

/// Above what clients have called, by the name under which they did.
pub(super) fn calls(tenant: TenantId) -> Key {
    owned(tenant).join("called")
}

pub(super) fn called(tenant: TenantId, name: &RegistrationName) -> Key {
    calls(tenant).join(name.as_str())
}

pub(super) fn revisions(tenant: TenantId, name: &RegistrationName) -> Key {
    owned(tenant).join("revision").join(name.as_str())
}

impl From<&Module> for ModuleRecord {
    fn from(module: &Module) -> Self {
        Self {
            size_bytes: module.size_bytes,
            uploaded_at_ms: module.uploaded_at.unix_ms(),
            uploaded_by: module.uploaded_by.to_string(),
            imports: module.imports.iter().map(ImportName::to_string).collect(),
        }
    }
}

impl RegistrationRecord {
    pub(super) fn new(registration: &Registration, first_kept: u64) -> Self {
        Self {
            created_at_ms: registration.created_at.unix_ms(),
            first_kept,
            current: (&registration.current).into(),
        }
    }
}

impl From<&Revision> for RevisionRecord {
    fn from(revision: &Revision) -> Self {
        let bindings = revision.bindings.iter();
        let limits = revision.narrowing.set();
        Self {
            number: revision.number,
            digest: revision.digest.to_string(),
            grants: revision.grants.iter().map(Grant::to_string).collect(),
            limits: limits
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            bindings: bindings
                .map(|(from, to)| (from.to_string(), to.to_string()))
                .collect(),
            sealed: revision.sealed,
            instancing: Some(revision.instancing).filter(|one| *one != Instancing::Call),
            restores: revision.restores,
            created_at_ms: revision.created_at.unix_ms(),
            created_by: revision.created_by.to_string(),
        }
    }
}

pub(super) fn read_module(entry: &Entry) -> Result<Module, StorageError> {
    let record: ModuleRecord = decode(entry)?;
    let hex = entry.key.last_segment();
    Ok(Module {
        digest: Digest::from_hex(&hex).ok_or_else(|| damaged(entry, "no digest in its key"))?,
        size_bytes: record.size_bytes,
        uploaded_at: Timestamp::from_unix_ms(record.uploaded_at_ms),
        uploaded_by: record
            .uploaded_by
            .parse()
            .map_err(|error| damaged(entry, error))?,
        imports: record
            .imports
            .iter()
            .map(|import| import.parse().map_err(|error| damaged(entry, error)))
            .collect::<Result<_, _>>()?,
    })
}

/// A registration, and its oldest revision that is still kept.
pub(super) fn read_registration(
    tenant: TenantId,
    entry: &Entry,
) -> Result<(Registration, u64), StorageError> {
    let record: RegistrationRecord = decode(entry)?;
    let registration = Registration {
        tenant,
        name: entry
            .key
            .last_segment()
            .parse()
            .map_err(|error| damaged(entry, error))?,
        created_at: Timestamp::from_unix_ms(record.created_at_ms),
        current: record.current.into_revision(entry)?,
        called: Arc::default(),
    };
    Ok((registration, record.first_kept))
}

/// What clients have called, and under which name.
pub(super) fn read_called(entry: &Entry) -> Result<(String, Called), StorageError> {
    let record: CalledRecord = decode(entry)?;
    Ok((entry.key.last_segment(), record.paths.into_iter().collect()))
}

pub(super) fn read_revision(entry: &Entry) -> Result<Revision, StorageError> {
    decode::<RevisionRecord>(entry)?.into_revision(entry)
}

impl RevisionRecord {
    fn into_revision(self, entry: &Entry) -> Result<Revision, StorageError> {
        let broken = |error: RegistryError| damaged(entry, error);
        let limits = self
            .limits
            .iter()
            .map(|(name, value)| (name.as_str(), *value));
        let mut bindings = Vec::with_capacity(self.bindings.len());
        for (from, to) in &self.bindings {
            bindings.push((from.parse().map_err(broken)?, to.parse().map_err(broken)?));
        }
        Ok(Revision {
            number: self.number,
            digest: self.digest.parse().map_err(broken)?,
            grants: Arc::new(Grants::parse(&self.grants).map_err(|error| broken(error.into()))?),
            narrowing: Narrowing::restore(limits, Scope::Registration)
                .map_err(|error| broken(error.into()))?,
            bindings: Bindings::collect(bindings).map_err(broken)?,
            sealed: self.sealed,
            instancing: self.instancing.unwrap_or_default(),
            restores: self.restores,
            created_at: Timestamp::from_unix_ms(self.created_at_ms),
            created_by: self
                .created_by
                .parse()
                .map_err(|error| damaged(entry, error))?,
        })
    }
}
