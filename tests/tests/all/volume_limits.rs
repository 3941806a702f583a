//! How much of files there may be.

use rpc_host_client::TenantOptions;
use rpc_host_tests::{HostOptions, TestHost, TestTenant};

use crate::volumes::{probe, probe_called, run, runs};

async fn limited(limits: &[(&str, u64)]) -> TestTenant {
    let limit = |options: HostOptions, (name, value): &(&str, u64)| options.limit(name, *value);
    let options = limits.iter().fold(HostOptions::new(), limit);
    TestHost::start_with(options).await.tenant().await
}

#[tokio::test]
async fn the_quota_of_a_volume_is_exact_to_the_byte_and_after_a_restart() {
    let tenant = limited(&[("max-volume-bytes", 10_000)]).await;
    let data = probe_called(&tenant, "probe", &["fs:data=rw", "fs:more=rw"]).await;
    runs(
        &data,
        &[
            ("open|0|cw|a", "ok 2"),
            ("write|2|0|9999", "ok 9999"),
            ("write|2|9999|2", "error: quota"),
            ("write|2|9999|1", "ok 1"),
            ("write|2|10000|1", "error: quota"),
            // What is there may be written over, and what is given back is there again.
            ("write|2|0|10000", "ok 10000"),
            ("size|2|10001", "error: quota"),
            ("size|2|6000", "ok"),
            ("open|0|cw|b", "ok 3"),
            ("stream|3|end|4000", "ok 4000"),
            ("stream|3|end|1", "error: quota"),
            ("stream|3|0|4000", "ok 4000"),
            ("stream|3|4000|1", "error: quota"),
            ("stat|3", "file 4000"),
            ("close|3", "ok"),
            ("open|0|wt|b", "ok 4"),
            ("write|4|0|4001", "error: quota"),
            ("write|4|0|4000", "ok 4000"),
            ("close|4", "ok"),
            ("close|2", "ok"),
            ("rename|0|b|0|a", "ok"),
            ("open|0|cw|b", "ok 5"),
            ("write|5|0|6001", "error: quota"),
            ("write|5|0|6000", "ok 6000"),
            // The other one has a quota of its own.
            ("open|1|cw|c", "ok 6"),
            ("write|6|0|10000", "ok 10000"),
        ],
    )
    .await;
    let full = [
        ("open|0|w|a", "ok 2"),
        ("write|2|4000|1", "error: quota"),
        ("size|2|3999", "ok"),
        ("write|2|3999|2", "error: quota"),
        ("write|2|3999|1", "ok 1"),
    ];
    runs(&data, &full).await;
    tenant.host.kill().await;
    tenant.host.start_again().await;
    let client = rpc_host_client::Client::connect(tenant.profile())
        .await
        .unwrap();
    let again = client.module("probe");
    runs(&again, &full).await;
    runs(
        &again,
        &[
            ("unlink|0|b", "ok"),
            ("open|0|w|a", "ok 2"),
            ("write|2|0|10001", "error: quota"),
            ("write|2|0|10000", "ok 10000"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_hole_counts_as_if_it_were_filled() {
    let tenant = limited(&[("max-volume-bytes", 10_000)]).await;
    let data = probe(&tenant, &["fs:data=rw"]).await;
    runs(
        &data,
        &[
            ("open|0|cw|a", "ok 1"),
            ("size|1|10001", "error: quota"),
            ("size|1|1000000000000", "error: quota"),
            ("size|1|18446744073709551615", "error: file-too-large"),
            ("write|1|10000|1", "error: quota"),
            ("write|1|1000000000000|1", "error: quota"),
            ("write|1|18446744073709551615|1", "error: file-too-large"),
            ("write|1|9223372036854775807|1", "error: file-too-large"),
            ("stream|1|1000000000000|1", "error: quota"),
            ("stat|1", "file 0"),
            ("write|1|9999|1", "ok 1"),
            ("stat|1", "file 10000"),
            ("open|0|cw|b", "ok 2"),
            ("write|2|0|1", "error: quota"),
            ("size|1|0", "ok"),
            ("write|2|0|10000", "ok 10000"),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_deleted_while_it_is_open_counts_until_it_is_closed() {
    let tenant = limited(&[("max-volume-bytes", 10_000), ("max-files-per-volume", 3)]).await;
    let data = probe(&tenant, &["fs:data=rw"]).await;
    runs(
        &data,
        &[
            ("open|0|cw|a", "ok 1"),
            ("write|1|0|4000", "ok 4000"),
            ("open|0|r|a", "ok 2"),
            ("unlink|0|a", "ok"),
            ("open|0|cw|b", "ok 3"),
            ("write|3|0|6001", "error: quota"),
            // It grows and shrinks, and counts, as if it were there.
            ("write|1|0|5000", "ok 5000"),
            ("write|3|0|5001", "error: quota"),
            ("write|3|0|5000", "ok 5000"),
            ("close|1", "ok"),
            ("write|3|5000|1", "error: quota"),
            ("read|2|4999|9", "ok x"),
            ("close|2", "ok"),
            ("write|3|0|10000", "ok 10000"),
            // The same for one that another takes the place of.
            ("open|0|cw|c", "ok 4"),
            ("rename|0|c|0|b", "ok"),
            ("write|4|0|1", "error: quota"),
            ("close|3", "ok"),
            ("write|4|0|10000", "ok 10000"),
        ],
    )
    .await;
    // What a call left open is closed with it.
    for _ in 0..5 {
        let told = run(
            &data,
            &["open|0|w|b", "unlink|0|b", "open|0|cxw|b", "write|1|0|0"],
        )
        .await;
        assert_eq!(told[..3], ["ok 1", "ok", "ok 2"]);
    }
}

#[tokio::test]
async fn files_and_directories_are_counted() {
    let tenant = limited(&[("max-files-per-volume", 3)]).await;
    let data = probe_called(&tenant, "probe", &["fs:data=rw"]).await;
    runs(
        &data,
        &[
            ("open|0|c|a", "ok 1"),
            ("make-directory|0|d", "ok"),
            ("open|0|c|d/b", "ok 2"),
            ("open|0|c|c", "error: quota"),
            ("make-directory|0|d/e", "error: quota"),
            ("open|0|cw|a", "ok 3"),
            ("open|0|cx|a", "error: exist"),
            ("make-directory|0|d", "error: exist"),
            ("close|2", "ok"),
            ("unlink|0|d/b", "ok"),
            ("remove-directory|0|d", "ok"),
            ("open|0|c|missing/c", "error: no-entry"),
            ("open|0|c|c", "ok 4"),
            ("make-directory|0|d", "ok"),
            ("make-directory|0|e", "error: quota"),
        ],
    )
    .await;
    tenant.host.kill().await;
    tenant.host.start_again().await;
    let client = rpc_host_client::Client::connect(tenant.profile())
        .await
        .unwrap();
    let again = client.module("probe");
    runs(
        &again,
        &[
            ("make-directory|0|e", "error: quota"),
            ("unlink|0|a", "ok"),
            ("make-directory|0|e", "ok"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_tenant_has_so_many_volumes_and_bytes_in_all_of_them() {
    let tenant = limited(&[
        ("max-volumes-per-tenant", 2),
        ("max-volume-bytes", 6000),
        ("max-volume-bytes-per-tenant", 10_000),
    ])
    .await;
    let data = probe(&tenant, &["fs:a=rw", "fs:b=rw", "fs:c=rw"]).await;
    runs(
        &data,
        &[
            ("open|0|cw|one", "ok 3"),
            ("write|3|0|6000", "ok 6000"),
            ("open|1|cw|two", "ok 4"),
            ("write|4|0|4001", "error: quota"),
            ("write|4|0|4000", "ok 4000"),
            ("open|2|cw|three", "error: quota"),
            ("rename|0|one|1|one", "error: cross-device"),
            ("unlink|1|two", "ok"),
        ],
    )
    .await;
    // An empty one that nobody uses makes room for another.
    let third = probe(&tenant, &["fs:c=rw"]).await;
    runs(
        &third,
        &[
            ("open|0|cw|three", "ok 1"),
            ("write|1|0|4001", "error: quota"),
            ("write|1|0|4000", "ok 4000"),
        ],
    )
    .await;
    let second = probe(&tenant, &["fs:b=rw"]).await;
    runs(&second, &[("open|0|cw|two", "error: quota")]).await;
    // Another tenant has its own.
    let other = tenant.host.tenant().await;
    let theirs = probe(&other, &["fs:a=rw"]).await;
    runs(
        &theirs,
        &[("open|0|cw|one", "ok 1"), ("write|1|0|6000", "ok 6000")],
    )
    .await;
}

#[tokio::test]
async fn a_tenant_may_have_less_than_others() {
    let tenant = TestHost::shared().await.tenant().await;
    let data = probe(&tenant, &["fs:a=rw", "fs:b=rw"]).await;
    let steps = ["open|0|cw|one", "write|2|0|6000"];
    runs(&data, &[(steps[0], "ok 2"), (steps[1], "ok 6000")]).await;
    let limits = [
        ("max-volume-bytes-per-tenant", 6000),
        ("max-volumes-per-tenant", 1),
        ("max-open-files-per-tenant", 3),
    ];
    let options = TenantOptions {
        limits: Some(limits.map(|(name, value)| (name.to_owned(), value)).into()),
        ..TenantOptions::default()
    };
    let admin = tenant.host.client().await;
    admin.tenant_set(&tenant.name, options).await.unwrap();
    runs(
        &data,
        &[
            ("open|0|w|one", "ok 2"),
            ("write|2|6000|1", "error: quota"),
            ("write|2|0|6000", "ok 6000"),
            ("open|1|cw|two", "error: quota"),
            ("open-many|0|r|one", "2 insufficient-memory"),
        ],
    )
    .await;
    let limits = tenant
        .cli(["limits", "--output", "json"])
        .run()
        .await
        .json();
    let name = "max-volume-bytes-per-tenant";
    let shown = limits
        .as_array()
        .unwrap()
        .iter()
        .find(|limit| limit["name"] == name);
    assert_eq!(shown.unwrap()["used"], 6000, "{shown:?}");
}

#[tokio::test]
async fn so_many_files_are_open_at_once() {
    for (limits, most) in [
        (
            [
                ("max-open-files-per-instance", 5),
                ("max-open-files-per-tenant", 100),
            ],
            5,
        ),
        (
            [
                ("max-open-files-per-instance", 100),
                ("max-open-files-per-tenant", 6),
            ],
            6,
        ),
        (
            [("max-open-files-per-instance", 100), ("max-open-files", 7)],
            7,
        ),
    ] {
        let tenant = limited(&limits).await;
        let data = probe(&tenant, &["fs:data=rw"]).await;
        let more = most - 1;
        for _ in 0..3 {
            runs(
                &data,
                &[
                    ("open|0|cw|a", "ok 1"),
                    ("open-many|0|r|a", &format!("{more} insufficient-memory")),
                    ("list|0", "a:file"),
                    ("open-many|0|c|b", &format!("{more} insufficient-memory")),
                    ("unlink|0|b", "ok"),
                ],
            )
            .await;
        }
    }
    // What is at work in streams has room of its own.
    let tenant = TestHost::shared().await.tenant().await;
    let data = probe(&tenant, &["fs:data=rw"]).await;
    runs(
        &data,
        &[
            ("open|0|cw|a", "ok 1"),
            ("streams|1", "64 insufficient-memory"),
            ("stream|1|0|1", "ok 1"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_path_is_so_long_and_so_deep() {
    let tenant = limited(&[("max-path-bytes", 20), ("max-path-depth", 4)]).await;
    let data = probe(&tenant, &["fs:data=rw"]).await;
    runs(
        &data,
        &[
            ("make-directory|0|a", "ok"),
            ("make-directory|0|a/b", "ok"),
            ("make-directory|0|a/b/c", "ok"),
            ("make-directory|0|a/b/c/d", "ok"),
            ("make-directory|0|a/b/c/d/e", "error: name-too-long"),
            ("open|0|d|a/b/c/d", "ok 1"),
            ("open|1|c|e", "error: name-too-long"),
            // Nor by moving what is there already.
            ("make-directory|0|x", "ok"),
            ("rename|0|a|0|x/a", "error: name-too-long"),
            ("rename|0|a|0|y", "ok"),
            ("rename|0|y|0|a", "ok"),
            ("rename|0|a|0|abcdefghijklmnop", "error: name-too-long"),
            ("rename|0|a|0|abcdefghijklmn", "ok"),
            ("open|0|c|12345678901234567890", "ok 2"),
            ("open|0|c|123456789012345678901", "error: name-too-long"),
        ],
    )
    .await;
}
