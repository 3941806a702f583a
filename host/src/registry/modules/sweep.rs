//! A start: reading which modules there are, and clearing away what nobody was promised.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use super::{Inner, Module, Shelf, remove_tree};
use crate::registry::{Digest, RegistryError, record};
use crate::storage::StorageError;
use crate::storage::file::{self, LEFTOVER_PREFIX};
use crate::tenant::TenantId;

impl Inner {
    pub(super) fn load(
        &self,
        tenants: &[TenantId],
    ) -> Result<HashMap<TenantId, Shelf>, RegistryError> {
        let mut shelves = HashMap::new();
        for tenant in tenants {
            let mut shelf = Shelf::default();
            for entry in self.storage.scan(&record::modules(*tenant).below())? {
                let module = record::read_module(&entry)?;
                if self.is_whole(*tenant, &module) {
                    shelf.stored_bytes = shelf.stored_bytes.saturating_add(module.size_bytes);
                    let artifact = self
                        .artifacts_of(*tenant)
                        .join(format!("{}.cwasm", module.digest.hex()));
                    shelf
                        .artifacts
                        .insert(module.digest, super::artifact_bytes(&artifact));
                    shelf.modules.insert(module.digest, module);
                } else {
                    // Uploading it again puts it right; the others of the tenant are not held up.
                    tracing::warn!(
                        tenant = tenant.number(), digest = %module.digest,
                        "the file of a module is missing or has another size; upload it again"
                    );
                }
            }
            shelves.insert(*tenant, shelf);
        }
        Ok(shelves)
    }

    fn is_whole(&self, tenant: TenantId, module: &Module) -> bool {
        let path = self
            .modules_of(tenant)
            .join(format!("{}.wasm", module.digest.hex()));
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() == module.size_bytes)
    }

    /// Deletes staged uploads, files without a record, and tenants that are no more. A file whose
    /// name is not one that this program gives is left alone.
    pub(super) fn sweep(&self, shelves: &HashMap<TenantId, Shelf>) -> Result<(), RegistryError> {
        for name in names(&self.staging)? {
            file::remove(&self.staging.join(name))?;
        }
        for name in names(&self.tenants)? {
            let Ok(number) = name.parse::<u64>() else {
                continue;
            };
            match shelves.iter().find(|(tenant, _)| tenant.number() == number) {
                None => remove_tree(&self.tenants.join(name))?,
                Some((tenant, shelf)) => {
                    sweep_files(&self.modules_of(*tenant), ".wasm", shelf)?;
                    sweep_files(&self.artifacts_of(*tenant), ".cwasm", shelf)?;
                }
            }
        }
        Ok(())
    }
}

fn sweep_files(directory: &Path, suffix: &str, shelf: &Shelf) -> Result<(), StorageError> {
    if !directory.is_dir() {
        return Ok(());
    }
    for name in names(directory)? {
        let digest = name.strip_suffix(suffix).and_then(Digest::from_hex);
        let orphan = digest.is_some_and(|digest| !shelf.modules.contains_key(&digest));
        if orphan || name.starts_with(LEFTOVER_PREFIX) {
            file::remove(&directory.join(name))?;
        }
    }
    Ok(())
}

fn names(directory: &Path) -> Result<Vec<String>, StorageError> {
    let entries = fs::read_dir(directory).map_err(StorageError::file("read", directory))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StorageError::file("read", directory))?;
        if let Ok(name) = entry.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}
