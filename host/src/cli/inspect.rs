//! `inspect`: what a module exports and imports.

use std::path::{Path, PathBuf};

use clap::Args;
use rpc_host_client::{FunctionEntry, ImportEntry, ImportStanding, Inspection};

use super::connect::Connect;
use super::print::Output;
use super::problem::Problem;
use super::registrations::about_name;
use super::table::{Table, size};
use super::upload::read_module;

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// A registration; or a file, which is looked at here, without a node
    #[arg(value_name = "NAME|FILE")]
    target: String,
    /// Print only the module's world, as WIT
    #[arg(long, conflicts_with = "output")]
    wit: bool,
    #[command(flatten)]
    output: Output,
}

impl Inspect {
    pub(crate) fn is_offline(&self) -> bool {
        is_file(&self.target)
    }

    pub(crate) fn run_offline(self) -> Result<(), Problem> {
        let path = PathBuf::from(&self.target);
        let bytes = read_module(&path)?;
        let inspection = inspect_component(&bytes).map_err(|error| in_file(&path, &error))?;
        self.print(&inspection)
    }

    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let inspection = connect.client().await?.inspect(&self.target).await;
        let inspection = inspection.map_err(|error| {
            let problem = about_name(error);
            match Path::new(&self.target).is_file() {
                true => problem.or_hint(format!("`./{}` is the file", self.target)),
                false => problem,
            }
        })?;
        self.print(&inspection)
    }

    fn print(self, inspection: &Inspection) -> Result<(), Problem> {
        if self.wit {
            return super::print::stdout(&inspection.wit);
        }
        self.output.print(inspection, text)
    }
}

fn inspect_component(bytes: &[u8]) -> Result<Inspection, String> {
    rpc_host::inspect_component(bytes).map_err(|error| error.to_string())
}

/// Whether a file is meant: a path, or the name of a file of WebAssembly. The name of an interface
/// has a slash too, but a colon before it.
pub(crate) fn is_file(target: &str) -> bool {
    target.starts_with(['.', '/'])
        || target.ends_with(".wasm")
        || target.contains('/') && !target.contains(':')
}

pub(crate) fn in_file(path: &Path, problem: &str) -> Problem {
    Problem::new(format!("{}: {problem}", path.display()))
}

fn text(inspection: &Inspection) -> String {
    let mut text = Table::of_pairs([
        ("module", inspection.digest.clone()),
        ("size", size(inspection.size_bytes)),
    ])
    .to_string();
    text += "\nexports\n";
    text += &exports(&inspection.exports);
    text += "\nimports\n";
    text += &imports(&inspection.imports);
    text
}

fn exports(functions: &[FunctionEntry]) -> String {
    if functions.is_empty() {
        return "  none: there is nothing to call\n".to_owned();
    }
    let mut text = String::new();
    let mut interface = None;
    for function in functions {
        if interface != function.interface {
            interface.clone_from(&function.interface);
            if let Some(interface) = &interface {
                text += &format!("  {interface}\n");
            }
        }
        let indent = if interface.is_some() { "    " } else { "  " };
        text += &format!("{indent}{}: {}\n", function.name, function.signature);
    }
    text
}

fn imports(imports: &[ImportEntry]) -> String {
    if imports.is_empty() {
        return "  none\n".to_owned();
    }
    let rows = imports.iter().map(|import| {
        let standing = match import.standing {
            ImportStanding::Granted => "granted",
            ImportStanding::Inert => "inert",
            ImportStanding::Bound => "bound",
            ImportStanding::TypesOnly => "types only",
            ImportStanding::Unbound => "unbound",
            ImportStanding::Refused => "refused",
        };
        [
            format!("  {}", import.name),
            standing.to_owned(),
            import.note.clone(),
        ]
    });
    Table::plain(rows).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_told_from_a_registration() {
        for file in ["calc.wasm", "./calc", "../calc", "/tmp/calc", "target/calc"] {
            assert!(is_file(file), "{file}");
        }
        for name in ["calc", "acme:log/logger@1.0.0"] {
            assert!(!is_file(name), "{name}");
        }
    }

    #[test]
    fn a_module_is_shown_with_what_it_exports_and_imports() {
        let function = |interface: Option<&str>, name: &str, signature: &str| FunctionEntry {
            interface: interface.map(str::to_owned),
            name: name.to_owned(),
            signature: signature.to_owned(),
        };
        let import = |name: &str, standing, note: &str| ImportEntry {
            name: name.to_owned(),
            standing,
            note: note.to_owned(),
        };
        let inspection = Inspection {
            digest: "sha256:00".to_owned(),
            size_bytes: 63_000,
            wit: String::new(),
            exports: vec![
                function(None, "run", "func()"),
                function(Some("demo:calc/calc"), "add", "func(a: s64, b: s64) -> s64"),
                function(Some("demo:calc/calc"), "sub", "func(a: s64, b: s64) -> s64"),
            ],
            imports: vec![
                import(
                    "rpc-host:log/log",
                    ImportStanding::Inert,
                    "needs the grant `log`",
                ),
                import("wasi:io/error@0.2.3", ImportStanding::Granted, "served"),
            ],
        };
        assert_eq!(
            text(&inspection),
            "module:  sha256:00\n\
             size:    61.5 KiB\n\
             \n\
             exports\n\
             \x20 run: func()\n\
             \x20 demo:calc/calc\n\
             \x20   add: func(a: s64, b: s64) -> s64\n\
             \x20   sub: func(a: s64, b: s64) -> s64\n\
             \n\
             imports\n\
             \x20 rpc-host:log/log     inert    needs the grant `log`\n\
             \x20 wasi:io/error@0.2.3  granted  served\n"
        );
        assert_eq!(exports(&[]), "  none: there is nothing to call\n");
        assert_eq!(imports(&[]), "  none\n");
    }
}
