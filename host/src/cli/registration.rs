//! What a registration says besides its name and module, as flags.

use std::collections::BTreeMap;

use clap::Args;
use rpc_host_client::{Instancing, Options};

use super::problem::Problem;

/// The flags. They make sense with a `name` only.
#[derive(Debug, Args)]
pub(crate) struct Registration {
    /// What the module may do, such as log or kv:cache=rw; may be repeated. Without any, it can only compute
    #[arg(long = "grant", value_name = "GRANT", requires = "name")]
    grants: Vec<String>,
    /// A limit below the node's own, such as max-memory-bytes=64MiB; may be repeated
    #[arg(long = "limit", value_name = "K=V", value_parser = limit, requires = "name")]
    limits: Vec<(String, u64)>,
    /// Which registration answers an import; may be repeated
    #[arg(long = "bind", value_name = "IMPORT=NAME", value_parser = binding, requires = "name")]
    bindings: Vec<(String, String)>,
    /// Only if this is the present revision of the name (0: there is none)
    #[arg(long, value_name = "N", requires = "name")]
    if_revision: Option<u64>,
    /// Let nothing that a session serves to itself answer its imports
    #[arg(long, requires = "name")]
    sealed: bool,
    /// How long its instances live: for a call each, for a session, or one for all
    #[arg(long, value_name = "WHAT", value_parser = instancing, requires = "name")]
    instancing: Option<Instancing>,
    /// Do it even if others that depend on the name then lack something
    #[arg(long, requires = "name")]
    force: bool,
}

impl Registration {
    pub(crate) fn options(self) -> Result<Options, Problem> {
        Ok(Options {
            grants: self.grants,
            limits: once_each("limit", self.limits)?,
            bindings: once_each("bind", self.bindings)?,
            sealed: self.sealed,
            instancing: self.instancing.unwrap_or_default(),
            if_revision: self.if_revision,
            force: self.force,
        })
    }
}

fn pair(text: &str) -> Result<(&str, &str), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key, value)),
        _ => Err("it has two parts with an equals sign between them".to_owned()),
    }
}

fn binding(text: &str) -> Result<(String, String), String> {
    pair(text).map(|(import, name)| (import.to_owned(), name.to_owned()))
}

fn instancing(text: &str) -> Result<Instancing, String> {
    const ALL: [Instancing; 3] = [Instancing::Call, Instancing::Session, Instancing::Shared];
    let found = ALL.into_iter().find(|one| one.name() == text);
    found.ok_or_else(|| format!("it is one of {}", ALL.map(Instancing::name).join(", ")))
}

pub(crate) fn limit(text: &str) -> Result<(String, u64), String> {
    const UNITS: [(&str, u64); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (name, value) = pair(text)?;
    let with_unit = UNITS
        .iter()
        .find_map(|(unit, bytes)| Some((value.strip_suffix(unit)?, *bytes)));
    let (digits, factor) = with_unit.unwrap_or((value, 1));
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("{value:?} is no whole number (of KiB, MiB or GiB)"))?;
    let number = number.checked_mul(factor);
    Ok((name.to_owned(), number.ok_or("it is too large")?))
}

/// The values of a flag that is given once for each key.
pub(crate) fn once_each<V>(
    flag: &str,
    pairs: Vec<(String, V)>,
) -> Result<BTreeMap<String, V>, Problem> {
    let mut map = BTreeMap::new();
    for (key, value) in pairs {
        if map.contains_key(&key) {
            return Err(Problem::usage(format!("--{flag} {key} is given twice")));
        }
        map.insert(key, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_bindings_are_pairs() {
        let named = |name: &str, value| Ok((name.to_owned(), value));
        assert_eq!(
            limit("max-memory-bytes=64MiB"),
            named("max-memory-bytes", 64 << 20)
        );
        assert_eq!(
            limit("max-call-timeout-ms=250"),
            named("max-call-timeout-ms", 250)
        );
        for bad in [
            "x",
            "=1",
            "x=",
            "x=1.5",
            "x=-1",
            "x=1MB",
            "x=99999999999GiB",
        ] {
            assert!(limit(bad).is_err(), "{bad}");
        }
        assert_eq!(
            binding("acme:log/logger@1.0.0=my-logger"),
            Ok(("acme:log/logger@1.0.0".to_owned(), "my-logger".to_owned()))
        );
        assert_eq!(instancing("shared"), Ok(Instancing::Shared));
        let wrong = instancing("forever").unwrap_err();
        assert_eq!(wrong, "it is one of call, session, shared");
        let twice = vec![("a".to_owned(), 1), ("a".to_owned(), 2)];
        assert!(once_each("limit", twice).is_err());
    }
}
