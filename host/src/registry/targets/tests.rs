//! Which components stay in memory, and which go.

use super::*;
use crate::capability::Kinds;
use crate::registry::fixture::{Node, node};
use crate::registry::{IfRevision, RegisterOptions, Wish};
use crate::sandbox::{ArtifactKey, SandboxLimits};
use crate::tenant::Principal;

fn limits(max_loaded_modules: u64, max_loaded_module_bytes: u64) -> Limits {
    Limits {
        max_loaded_modules,
        max_loaded_module_bytes,
        ..Limits::default()
    }
}

fn key(tenant: TenantId, number: u8) -> Key {
    Key {
        tenant,
        digest: Digest::from_hex(&format!("{number:02x}").repeat(32)).unwrap(),
        kinds: Kinds::default(),
    }
}

/// The numbers of those that are there.
fn kept(shelf: &Shelf<()>, tenant: TenantId) -> Vec<u8> {
    (0..=u8::MAX)
        .filter(|number| shelf.loaded.contains_key(&key(tenant, *number)))
        .collect()
}

fn tenants(node: &Node) -> (TenantId, TenantId) {
    (node.one.tenant(), node.two.tenant())
}

#[test]
fn the_largest_go_only_when_they_are_the_oldest() {
    let tenant = Principal::for_tests("team").tenant();
    let mut shelf = Shelf::new(&limits(100, 40));
    for number in 0..5 {
        shelf.cell(&key(tenant, number), u64::from(number));
    }
    for number in 0..4 {
        shelf.note_loaded(&key(tenant, number), 10);
    }
    assert_eq!(
        kept(&shelf, tenant),
        [0, 1, 2, 3, 4],
        "all within the limit"
    );
    shelf.note_loaded(&key(tenant, 4), 15);
    assert_eq!(kept(&shelf, tenant), [2, 3, 4]);
    shelf.note_loaded(&key(tenant, 4), 100);
    assert_eq!(
        kept(&shelf, tenant),
        [4],
        "the one in use stays, however large"
    );
}

#[test]
fn one_more_than_may_be_loaded_takes_the_place_of_the_oldest() {
    let tenant = Principal::for_tests("team").tenant();
    let mut shelf = Shelf::new(&limits(3, u64::MAX));
    for number in 0..3 {
        shelf.cell(&key(tenant, number), u64::from(number));
    }
    shelf.cell(&key(tenant, 0), 3);
    shelf.cell(&key(tenant, 3), 4);
    assert_eq!(kept(&shelf, tenant), [0, 2, 3]);
}

#[tokio::test]
async fn who_has_half_of_the_room_makes_room_among_its_own() {
    let (one, two) = tenants(&node(&Limits::default()).await);
    // By their number.
    let mut shelf = Shelf::new(&limits(8, u64::MAX));
    for number in 0..4 {
        shelf.cell(&key(one, number), u64::from(number));
    }
    for number in 0..100 {
        shelf.cell(&key(two, number), 4 + u64::from(number));
    }
    assert_eq!(kept(&shelf, one), [0, 1, 2, 3]);
    assert_eq!(kept(&shelf, two), [96, 97, 98, 99]);
    // By their bytes, too.
    let mut shelf = Shelf::new(&limits(1000, 80));
    for number in 0..4 {
        shelf.cell(&key(one, number), u64::from(number));
        shelf.note_loaded(&key(one, number), 10);
    }
    for number in 0..100 {
        shelf.cell(&key(two, number), 4 + u64::from(number));
        shelf.note_loaded(&key(two, number), 10);
    }
    assert_eq!(kept(&shelf, one), [0, 1, 2, 3]);
    assert_eq!(kept(&shelf, two), [96, 97, 98, 99]);
}

#[test]
fn what_nobody_calls_is_let_go_of() {
    let tenant = Principal::for_tests("team").tenant();
    let mut shelf = Shelf::new(&Limits::default());
    let call = |shelf: &mut Shelf<()>, number: u8, last_use: u64| {
        let cell = shelf.cell(&key(tenant, number), last_use);
        let _again = cell.set(Arc::new(()));
    };
    for number in 0..4 {
        call(&mut shelf, number, u64::from(number));
    }
    shelf.cell(&key(tenant, 4), 1);
    call(&mut shelf, 1, 5);
    shelf.let_go_before(3);
    assert_eq!(kept(&shelf, tenant), [1, 3, 4], "the last is being loaded");
    shelf.let_go_before(6);
    assert_eq!(kept(&shelf, tenant), [4]);
}

#[tokio::test]
async fn a_start_with_many_registrations_loads_none_of_them() {
    let limits = Limits::default();
    let node = node(&limits).await;
    // No component at all: whoever loaded it would fail.
    let module = node.upload(&node.one, b"no component").await.unwrap();
    for number in 0..100 {
        let wish = Wish::Register(module.digest, RegisterOptions::default());
        let name = format!("name-{number}");
        let changed = node.change(&node.one, &name, wish, IfRevision::Any);
        changed.await.unwrap();
    }
    let registry = node.restart(&limits);
    let permit = node.one.permit_read().unwrap();
    assert_eq!(registry.catalog.list(&permit).len(), 100);
    let one_at_once = SandboxLimits {
        max_live_instances: 1,
        ..SandboxLimits::default()
    };
    let sandbox = Sandbox::new(one_at_once, &ArtifactKey::new(&[7; 32])).unwrap();
    let targets = Targets::new(Arc::new(sandbox), registry.modules, &limits);
    assert!(targets.inner.shelf().loaded.is_empty());
}
