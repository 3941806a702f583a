//! An upload under way: room reserved, bytes counted and hashed, and nothing visible to anybody.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use tempfile::TempPath;
use tokio::io::AsyncWriteExt;

use super::{Inner, Module, Modules};
use crate::registry::{Digest, ImportName, RegistryError};
use crate::storage::file::LEFTOVER_PREFIX;
use crate::storage::{StorageError, blocking};
use crate::tenant::{Credential, DeployPermit, TenantId};

/// How an upload begins.
#[derive(Debug)]
pub enum UploadStart {
    /// The tenant has these bytes; there is nothing to send.
    Held(Module),
    /// There is room; the bytes may come.
    Open(Box<Upload>),
}

/// An upload that takes bytes. Dropped before its end, it leaves nothing behind.
pub struct Upload {
    file: tokio::fs::File,
    path: TempPath,
    hash: Context,
    received_bytes: u64,
    declared: Digest,
    declared_bytes: u64,
    holder: Credential,
    room: Room,
}

/// A complete upload with the declared digest: readable at its path, and not yet a module. Dropped
/// before it is committed, it leaves nothing behind.
#[derive(Debug)]
pub struct StagedModule {
    path: TempPath,
    digest: Digest,
    size_bytes: u64,
    holder: Credential,
    room: Room,
}

/// Room for one upload, given back when dropped.
pub(super) struct Room {
    inner: Arc<Inner>,
    tenant: TenantId,
    bytes: u64,
    /// What the compiled forms of all modules of the tenant may have.
    max_artifact_bytes: u64,
}

impl Modules {
    /// Begins an upload of so many bytes with this digest.
    ///
    /// # Errors
    /// When it is empty or too large, when the tenant has no room, or when the disk refuses.
    pub async fn begin_upload(
        &self,
        permit: &DeployPermit,
        digest: Digest,
        size_bytes: u64,
    ) -> Result<UploadStart, RegistryError> {
        let tenant = permit.tenant();
        if let Some(module) = self.find(tenant, &digest) {
            return Ok(UploadStart::Held(module));
        }
        let room = Room::reserve(&self.inner, permit, size_bytes)?;
        let staging = self.inner.staging.clone();
        let staged = blocking(move || {
            tempfile::Builder::new()
                .prefix(LEFTOVER_PREFIX)
                .tempfile_in(&staging)
                .map_err(StorageError::file("create a file in", &staging))
        })
        .await??;
        let (file, path) = staged.into_parts();
        Ok(UploadStart::Open(Box::new(Upload {
            file: file.into(),
            path,
            hash: Context::new(&SHA256),
            received_bytes: 0,
            declared: digest,
            declared_bytes: size_bytes,
            holder: permit.holder(),
            room,
        })))
    }

    /// Makes a staged upload a module of its tenant, that imports these from registrations, and whose
    /// compiled form has so many bytes. When it returns, the module survives the loss of power. If the tenant got the same bytes by another upload meanwhile, that one is
    /// answered.
    ///
    /// # Errors
    /// When the tenant has no room for its compiled form, or was removed meanwhile, or the disk or the store refuses.
    pub async fn commit(
        &self,
        staged: StagedModule,
        imports: Arc<[ImportName]>,
        artifact_bytes: u64,
    ) -> Result<Module, RegistryError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.keep(staged, imports, artifact_bytes)).await?
    }
}

impl Upload {
    /// Takes the next bytes. An upload whose write was given up halfway is no longer good for
    /// anything; its digest will not be the declared one.
    ///
    /// # Errors
    /// When they are more than were declared, or the disk refuses.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), RegistryError> {
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.received_bytes = self.received_bytes.saturating_add(count);
        if self.received_bytes > self.declared_bytes {
            return Err(RegistryError::UploadTooLong {
                received_bytes: self.received_bytes,
                declared_bytes: self.declared_bytes,
            });
        }
        self.hash.update(bytes);
        self.file
            .write_all(bytes)
            .await
            .map_err(StorageError::file("write", &self.path))?;
        Ok(())
    }

    /// How many bytes came so far.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes
    }

    /// Ends the upload and checks it against what was declared.
    ///
    /// # Errors
    /// When bytes are missing or are not the declared ones, or the disk refuses.
    pub async fn finish(mut self) -> Result<StagedModule, RegistryError> {
        if self.received_bytes < self.declared_bytes {
            return Err(RegistryError::UploadTooShort {
                received_bytes: self.received_bytes,
                declared_bytes: self.declared_bytes,
            });
        }
        let actual = Digest::finished(self.hash.finish());
        if actual != self.declared {
            return Err(RegistryError::DigestMismatch {
                actual,
                declared: self.declared,
            });
        }
        self.file
            .flush()
            .await
            .map_err(StorageError::file("write", &self.path))?;
        Ok(StagedModule {
            path: self.path,
            digest: actual,
            size_bytes: self.received_bytes,
            holder: self.holder.clone(),
            room: self.room,
        })
    }
}

impl StagedModule {
    /// Where its bytes are, until it is committed or dropped.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its digest, checked.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// How large it is.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Whose it will be.
    pub fn tenant(&self) -> TenantId {
        self.room.tenant
    }

    pub(super) fn holder(&self) -> Credential {
        self.holder.clone()
    }

    pub(super) fn max_artifact_bytes(&self) -> u64 {
        self.room.max_artifact_bytes
    }

    pub(super) fn sync(&self) -> Result<(), StorageError> {
        File::open(&self.path)
            .and_then(|file| file.sync_all())
            .map_err(StorageError::file("sync", &self.path))
    }

    /// Moves the file to where modules are. The room is still taken as long as it is held.
    pub(super) fn place(self, path: &Path) -> Result<Room, StorageError> {
        self.path
            .persist(path)
            .map_err(|refused| StorageError::file("place", path)(refused.error))?;
        Ok(self.room)
    }
}

impl Room {
    fn reserve(
        inner: &Arc<Inner>,
        permit: &DeployPermit,
        bytes: u64,
    ) -> Result<Self, RegistryError> {
        let (tenant, limits) = (permit.tenant(), permit.settings().limits());
        if bytes == 0 {
            return Err(RegistryError::EmptyUpload);
        }
        if bytes > inner.max_upload_bytes {
            let limit_bytes = inner.max_upload_bytes;
            return Err(RegistryError::TooLarge {
                size_bytes: bytes,
                limit_bytes,
            });
        }
        let mut shelves = inner.write();
        let shelf = shelves.entry(tenant).or_default();
        if shelf.uploads >= limits.max_uploads_per_tenant {
            let limit = limits.max_uploads_per_tenant;
            return Err(RegistryError::TooMany {
                what: "uploads under way",
                limit,
            });
        }
        let modules = u64::try_from(shelf.modules.len()).unwrap_or(u64::MAX);
        if modules.saturating_add(shelf.uploads) >= limits.max_modules_per_tenant {
            return Err(RegistryError::TooMany {
                what: "modules",
                limit: limits.max_modules_per_tenant,
            });
        }
        let used = shelf.stored_bytes.saturating_add(shelf.reserved_bytes);
        let free_bytes = limits.max_stored_bytes_per_tenant.saturating_sub(used);
        if bytes > free_bytes {
            return Err(RegistryError::NoRoom {
                size_bytes: bytes,
                free_bytes,
            });
        }
        shelf.uploads = shelf.uploads.saturating_add(1);
        shelf.reserved_bytes = shelf.reserved_bytes.saturating_add(bytes);
        Ok(Self {
            inner: Arc::clone(inner),
            tenant,
            bytes,
            max_artifact_bytes: limits.max_artifact_bytes_per_tenant,
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(shelf) = self.inner.write().get_mut(&self.tenant) {
            shelf.uploads = shelf.uploads.saturating_sub(1);
            shelf.reserved_bytes = shelf.reserved_bytes.saturating_sub(self.bytes);
        }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Upload")
            .field("declared", &self.declared)
            .field("declared_bytes", &self.declared_bytes)
            .field("received_bytes", &self.received_bytes)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Room")
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}
