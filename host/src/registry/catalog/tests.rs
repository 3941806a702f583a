use rpc_host_protocol::operation::Instancing;

use super::*;
use crate::capability::{Grant, Grants, Kind};
use crate::config::{Narrowing, Scope};
use crate::registry::fixture::{Node, change, node};
use crate::registry::{Bindings, IfRevision, RegisterOptions, Wish};

pub(super) const ONE: &[u8] = b"module one";
pub(super) const TWO: &[u8] = b"module two";

fn name(text: &str) -> RegistrationName {
    text.parse().unwrap()
}

fn granting(grant: Grant) -> RegisterOptions {
    RegisterOptions {
        grants: Grants::collect([grant]).unwrap(),
        ..RegisterOptions::default()
    }
}

pub(super) async fn ready() -> Node {
    let node = node(&Limits::default()).await;
    node.upload(&node.one, ONE).await.unwrap();
    node.upload(&node.one, TWO).await.unwrap();
    node
}

#[tokio::test]
async fn every_change_is_a_revision_and_no_change_is_none() {
    let node = ready().await;
    let options = RegisterOptions::default;
    let first = node
        .register(&node.one, "calc", ONE, options())
        .await
        .unwrap();
    assert_eq!(
        (first.current.number, first.current.digest),
        (1, Digest::of(ONE))
    );
    assert!(!first.current.grants.has(Kind::Log));
    assert_eq!(first.current.created_by, node.one.credential());
    let again = node
        .register(&node.one, "calc", ONE, options())
        .await
        .unwrap();
    assert_eq!(again.current.number, 1);
    node.register(&node.one, "calc", TWO, options())
        .await
        .unwrap();
    let third = node
        .register(&node.one, "calc", TWO, granting(Grant::Log))
        .await
        .unwrap();
    assert_eq!(third.current.number, 3);
    assert_eq!(
        node.resolve(&node.one, "calc").unwrap().current,
        third.current
    );
    assert_eq!(node.revisions(&node.one, "calc").await, [3, 2, 1]);
    // A reader keeps what it got.
    assert_eq!(first.current.digest, Digest::of(ONE));
}

#[tokio::test]
async fn a_change_can_insist_on_what_it_changes() {
    let node = ready().await;
    let register = async |module, if_revision| {
        let wish = Wish::Register(Digest::of(module), RegisterOptions::default());
        node.change(&node.one, "calc", wish, if_revision).await
    };
    let refused = register(ONE, IfRevision::Is(1)).await;
    assert!(matches!(
        refused,
        Err(RegistryError::NotAsExpected { actual: None, .. })
    ));
    register(ONE, IfRevision::Absent).await.unwrap();
    let refused = register(TWO, IfRevision::Absent).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "`calc` is at revision 1; look at it again before you change it"
    );
    register(TWO, IfRevision::Is(1)).await.unwrap();
    let refused = register(ONE, IfRevision::Is(1)).await;
    assert!(matches!(
        refused,
        Err(RegistryError::NotAsExpected {
            actual: Some(2),
            ..
        })
    ));
    assert_eq!(node.revisions(&node.one, "calc").await, [2, 1]);
}

#[tokio::test]
async fn foreign_and_absent_are_the_same() {
    let node = ready().await;
    node.register(&node.one, "calc", ONE, RegisterOptions::default())
        .await
        .unwrap();
    let foreign = node.resolve(&node.two, "calc").unwrap_err().to_string();
    let absent = node.resolve(&node.two, "absent").unwrap_err().to_string();
    assert_eq!(foreign.replace("calc", "absent"), absent);
    let digests = [Digest::of(ONE), Digest::of(b"absent")];
    let answers = digests.map(|digest| {
        let permit = node.two.permit_read().unwrap();
        let answer = node.registry.modules.show(&permit, &digest).unwrap_err();
        answer.to_string().replace(&digest.to_string(), "X")
    });
    assert_eq!(answers[0], answers[1]);
    let stolen = node
        .register(&node.two, "mine", ONE, RegisterOptions::default())
        .await;
    assert!(matches!(stolen, Err(RegistryError::NoSuchModule { .. })));
    let permit = node.two.permit_deploy().unwrap();
    let removed = node.registry.catalog.remove(&permit, "calc").await;
    assert!(matches!(
        removed,
        Err(RegistryError::NoSuchRegistration { .. })
    ));
    let removed = node
        .registry
        .catalog
        .remove_module(&permit, Digest::of(ONE))
        .await;
    assert!(matches!(removed, Err(RegistryError::NoSuchModule { .. })));
    assert!(
        node.registry
            .catalog
            .list(&node.two.permit_read().unwrap())
            .is_empty()
    );
    // The same name and the same bytes, each its own.
    node.upload(&node.two, ONE).await.unwrap();
    node.register(&node.two, "calc", ONE, granting(Grant::Log))
        .await
        .unwrap();
    assert!(
        !node
            .resolve(&node.one, "calc")
            .unwrap()
            .current
            .grants
            .has(Kind::Log)
    );
}

#[tokio::test]
async fn all_of_it_survives_a_restart() {
    let node = ready().await;
    let limits = Limits::default();
    let bindings = [(
        "acme:log/logger@1.0.0".parse().unwrap(),
        name("acme:log/logger"),
    )];
    let options = RegisterOptions {
        grants: Grants::parse(["log"]).unwrap(),
        narrowing: Narrowing::parse([("max-memory-bytes", 65_536)], Scope::Registration, &limits)
            .unwrap(),
        bindings: Bindings::collect(bindings).unwrap(),
        sealed: true,
        instancing: Instancing::Shared,
    };
    node.register(
        &node.one,
        "acme:log/logger",
        ONE,
        RegisterOptions::default(),
    )
    .await
    .unwrap();
    let before = node
        .register(&node.one, "calc", TWO, options)
        .await
        .unwrap();
    let restarted = node.restart(&limits);
    let permit = node.one.permit_read().unwrap();
    let after = restarted.catalog.show(&permit, "calc").unwrap();
    assert_eq!(after.current, before.current);
    assert_eq!(after.created_at, before.created_at);
    let names: Vec<_> = restarted
        .catalog
        .list(&permit)
        .iter()
        .map(|one| one.name.to_string())
        .collect();
    assert_eq!(names, ["acme:log/logger", "calc"]);
    // And goes on where it was.
    let wish = Wish::Register(Digest::of(ONE), RegisterOptions::default());
    let next = change(&restarted, &node.one, "calc", wish, IfRevision::Is(1)).await;
    assert_eq!(next.unwrap().current.number, 2);
}

#[tokio::test]
async fn the_oldest_revisions_are_forgotten() {
    let node = node(&Limits {
        max_revisions_per_registration: 3,
        ..Limits::default()
    })
    .await;
    for module in [ONE, TWO] {
        node.upload(&node.one, module).await.unwrap();
    }
    for number in 0..6 {
        let module = if number % 2 == 0 { ONE } else { TWO };
        node.register(&node.one, "calc", module, RegisterOptions::default())
            .await
            .unwrap();
    }
    assert_eq!(node.revisions(&node.one, "calc").await, [6, 5, 4]);
    // A limit that is lowered takes effect with the next change.
    let registry = node.restart(&Limits {
        max_revisions_per_registration: 1,
        ..Limits::default()
    });
    let wish = Wish::Register(Digest::of(ONE), RegisterOptions::default());
    change(&registry, &node.one, "calc", wish, IfRevision::Any)
        .await
        .unwrap();
    assert_eq!(node.revisions(&node.one, "calc").await, [7]);
}

#[tokio::test]
async fn a_removed_registration_begins_anew() {
    let node = ready().await;
    for module in [ONE, TWO] {
        node.register(&node.one, "calc", module, RegisterOptions::default())
            .await
            .unwrap();
        node.register(&node.one, "calc/b", module, RegisterOptions::default())
            .await
            .unwrap();
    }
    let permit = node.one.permit_deploy().unwrap();
    node.registry.catalog.remove(&permit, "calc").await.unwrap();
    assert!(node.resolve(&node.one, "calc").is_err());
    assert_eq!(node.revisions(&node.one, "calc/b").await, [2, 1]);
    let anew = node
        .register(&node.one, "calc", ONE, RegisterOptions::default())
        .await
        .unwrap();
    assert_eq!(anew.current.number, 1);
    assert_eq!(node.revisions(&node.one, "calc").await, [1]);
}

#[tokio::test]
async fn a_module_goes_when_no_revision_needs_it() {
    let node = ready().await;
    let permit = node.one.permit_deploy().unwrap();
    for module in [ONE, TWO] {
        node.register(&node.one, "calc", module, RegisterOptions::default())
            .await
            .unwrap();
    }
    let catalog = &node.registry.catalog;
    for module in [ONE, TWO] {
        let refused = catalog.remove_module(&permit, Digest::of(module)).await;
        assert!(matches!(refused, Err(RegistryError::ModuleInUse { .. })));
    }
    catalog.remove(&permit, "calc").await.unwrap();
    let path = node
        .registry
        .modules
        .path(node.one.tenant(), &Digest::of(ONE));
    assert!(path.exists());
    catalog
        .remove_module(&permit, Digest::of(ONE))
        .await
        .unwrap();
    assert!(!path.exists());
    let absent = node
        .register(&node.one, "calc", ONE, RegisterOptions::default())
        .await;
    assert!(matches!(absent, Err(RegistryError::NoSuchModule { .. })));
    assert_eq!(
        node.registry
            .modules
            .list(&node.one.permit_read().unwrap())
            .len(),
        1
    );
}

#[tokio::test]
async fn registrations_have_a_bound() {
    let node = node(&Limits {
        max_registrations_per_tenant: 2,
        ..Limits::default()
    })
    .await;
    node.upload(&node.one, ONE).await.unwrap();
    node.upload(&node.one, TWO).await.unwrap();
    for text in ["a", "b"] {
        node.register(&node.one, text, ONE, RegisterOptions::default())
            .await
            .unwrap();
    }
    let more = node
        .register(&node.one, "c", ONE, RegisterOptions::default())
        .await;
    assert!(matches!(more, Err(RegistryError::TooMany { limit: 2, .. })));
    node.register(&node.one, "b", TWO, RegisterOptions::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_removed_tenant_can_change_nothing_any_more() {
    let node = ready().await;
    node.register(&node.one, "calc", ONE, RegisterOptions::default())
        .await
        .unwrap();
    let removed = node.remove(&node.one).await;
    let late = node
        .register(&node.one, "calc", TWO, RegisterOptions::default())
        .await;
    assert!(matches!(late, Err(RegistryError::TenantGone)));
    node.registry.forget(removed).await.unwrap();
    assert!(node.resolve(&node.one, "calc").is_err());
    assert!(
        !node
            .data
            .tenants()
            .join(node.one.tenant().to_string())
            .exists()
    );
}
