//! A registry with two tenants on a data directory, for tests of this folder.

use std::sync::Arc;

use tempfile::TempDir;

use super::{
    Digest, IfRevision, Module, Proposed, RegisterOptions, Registration, Registry, RegistryError,
    UploadStart, Wish,
};
use crate::clock::{ManualClock, WallClock};
use crate::config::{DataDir, Limits};
use crate::storage::{RedbStorage, Storage};
use crate::tenant::{Directory, Principal, RemovedTenant, Role, SettingsChange, TenantName, Token};

pub(super) struct Node {
    pub(super) registry: Registry,
    pub(super) data: DataDir,
    pub(super) one: Principal,
    pub(super) two: Principal,
    pub(super) storage: Arc<dyn Storage>,
    directory: Directory,
    operator: Principal,
    _kept: TempDir,
}

fn clock() -> Arc<dyn WallClock> {
    ManualClock::at(1_000)
}

async fn enter(directory: &Directory, operator: &Principal, name: &str) -> Principal {
    let name: TenantName = name.parse().unwrap();
    let operate = operator.permit_operate().unwrap();
    directory
        .create_tenant(&operate, name.clone(), SettingsChange::default())
        .await
        .unwrap();
    let tokens = operator.permit_tokens(&name).unwrap();
    let issued = directory
        .create_token(&tokens, Role::Deployer, None)
        .await
        .unwrap();
    directory.authenticate(&issued.token.expose()).unwrap()
}

pub(super) async fn node(limits: &Limits) -> Node {
    let kept = tempfile::tempdir().unwrap();
    let data = DataDir::open(&kept.path().join("data")).unwrap();
    let storage: Arc<dyn Storage> = Arc::new(RedbStorage::in_memory().unwrap());
    let directory = Directory::open(storage.clone(), clock(), limits).unwrap();
    let token = Token::generate().unwrap();
    directory.found(&token).unwrap();
    let operator = directory.authenticate(&token.expose()).unwrap();
    let one = enter(&directory, &operator, "one").await;
    let two = enter(&directory, &operator, "two").await;
    let tenants = directory.tenant_ids();
    let registry = Registry::open(&storage, &clock(), &data, &tenants, limits).unwrap();
    Node {
        registry,
        data,
        one,
        two,
        storage,
        directory,
        operator,
        _kept: kept,
    }
}

/// A change that nobody checks.
pub(super) async fn change(
    registry: &Registry,
    principal: &Principal,
    text: &str,
    wish: Wish,
    if_revision: IfRevision,
) -> Result<Arc<Registration>, RegistryError> {
    let (catalog, permit) = (&registry.catalog, principal.permit_deploy().unwrap());
    let proposed = catalog
        .propose(&permit, &text.parse().unwrap(), &wish, if_revision)
        .await?;
    match proposed {
        Proposed::Stands(registration) => Ok(registration),
        Proposed::Change(proposal) => {
            let concerned = catalog.concerned(&proposal);
            let changed = catalog.commit(proposal, concerned, Vec::new()).await?;
            Ok(changed.expect("nobody else changes anything"))
        }
    }
}

impl Node {
    pub(super) async fn register(
        &self,
        principal: &Principal,
        text: &str,
        module: &[u8],
        options: RegisterOptions,
    ) -> Result<Arc<Registration>, RegistryError> {
        let wish = Wish::Register(Digest::of(module), options);
        self.change(principal, text, wish, IfRevision::Any).await
    }

    pub(super) async fn change(
        &self,
        principal: &Principal,
        text: &str,
        wish: Wish,
        if_revision: IfRevision,
    ) -> Result<Arc<Registration>, RegistryError> {
        change(&self.registry, principal, text, wish, if_revision).await
    }

    pub(super) fn resolve(
        &self,
        principal: &Principal,
        text: &str,
    ) -> Result<Arc<Registration>, RegistryError> {
        self.registry
            .catalog
            .resolve(&principal.permit_call().unwrap(), text)
    }

    pub(super) async fn revisions(&self, principal: &Principal, text: &str) -> Vec<u64> {
        let permit = principal.permit_read().unwrap();
        let history = self.registry.catalog.history(&permit, text).await.unwrap();
        history.iter().map(|revision| revision.number).collect()
    }

    /// The registry as the next start finds it.
    pub(super) fn restart(&self, limits: &Limits) -> Registry {
        let tenants = self.directory.tenant_ids();
        Registry::open(&self.storage, &clock(), &self.data, &tenants, limits).unwrap()
    }

    pub(super) async fn upload(
        &self,
        principal: &Principal,
        bytes: &[u8],
    ) -> Result<Module, RegistryError> {
        self.upload_importing(principal, bytes, &[]).await
    }

    /// An upload of what imports this from registrations.
    pub(super) async fn upload_importing(
        &self,
        principal: &Principal,
        bytes: &[u8],
        imports: &[&str],
    ) -> Result<Module, RegistryError> {
        let imports = imports.iter().map(|import| import.parse().unwrap());
        let permit = principal.permit_deploy().unwrap();
        let size_bytes = bytes.len().try_into().unwrap();
        let modules = &self.registry.modules;
        match modules
            .begin_upload(&permit, Digest::of(bytes), size_bytes)
            .await?
        {
            UploadStart::Held(module) => Ok(module),
            UploadStart::Open(mut upload) => {
                for chunk in bytes.chunks(3) {
                    upload.write(chunk).await?;
                }
                modules
                    .commit(upload.finish().await?, imports.collect(), 0)
                    .await
            }
        }
    }

    pub(super) async fn remove(&self, principal: &Principal) -> RemovedTenant {
        let permit = self.operator.permit_operate().unwrap();
        self.directory
            .remove_tenant(&permit, principal.tenant_name())
            .await
            .unwrap()
    }
}
