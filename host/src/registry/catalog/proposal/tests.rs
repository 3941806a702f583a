use rpc_host_protocol::operation::Instancing;

use crate::capability::{Grant, Grants, Kind};
use crate::config::Limits;
use crate::registry::catalog::tests::{ONE, TWO, ready};
use crate::registry::fixture::{Node, node};
use crate::registry::{Bindings, Digest, RegisterOptions};

use super::*;

const LOGGER: &str = "acme:log/logger@0.1.0";

fn granting(grant: Grant) -> RegisterOptions {
    RegisterOptions {
        grants: Grants::collect([grant]).unwrap(),
        ..RegisterOptions::default()
    }
}

async fn swap(node: &Node, wish: Wish) -> Result<Revision, RegistryError> {
    let changed = node.change(&node.one, "calc", wish, IfRevision::Any).await;
    Ok(changed?.current.clone())
}

/// A change that is about to be made.
async fn proposed(node: &Node, name: &str, wish: Wish) -> Box<Proposal> {
    let permit = node.one.permit_deploy().unwrap();
    let name = name.parse().unwrap();
    let catalog = &node.registry.catalog;
    let proposed = catalog.propose(&permit, &name, &wish, IfRevision::Any);
    match proposed.await.unwrap() {
        Proposed::Change(proposal) => proposal,
        Proposed::Stands(registration) => panic!("{registration:?} stands already"),
    }
}

fn register(module: &[u8]) -> Wish {
    Wish::Register(Digest::of(module), RegisterOptions::default())
}

#[tokio::test]
async fn a_swap_keeps_all_but_the_module_and_a_rollback_brings_all_back() {
    let node = ready().await;
    let absent = swap(&node, Wish::Swap(Digest::of(ONE))).await;
    assert!(matches!(
        absent,
        Err(RegistryError::NoSuchRegistration { .. })
    ));
    let absent = swap(&node, Wish::Rollback).await;
    assert!(matches!(
        absent,
        Err(RegistryError::NoSuchRegistration { .. })
    ));
    let granted = RegisterOptions {
        sealed: true,
        instancing: Instancing::Session,
        ..granting(Grant::Log)
    };
    node.register(&node.one, "calc", ONE, granted)
        .await
        .unwrap();
    let first = swap(&node, Wish::Rollback).await;
    assert_eq!(
        first.unwrap_err().to_string(),
        "`calc` is at its first revision; there is none before it"
    );

    let second = swap(&node, Wish::Swap(Digest::of(TWO))).await.unwrap();
    assert_eq!((second.number, second.digest), (2, Digest::of(TWO)));
    assert!(second.grants.has(Kind::Log) && second.sealed);
    assert_eq!(second.instancing, Instancing::Session);
    assert_eq!(second.restores, None);
    let same = swap(&node, Wish::Swap(Digest::of(TWO))).await.unwrap();
    assert_eq!(same, second, "what is so already is not a change");

    node.register(&node.one, "calc", ONE, RegisterOptions::default())
        .await
        .unwrap();
    // As with other tools: twice back is forth.
    let fourth = swap(&node, Wish::Rollback).await.unwrap();
    assert_eq!((fourth.number, fourth.restores), (4, Some(2)));
    assert!(fourth.is_like(&second));
    let fifth = swap(&node, Wish::Rollback).await.unwrap();
    assert_eq!((fifth.number, fifth.restores), (5, Some(3)));
    assert!(!fifth.grants.has(Kind::Log) && !fifth.sealed);
    assert_eq!(fifth.instancing, Instancing::Call);

    let sixth = swap(&node, Wish::Restore(1)).await.unwrap();
    assert_eq!((sixth.number, sixth.restores), (6, Some(1)));
    assert_eq!(sixth.digest, Digest::of(ONE));
    assert!(sixth.grants.has(Kind::Log) && sixth.sealed);
    let same = swap(&node, Wish::Restore(6)).await.unwrap();
    assert_eq!(same, sixth);
    // Another module under the same terms is no restoration.
    let seventh = swap(&node, Wish::Swap(Digest::of(TWO))).await.unwrap();
    assert_eq!(seventh.restores, None);
    for number in [0, 8] {
        let never = swap(&node, Wish::Restore(number)).await;
        assert!(matches!(never, Err(RegistryError::NoSuchRevision { .. })));
    }
    let restarted = node.restart(&Limits::default());
    let history = restarted
        .catalog
        .history(&node.one.permit_read().unwrap(), "calc")
        .await
        .unwrap();
    let restores: Vec<_> = history.iter().map(|one| one.restores).collect();
    assert_eq!(
        restores,
        [None, Some(1), Some(3), Some(2), None, None, None]
    );
}

#[tokio::test]
async fn a_swap_can_insist_on_what_it_changes() {
    let node = ready().await;
    node.register(&node.one, "calc", ONE, RegisterOptions::default())
        .await
        .unwrap();
    let swap = async |wish: Wish, if_revision| {
        let changed = node.change(&node.one, "calc", wish, if_revision).await;
        changed.map(|changed| changed.current.number)
    };
    let wrong = |outcome| {
        matches!(
            outcome,
            Err(RegistryError::NotAsExpected {
                actual: Some(1),
                ..
            })
        )
    };
    let two = Wish::Swap(Digest::of(TWO));
    assert!(wrong(swap(two.clone(), IfRevision::Is(2)).await));
    assert!(wrong(swap(two.clone(), IfRevision::Absent).await));
    assert!(wrong(swap(Wish::Rollback, IfRevision::Is(2)).await));
    assert_eq!(swap(two, IfRevision::Is(1)).await.unwrap(), 2);
    let back = swap(Wish::Rollback, IfRevision::Is(2)).await;
    assert_eq!(back.unwrap(), 3);
}

#[tokio::test]
async fn a_revision_that_was_forgotten_does_not_come_back() {
    let node = node(&Limits {
        max_revisions_per_registration: 2,
        ..Limits::default()
    })
    .await;
    for module in [ONE, TWO] {
        node.upload(&node.one, module).await.unwrap();
        node.register(&node.one, "calc", module, RegisterOptions::default())
            .await
            .unwrap();
    }
    swap(&node, Wish::Swap(Digest::of(ONE))).await.unwrap();
    let gone = swap(&node, Wish::Restore(1)).await.unwrap_err();
    assert_eq!(
        gone.to_string(),
        "revision 1 of `calc` is not kept; `rpc-host history calc` lists those that are"
    );
    assert_eq!(swap(&node, Wish::Rollback).await.unwrap().number, 4);
}

/// Who depends on `name`, if it were pointed at a module.
async fn dependents(node: &Node, name: &str) -> Vec<String> {
    let proposal = proposed(node, name, register(TWO)).await;
    let concerned = node.registry.catalog.concerned(&proposal);
    let dependents = concerned.dependents.iter();
    let dependents = dependents.map(|one| format!("{} {}", one.registration.name, one.import));
    dependents.collect()
}

#[tokio::test]
async fn dependents_are_those_whose_imports_would_come_to_the_name() {
    let node = ready().await;
    let app = b"an app";
    node.upload_importing(&node.one, app, &[LOGGER, "other"])
        .await
        .unwrap();
    for name in ["app", "acme:log/logger"] {
        node.register(&node.one, name, app, RegisterOptions::default())
            .await
            .unwrap();
    }
    let bound = RegisterOptions {
        bindings: Bindings::collect([(LOGGER.parse().unwrap(), "my-log".parse().unwrap())])
            .unwrap(),
        ..RegisterOptions::default()
    };
    node.register(&node.one, "bound", app, bound).await.unwrap();
    node.register(&node.one, "plain", ONE, RegisterOptions::default())
        .await
        .unwrap();

    let by_name = ["app acme:log/logger@0.1.0"];
    // What imports its own name is not its own dependent.
    assert_eq!(dependents(&node, "acme:log/logger").await, by_name);
    assert_eq!(
        dependents(&node, LOGGER).await,
        [
            "acme:log/logger acme:log/logger@0.1.0",
            "app acme:log/logger@0.1.0"
        ]
    );
    assert_eq!(
        dependents(&node, "my-log").await,
        ["bound acme:log/logger@0.1.0"]
    );
    assert_eq!(
        dependents(&node, "other").await,
        ["acme:log/logger other", "app other", "bound other"]
    );
    assert!(dependents(&node, "acme:log/logger@0.1.1").await.is_empty());
    // The full name answers before the short one, which then nobody depends on any more.
    node.register(&node.one, LOGGER, ONE, RegisterOptions::default())
        .await
        .unwrap();
    assert!(dependents(&node, "acme:log/logger").await.is_empty());
    // It is known after a start, too.
    let mut node = node;
    node.registry = node.restart(&Limits::default());
    assert_eq!(dependents(&node, "other").await.len(), 3);
}

#[tokio::test]
async fn what_answers_a_changed_registration_is_known() {
    let node = ready().await;
    let app = b"an app";
    node.upload_importing(&node.one, app, &[LOGGER, "absent", "app"])
        .await
        .unwrap();
    node.register(
        &node.one,
        "acme:log/logger",
        ONE,
        RegisterOptions::default(),
    )
    .await
    .unwrap();
    let proposal = proposed(&node, "app", register(app)).await;
    let concerned = node.registry.catalog.concerned(&proposal);
    let answers: Vec<_> = concerned
        .answers
        .iter()
        .map(|one| {
            let by = one.by.as_ref().map(|by| by.name.to_string());
            (one.import.to_string(), by)
        })
        .collect();
    let logger = Some("acme:log/logger".to_owned());
    assert_eq!(
        answers,
        [(LOGGER.to_owned(), logger), ("app".to_owned(), None)]
    );
}

#[tokio::test]
async fn only_what_was_checked_is_committed() {
    let node = ready().await;
    let app = b"an app";
    node.upload_importing(&node.one, app, &["calc", "other"])
        .await
        .unwrap();
    node.register(&node.one, "calc", ONE, RegisterOptions::default())
        .await
        .unwrap();
    let catalog = &node.registry.catalog;
    let attempt = async |between: &str| {
        let proposal = proposed(&node, "calc", Wish::Swap(Digest::of(app))).await;
        let concerned = catalog.concerned(&proposal);
        let permit = node.one.permit_deploy().unwrap();
        match between {
            "itself" => {
                node.register(&node.one, "calc", TWO, RegisterOptions::default())
                    .await
                    .unwrap();
            }
            "removed and made again" => {
                catalog.remove(&permit, "calc").await.unwrap();
                node.register(&node.one, "calc", ONE, RegisterOptions::default())
                    .await
                    .unwrap();
            }
            "a dependent comes" => {
                node.register(&node.one, "app", app, RegisterOptions::default())
                    .await
                    .unwrap();
            }
            "a dependent changes" => {
                node.register(&node.one, "app", app, granting(Grant::Log))
                    .await
                    .unwrap();
            }
            "a dependent goes" => catalog.remove(&permit, "app").await.unwrap(),
            "an answer comes" => {
                node.register(&node.one, "other", ONE, RegisterOptions::default())
                    .await
                    .unwrap();
            }
            "an answer changes" => {
                node.register(&node.one, "other", TWO, RegisterOptions::default())
                    .await
                    .unwrap();
            }
            "a call" => catalog.note_call(&node.resolve(&node.one, "calc").unwrap(), "add"),
            "others" => {
                node.register(&node.one, "nobody", ONE, RegisterOptions::default())
                    .await
                    .unwrap();
                catalog.note_call(&node.resolve(&node.one, "calc").unwrap(), "add");
            }
            _ => panic!("{between}"),
        }
        let committed = catalog.commit(proposal, concerned, Vec::new()).await;
        committed.unwrap().is_some()
    };
    for between in [
        "itself",
        "removed and made again",
        "a dependent comes",
        "a dependent changes",
        "a dependent goes",
        "an answer comes",
        "an answer changes",
        "a call",
    ] {
        assert!(!attempt(between).await, "{between}");
    }
    assert!(attempt("others").await, "whom it does not concern");
}

#[tokio::test]
async fn what_clients_call_is_kept_until_it_is_gone() {
    let node = ready().await;
    for name in ["calc", "other"] {
        node.register(&node.one, name, ONE, RegisterOptions::default())
            .await
            .unwrap();
    }
    let called = |registry: &crate::registry::Registry, name: &str| {
        let permit = node.one.permit_call().unwrap();
        let registration = registry.catalog.resolve(&permit, name).unwrap();
        registration.called.then().paths
    };
    let calc = node.resolve(&node.one, "calc").unwrap();
    let catalog = &node.registry.catalog;
    for path in ["add", "line_length", "gone"] {
        catalog.note_call(&calc, path);
    }
    let limits = Limits::default();
    assert!(called(&node.restart(&limits), "calc").is_empty(), "not yet");
    catalog.write_notes().await.unwrap();
    let all = ["add".into(), "gone".into(), "line-length".into()];
    assert_eq!(called(&node.restart(&limits), "calc"), all);
    assert!(called(&node.restart(&limits), "other").is_empty());

    // A change goes on with it, but for what it takes away, and has the newest written.
    let proposal = proposed(&node, "calc", Wish::Swap(Digest::of(TWO))).await;
    catalog.note_call(&calc, "newest");
    let concerned = catalog.concerned(&proposal);
    let gone = vec!["gone".into()];
    catalog.commit(proposal, concerned, gone).await.unwrap();
    let kept = ["add".into(), "line-length".into(), "newest".into()];
    assert_eq!(called(&node.registry, "calc"), kept);
    assert_eq!(called(&node.restart(&limits), "calc"), kept);

    // It goes with the registration.
    let permit = node.one.permit_deploy().unwrap();
    catalog.note_call(&calc, "late");
    catalog.remove(&permit, "calc").await.unwrap();
    catalog.write_notes().await.unwrap();
    let records = record::calls(node.one.tenant()).below();
    assert!(node.storage.scan(&records).unwrap().is_empty());
    node.register(&node.one, "calc", ONE, RegisterOptions::default())
        .await
        .unwrap();
    assert!(called(&node.registry, "calc").is_empty());
}

#[tokio::test]
async fn the_calls_of_many_names_are_written_and_those_of_a_removed_tenant_are_not() {
    let node = ready().await;
    node.upload(&node.two, ONE).await.unwrap();
    let catalog = &node.registry.catalog;
    for number in 0..70 {
        let name = format!("calc-{number}");
        let registered = node
            .register(&node.one, &name, ONE, RegisterOptions::default())
            .await
            .unwrap();
        catalog.note_call(&registered, "add");
    }
    let foreign = node
        .register(&node.two, "calc", ONE, RegisterOptions::default())
        .await
        .unwrap();
    catalog.note_call(&foreign, "add");
    let removed = node.remove(&node.two).await;
    catalog.write_notes().await.unwrap();
    let records = |tenant| {
        node.storage
            .scan(&record::calls(tenant).below())
            .unwrap()
            .len()
    };
    assert_eq!(records(node.one.tenant()), 70);
    assert_eq!(records(removed.id()), 0);
}

#[tokio::test]
async fn records_of_before_there_were_swaps_are_read() {
    let node = ready().await;
    node.register(&node.one, "calc", ONE, RegisterOptions::default())
        .await
        .unwrap();
    let tenant = node.one.tenant();
    let text = |key| {
        let entry = node.storage.get(&key).unwrap().unwrap();
        String::from_utf8(entry.value).unwrap()
    };
    // What nobody uses is not stored, so records of today are those of then.
    let registration = text(record::registration(tenant, &"calc".parse().unwrap()));
    for added in ["sealed", "restores", "instancing"] {
        assert!(!registration.contains(added), "{added}");
    }
    assert!(!text(record::module(tenant, &Digest::of(ONE))).contains("imports"));
    let restarted = node.restart(&Limits::default());
    let permit = node.one.permit_read().unwrap();
    let shown = restarted.catalog.show(&permit, "calc").unwrap();
    assert!(!shown.current.sealed && shown.current.restores.is_none());
    assert_eq!(shown.current.instancing, Instancing::Call);
}
