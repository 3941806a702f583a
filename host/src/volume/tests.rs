//! Volumes without a guest.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// Small ones.
pub(super) fn limits() -> VolumeLimits {
    VolumeLimits {
        of_tenant: TenantLimits {
            max_volumes: 2,
            max_volume_bytes: 1500,
            max_open_files: 4,
            max_file_operations: 2,
        },
        max_volume_bytes: 1000,
        max_files_per_volume: 8,
        max_open_files_per_instance: 3,
        max_open_files: 6,
        max_path_bytes: 1024,
        max_path_depth: 16,
    }
}

fn volumes(at: &Path, tenants: &[u64]) -> Volumes {
    Volumes::open(at.join("volumes"), limits(), BTreeMap::new(), tenants).unwrap()
}

fn mount(volumes: &Volumes, tenant: u64, access: Access) -> Mount {
    let wanted = [("data".parse().unwrap(), access)];
    volumes
        .mounts(tenant, "t", limits().of_tenant, wanted)
        .remove(0)
}

async fn write(mount: &Mount, name: &str, bytes: usize) -> Result<u64, VolumeError> {
    let place = mount.place(&Place::default(), name).unwrap();
    let work = mount.run(move |tree| {
        let wish = Wish {
            create: true,
            write: true,
            ..Wish::default()
        };
        match tree.open(&place, wish)? {
            Opened::File(file) => file.write(At::Offset(0), &vec![1; bytes]),
            Opened::Directory => Err(VolumeError::IsDirectory),
        }
    });
    work.await
}

#[tokio::test]
async fn nothing_is_on_disk_before_it_is_used_and_then_it_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let volumes = volumes(directory.path(), &[7]);
    let data = mount(&volumes, 7, Access::ReadWrite);
    assert!(!directory.path().join("volumes").exists());
    write(&data, "file", 10).await.unwrap();
    for (path, mode) in [("volumes/7/data", 0o700), ("volumes/7/data/file", 0o600)] {
        let found = std::fs::metadata(directory.path().join(path)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, mode, "{path}");
    }
    assert_eq!(volumes.used_bytes(7), 10);
    // What the instance may do was said when it was made.
    let reading = mount(&volumes, 7, Access::ReadOnly);
    assert_eq!(write(&reading, "file", 1).await, Err(VolumeError::ReadOnly));
}

#[tokio::test]
async fn what_is_there_is_known_after_a_restart_without_a_call() {
    let directory = tempfile::tempdir().unwrap();
    for (tenant, bytes) in [(7, 600), (8, 10)] {
        let volumes = volumes(directory.path(), &[7, 8]);
        write(&mount(&volumes, tenant, Access::ReadWrite), "file", bytes)
            .await
            .unwrap();
    }
    let again = volumes(directory.path(), &[7, 8]);
    assert_eq!(again.used_bytes(7), 0);
    again.clone().count().await;
    assert_eq!((again.used_bytes(7), again.used_bytes(8)), (600, 10));
    let data = mount(&again, 7, Access::ReadWrite);
    assert_eq!(write(&data, "other", 401).await, Err(VolumeError::Quota));
    write(&data, "other", 400).await.unwrap();
}

#[tokio::test]
async fn a_late_call_of_a_removed_tenant_finds_nothing_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let volumes = volumes(directory.path(), &[7]);
    let (early, late) = (
        mount(&volumes, 7, Access::ReadWrite),
        mount(&volumes, 7, Access::ReadWrite),
    );
    write(&early, "file", 10).await.unwrap();
    volumes.forget(7).await.unwrap();
    for mount in [early, late] {
        assert_eq!(write(&mount, "file", 1).await, Err(VolumeError::NoEntry));
    }
    assert!(
        volumes
            .mounts(
                7,
                "t",
                limits().of_tenant,
                [("data".parse().unwrap(), Access::ReadOnly)]
            )
            .is_empty()
    );
    assert!(!directory.path().join("volumes/7").exists());
}

#[tokio::test]
async fn a_tenant_whose_disk_stalls_keeps_so_many_threads_busy_and_no_other_waits() {
    let directory = tempfile::tempdir().unwrap();
    let volumes = volumes(directory.path(), &[7, 8]);
    let stalled = mount(&volumes, 7, Access::ReadWrite);
    let (begun, beginning) = mpsc::channel();
    let mut releases = Vec::new();
    let mut stalling = Vec::new();
    for _ in 0..5 {
        let (release, released) = mpsc::channel::<()>();
        releases.push(release);
        let (mount, begun) = (stalled.clone(), begun.clone());
        stalling.push(tokio::spawn(async move {
            mount
                .run(move |_| {
                    begun.send(()).unwrap();
                    released.recv().map_err(|_| VolumeError::Io)
                })
                .await
        }));
    }
    let two = tokio::task::spawn_blocking(move || {
        for _ in 0..2 {
            beginning.recv().unwrap();
        }
        beginning
    });
    let beginning = two.await.unwrap();
    write(&mount(&volumes, 8, Access::ReadWrite), "file", 1)
        .await
        .unwrap();
    // `max-file-operations-per-tenant` is two here: the others wait, and so does whatever else the tenant wants.
    assert!(beginning.try_recv().is_err());
    let waiting = write(&stalled, "file", 1);
    tokio::time::timeout(Duration::from_millis(20), waiting)
        .await
        .unwrap_err();
    // A call that is given up keeps its thread until that is free.
    stalling[0].abort();
    assert!(beginning.try_recv().is_err());
    drop(releases);
    write(&stalled, "file", 1).await.unwrap();
}

#[tokio::test]
async fn what_is_begun_is_counted_though_nobody_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let volumes = volumes(directory.path(), &[7]);
    let data = mount(&volumes, 7, Access::ReadWrite);
    for turn in 0..50 {
        let name = format!("file-{}", turn % 5);
        // Given up at whatever point it has come to.
        let _given_up =
            tokio::time::timeout(Duration::from_micros(turn * 10), write(&data, &name, 190)).await;
    }
    // Whoever comes now waits for those that were begun.
    for _ in 0..2 {
        write(&data, "file-0", 190).await.unwrap();
    }
    let places = (0..5).map(|number| {
        directory
            .path()
            .join(format!("volumes/7/data/file-{number}"))
    });
    let on_disk: u64 = places
        .filter_map(|path| Some(path.metadata().ok()?.len()))
        .sum();
    assert_eq!(volumes.used_bytes(7), on_disk);
}

#[test]
fn the_operators_directories_lie_apart() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    std::fs::create_dir_all(data.join("volumes/1")).unwrap();
    for name in ["x/y", "z", "data-too"] {
        std::fs::create_dir_all(directory.path().join(name)).unwrap();
    }
    let open = |paths: &[(&str, bool)]| {
        let volume = |(number, (path, changes)): (usize, &(&str, bool))| {
            let most = Usage { bytes: 1, files: 1 };
            let path = directory.path().join(path);
            let quota = changes.then_some(most);
            let volume = HostDirectory {
                path,
                quota,
                tenants: Tenants::All,
            };
            (format!("v{number}").parse().unwrap(), volume)
        };
        let host = paths.iter().enumerate().map(volume).collect();
        Volumes::open(data.join("volumes"), limits(), host, &[1]).map(drop)
    };
    let apart: [&[(&str, bool)]; 4] = [
        &[("x", true), ("z", true)],
        &[("x", false), ("x/y", false)],
        &[("x", false), ("x", false)],
        &[("data-too", true)],
    ];
    for apart in apart {
        open(apart).unwrap();
    }
    let shared: [&[(&str, bool)]; 8] = [
        &[("data", false)],
        &[("data", true)],
        &[("data/volumes/1", false)],
        &[("", false)],
        &[("x/../data", false)],
        &[("x", true), ("x/y", false)],
        &[("x", false), ("x/y", true)],
        &[("x", true), ("x", true)],
    ];
    for shared in shared {
        let refused = open(shared).unwrap_err();
        assert!(
            matches!(refused, OpenVolumesError::Overlap { .. }),
            "{shared:?}: {refused}"
        );
    }
    let missing = open(&[("missing", false)]).unwrap_err();
    assert!(
        missing
            .to_string()
            .starts_with("`[volumes.v0]`: cannot open the directory"),
        "{missing}"
    );
}

/// A file that stays open as long as this is there.
async fn opened(mount: &Mount, name: &str) -> Result<Opened, VolumeError> {
    let place = mount.place(&Place::default(), name).unwrap();
    let wish = Wish {
        create: true,
        ..Wish::default()
    };
    mount.run(move |tree| tree.open(&place, wish)).await
}

#[tokio::test]
async fn limits_that_change_there_and_back_give_no_share_anew() {
    let directory = tempfile::tempdir().unwrap();
    let volumes = volumes(directory.path(), &[7]);
    let (less, more) = (1, 2);
    let mounted = |max_open_files| {
        let limits = TenantLimits {
            max_open_files,
            ..limits().of_tenant
        };
        let wanted = [("data".parse().unwrap(), Access::ReadWrite)];
        volumes.mounts(7, "t", limits, wanted).remove(0)
    };
    let _held = opened(&mounted(less), "a").await.unwrap();
    // Calls from before and after a change alternate.
    for _ in 0..3 {
        let other = opened(&mounted(more), "b").await;
        assert!(other.is_ok());
        let again = opened(&mounted(less), "c").await;
        assert!(matches!(again, Err(VolumeError::TooManyOpen)));
    }
}
