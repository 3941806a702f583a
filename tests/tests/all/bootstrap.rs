//! The first start and the later ones.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rpc_host_client::{Client, Profile};
use rpc_host_tests::{Cli, TestHost};

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_first_start_makes_all_that_a_client_needs() {
    let host = TestHost::start().await;
    assert_eq!(
        host.stdout().text(),
        format!("listening on {}", host.address()),
        "one line for a script to wait for, and nothing else"
    );
    assert!(host.address().starts_with("127.0.0.1:"));
    assert!(!host.address().ends_with(":0"));

    assert_eq!(mode(&host.data()), 0o700);
    assert_eq!(mode(&host.client_profile_path()), 0o600);
    for secret in ["ca.key", "server.pem", "node.key"] {
        assert_eq!(mode(&host.data().join(secret)), 0o600, "{secret}");
    }
    let profile = host.client_profile();
    let mut keys: Vec<_> = profile.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["address", "ca", "server-name", "token"]);
    assert_eq!(profile["address"].as_str(), Some(&*host.address()));

    let admin = host.client().await;
    let own = admin.tenant_show("default").await.unwrap();
    assert_eq!((own.tokens, own.registrations, own.modules), (1, 0, 0));
    assert_eq!(admin.token_list(None).await.unwrap()[0].role, "admin");
    assert_eq!(admin.tenant_list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_later_start_keeps_identity_and_tokens_and_tells_the_new_address() {
    let host = TestHost::start().await;
    let before = host.client_profile();
    let client = host.client().await;
    host.signal("TERM").await;
    assert!(host.end().await.success());
    host.start_again().await;
    let after = host.client_profile();
    assert_eq!(before["ca"], after["ca"]);
    assert_eq!(before["token"], after["token"]);
    assert_eq!(after["address"].as_str(), Some(&*host.address()));
    assert_eq!(mode(&host.client_profile_path()), 0o600);
    assert_eq!(host.client().await.token_list(None).await.unwrap().len(), 1);
    drop(client);
}

#[tokio::test]
async fn a_profile_that_was_taken_away_is_not_made_again() {
    let host = TestHost::start().await;
    let (token, ca) = (host.admin_token(), host.ca_pem());
    std::fs::remove_file(host.client_profile_path()).unwrap();
    host.kill().await;
    host.start_again().await;
    assert!(
        !host.client_profile_path().exists(),
        "a first token is given out once"
    );
    let profile = Profile::new(host.address()).server_name("localhost");
    let client = Client::connect(profile.ca_pem(ca).token(token))
        .await
        .unwrap();
    assert_eq!(client.token_list(None).await.unwrap().len(), 1);
}

#[tokio::test]
async fn one_data_directory_serves_one_node() {
    let host = TestHost::start().await;
    let data = host.data();
    let data = data.to_str().unwrap();
    let second = Cli::new(
        host.directory(),
        ["serve", "--listen", "127.0.0.1:0", "--data", data],
    );
    let second = second.run().await;
    let said = second.failed(1);
    let pid = format!("(process {})", host.pid());
    for part in [
        "error: ",
        "is in use by another rpc-host",
        &pid,
        "choose another --data",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    host.client().await.list().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_served_is_said_on_one_line() {
    let host = TestHost::shared().await;
    let directory = tempfile::tempdir().unwrap();
    let serve = async |arguments: &[&str]| {
        let all = ["serve"].iter().chain(arguments).copied();
        Cli::new(directory.path(), all).run().await
    };
    std::fs::create_dir(directory.path().join("mine")).unwrap();
    std::fs::write(directory.path().join("mine/thesis.tex"), "mine").unwrap();
    std::fs::write(
        directory.path().join("bad.toml"),
        "[limits]\nmax-conections = 1",
    )
    .unwrap();
    let address = host.address();
    let table: [(i32, &[&str], &[&str]); 4] = [
        (
            1,
            &["--listen", "127.0.0.1:0", "--data", "mine"],
            &["mine", "neither empty nor a data directory"],
        ),
        (
            2,
            &["--config", "bad.toml"],
            &["bad.toml", "max-conections"],
        ),
        (
            2,
            &["--config", "absent.toml"],
            &["absent.toml", "cannot read"],
        ),
        (1, &["--listen", &address, "--data", "new"], &[&address]),
    ];
    for (status, arguments, parts) in table {
        let output = serve(arguments).await;
        let said = output.failed(status);
        assert!(said.contains("error: "), "{said}");
        for part in parts {
            assert!(said.contains(part), "no {part:?} in {said}");
        }
    }
    let usage = serve(&["--listen", "nowhere"]).await;
    assert!(usage.failed(2).contains("HOST:PORT"), "{usage:?}");
    assert!(directory.path().join("mine/thesis.tex").exists());
    assert!(!directory.path().join("mine/lock").exists());
}

#[tokio::test]
async fn a_profile_is_found_in_its_places_in_order() {
    let host = TestHost::shared().await;
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let good = std::fs::read_to_string(host.client_profile_path()).unwrap();
    let list = async |variable: Option<&Path>, flag: Option<&Path>| {
        let mut arguments = vec!["list".to_owned()];
        if let Some(flag) = flag {
            arguments.extend(["--profile".to_owned(), flag.display().to_string()]);
        }
        let mut cli = Cli::new(home, arguments);
        if let Some(variable) = variable {
            cli = cli.env("RPC_HOST_PROFILE", variable);
        }
        cli.run().await
    };
    let nothing = list(None, None).await;
    nothing.error(
        "",
        &[
            "no profile found",
            "rpc-host-data/client.toml",
            ".config/rpc-host/client.toml",
        ],
    );

    let write = |path: &str, text: &str| {
        let path = home.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let user = write(".config/rpc-host/client.toml", &good);
    list(None, None).await.ok();
    // Each one found earlier hides those that come later, as wrong ones show.
    let local = write("rpc-host-data/client.toml", "address = 7");
    list(None, None)
        .await
        .error("", &["rpc-host-data/client.toml"]);
    list(Some(&user), None).await.ok();
    list(Some(&local), None).await.error("", &["client.toml"]);
    list(Some(&local), Some(&user)).await.ok();
    let absent = home.join("absent.toml");
    list(Some(&user), Some(&absent))
        .await
        .error("", &["absent.toml"]);
}

#[tokio::test]
async fn the_profile_works_for_the_client_as_it_is() {
    let host = TestHost::shared().await;
    let profile = Profile::from_file(host.client_profile_path()).unwrap();
    assert_eq!(profile.address(), host.address());
    Client::connect(profile)
        .await
        .unwrap()
        .list()
        .await
        .unwrap();
}
