//! An upload, from its first byte to a module that is durable and ready for calls.

use rpc_host_protocol::Failure;
use rpc_host_protocol::message::UploadHeader;
use rpc_host_protocol::operation::{ImportStanding, ModuleEntry};

use super::Node;
use super::audited::Pending;
use crate::capability::Kinds;
use crate::error::HostError;
use crate::registry::{Digest, ImportName, Module, Upload, UploadStart as Start, files};
use crate::session::{Origin, UploadSink, UploadStart};
use crate::tenant::Principal;

/// An upload that takes bytes.
pub struct NodeUpload {
    node: Node,
    upload: Box<Upload>,
    /// None once it is told how it ended.
    asked: Option<Pending>,
}

pub(super) async fn begin(
    node: &Node,
    principal: &Principal,
    origin: Origin,
    header: UploadHeader,
) -> Result<UploadStart<NodeUpload>, HostError> {
    let mut asked = Pending::upload(&node.audit, principal, origin, &header);
    match start(node, principal, &header).await {
        Ok(Start::Open(upload)) => Ok(UploadStart::Proceed(NodeUpload {
            node: node.clone(),
            upload,
            asked: Some(asked),
        })),
        Ok(Start::Held(module)) => {
            asked.changes_nothing();
            asked.note(|entry| entry.detail("known already"));
            asked.end(&Ok(()));
            Ok(UploadStart::Known(entry(&module, true)))
        }
        Err(error) => {
            let refused = Err(error);
            asked.end(&refused);
            refused
        }
    }
}

async fn start(
    node: &Node,
    principal: &Principal,
    header: &UploadHeader,
) -> Result<Start, HostError> {
    let permit = principal.permit_deploy()?;
    let digest: Digest = header.digest.parse()?;
    let modules = &node.registry.modules;
    Ok(modules
        .begin_upload(&permit, digest, header.size_bytes)
        .await?)
}

impl UploadSink for NodeUpload {
    async fn write(&mut self, bytes: Vec<u8>) -> Result<(), Failure> {
        let written = self.upload.write(&bytes).await.map_err(HostError::from);
        if written.is_err()
            && let Some(asked) = self.asked.take()
        {
            asked.end(&written);
        }
        Ok(written?)
    }

    async fn finish(mut self) -> Result<ModuleEntry, Failure> {
        let mut asked = self.asked.take();
        if let Some(asked) = &mut asked {
            asked.may_last();
        }
        let kept = self.keep().await;
        if let Some(asked) = asked {
            asked.end(&kept);
        }
        Ok(kept?)
    }
}

impl NodeUpload {
    /// Compiles first and keeps afterwards: a module that cannot be run never becomes one.
    async fn keep(self) -> Result<ModuleEntry, HostError> {
        let NodeUpload { node, upload, .. } = self;
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
        let module = node
            .registry
            .modules
            .commit(staged, imports, artifact.size_bytes())
            .await?;
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
