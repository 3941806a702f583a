use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::clock::SystemClock;
use crate::config::Flags;
use crate::tenant::Role;

fn config(path: &Path, listen: &str) -> Config {
    let flags = Flags {
        data: Some(path.to_owned()),
        listen: Some(listen.parse().unwrap()),
        ..Flags::default()
    };
    Config::load(flags).unwrap()
}

fn lay(path: &Path) -> Result<Foundation, BootstrapError> {
    let clock: Arc<dyn WallClock> = Arc::new(SystemClock);
    Foundation::lay(&config(path, "127.0.0.1:0"), &clock)
}

fn bound(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn profile(path: &Path) -> Profile {
    Profile::from_text(&fs::read_to_string(path.join("client.toml")).unwrap()).unwrap()
}

fn enters(foundation: &Foundation, profile: &Profile) -> bool {
    foundation.directory.authenticate(&profile.token).is_ok()
}

#[test]
fn a_first_start_makes_all_that_a_client_needs() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let foundation = lay(&path).unwrap();
    let outcome = foundation.publish_profile(bound("127.0.0.1:4321")).unwrap();
    assert_eq!(outcome, ProfileOutcome::Created);
    let profile = profile(&path);
    assert_eq!(profile.address, "127.0.0.1:4321");
    assert_eq!(profile.server_name, "localhost");
    assert_eq!(
        profile.authority_pem,
        fs::read_to_string(path.join("ca.pem")).unwrap()
    );
    let principal = foundation.directory.authenticate(&profile.token).unwrap();
    assert_eq!(principal.role(), Role::Admin);
    assert!(principal.permit_operate().is_ok());
    for name in [
        "client.toml",
        "ca.key",
        "server.pem",
        "node.key",
        "store.redb",
        "lock",
    ] {
        let mode = fs::metadata(path.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_later_start_refreshes_the_address_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    lay(path)
        .unwrap()
        .publish_profile(bound("127.0.0.1:1"))
        .unwrap();
    let first = profile(path);
    let foundation = lay(path).unwrap();
    let publish = |address| foundation.publish_profile(bound(address)).unwrap();
    assert_eq!(publish("127.0.0.1:1"), ProfileOutcome::Unchanged);
    assert_eq!(publish("0.0.0.0:2"), ProfileOutcome::AddressRefreshed);
    let second = profile(path);
    assert_eq!(second.address, "127.0.0.1:2");
    assert_eq!(publish("[::]:2"), ProfileOutcome::AddressRefreshed);
    assert_eq!(profile(path).address, "[::1]:2");
    assert_eq!(
        (&second.token, &second.authority_pem),
        (&first.token, &first.authority_pem)
    );
    assert!(enters(&foundation, &second));
}

#[test]
fn a_start_that_was_cut_off_is_completed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    // Before the profile.
    drop(lay(path).unwrap());
    // After the profile, before the store knew its token.
    let token = Token::generate().unwrap();
    let foundation = lay(path).unwrap();
    foundation
        .write_profile(bound("127.0.0.1:1"), token.expose())
        .unwrap();
    assert!(!enters(&foundation, &profile(path)));
    drop(foundation);
    let foundation = lay(path).unwrap();
    let outcome = foundation.publish_profile(bound("127.0.0.1:2")).unwrap();
    assert_eq!(outcome, ProfileOutcome::Created);
    assert_eq!(profile(path).token, token.expose());
    assert!(enters(&foundation, &profile(path)));
}

#[test]
fn each_missing_file_is_made_again_and_no_token_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    lay(path)
        .unwrap()
        .publish_profile(bound("127.0.0.1:1"))
        .unwrap();
    for name in ["server.pem", "node.key"] {
        fs::remove_file(path.join(name)).unwrap();
        drop(lay(path).unwrap());
        assert!(path.join(name).exists(), "{name}");
    }
    let foundation = lay(path).unwrap();
    fs::write(path.join("client.toml"), "mine").unwrap();
    let publish = || foundation.publish_profile(bound("127.0.0.1:1")).unwrap();
    assert_eq!(publish(), ProfileOutcome::Unreadable);
    assert_eq!(
        fs::read_to_string(path.join("client.toml")).unwrap(),
        "mine"
    );
    fs::remove_file(path.join("client.toml")).unwrap();
    assert_eq!(publish(), ProfileOutcome::Absent);
    assert!(!path.join("client.toml").exists());
}

#[test]
fn a_second_node_on_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = lay(directory.path()).unwrap();
    let refused = lay(directory.path()).unwrap_err();
    assert!(
        refused.to_string().contains("in use by another rpc-host"),
        "{refused}"
    );
    drop(first);
    lay(directory.path()).unwrap();
}

#[test]
fn the_certificate_has_the_names_that_clients_may_use() {
    let named = |listen: &str| {
        let names = names(&config(Path::new("unused"), listen));
        names
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(named("0.0.0.0:0"), "127.0.0.1 ::1 localhost");
    assert_eq!(named("[::]:0"), "127.0.0.1 ::1 localhost");
    assert_eq!(named("localhost:0"), "127.0.0.1 ::1 localhost");
    assert_eq!(named("10.0.0.7:0"), "10.0.0.7 127.0.0.1 ::1 localhost");
}
