//! The grammar of the command line.

use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(std::iter::once("rpc-host").chain(line.split_whitespace()))
}

#[test]
fn the_grammar_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_documented_form_is_understood() {
    for line in [
        "serve",
        "serve --config node.toml --listen [::1]:0 --data d --log-format json -v",
        "upload calc.wasm",
        "upload calc.wasm --name calc --grant log --grant kv --limit max-memory-bytes=1MiB \
         --bind acme:log/logger=log --if-revision 0 --output json",
        "upload calc.wasm --name calc --sealed --force",
        "upload counter.wasm --name counter --instancing shared",
        "swap calc --to calc.wasm",
        "swap calc --to revision:3 --if-revision 7 --force --output json",
        "rollback calc",
        "rollback calc --if-revision 7 --force --output json",
        "call calc add(2,3)",
        "call calc add(2,3) --timeout 5s --output json --profile p.toml",
        "call calc -v neg(-1)",
        "call calc add(2,3) --provide acme:log/logger=./logger --provide a:b/c=d",
        "provide acme:log/logger --exec ./logger",
        "provide acme:log/logger --exec ./logger file --lease 3s --window 4 --fallback error --wit log.wit \
         --scope tenant -- --level -v file",
        "provide acme:log/logger --exec ./logger -- --help",
        "withdraw acme:log/logger --steal",
        "promote acme:log/logger --to logger.wasm --grant log --sealed --force --output json",
        "list",
        "list --output json",
        "show calc --output text",
        "inspect calc",
        "inspect calc.wasm --wit",
        "history calc",
        "remove calc",
        "tenant create acme",
        "tenant list",
        "tenant show acme --output json",
        "tenant remove acme",
        "token create --tenant acme --role deployer --expires 30d",
        "token create",
        "token list --tenant acme",
        "token revoke abc",
        "completions bash",
        "--profile p.toml list",
    ] {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    for line in [
        "",
        "sevre",
        "serve --listen nowhere",
        "serve --log-format xml",
        "upload",
        "upload calc.wasm --grant log",
        "upload calc.wasm --name calc --limit x",
        "swap calc",
        "swap calc --to revision:first",
        "swap calc --to revision:",
        "rollback calc --to revision:1",
        "call calc",
        "call calc add(2,3) --timeout soon",
        "call calc add(2,3) --provide logger",
        "provide acme:log/logger",
        "provide --exec ./logger",
        "provide acme:log/logger --window 0 --exec ./logger",
        "provide acme:log/logger --fallback next --exec ./logger",
        "withdraw acme:log/logger",
        "promote acme:log/logger",
        "list --output yaml",
        "inspect calc --wit --output json",
        "token create --role god",
        "token create --expires 0s",
        "completions tcl",
    ] {
        let error = parse(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}: {error}");
    }
    for line in ["--help", "--version", "call --help"] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 0, "{line}");
    }
}

#[test]
fn a_program_has_arguments_of_its_own() {
    for (line, expected) in [
        ("--exec ./p", "./p"),
        ("--exec ./p a b --lease 7s", "./p a b"),
        ("--exec ./p --lease 7s -- --lease 7", "./p --lease 7"),
        ("--exec ./p a -- -- -b", "./p a -- -b"),
    ] {
        let cli = parse(&format!("provide n {line}")).unwrap();
        let Command::Provide(provide) = cli.command else {
            panic!("{line}");
        };
        let expected: Vec<_> = expected.split(' ').map(std::ffi::OsString::from).collect();
        assert_eq!(provide.command(), expected, "{line}");
    }
}
