//! An upload, from its first byte to a module that is durable and ready for calls.

use rpc_host_protocol::Failure;
use rpc_host_protocol::message::UploadHeader;
use rpc_host_protocol::operation::{ImportStanding, ModuleEntry};

use super::Node;
use crate::capability::Kinds;
use crate::error::HostError;
use crate::registry::{Digest, ImportName, Module, Upload, UploadStart as Start, files};
use crate::session::{UploadSink, UploadStart};
use crate::tenant::Principal;

/// An upload that takes bytes.
pub struct NodeUpload {
    node: Node,
    upload: Box<Upload>,
}

pub(super) async fn begin(
    node: &Node,
    principal: &Principal,
    header: UploadHeader,
) -> Result<UploadStart<NodeUpload>, HostError> {
    let permit = principal.permit_deploy()?;
    let digest: Digest = header.digest.parse()?;
    Ok(
        match node
            .registry
            .modules
            .begin_upload(&permit, digest, header.size_bytes)
            .await?
        {
            Start::Held(module) => UploadStart::Known(entry(&module, true)),
            Start::Open(upload) => UploadStart::Proceed(NodeUpload {
                node: node.clone(),
                upload,
            }),
        },
    )
}

impl UploadSink for NodeUpload {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        self.upload
            .write(&bytes)
            .await
            .map_err(|error| HostError::from(error).into())
    }

    async fn finish(self) -> Result<ModuleEntry, Failure> {
        Ok(self.keep().await?)
    }
}

impl NodeUpload {
    /// Compiles first and keeps afterwards: a module that cannot be run never becomes one.
    async fn keep(self) -> Result<ModuleEntry, HostError> {
        let NodeUpload { node, upload } = self;
        let staged = upload.finish().await?;
        let (tenant, digest) = (staged.tenant(), *staged.digest());
        let modules = &node.registry.modules;
        let files = files(modules, tenant, &digest, staged.path().to_owned());
        // Without any grant: what is refused now is refused with every grant.
        let sandbox = node.targets.sandbox();
        let (artifact, prepared) = sandbox.check(&files, Kinds::default()).await?;
        let imports = prepared.imports().iter();
        let imports = imports.filter(|import| import.standing == ImportStanding::Unbound);
        let imports = ImportName::collect(imports.map(|import| &*import.name))?;
        // Module first: of an upload that is given up or refused here, no artifact stays behind.
        let module = node.registry.modules.commit(staged, imports).await?;
        let placed = tokio::task::spawn_blocking(move || artifact.place()).await;
        if !matches!(placed, Ok(Ok(()))) {
            // The first call compiles it again.
            tracing::warn!(digest = %module.digest, "compiled code was not kept");
        }
        tracing::info!(digest = %module.digest, size_bytes = module.size_bytes, "module uploaded");
        Ok(entry(&module, false))
    }
}

pub(super) fn entry(module: &Module, already_known: bool) -> ModuleEntry {
    ModuleEntry {
        digest: module.digest.to_string(),
        size_bytes: module.size_bytes,
        already_known,
    }
}
