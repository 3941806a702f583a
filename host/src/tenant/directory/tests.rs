use super::*;
use crate::capability::Policy;
use crate::clock::ManualClock;
use crate::config::{Narrowing, Scope};
use crate::storage::RedbStorage;
use crate::tenant::Weight;
use crate::tenant::record::{owned, tenant_key};

struct Node {
    directory: Directory,
    storage: Arc<dyn Storage>,
    clock: Arc<ManualClock>,
    operator: Principal,
}

fn limits() -> Limits {
    Limits {
        max_tenants: 3,
        max_tokens_per_tenant: 3,
        ..Limits::default()
    }
}

fn node() -> Node {
    let storage: Arc<dyn Storage> = Arc::new(RedbStorage::in_memory().unwrap());
    let clock = ManualClock::at(1_000);
    let directory = Directory::open(storage.clone(), clock.clone(), &limits()).unwrap();
    let token = Token::generate().unwrap();
    directory.found(&token).unwrap();
    let operator = directory.authenticate(&token.expose()).unwrap();
    Node {
        directory,
        storage,
        clock,
        operator,
    }
}

impl Node {
    async fn tenant(&self, name: &str) -> Tenant {
        let permit = self.operator.permit_operate().unwrap();
        self.directory
            .create_tenant(&permit, name.parse().unwrap(), SettingsChange::default())
            .await
            .unwrap()
    }

    async fn remove(&self, name: &str) -> Result<RemovedTenant, TenantError> {
        let permit = self.operator.permit_operate().unwrap();
        self.directory
            .remove_tenant(&permit, &name.parse().unwrap())
            .await
    }

    fn permit(&self, of: &str) -> TokenPermit {
        self.operator.permit_tokens(&of.parse().unwrap()).unwrap()
    }

    async fn token(&self, of: &str, role: Role, ends_ms: Option<u64>) -> IssuedToken {
        let ends = ends_ms.map(Timestamp::from_unix_ms);
        self.directory
            .create_token(&self.permit(of), role, ends)
            .await
            .unwrap()
    }

    fn restart(&self) -> Directory {
        Directory::open(self.storage.clone(), self.clock.clone(), &limits()).unwrap()
    }
}

fn id(principal: &Principal) -> TokenId {
    match principal.credential() {
        Credential::Token(id) => id,
        other => panic!("{other} is no token"),
    }
}

#[test]
fn the_first_token_is_made_once() {
    let node = node();
    assert_eq!(node.operator.tenant_name().as_str(), "default");
    assert_eq!(node.operator.role(), Role::Admin);
    let again = Token::generate().unwrap();
    assert!(matches!(
        node.directory.found(&again),
        Err(TenantError::AlreadyFounded)
    ));
    let restarted = node.restart();
    assert!(restarted.is_founded());
    assert!(matches!(
        restarted.found(&again),
        Err(TenantError::AlreadyFounded)
    ));
    assert!(restarted.authenticate(&again.expose()).is_err());
}

#[tokio::test]
async fn tenants_and_tokens_survive_a_restart() {
    let node = node();
    let team = node.tenant("team").await;
    let issued = node.token("team", Role::Caller, None).await;
    let restarted = node.restart();
    let principal = restarted.authenticate(&issued.token.expose()).unwrap();
    assert_eq!(
        (principal.tenant(), principal.role()),
        (team.id, Role::Caller)
    );
    let listed = restarted.tokens(&node.permit("team")).unwrap();
    assert_eq!(listed, [issued.description]);
    assert_eq!(listed[0].created_by, Some(node.operator.credential()));
    let permit = node.operator.permit_operate().unwrap();
    assert_eq!(restarted.tenants(&permit).len(), 2);
    assert_eq!(
        restarted.own_tenant(&principal.permit_read().unwrap()),
        Some(team)
    );
}

#[tokio::test]
async fn what_is_set_for_a_tenant_holds_at_once_and_after_a_restart() {
    let node = node();
    node.tenant("team").await;
    let issued = node.token("team", Role::Deployer, None).await;
    let principal = node.directory.authenticate(&issued.token.expose());
    let principal = principal.unwrap();
    let before = principal.permit_deploy().unwrap();
    assert_eq!(*before.settings(), Settings::unset(&limits()));

    let narrowing = Narrowing::parse([("max-tokens-per-tenant", 1)], Scope::Tenant, &limits());
    let change = SettingsChange {
        allow: Some(Policy::parse(&["log", "kv:cache=ro"], 8).unwrap()),
        narrowing: Some(narrowing.unwrap()),
        weight: Some(Weight::new(7).unwrap()),
    };
    let permit = node.operator.permit_operate().unwrap();
    let name = "team".parse().unwrap();
    let set = node.directory.set_tenant(&permit, &name, change).await;
    let set = set.unwrap().settings();
    assert_eq!(set.allow().texts(), ["log", "kv:cache=ro"]);
    assert_eq!(
        (set.weight().number(), set.limits().max_tokens_per_tenant),
        (7, 1)
    );
    assert_eq!(principal.account().weight(), 7);
    assert_eq!(*principal.permit_deploy().unwrap().settings(), *set);
    let permit_tokens = node.permit("team");
    let refused = node
        .directory
        .create_token(&permit_tokens, Role::Reader, None);
    let refused = refused.await.unwrap_err();
    assert!(
        matches!(refused, TenantError::TooMany { limit: 1, .. }),
        "{refused}"
    );

    // What is not said stays.
    let weight = SettingsChange {
        weight: Some(Weight::default()),
        ..SettingsChange::default()
    };
    let again = node
        .directory
        .set_tenant(&permit, &name, weight)
        .await
        .unwrap();
    assert_eq!(again.settings().allow(), set.allow());
    let restarted = node.restart();
    let principal = restarted.authenticate(&issued.token.expose()).unwrap();
    assert_eq!(principal.settings(), again.settings());
}

#[tokio::test]
async fn a_tenant_that_was_stored_before_there_were_settings_has_what_the_node_has() {
    let node = node();
    let team = node.tenant("team").await;
    let key = tenant_key(team.id);
    let stored = node.storage.get(&key).unwrap().unwrap();
    let text = String::from_utf8(stored.value).unwrap();
    assert_eq!(
        text, r#"{"name":"team","created_at_ms":1000}"#,
        "nothing is written for what is unset"
    );
    let restarted = node.restart();
    let permit = node.operator.permit_operate().unwrap();
    let found = restarted.tenant(&permit, &team.name).unwrap();
    assert_eq!(*found.settings(), Settings::unset(&limits()));
}

#[tokio::test]
async fn every_bad_token_gets_the_same_answer() {
    let node = node();
    node.tenant("team").await;
    let good = node
        .token("team", Role::Caller, Some(5_000))
        .await
        .token
        .expose();
    let revoked = node.token("team", Role::Caller, None).await;
    node.directory
        .revoke_token(&node.permit("team"), revoked.token.id())
        .await
        .unwrap();
    let flipped = if good.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{}{flipped}", &good[..good.len() - 1]);
    let unknown = Token::generate().unwrap().expose().to_string();
    assert!(node.directory.authenticate(&good).is_ok());
    node.clock.set(5_000);
    let revoked = revoked.token.expose().to_string();
    for bad in [good.to_string(), revoked, wrong, unknown, String::new()] {
        let answer = node.directory.authenticate(&bad).unwrap_err();
        assert!(matches!(answer, TenantError::Unauthenticated));
    }
}

#[tokio::test]
async fn a_live_session_learns_that_its_token_ended() {
    let node = node();
    node.tenant("team").await;
    let enter = |issued: &IssuedToken| node.directory.authenticate(&issued.token.expose()).unwrap();
    let expiring = enter(&node.token("team", Role::Caller, Some(5_000)).await);
    let revoked = enter(&node.token("team", Role::Caller, None).await);
    let removed = enter(&node.token("team", Role::Caller, None).await);
    let mut departures = node.directory.departures();
    for principal in [&expiring, &revoked, &removed] {
        assert!(node.directory.still_valid(principal));
    }
    node.clock.set(5_000);
    assert!(!node.directory.still_valid(&expiring));
    assert!(!departures.has_changed().unwrap());
    node.directory
        .revoke_token(&node.permit("team"), id(&revoked))
        .await
        .unwrap();
    assert!(!node.directory.still_valid(&revoked));
    assert!(departures.has_changed().unwrap());
    departures.mark_unchanged();
    assert!(node.directory.still_valid(&removed));
    let _ = node.remove("team").await.unwrap();
    assert!(!node.directory.still_valid(&removed));
    assert!(departures.has_changed().unwrap());
    assert!(node.directory.still_valid(&node.operator));
}

#[tokio::test]
async fn a_removed_tenant_takes_all_it_owns_and_its_number_along() {
    let node = node();
    let first = node.tenant("team").await;
    let other = node.tenant("other").await;
    let put = |tenant| {
        let key = owned(tenant).join("thing").join("x");
        node.storage
            .commit(crate::storage::Batch::new().put(key, b"x".to_vec()))
            .unwrap();
    };
    put(first.id);
    put(other.id);
    let issued = node.token("team", Role::Admin, None).await;
    assert_eq!(node.remove("team").await.unwrap().id(), first.id);
    assert!(node.directory.authenticate(&issued.token.expose()).is_err());
    assert_eq!(node.storage.scan(&owned(first.id).below()).unwrap(), []);
    assert_eq!(
        node.storage.scan(&owned(other.id).below()).unwrap().len(),
        1
    );
    let second = node.tenant("team").await;
    assert!(second.id > other.id);
    assert_eq!(node.directory.tokens(&node.permit("team")).unwrap(), []);
}

#[tokio::test]
async fn what_is_not_there_is_named_and_default_stays() {
    let node = node();
    assert!(matches!(
        node.remove("default").await,
        Err(TenantError::DefaultStays)
    ));
    assert!(matches!(
        node.remove("team").await,
        Err(TenantError::NoSuchTenant(_))
    ));
    let absent = node.directory.tokens(&node.permit("team"));
    assert!(matches!(absent, Err(TenantError::NoSuchTenant(_))));
    node.tenant("team").await;
    let permit = node.operator.permit_operate().unwrap();
    let taken = node
        .directory
        .create_tenant(&permit, "team".parse().unwrap(), SettingsChange::default())
        .await;
    assert!(matches!(taken, Err(TenantError::TenantExists(_))));
    // A token of another tenant is absent.
    let foreign = node
        .directory
        .revoke_token(&node.permit("team"), id(&node.operator))
        .await;
    assert!(matches!(foreign, Err(TenantError::NoSuchToken(_))));
}

#[tokio::test]
async fn the_last_operator_token_stays() {
    let node = node();
    let mine = id(&node.operator);
    let revoke = || async {
        node.directory
            .revoke_token(&node.permit("default"), mine)
            .await
    };
    assert!(matches!(
        revoke().await,
        Err(TenantError::LastOperatorToken)
    ));
    node.token("default", Role::Deployer, None).await;
    assert!(matches!(
        revoke().await,
        Err(TenantError::LastOperatorToken)
    ));
    node.token("default", Role::Admin, None).await;
    let permit = node.permit("default");
    revoke().await.unwrap();
    assert!(!node.directory.still_valid(&node.operator));
    // What was permitted before is refused after.
    let late = node
        .directory
        .create_token(&permit, Role::Admin, None)
        .await;
    assert!(matches!(late, Err(TenantError::Unauthenticated)));
}

#[tokio::test]
async fn tenants_tokens_and_expiries_have_bounds() {
    let node = node();
    node.tenant("one").await;
    node.tenant("two").await;
    let permit = node.operator.permit_operate().unwrap();
    let refused = node
        .directory
        .create_tenant(&permit, "three".parse().unwrap(), SettingsChange::default())
        .await;
    assert!(matches!(
        refused,
        Err(TenantError::TooMany { limit: 3, .. })
    ));
    for _ in 0..3 {
        node.token("one", Role::Reader, None).await;
    }
    let more = node
        .directory
        .create_token(&node.permit("one"), Role::Reader, None)
        .await;
    assert!(matches!(more, Err(TenantError::TooMany { limit: 3, .. })));
    let past = Some(Timestamp::from_unix_ms(1_000));
    let past = node
        .directory
        .create_token(&node.permit("two"), Role::Reader, past)
        .await;
    assert!(matches!(past, Err(TenantError::ExpiryInThePast)));
}

fn shown(certificate: &Certificate) -> Shown {
    Shown::Certificate(certificate.clone())
}

fn certificate(uri: &str, ends_ms: u64) -> Certificate {
    Certificate::new(&[uri], &[0x0a, 0x0b], Timestamp::from_unix_ms(ends_ms))
}

#[tokio::test]
async fn a_certificate_speaks_for_the_tenant_and_role_that_it_names() {
    let node = node();
    let team = node.tenant("team").await;
    let held = certificate("rpc-host://team/deployer/build-7", 5_000);
    let principal = node.directory.admit(None, &shown(&held)).unwrap();
    assert_eq!(
        (principal.tenant(), principal.role()),
        (team.id, Role::Deployer)
    );
    assert_eq!(
        principal.credential().to_string(),
        "certificate:build-7:0a0b"
    );
    assert_eq!(principal.expires_at(), Some(Timestamp::from_unix_ms(5_000)));
    // It signs what its holder does.
    let operator = certificate("rpc-host://default/admin/ops", 5_000);
    let operator = node.directory.admit(None, &shown(&operator)).unwrap();
    let made = operator.permit_tokens(&"team".parse().unwrap()).unwrap();
    let made = node.directory.create_token(&made, Role::Reader, None).await;
    let by = made.unwrap().description.created_by;
    assert_eq!(by, Some(operator.credential()));
    let listed = node.restart().tokens(&node.permit("team")).unwrap();
    assert_eq!(listed[0].created_by, by);

    for refused in [
        "rpc-host://absent/deployer/build-7",
        "rpc-host://team/operator/build-7",
        "rpc-host://team/deployer/Build-7",
        "https://team/deployer/build-7",
    ] {
        let refused = node
            .directory
            .admit(None, &shown(&certificate(refused, 5_000)));
        assert!(matches!(refused, Err(TenantError::Unauthenticated)));
    }
    assert!(matches!(
        node.directory.admit(None, &Shown::Nothing),
        Err(TenantError::Unauthenticated)
    ));
}

/// Tokens of every tenant and role beside certificates of every tenant and role, good and not.
#[tokio::test]
async fn a_token_and_a_certificate_are_of_one_tenant_and_the_lesser_role_holds() {
    let node = node();
    node.tenant("team").await;
    node.tenant("other").await;
    let mut admitted = 0;
    for of_token in Role::ALL {
        let issued = node.token("team", of_token, None).await;
        let token = issued.token.expose();
        for tenant in ["team", "other", "default", "absent"] {
            for of_certificate in Role::ALL {
                let uri = format!("rpc-host://{tenant}/{of_certificate}/x");
                let held = certificate(&uri, 5_000);
                let both = node.directory.admit(Some(&token), &shown(&held));
                if tenant == "team" {
                    let both = both.unwrap();
                    assert_eq!(both.role(), of_token.min(of_certificate));
                    assert_eq!(both.credential(), Credential::Token(issued.token.id()));
                    admitted += 1;
                } else {
                    assert!(matches!(both, Err(TenantError::Unauthenticated)), "{uri}");
                }
                // Neither makes up for the other.
                let no_token = node.directory.admit(Some("x"), &shown(&held));
                assert!(matches!(no_token, Err(TenantError::Unauthenticated)));
                let no_certificate = certificate("rpc-host://team", 5_000);
                let bad = node.directory.admit(Some(&token), &shown(&no_certificate));
                assert!(matches!(bad, Err(TenantError::Unauthenticated)));
            }
        }
        node.directory
            .revoke_token(&node.permit("team"), issued.token.id())
            .await
            .unwrap();
    }
    assert_eq!(admitted, 16);
}

#[tokio::test]
async fn whoever_came_in_by_a_certificate_is_valid_until_it_or_its_tenant_ends() {
    let node = node();
    node.tenant("team").await;
    let issued = node.token("team", Role::Admin, None).await;
    let token = issued.token.expose();
    let admit = |token: Option<&str>, held: &Certificate| {
        let admitted = node.directory.admit(token, &shown(held)).unwrap();
        assert!(node.directory.still_valid(&admitted));
        admitted
    };
    let team = "rpc-host://team/admin/x";
    let (short, ended, long) = (
        certificate(team, 3_000),
        certificate(team, 9_000),
        certificate(team, 9_000),
    );
    let [expiring, revoked, both, removed] = [
        admit(None, &short),
        admit(None, &ended),
        admit(Some(&token), &ended),
        admit(None, &long),
    ];
    node.clock.set(3_000);
    assert!(!node.directory.still_valid(&expiring));
    assert!(node.directory.admit(None, &shown(&short)).is_err());
    // A permit from before is worth nothing either.
    let permit = revoked.permit_tokens(&"team".parse().unwrap()).unwrap();
    ended.end();
    assert!(!node.directory.still_valid(&revoked));
    assert!(!node.directory.still_valid(&both));
    let made = node.directory.create_token(&permit, Role::Reader, None);
    assert!(matches!(made.await, Err(TenantError::Unauthenticated)));
    assert!(node.directory.still_valid(&removed));
    let _ = node.remove("team").await.unwrap();
    assert!(!node.directory.still_valid(&removed));
    // A tenant of the same name is another one, but a certificate knows tenants by name.
    node.tenant("team").await;
    assert!(!node.directory.still_valid(&removed));
    assert!(node.directory.admit(None, &shown(&long)).is_ok());
}

#[tokio::test]
async fn whoever_started_the_process_is_its_operator_or_what_it_wants_to_be_instead() {
    let node = node();
    node.tenant("team").await;
    let starter = |tenant: Option<&str>, role| {
        Shown::Starter(Starter {
            tenant: tenant.map(|name| name.parse().unwrap()),
            role,
        })
    };
    let admit =
        |token: Option<&str>, tenant, role| node.directory.admit(token, &starter(tenant, role));
    let operator = admit(None, None, None).unwrap();
    assert!(operator.permit_operate().is_ok());
    assert_eq!(operator.credential(), Credential::Stdio);
    // It signs what it does.
    let made = operator.permit_tokens(&"team".parse().unwrap()).unwrap();
    let made = node.directory.create_token(&made, Role::Caller, None);
    let made = made.await.unwrap();
    assert_eq!(made.description.created_by, Some(Credential::Stdio));
    let listed = node.restart().tokens(&node.permit("team")).unwrap();
    assert_eq!(listed[0].created_by, Some(Credential::Stdio));

    let narrowed = admit(None, Some("team"), Some(Role::Deployer)).unwrap();
    assert_eq!(
        (narrowed.tenant_name().as_str(), narrowed.role()),
        ("team", Role::Deployer)
    );
    assert!(narrowed.permit_tokens(narrowed.tenant_name()).is_err());

    // A token says who it is, and is held to what was said at the start.
    let token = made.token.expose();
    for (tenant, role, expected) in [
        (None, None, Role::Caller),
        (Some("team"), None, Role::Caller),
        (None, Some(Role::Reader), Role::Reader),
    ] {
        let by_token = admit(Some(&token), tenant, role).unwrap();
        assert_eq!(
            (by_token.tenant_name().as_str(), by_token.role()),
            ("team", expected)
        );
        assert_eq!(by_token.credential(), Credential::Token(made.token.id()));
    }
    let of_the_gone = admit(None, Some("team"), None).unwrap();
    for refused in [
        admit(Some(&token), Some("default"), None),
        admit(Some("no token"), None, None),
        admit(None, Some("absent"), None),
    ] {
        assert!(matches!(refused, Err(TenantError::Unauthenticated)));
    }
    let _ = node.remove("team").await.unwrap();
    assert!(!node.directory.still_valid(&of_the_gone));
    assert!(node.directory.still_valid(&operator));
}
