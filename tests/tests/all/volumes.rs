//! Files that modules were granted: what a module can do with them, and what none can.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rpc_host_client::{Client, NamedModule, Options};
use rpc_host_tests::{HostOptions, TestHost, TestTenant, built};
use tempfile::TempDir;

/// A registration with these grants.
pub(super) fn granted(grants: &[&str]) -> Options {
    Options {
        grants: grants.iter().map(|&grant| grant.to_owned()).collect(),
        ..Options::default()
    }
}

/// A module that does with files what it is told, under these grants.
pub(super) async fn probe(tenant: &TestTenant, grants: &[&str]) -> NamedModule {
    probe_called(tenant, &tenant.host.fresh_name("probe"), grants).await
}

/// The same, under a name.
pub(super) async fn probe_called(tenant: &TestTenant, name: &str, grants: &[&str]) -> NamedModule {
    tenant
        .register_with(name, built("file-probe"), granted(grants))
        .await;
    tenant.client.module(name)
}

/// Does steps in one call; the words of each are divided by `|`.
pub(super) async fn run(probe: &NamedModule, steps: &[&str]) -> Vec<String> {
    let steps: Vec<String> = steps.iter().map(|step| step.replace('|', "\t")).collect();
    let told = probe.call("run", (steps.clone(),)).await;
    told.unwrap_or_else(|error| panic!("{steps:?}: {error}"))
}

/// That all steps end so.
pub(super) async fn runs(probe: &NamedModule, steps: &[(&str, &str)]) {
    let (asked, expected): (Vec<&str>, Vec<&str>) = steps.iter().copied().unzip();
    let told = run(probe, &asked).await;
    for ((step, expected), told) in asked.iter().zip(expected).zip(told) {
        assert_eq!(told, expected, "{step}");
    }
}

/// A directory of the machine, as a node has it that knows it as the volume `shared`.
struct Shared {
    directory: TempDir,
    host: Arc<TestHost>,
}

impl Shared {
    async fn start(lines: &str) -> Shared {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("root")).unwrap();
        let root = directory.path().join("root");
        let lines = format!("path = {root:?}\n{lines}");
        let host =
            TestHost::start_with(HostOptions::new().confined().volume("shared", &lines)).await;
        Shared { directory, host }
    }

    async fn to_change() -> Shared {
        Self::start("access = 'rw'\ntenants = 'all'\nquota-bytes = 100000").await
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn outside(&self) -> &Path {
        self.directory.path()
    }
}

#[tokio::test]
async fn a_module_has_the_volumes_that_it_was_granted_and_no_others() {
    let tenant = TestHost::shared().await.tenant().await;
    let all = probe(&tenant, &["fs:data=rw", "fs:more=ro"]).await;
    runs(
        &all,
        &[
            ("directories", "/data /more"),
            ("open|0|cxw|note", "ok 2"),
            ("text|2|0|hello", "ok 5"),
        ],
    )
    .await;
    // Another call, another instance, another module.
    let other = probe(&tenant, &["fs:data=ro"]).await;
    runs(
        &other,
        &[
            ("directories", "/data"),
            ("open|0|r|note", "ok 1"),
            ("read|1|0|100", "ok hello"),
            ("list|0", "note:file"),
        ],
    )
    .await;
    let none = probe(&tenant, &[]).await;
    runs(&none, &[("directories", "")]).await;
    let elsewhere = probe(&tenant, &["fs:more=rw"]).await;
    runs(&elsewhere, &[("open|0|r|note", "error: no-entry")]).await;
}

#[tokio::test]
async fn the_standard_library_finds_a_volume_as_a_directory() {
    let tenant = TestHost::shared().await.tenant().await;
    let options = granted(&["fs:data=rw"]);
    tenant.register_with("files", built("files"), options).await;
    let call = async |function: &str| tenant.cli(["call", "files", function]).run().await;
    for (function, result) in [
        (r#"create("/data/a", "one, ")"#, "ok"),
        (r#"create("/data/a", "again")"#, "err(exists)"),
        (r#"append("/data/a", "two, ")"#, "ok"),
        (r#"append("/data/a", "three")"#, "ok"),
        (r#"read("/data/a")"#, r#"ok("one, two, three")"#),
        (r#"read-bytes("/data/a", 5, 3)"#, "ok([116, 119, 111])"),
        (r#"write-bytes("/data/a", 0, [79, 78, 69])"#, "ok"),
        (r#"read("/data/a")"#, r#"ok("ONE, two, three")"#),
        (r#"make-directory("/data/d")"#, "ok"),
        (r#"rename("/data/a", "/data/d/b")"#, "ok"),
        (
            r#"list("/data")"#,
            r#"ok([{name: "d", is-directory: true}])"#,
        ),
        (
            r#"list("/data/d")"#,
            r#"ok([{name: "b", is-directory: false}])"#,
        ),
        (r#"remove-directory("/data/d")"#, "err(not-empty)"),
        (r#"read("/data/d")"#, "err(is-directory)"),
        (r#"list("/data/d/b")"#, "err(not-directory)"),
        (r#"write("/data/d/b", "new")"#, "ok"),
        (r#"read("/data/d/b")"#, r#"ok("new")"#),
        (r#"delete("/data/d/b")"#, "ok"),
        (r#"remove-directory("/data/d")"#, "ok"),
        (r#"read("/data/a")"#, "err(not-found)"),
        (r#"read("/data/../etc/passwd")"#, "err(not-permitted)"),
    ] {
        let done = call(function).await;
        let told = if done.stdout.is_empty() {
            &done.stderr
        } else {
            &done.stdout
        };
        assert!(told.contains(result), "{function}: {done:?}");
    }
}

/// What changes something, beside a file `file`, a directory `full` with something in it, and an empty one `empty`.
const CHANGES: &[&str] = &[
    "open|0|cw|made",
    "open|0|c|made",
    "open|0|cxr|made",
    "open|0|w|file",
    "open|0|rw|file",
    "open|0|rt|file",
    "open|0|t|file",
    "open|0|dm|empty",
    "write|1|0|1",
    "write|1|0|0",
    "stream|1|0|1",
    "stream|1|end|1",
    "size|1|0",
    "size|1|100",
    "touch|0",
    "touch|1",
    "touch-at|0||file",
    "touch-at|0|f|file",
    "make-directory|0|made",
    "remove-directory|0|empty",
    "unlink|0|file",
    "rename|0|file|0|other",
    "rename|0|file|0|full/one",
    "rename|0|empty|0|other",
    "link|0|file|other",
    "symlink|0|file|other",
];

#[tokio::test]
async fn what_is_granted_for_reading_refuses_every_change() {
    let tenant = TestHost::shared().await.tenant().await;
    let writer = probe(&tenant, &["fs:data=rw"]).await;
    let make = [
        "open|0|cw|file",
        "text|1|0|content",
        "make-directory|0|empty",
        "make-directory|0|full",
        "open|0|cw|full/one",
    ];
    run(&writer, &make).await;
    let reader = probe(&tenant, &["fs:data=ro"]).await;
    let before = tree(&own_of(&tenant).await);
    for change in CHANGES {
        let told = run(&reader, &["open|0|r|file", change]).await;
        assert_eq!(told, ["ok 1", "error: read-only"], "{change}");
    }
    assert_eq!(tree(&own_of(&tenant).await), before);
    runs(
        &reader,
        &[
            ("flags|0", "r"),
            ("open|0|r|file", "ok 1"),
            ("flags|1", "r"),
            ("read|1|0|100", "ok content"),
            ("read-stream|1|3", "ok 4"),
            ("stat|1", "file 7"),
            ("stat-at|0||full/one", "file 0"),
            ("open|0|d|full", "ok 2"),
            ("list|2", "one:file"),
            ("same|0|2", "false"),
            ("same|1|1", "true"),
            ("sync|1", "ok"),
            ("sync|0", "ok"),
        ],
    )
    .await;
    // None of them is refused where changes are granted, but for links, which are for nobody.
    for change in CHANGES {
        let tenant = TestHost::shared().await.tenant().await;
        let writer = probe(&tenant, &["fs:data=rw"]).await;
        run(&writer, &make).await;
        let told = run(&writer, &["open|0|rw|file", change]).await;
        let is_link = change.starts_with("link") || change.starts_with("symlink");
        match is_link {
            true => assert_eq!(told[1], "error: not-permitted", "{change}"),
            false => assert!(told[1].starts_with("ok"), "{change}: {told:?}"),
        }
    }
}

/// The directory of the volume `data` of a tenant that has just used it: the newest there is.
async fn own_of(tenant: &TestTenant) -> PathBuf {
    let marker = tenant.host.fresh_name("marker");
    let writer = probe(tenant, &["fs:data=rw"]).await;
    run(&writer, &[&format!("open|0|cw|{marker}")]).await;
    let all = std::fs::read_dir(tenant.host.data().join("volumes")).unwrap();
    let mut found = all.map(|entry| entry.unwrap().path().join("data"));
    let found = found.find(|path| path.join(&marker).exists());
    run(&writer, &[&format!("unlink|0|{marker}")]).await;
    found.expect("the tenant's volume")
}

/// All that is below a directory, with its content.
fn tree(directory: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
            found.push((path, None));
        } else {
            found.push((path.clone(), std::fs::read(&path).ok()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn no_path_leads_out_of_a_volume() {
    let shared = Shared::to_change().await;
    let canary = shared.outside().join("canary");
    std::fs::write(&canary, "canary").unwrap();
    std::fs::create_dir(shared.root().join("inner")).unwrap();
    std::fs::write(shared.root().join("inner/file"), "content").unwrap();
    let tenant = shared.host.tenant().await;
    let probe = probe(&tenant, &["fs:shared=rw"]).await;
    let absolute = canary.to_str().unwrap();
    let long = "n".repeat(256);
    let (longer, deep) = (format!("{}canary", "./".repeat(2045)), "d/".repeat(33));
    let bad = [
        ("../canary", "not-permitted"),
        ("..", "not-permitted"),
        ("../", "not-permitted"),
        ("./../canary", "not-permitted"),
        ("inner/../../canary", "not-permitted"),
        ("inner/../../root/../canary", "not-permitted"),
        ("inner//..//..//canary", "not-permitted"),
        ("inner/../inner/../../canary", "not-permitted"),
        ("../root/inner/file", "not-permitted"),
        (absolute, "not-permitted"),
        ("/", "not-permitted"),
        ("//", "not-permitted"),
        ("/../canary", "not-permitted"),
        ("/shared/inner", "not-permitted"),
        ("", "no-entry"),
        ("..\u{0}/canary", "illegal-byte-sequence"),
        ("inner\u{0}", "illegal-byte-sequence"),
        (&long, "name-too-long"),
        (&longer, "name-too-long"),
        (&deep, "name-too-long"),
        ("inner/file/", "not-directory"),
        ("inner/file/.", "not-directory"),
    ];
    for (path, error) in bad {
        let error = format!("error: {error}");
        for step in [
            format!("open|0|r|{path}"),
            format!("open|0|rf|{path}"),
            format!("stat-at|0||{path}"),
            format!("stat-at|0|f|{path}"),
            format!("touch-at|0||{path}"),
            format!("rename|0|{path}|0|moved"),
            format!("unlink|0|{path}"),
        ] {
            assert_eq!(run(&probe, &[&step]).await, [&*error], "{step}");
        }
        if path.starts_with("inner/file") {
            continue;
        }
        for step in [
            format!("open|0|cw|{path}"),
            format!("open|0|d|{path}"),
            format!("make-directory|0|{path}"),
            format!("remove-directory|0|{path}"),
            format!("rename|0|inner/file|0|{path}"),
        ] {
            assert_eq!(run(&probe, &[&step]).await, [&*error], "{step}");
        }
    }
    // From a directory within, not even to the volume that it is in.
    runs(
        &probe,
        &[
            ("open|0|d|inner", "ok 1"),
            ("open|1|r|../inner/file", "error: not-permitted"),
            ("open|1|d|..", "error: not-permitted"),
            ("rename|1|file|1|../file", "error: not-permitted"),
        ],
    )
    .await;
    // What is odd and leads nowhere else.
    runs(
        &probe,
        &[
            ("open|0|r|inner//file", "ok 1"),
            ("open|0|r|./inner/./file", "ok 2"),
            ("open|0|r|inner/../inner/file", "ok 3"),
            ("open|0|d|inner/", "ok 4"),
            ("open|0|d|.", "ok 5"),
            ("open|0|cw|...", "ok 6"),
            ("make-directory|0|new/", "ok"),
            ("remove-directory|0|new/", "ok"),
            ("remove-directory|0|.", "error: not-permitted"),
            ("rename|0|.|0|moved", "error: busy"),
            ("rename|0|inner|0|inner/within", "error: invalid"),
            ("open|0|cw|made/", "error: is-directory"),
        ],
    )
    .await;
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "canary");
    let outside: Vec<_> = std::fs::read_dir(shared.outside()).unwrap().collect();
    assert_eq!(outside.len(), 2, "{outside:?}");
}

#[tokio::test]
async fn a_link_is_neither_followed_nor_made_nor_read() {
    let shared = Shared::to_change().await;
    let (root, outside) = (shared.root(), shared.outside());
    std::fs::create_dir(outside.join("elsewhere")).unwrap();
    std::fs::write(outside.join("elsewhere/canary"), "canary").unwrap();
    std::fs::write(root.join("file"), "content").unwrap();
    symlink(outside.join("elsewhere"), root.join("out")).unwrap();
    symlink("../elsewhere/", root.join("out-with-slash")).unwrap();
    symlink("out-with-slash/", root.join("by-two")).unwrap();
    symlink("../elsewhere/canary", root.join("to-file")).unwrap();
    symlink("../elsewhere/new", root.join("dangling")).unwrap();
    symlink("file", root.join("within")).unwrap();
    symlink("/proc/self", root.join("process")).unwrap();
    let tenant = shared.host.tenant().await;
    let probe = probe(&tenant, &["fs:shared=rw"]).await;
    for path in [
        "out/canary",
        "out-with-slash/canary",
        "by-two/canary",
        "by-two/",
        "out/",
        "out/.",
        "out",
        "to-file",
        "to-file/",
        "dangling",
        "within",
        "process/environ",
        "process/root/etc/passwd",
        "process/fd/0",
    ] {
        for flags in ["r", "rf", "d", "df", "w", "wf", "tw", "tf", "cw", "cwf"] {
            let step = format!("open|0|{flags}|{path}");
            let told = run(&probe, &[&step]).await;
            // The kernel tells of the one or of the other.
            let refused = ["error: loop", "error: not-directory", "error: is-directory"];
            assert!(refused.contains(&&*told[0]), "{step}: {told:?}");
        }
        let told = run(&probe, &[&format!("stat-at|0|f|{path}")]).await;
        assert_eq!(told, ["error: loop"], "{path}");
    }
    runs(
        &probe,
        &[
            ("stat-at|0||out", "link 0"),
            ("readlink|0|out", "error: not-permitted"),
            ("symlink|0|/etc|new", "error: not-permitted"),
            ("link|0|file|new", "error: not-permitted"),
            ("make-directory|0|out/new", "error: loop"),
            ("unlink|0|out/canary", "error: loop"),
            ("rename|0|file|0|out/file", "error: loop"),
            ("rename|0|out/canary|0|stolen", "error: loop"),
            ("touch-at|0|f|to-file", "error: loop"),
            // The link itself is a thing like any other.
            ("rename|0|within|0|renamed", "ok"),
            ("unlink|0|renamed", "ok"),
        ],
    )
    .await;
    // A file with another name may be one from elsewhere.
    std::fs::hard_link(outside.join("elsewhere/canary"), root.join("twin")).unwrap();
    runs(
        &probe,
        &[
            ("open|0|r|twin", "ok 1"),
            ("open|0|w|twin", "error: not-permitted"),
            ("open|0|t|twin", "error: not-permitted"),
            ("unlink|0|twin", "ok"),
        ],
    )
    .await;
    let elsewhere = tree(&outside.join("elsewhere"));
    assert_eq!(elsewhere.len(), 1, "{elsewhere:?}");
    assert_eq!(elsewhere[0].1.as_deref(), Some(&b"canary"[..]));
    assert_eq!(
        std::fs::read_to_string(root.join("file")).unwrap(),
        "content"
    );
}

#[tokio::test]
async fn a_link_that_comes_and_goes_leads_nowhere_either() {
    let shared = Shared::to_change().await;
    let (root, outside) = (shared.root(), shared.outside().join("elsewhere"));
    for (place, text) in [(&root.join("real"), "within"), (&outside, "outside")] {
        std::fs::create_dir(place).unwrap();
        std::fs::write(place.join("canary"), text).unwrap();
    }
    symlink(&outside, root.join("false")).unwrap();
    symlink(root.join("real"), root.join("swapped")).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let (flag, names) = (Arc::clone(&is_over), root.clone());
    // In turn a directory and a link to one outside have the name, each put there in one step.
    let flipping = std::thread::spawn(move || {
        let mut turns = 0_u64;
        std::fs::remove_file(names.join("swapped")).unwrap();
        while !flag.load(Ordering::Relaxed) {
            std::fs::rename(names.join("real"), names.join("swapped")).unwrap();
            std::fs::rename(names.join("swapped"), names.join("real")).unwrap();
            std::fs::rename(names.join("false"), names.join("swapped")).unwrap();
            std::fs::rename(names.join("swapped"), names.join("false")).unwrap();
            turns += 1;
        }
        turns
    });
    let tenant = shared.host.tenant().await;
    let probe = probe(&tenant, &["fs:shared=rw"]).await;
    let mut seen = [0_u64; 2];
    for _ in 0..20 {
        let told = run(&probe, &["race|0|500|swapped|outside"]).await;
        assert_ne!(told, ["found"]);
        let counts: Vec<u64> = told[0]
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        seen = [seen[0] + counts[0], seen[1] + counts[1]];
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(flipping.join().unwrap() > 1000);
    // It was a race: both were met.
    assert!(seen[1] > 0, "{seen:?}");
    assert_eq!(tree(&outside).len(), 1, "something was made outside");
}

#[tokio::test]
async fn pipes_sockets_and_devices_are_seen_and_never_opened() {
    let shared = Shared::to_change().await;
    let root = shared.root();
    let made = Command::new("mkfifo").arg(root.join("pipe")).status();
    assert!(made.unwrap().success());
    let _listener = UnixListener::bind(root.join("socket")).unwrap();
    let mut special = vec!["pipe", "socket"];
    // Only who has the privilege can make one.
    let device = Command::new("mknod")
        .arg(root.join("device"))
        .args(["c", "1", "5"])
        .stderr(std::process::Stdio::null())
        .status();
    if device.is_ok_and(|status| status.success()) {
        special.push("device");
    }
    let tenant = shared.host.tenant().await;
    let probe = probe(&tenant, &["fs:shared=rw"]).await;
    for name in special {
        let listed = run(&probe, &["list|0"]).await;
        assert!(
            listed[0]
                .split(' ')
                .any(|one| one == format!("{name}:{name}")),
            "{listed:?}"
        );
        for flags in ["r", "w", "rw", "cw", "tw", "rf"] {
            // At once: a pipe without another end would wait for ever.
            let step = format!("open|0|{flags}|{name}");
            assert_eq!(
                run(&probe, &[&step]).await,
                ["error: not-permitted"],
                "{step}"
            );
        }
        let told = run(&probe, &[&format!("stat-at|0||{name}")]).await;
        assert_eq!(told, [format!("{name} 0")]);
        assert_eq!(run(&probe, &[&format!("unlink|0|{name}")]).await, ["ok"]);
    }
}

#[tokio::test]
async fn tenants_never_meet_in_volumes_of_one_name() {
    let host = TestHost::shared().await;
    let (one, other) = (host.tenant().await, host.tenant().await);
    let (ours, theirs) = (
        probe(&one, &["fs:data=rw"]).await,
        probe(&other, &["fs:data=rw"]).await,
    );
    runs(
        &ours,
        &[("open|0|cw|ours", "ok 1"), ("text|1|0|secret", "ok 6")],
    )
    .await;
    runs(
        &theirs,
        &[("list|0", ""), ("open|0|r|ours", "error: no-entry")],
    )
    .await;
    runs(
        &theirs,
        &[("open|0|cw|ours", "ok 1"), ("text|1|0|other", "ok 5")],
    )
    .await;
    runs(
        &ours,
        &[("open|0|r|ours", "ok 1"), ("read|1|0|99", "ok secret")],
    )
    .await;
}

#[tokio::test]
async fn the_operators_directories_are_for_those_that_they_are_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for name in ["corpus", "inbox"] {
        std::fs::create_dir(path.join(name)).unwrap();
        std::fs::write(path.join(name).join("there"), name).unwrap();
    }
    let corpus = format!(
        "path = {:?}\naccess = 'ro'\ntenants = 'all'",
        path.join("corpus")
    );
    let inbox = format!(
        "path = {:?}\naccess = 'rw'\ntenants = ['friend']\nquota-bytes = 100",
        path.join("inbox")
    );
    let options = HostOptions::new()
        .confined()
        .volume("corpus", &corpus)
        .volume("inbox", &inbox);
    let host = TestHost::start_with(options).await;
    let stranger = host.tenant().await;
    let grants = ["fs:corpus=rw", "fs:inbox=rw"];
    let theirs = probe(&stranger, &grants).await;
    // More than the operator gives is not to be had, whatever was granted.
    runs(
        &theirs,
        &[
            ("open|0|r|there", "ok 2"),
            ("read|2|0|99", "ok corpus"),
            ("open|0|cw|made", "error: read-only"),
            // Their own, as nobody else gave them one.
            ("list|1", ""),
            ("open|1|cw|made", "ok 3"),
        ],
    )
    .await;
    let admin = host.client().await;
    admin.tenant_create("friend").await.unwrap();
    let friend = friend(&host, &admin, &grants).await;
    runs(
        &friend,
        &[
            ("open|1|r|there", "ok 2"),
            ("read|2|0|99", "ok inbox"),
            ("open|1|cw|made", "ok 3"),
            // There were five bytes.
            ("write|3|0|95", "ok 95"),
            ("write|3|95|1", "error: quota"),
            ("unlink|1|there", "ok"),
            ("close|2", "ok"),
            ("write|3|95|5", "ok 5"),
            ("write|3|100|1", "error: quota"),
        ],
    )
    .await;
    assert_eq!(std::fs::read(path.join("inbox/made")).unwrap().len(), 100);
    assert_eq!(
        std::fs::read_to_string(path.join("corpus/there")).unwrap(),
        "corpus"
    );
    // Counted anew after a restart.
    host.kill().await;
    host.start_again().await;
    let client = Client::connect(friend_profile(&host)).await.unwrap();
    let friend = client.module("probe");
    runs(
        &friend,
        &[("open|1|w|made", "ok 2"), ("write|2|100|1", "error: quota")],
    )
    .await;
}

fn friend_profile(host: &TestHost) -> rpc_host_client::Profile {
    let token = std::fs::read_to_string(host.directory().join("friend.token")).unwrap();
    host.profile(&token)
}

/// A probe of the tenant `friend`.
async fn friend(host: &TestHost, admin: &Client, grants: &[&str]) -> NamedModule {
    let request = rpc_host_client::TokenRequest {
        tenant: Some("friend".to_owned()),
        role: "admin".to_owned(),
        expires_in: None,
    };
    let token = admin.token_create(request).await.unwrap().token;
    host.file("friend.token", &token);
    let client = Client::connect(host.profile(&token)).await.unwrap();
    let module = client.upload_module(built("file-probe")).await.unwrap();
    client
        .register("probe", &module, granted(grants))
        .await
        .unwrap();
    client.module("probe")
}

#[tokio::test]
async fn a_node_does_not_start_without_its_directories() {
    let directory = tempfile::tempdir().unwrap();
    let (outer, inner) = (directory.path().join("x"), directory.path().join("x/y"));
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(directory.path().join("file"), "").unwrap();
    let to_read = |path: &Path| format!("path = {path:?}\naccess = 'ro'\ntenants = 'all'");
    let to_change =
        |path: &Path| format!("path = {path:?}\naccess = 'rw'\ntenants = 'all'\nquota-bytes = 1");
    let one = |lines: &str| HostOptions::new().volume("a", lines);
    for (options, said) in [
        (
            one(&to_read(&directory.path().join("missing"))),
            "`[volumes.a]`: cannot open the directory",
        ),
        (
            one(&to_change(&directory.path().join("file"))),
            "Not a directory",
        ),
        // Its own data is in there.
        (one(&to_read("/".as_ref())), "is part of"),
        (
            one(&to_change(&outer)).volume("b", &to_read(&inner)),
            "`[volumes.b]`",
        ),
        (
            one("path = '/srv'\naccess = 'rw'\ntenants = 'all'"),
            "needs a `quota-bytes`",
        ),
    ] {
        let (status, log) = TestHost::refused_start(options).await;
        assert!(!status.success() && log.contains(said), "{said}: {log}");
    }
}

#[tokio::test]
async fn a_removed_tenant_leaves_no_file_and_its_calls_find_none() {
    let host = TestHost::start().await;
    let kept = host.tenant().await;
    run(&probe(&kept, &["fs:data=rw"]).await, &["open|0|cw|kept"]).await;
    let gone = host.tenant().await;
    let probe = probe(&gone, &["fs:data=rw", "fs:more=rw"]).await;
    let steps = [
        "open|0|cw|file",
        "write|2|0|1000",
        "make-directory|1|inner",
        "open|1|cw|inner/one",
    ];
    run(&probe, &steps).await;
    let volumes = host.data().join("volumes");
    assert_eq!(std::fs::read_dir(&volumes).unwrap().count(), 2);
    host.client().await.tenant_remove(&gone.name).await.unwrap();
    assert_eq!(std::fs::read_dir(&volumes).unwrap().count(), 1);
    assert!(only(&volumes).join("data/kept").exists());
    // What a crash in the middle of it leaves goes at the next start.
    host.kill().await;
    std::fs::create_dir_all(volumes.join("77/data")).unwrap();
    std::fs::create_dir_all(volumes.join("not-ours")).unwrap();
    host.start_again().await;
    assert!(!volumes.join("77").exists() && volumes.join("not-ours").exists());
    std::fs::remove_dir(volumes.join("not-ours")).unwrap();
    assert!(only(&volumes).join("data/kept").exists());
}

/// The one thing in a directory.
fn only(directory: &Path) -> PathBuf {
    let mut all = std::fs::read_dir(directory).unwrap();
    let only = all.next().unwrap().unwrap().path();
    assert!(all.next().is_none());
    only
}
