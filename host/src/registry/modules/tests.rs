use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::registry::fixture::{Node, node};
use crate::tenant::Principal;

const BYTES: &[u8] = b"some module";

fn small() -> Limits {
    Limits {
        max_upload_bytes: 20,
        max_stored_bytes_per_tenant: 30,
        max_modules_per_tenant: 3,
        max_uploads_per_tenant: 2,
        ..Limits::default()
    }
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory)
        .map(Iterator::count)
        .unwrap_or_default()
}

impl Node {
    async fn open(&self, principal: &Principal, bytes: &[u8]) -> Result<Upload, RegistryError> {
        let permit = principal.permit_deploy().unwrap();
        let size_bytes = bytes.len().try_into().unwrap();
        let start = self
            .registry
            .modules
            .begin_upload(&permit, Digest::of(bytes), size_bytes);
        match start.await? {
            UploadStart::Open(upload) => Ok(*upload),
            UploadStart::Held(module) => panic!("{} is held", module.digest),
        }
    }

    async fn staged(&self, bytes: &[u8]) -> StagedModule {
        let mut upload = self.open(&self.one, bytes).await.unwrap();
        upload.write(bytes).await.unwrap();
        upload.finish().await.unwrap()
    }
}

#[tokio::test]
async fn an_upload_is_whole_private_and_there_after_a_restart() {
    let node = node(&Limits::default()).await;
    let module = node.upload(&node.one, BYTES).await.unwrap();
    let path = node
        .registry
        .modules
        .path(node.one.tenant(), &module.digest);
    assert_eq!(fs::read(&path).unwrap(), BYTES);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(
        node.registry
            .modules
            .artifact_path(node.one.tenant(), &module.digest)
            .parent()
            .unwrap()
            .is_dir()
    );
    assert_eq!(files(&node.data.staging()), 0);
    // The same bytes again are answered at once.
    assert_eq!(node.upload(&node.one, BYTES).await.unwrap(), module);
    let restarted = node.restart(&Limits::default());
    let permit = node.one.permit_read().unwrap();
    assert_eq!(
        restarted.modules.show(&permit, &module.digest).unwrap(),
        module
    );
    assert_eq!(restarted.modules.list(&permit), [module]);
}

#[tokio::test]
async fn nothing_is_visible_before_the_commit() {
    let node = node(&Limits::default()).await;
    let permit = node.one.permit_read().unwrap();
    let staged = node.staged(BYTES).await;
    assert_eq!(fs::read(staged.path()).unwrap(), BYTES);
    assert_eq!(
        (*staged.digest(), staged.tenant()),
        (Digest::of(BYTES), node.one.tenant())
    );
    assert!(node.registry.modules.list(&permit).is_empty());
    drop(staged);
    assert_eq!(files(&node.data.staging()), 0);
    assert!(
        node.registry
            .modules
            .show(&permit, &Digest::of(BYTES))
            .is_err()
    );
}

#[tokio::test]
async fn an_upload_has_to_be_what_it_said() {
    let node = node(&Limits::default()).await;
    let mut long = node.open(&node.one, BYTES).await.unwrap();
    long.write(BYTES).await.unwrap();
    assert!(matches!(
        long.write(b"x").await,
        Err(RegistryError::UploadTooLong { .. })
    ));
    drop(long);
    let mut short = node.open(&node.one, BYTES).await.unwrap();
    short.write(&BYTES[1..]).await.unwrap();
    assert_eq!(short.received_bytes(), 10);
    assert!(matches!(
        short.finish().await,
        Err(RegistryError::UploadTooShort { .. })
    ));
    let mut other = node.open(&node.one, BYTES).await.unwrap();
    other.write(b"evil module").await.unwrap();
    assert!(matches!(
        other.finish().await,
        Err(RegistryError::DigestMismatch { .. })
    ));
    assert_eq!(files(&node.data.staging()), 0);
    assert!(matches!(
        node.upload(&node.one, b"").await,
        Err(RegistryError::EmptyUpload)
    ));
    node.upload(&node.one, BYTES).await.unwrap();
}

#[tokio::test]
async fn a_declared_size_is_refused_before_a_byte_comes() {
    let node = node(&Limits::default()).await;
    let permit = node.one.permit_deploy().unwrap();
    for size_bytes in [64 * 1024 * 1024 + 1, u64::MAX] {
        let start = node
            .registry
            .modules
            .begin_upload(&permit, Digest::of(BYTES), size_bytes);
        assert!(matches!(start.await, Err(RegistryError::TooLarge { .. })));
    }
    assert_eq!(files(&node.data.staging()), 0);
}

#[tokio::test]
async fn room_is_taken_from_the_beginning_and_given_back() {
    let node = node(&small()).await;
    assert!(matches!(
        node.upload(&node.one, &[7; 21]).await,
        Err(RegistryError::TooLarge { .. })
    ));
    let first = node.open(&node.one, &[1; 20]).await.unwrap();
    let refused = node.open(&node.one, &[2; 11]).await;
    assert!(matches!(
        refused,
        Err(RegistryError::NoRoom { free_bytes: 10, .. })
    ));
    let second = node.open(&node.one, &[2; 10]).await.unwrap();
    let refused = node.open(&node.one, &[3; 1]).await;
    assert!(matches!(
        refused,
        Err(RegistryError::TooMany {
            what: "uploads under way",
            ..
        })
    ));
    // Another tenant's room is its own.
    node.upload(&node.two, &[1; 20]).await.unwrap();
    drop((first, second));
    node.upload(&node.one, &[1; 20]).await.unwrap();
    let refused = node.upload(&node.one, &[2; 11]).await;
    assert!(matches!(
        refused,
        Err(RegistryError::NoRoom { free_bytes: 10, .. })
    ));
    // Used room is remembered, and comes back when a module goes.
    let registry = node.restart(&small());
    let permit = node.one.permit_deploy().unwrap();
    let start = registry
        .modules
        .begin_upload(&permit, Digest::of(&[2; 11]), 11)
        .await;
    assert!(matches!(
        start,
        Err(RegistryError::NoRoom { free_bytes: 10, .. })
    ));
    registry
        .catalog
        .remove_module(&permit, Digest::of(&[1; 20]))
        .await
        .unwrap();
    let start = registry
        .modules
        .begin_upload(&permit, Digest::of(&[2; 11]), 11)
        .await;
    assert!(matches!(start, Ok(UploadStart::Open(_))));
}

#[tokio::test]
async fn modules_have_a_bound() {
    let node = node(&small()).await;
    for byte in 0..3 {
        node.upload(&node.one, &[byte]).await.unwrap();
    }
    let more = node.upload(&node.one, &[9]).await;
    assert!(matches!(
        more,
        Err(RegistryError::TooMany {
            what: "modules",
            ..
        })
    ));
}

#[tokio::test]
async fn two_uploads_of_the_same_bytes_make_one_module() {
    let node = node(&small()).await;
    let (first, second) = (node.staged(BYTES).await, node.staged(BYTES).await);
    let modules = &node.registry.modules;
    let (first, second) = tokio::join!(
        modules.commit(first, Arc::default(), 0),
        modules.commit(second, Arc::default(), 0)
    );
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(modules.list(&node.one.permit_read().unwrap()).len(), 1);
    assert_eq!(files(&node.data.staging()), 0);
    // Counted once: there is room for the rest.
    node.upload(&node.one, &[1; 19]).await.unwrap();
}

#[tokio::test]
async fn a_start_clears_away_what_nobody_was_promised() {
    let node = node(&Limits::default()).await;
    let module = node.upload(&node.one, BYTES).await.unwrap();
    let tenant = node.one.tenant();
    let modules = &node.registry.modules;
    let kept = [
        modules.path(tenant, &module.digest),
        modules.artifact_path(tenant, &module.digest),
    ];
    fs::write(&kept[1], b"artifact").unwrap();
    let notes = kept[0].with_file_name("notes.txt");
    fs::write(&notes, b"not ours").unwrap();
    let orphan = Digest::of(b"orphan");
    let swept = [
        // Renamed, but the record was never committed.
        modules.path(tenant, &orphan),
        modules.artifact_path(tenant, &orphan),
        // Half written.
        kept[1].with_file_name(".unfinished-artifact"),
        node.data.staging().join(".unfinished-upload"),
        // A tenant that was removed before its files were.
        node.data.tenants().join("999/modules/x.wasm"),
    ];
    for path in &swept {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"leftover").unwrap();
    }
    for _ in 0..2 {
        node.restart(&Limits::default());
        for path in &swept {
            assert!(!path.exists(), "{}", path.display());
        }
        for path in kept.iter().chain([&notes]) {
            assert!(path.exists(), "{}", path.display());
        }
    }
    assert!(!node.data.tenants().join("999").exists());
}

#[tokio::test]
async fn a_module_whose_file_is_damaged_can_be_uploaded_again() {
    let node = node(&Limits::default()).await;
    let module = node.upload(&node.one, BYTES).await.unwrap();
    let whole = node.upload(&node.one, b"another").await.unwrap();
    let path = node
        .registry
        .modules
        .path(node.one.tenant(), &module.digest);
    fs::write(&path, b"half").unwrap();
    let restarted = node.restart(&Limits::default());
    let permit = node.one.permit_read().unwrap();
    assert_eq!(restarted.modules.list(&permit), [whole]);
    let permit = node.one.permit_deploy().unwrap();
    let size_bytes = module.size_bytes;
    let start = restarted
        .modules
        .begin_upload(&permit, module.digest, size_bytes)
        .await
        .unwrap();
    let UploadStart::Open(mut upload) = start else {
        panic!("held")
    };
    upload.write(BYTES).await.unwrap();
    restarted
        .modules
        .commit(upload.finish().await.unwrap(), Arc::default(), 0)
        .await
        .unwrap();
    assert_eq!(fs::read(&path).unwrap(), BYTES);
}

#[tokio::test]
async fn an_upload_that_outlives_its_tenant_leaves_nothing() {
    let node = node(&Limits::default()).await;
    let staged = node.staged(BYTES).await;
    let removed = node.remove(&node.one).await;
    node.registry.forget(removed).await.unwrap();
    let late = node
        .registry
        .modules
        .commit(staged, Arc::default(), 0)
        .await;
    assert!(matches!(late, Err(RegistryError::TenantGone)));
    assert!(
        !node
            .registry
            .modules
            .path(node.one.tenant(), &Digest::of(BYTES))
            .exists()
    );
    assert_eq!(files(&node.data.staging()), 0);
}
