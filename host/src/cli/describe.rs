//! `describe`: what can be called under a name, with what its author says about it.

mod names;
mod python;
mod spaces;
mod stub;
mod text;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rpc_host_client::Description;

use super::connect::Connect;
use super::inspect::{in_file, is_file};
use super::print;
use super::problem::Problem;
use super::registrations::about_name;
use super::upload::read_module;

#[derive(Debug, Args)]
pub(crate) struct Describe {
    /// A registration, or a name that a client serves; or a file, which is looked at here, without a node
    #[arg(value_name = "NAME|FILE")]
    target: String,
    /// Only this function, named as in a call
    #[arg(long, value_name = "FUNCTION")]
    function: Option<String>,
    /// For people, for programs, or as the stub of a Python module
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
}

/// For whom the output is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people: signatures as in WIT
    #[default]
    Text,
    /// For programs: types as data
    Json,
    /// For type checkers and editors: what goes into a file `.pyi`
    PythonStub,
}

impl Describe {
    pub(crate) fn is_offline(&self) -> bool {
        is_file(&self.target)
    }

    pub(crate) fn run_offline(self) -> Result<(), Problem> {
        let path = PathBuf::from(&self.target);
        let bytes = read_module(&path)?;
        let description = rpc_host::describe_component(&bytes, self.function.as_deref());
        let description = description.map_err(|error| in_file(&path, &error.to_string()))?;
        let name = path.file_stem().map(|name| name.to_string_lossy());
        self.print(&name.unwrap_or_default(), &description)
    }

    pub(crate) async fn run(self, connect: &Connect) -> Result<(), Problem> {
        let client = connect.client().await?;
        let described = client.describe(&self.target, self.function.as_deref());
        let description = described.await.map_err(about_name)?;
        self.print(&self.target, &description)
    }

    fn print(&self, name: &str, description: &Description) -> Result<(), Problem> {
        match self.output {
            Format::Text => print::stdout(&text::text(description)),
            Format::Json => print::json(description),
            Format::PythonStub => print::stdout(&stub::stub(name, description)),
        }
    }
}
