//! The search, on machines made of shell scripts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::*;

/// One machine at a time: a program cannot be started while another thread's half-started child
/// still holds it open for writing.
static TURN: Mutex<()> = Mutex::new(());

/// A machine in a folder: programs in `bin`, a toolchain in `toolchain`, Debian in `debian`.
struct Machine {
    folder: PathBuf,
    search: Search,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    /// A machine with a Rust toolchain that lacks the target, and an ordinary user.
    fn new(name: &str) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = std::env::temp_dir().join(format!("xtask-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        for inner in ["bin", "memory", "debian/usr/bin", "toolchain"] {
            fs::create_dir_all(folder.join(inner)).unwrap();
        }
        let search = Search {
            path: format!("{}/bin:/usr/bin:/bin", folder.display()).into(),
            system_root: folder.join("debian"),
            memory: folder.join("memory"),
            still_limit: Duration::from_millis(400),
        };
        let machine = Self {
            folder,
            search,
            _turn: turn,
        };
        let toolchain = machine.folder.join("toolchain").display().to_string();
        machine.program(
            "bin/rustc",
            &format!(
                r#"case "$*" in
                *target-libdir*) echo {toolchain}/wasm32-wasip2 ;;
                *sysroot*) echo {toolchain} ;;
                -vV) printf 'rustc 1.95.0\nhost: some-host\n' ;;
                esac"#
            ),
        );
        machine.program("bin/id", "echo 1000");
        machine.program("bin/sudo", "exit 1");
        machine.program("bin/rustup", "exit 1");
        machine
    }

    fn program(&self, path: &str, script: &str) {
        let path = self.folder.join(path);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A script that writes down each of its runs, then does `rest`.
    fn noted(&self, rest: &str) -> String {
        format!("echo \"$*\" >> {}/runs\n{rest}", self.folder.display())
    }

    fn runs(&self) -> Vec<String> {
        let runs = fs::read_to_string(self.folder.join("runs")).unwrap_or_default();
        runs.lines().map(str::to_owned).collect()
    }

    fn has_linker(&self) {
        let folder = self.folder.join("toolchain/lib/rustlib/some-host/bin");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("wasm-component-ld"), "").unwrap();
    }

    /// The commands that put Debian's packages in place.
    fn debian_files(&self) -> String {
        let debian = self.folder.join("debian/usr");
        let bin = debian.join("bin").display().to_string();
        format!(
            "mkdir -p {debian}/lib/rustlib/src/rust/library/std {debian}/lib/wasm32-wasi\n\
             touch {debian}/lib/rustlib/src/rust/library/std/Cargo.toml {bin}/cargo\n\
             touch {debian}/lib/wasm32-wasi/libc.a\n\
             printf '#!/bin/sh\\necho rustc 1.96.0\\n' > {bin}/rustc\n\
             chmod +x {bin}/rustc",
            debian = debian.display(),
        )
    }

    fn find(&self) -> anyhow::Result<GuestToolchain> {
        GuestToolchain::find(&self.search, None)
    }

    fn refusal(&self) -> String {
        format!("{:#}", self.find().unwrap_err())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn variable(toolchain: &GuestToolchain, name: &str) -> Option<OsString> {
    let command = toolchain.cargo_build(Path::new("/sources"));
    let mut variables = command.get_envs();
    variables
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| value.map(ToOwned::to_owned))
}

#[test]
fn an_installed_target_is_taken_first() {
    let machine = Machine::new("installed");
    fs::create_dir(machine.folder.join("toolchain/wasm32-wasip2")).unwrap();
    machine.program("bin/rustup", &machine.noted("exit 0"));

    let toolchain = machine.find().unwrap();

    assert_eq!(toolchain.way(), Way::Installed);
    assert_eq!(
        toolchain.cargo_build(Path::new("/sources")).get_program(),
        "cargo"
    );
    assert_eq!(variable(&toolchain, "RUSTC"), None);
    let flags = variable(&toolchain, "CARGO_ENCODED_RUSTFLAGS").unwrap();
    let flags = flags.to_str().unwrap();
    assert!(
        flags.starts_with("--remap-path-prefix=/sources="),
        "{flags}"
    );
    assert!(machine.runs().is_empty());
}

#[test]
fn rustup_is_asked_next() {
    let machine = Machine::new("rustup");
    let added = machine.folder.join("toolchain/wasm32-wasip2");
    machine.program(
        "bin/rustup",
        &machine.noted(&format!("mkdir {}", added.display())),
    );

    assert_eq!(machine.find().unwrap().way(), Way::Rustup);
    assert_eq!(machine.runs(), ["target add wasm32-wasip2"]);
    assert_eq!(machine.find().unwrap().way(), Way::Installed);
}

#[test]
fn a_hanging_rustup_is_stopped_and_not_tried_again() {
    let machine = Machine::new("hang");
    machine.program("bin/rustup", &machine.noted("exec sleep 60"));

    let start = Instant::now();
    assert!(machine.refusal().contains("got nowhere"));
    assert!(start.elapsed() < Duration::from_secs(20));

    assert!(machine.refusal().contains("failed before"));
    assert_eq!(machine.runs().len(), 1);

    // Asked for by name, it is.
    assert!(GuestToolchain::find(&machine.search, Some(Way::Rustup)).is_err());
    assert_eq!(machine.runs().len(), 2);
}

#[test]
fn a_slow_rustup_is_waited_for() {
    let machine = Machine::new("slow");
    let added = machine.folder.join("toolchain/wasm32-wasip2");
    machine.program(
        "bin/rustup",
        &format!(
            "for i in 1 2 3 4 5 6; do sleep 0.2; echo $i >&2; done; mkdir {}",
            added.display()
        ),
    );

    assert_eq!(machine.find().unwrap().way(), Way::Rustup);
}

#[test]
fn another_toolchain_is_another_try() {
    let machine = Machine::new("other");
    machine.program("bin/rustup", &machine.noted("exit 1"));
    assert!(machine.find().is_err());
    fs::write(machine.search.memory.join("rustup-failed"), "rustc 1.94.0").unwrap();
    assert!(machine.find().is_err());
    assert_eq!(machine.runs().len(), 2);
}

#[test]
fn debian_comes_last_and_brings_its_own_compiler() {
    let machine = Machine::new("debian");
    machine.has_linker();
    machine.program("install", &machine.debian_files());
    let installed = Command::new(machine.folder.join("install")).status();
    assert!(installed.unwrap().success());

    let toolchain = machine.find().unwrap();

    assert_eq!(toolchain.way(), Way::Debian);
    assert_ne!(toolchain.folder(), "installed");
    let cargo = machine.folder.join("debian/usr/bin/cargo");
    assert_eq!(
        Path::new(toolchain.cargo_build(Path::new("/sources")).get_program()),
        cargo
    );
    let path = variable(&toolchain, "PATH").unwrap();
    let linkers = machine.folder.join("toolchain/lib/rustlib/some-host/bin");
    assert_eq!(std::env::split_paths(&path).next(), Some(linkers));
    let flags = variable(&toolchain, "CARGO_ENCODED_RUSTFLAGS").unwrap();
    assert!(flags.to_str().unwrap().contains("usr/lib/wasm32-wasi"));
}

#[test]
fn an_ordinary_user_is_told_what_to_run() {
    let machine = Machine::new("user");
    machine.has_linker();
    machine.program("debian/usr/bin/apt-get", "exit 1");
    let refusal = machine.refusal();
    for part in [
        "rustup target add wasm32-wasip2",
        "sudo apt-get install -y --no-install-recommends rustc-web cargo-web rust-web-src \
         wasi-libc",
    ] {
        assert!(refusal.contains(part), "{refusal}");
    }
}

#[test]
fn root_installs_after_an_update_when_lists_are_missing() {
    let machine = Machine::new("root");
    machine.has_linker();
    machine.program("bin/id", "echo 0");
    machine.program("debian/usr/bin/apt-get", "");
    machine.program(
        "bin/apt-get",
        &machine.noted(&format!(
            "case \"$*\" in\n\
             *update*) touch {folder}/lists ;;\n\
             *) [ -e {folder}/lists ] || exit 100\n{install} ;;\n\
             esac",
            folder = machine.folder.display(),
            install = machine.debian_files(),
        )),
    );

    assert_eq!(machine.find().unwrap().way(), Way::Debian);
    let runs = machine.runs();
    assert_eq!(runs.len(), 3, "{runs:?}");
    assert_eq!(runs.get(1).map(String::as_str), Some("-q update"));
}

#[test]
fn a_machine_with_nothing_hears_every_reason() {
    let machine = Machine::new("nothing");
    let refusal = machine.refusal();
    for part in ["installed: ", "rustup: ", "debian: ", "wasm-component-ld"] {
        assert!(refusal.contains(part), "{refusal}");
    }
}
