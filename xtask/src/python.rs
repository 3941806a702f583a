//! The Python package's tests, in a virtual environment of their own under `target/python`.
//!
//! The package is installed there as anybody would install it, so that its packaging is tried as well. Nothing is
//! written outside of the target folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::modules::{self, Voice};
use crate::step;
use crate::workspace::Workspace;

const PACKAGE: &str = "clients/python";
/// The oldest Python that the package is for.
const OLDEST: (u32, u32) = (3, 10);
/// The newest that is asked for by its name.
const NEWEST: u32 = 14;

/// Build what the tests drive, and run them, with `arguments` for pytest.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    modules::build(workspace, None, Voice::Brief)?;
    let mut build = step::cargo();
    build.args(["build", "--workspace"]);
    step::run(build.current_dir(workspace.root()))?;
    test(workspace, arguments)
}

/// Run the tests against what has been built.
pub(crate) fn test(workspace: &Workspace, arguments: &[String]) -> anyhow::Result<()> {
    let mut tests = Command::new(installed(workspace)?);
    tests
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .args(arguments)
        .current_dir(workspace.root().join(PACKAGE))
        .env("RPC_HOST_BINARY", workspace.target().join("debug/rpc-host"))
        .env("RPC_HOST_COMPONENTS", workspace.components())
        .env("PYTHONDONTWRITEBYTECODE", "1");
    step::run(&mut tests)
}

/// A Python that has the package, as it is now, and what its tests need.
pub(crate) fn installed(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let python = environment(workspace)?;
    let package = workspace.shown(&workspace.root().join(PACKAGE));
    let mut install = pip(&python);
    install.arg("install").arg(format!("{package}[test]"));
    step::run(install.current_dir(workspace.root()))?;
    // The same version may have been there, of other sources.
    let mut again = pip(&python);
    again.args(["install", "--force-reinstall", "--no-deps"]);
    again.arg(package);
    step::run(again.current_dir(workspace.root()))?;
    Ok(python)
}

fn pip(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.args(["-m", "pip", "--disable-pip-version-check", "--quiet"]);
    command
}

/// The Python of the virtual environment, which is made anew if it is not there or of another Python.
fn environment(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let interpreter = Interpreter::find()?;
    let folder = workspace.target().join("python");
    let python = folder.join("bin/python");
    if version_of(python.as_os_str()) != Some(interpreter.version) {
        let mut make = Command::new(&interpreter.program);
        make.args(["-m", "venv", "--clear"]).arg(&folder);
        step::run(make.current_dir(workspace.root())).context(
            "no virtual environment; Debian and its like have what it takes in python3-venv",
        )?;
    }
    Ok(python)
}

/// A Python that is new enough.
struct Interpreter {
    program: String,
    version: (u32, u32),
}

/// There is none. Says what was tried.
#[derive(Debug)]
struct NoPython {
    tried: Vec<String>,
}

impl fmt::Display for NoPython {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = OLDEST;
        write!(
            f,
            "no Python {major}.{minor} or newer; tried {}; set PYTHON to one",
            self.tried.join(", ")
        )
    }
}

impl std::error::Error for NoPython {}

impl Interpreter {
    /// The one that `$PYTHON` names; else `python3`; else the newest that is installed.
    fn find() -> Result<Self, NoPython> {
        match std::env::var("PYTHON") {
            Ok(named) if !named.is_empty() => Self::first_of(vec![named]),
            _ => Self::first_of(names()),
        }
    }

    fn first_of(programs: Vec<String>) -> Result<Self, NoPython> {
        let mut tried = Vec::new();
        for program in programs {
            let version = version_of(program.as_ref());
            match version {
                Some(version) if version >= OLDEST => return Ok(Self { program, version }),
                Some((major, minor)) => tried.push(format!("{program} ({major}.{minor})")),
                None => tried.push(format!("{program} (not there)")),
            }
        }
        Err(NoPython { tried })
    }
}

fn names() -> Vec<String> {
    let (major, oldest) = OLDEST;
    let numbered = (oldest..=NEWEST)
        .rev()
        .map(|minor| format!("python{major}.{minor}"));
    std::iter::once("python3".to_owned())
        .chain(numbered)
        .collect()
}

/// What a program says that its version of Python is.
fn version_of(program: &std::ffi::OsStr) -> Option<(u32, u32)> {
    let said = Command::new(program)
        .args(["-c", "import sys; print(*sys.version_info[:2])"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    parse_version(&String::from_utf8_lossy(&said.stdout))
}

fn parse_version(said: &str) -> Option<(u32, u32)> {
    let (major, minor) = said.trim().split_once(' ')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("3 11\n"), Some((3, 11)));
        assert_eq!(parse_version("3.11"), None);
        assert_eq!(parse_version(""), None);
        assert!(parse_version("3 9") < Some(OLDEST));
        assert!(parse_version("3 10") >= Some(OLDEST));
    }

    #[test]
    fn where_there_is_none_it_says_what_it_tried() {
        let error = Interpreter::first_of(vec!["/no/such/python".to_owned()]).err();
        let text = error.map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(
            text,
            "no Python 3.10 or newer; tried /no/such/python (not there); set PYTHON to one"
        );
        let names = names();
        assert_eq!(names.first().map(String::as_str), Some("python3"));
        assert_eq!(names.last().map(String::as_str), Some("python3.10"));
    }
}
