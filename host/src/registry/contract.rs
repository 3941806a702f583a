//! What others count on, and what a change would leave missing of it.
//!
//! Nothing but comparing: a function that is offered against one that is wanted, by name and by the
//! structure of what it takes and gives. More functions than are wanted are always fine.

use std::collections::BTreeMap;
use std::fmt;

use super::RegistrationName;
use crate::sandbox::{Function, Functions, SandboxError};

/// How many functions a refusal names.
const MAX_NAMED_FUNCTIONS: usize = 3;
/// How many registrations it names for each.
const MAX_NAMED_DEPENDENTS: usize = 3;
/// Characters of a signature or path in it; both are an outsider's.
const MAX_SHOWN_CHARACTERS: usize = 200;

/// One function of which a change would leave something missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Gap {
    side: Side,
    function: String,
    wanted: String,
    offered: Offered,
}

/// Who would lack it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    /// Registrations that import it through the name.
    Dependents,
    /// Clients that have called it under the name.
    Clients,
    /// Those that find it at the client which serves the name.
    Served,
    /// The registration itself, which another one is to answer.
    Itself(RegistrationName),
}

/// What is in its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Offered {
    Nothing,
    Otherwise(String),
    Several,
}

/// The sum of what others count on, held against what a registration is to offer.
#[derive(Debug, Default)]
pub struct Contract {
    /// With those that import the function; none for the other sides.
    gaps: BTreeMap<Gap, Vec<RegistrationName>>,
}

/// A change that would leave something missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Breach {
    name: RegistrationName,
    gaps: Vec<(Gap, Vec<RegistrationName>)>,
}

impl Contract {
    /// That `offered` has what `by` imports.
    pub fn imports(&mut self, by: &RegistrationName, imported: &[Function], offered: &Functions) {
        for function in imported {
            if let Some(gap) = lacking(offered, function, Side::Dependents) {
                self.gaps.entry(gap).or_default().push(by.clone());
            }
        }
    }

    /// That a path which clients have called leads to as good a function in `offered` as in `present`.
    /// What leads nowhere at present, nobody counts on.
    pub fn calls(&mut self, path: &str, present: &Functions, offered: &Functions) {
        let Ok((_, wanted)) = present.find(path) else {
            return;
        };
        let offered = match offered.find(path) {
            Ok((_, found)) if found.signature == wanted.signature => return,
            Ok((_, found)) => Offered::Otherwise(shown(&found.signature)),
            Err(SandboxError::Ambiguous { .. }) => Offered::Several,
            Err(_) => Offered::Nothing,
        };
        let gap = Gap {
            side: Side::Clients,
            function: shown(path),
            wanted: shown(&wanted.signature),
            offered,
        };
        self.gaps.entry(gap).or_default();
    }

    /// That `offered` has what a client serves under the name, in whose place it is put.
    pub fn serves(&mut self, served: &Functions, offered: &Functions) {
        for function in served.iter() {
            if let Some(gap) = lacking(offered, function, Side::Served) {
                self.gaps.entry(gap).or_default();
            }
        }
    }

    /// That `answering`, which has the name `by`, has what the registration imports from it.
    pub fn needs(&mut self, imported: &[Function], by: &RegistrationName, answering: &Functions) {
        for function in imported {
            if let Some(gap) = lacking(answering, function, Side::Itself(by.clone())) {
                self.gaps.entry(gap).or_default();
            }
        }
    }

    /// Whether nothing is missing.
    ///
    /// # Errors
    /// What is missing, and for whom.
    pub fn holds(self, name: &RegistrationName) -> Result<(), Breach> {
        if self.gaps.is_empty() {
            return Ok(());
        }
        Err(Breach {
            name: name.clone(),
            gaps: self.gaps.into_iter().collect(),
        })
    }
}

fn lacking(offered: &Functions, wanted: &Function, side: Side) -> Option<Gap> {
    let offered = match offered.answering(wanted) {
        Some((_, found)) if found.signature == wanted.signature => return None,
        Some((_, found)) => Offered::Otherwise(shown(&found.signature)),
        None => Offered::Nothing,
    };
    Some(Gap {
        side,
        function: shown(wanted),
        wanted: shown(&wanted.signature),
        offered,
    })
}

fn shown(text: impl fmt::Display) -> String {
    let text = text.to_string();
    match text.char_indices().nth(MAX_SHOWN_CHARACTERS) {
        None => text,
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not changed: ", self.name)?;
        for (index, (gap, by)) in self.gaps.iter().take(MAX_NAMED_FUNCTIONS).enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            describe(f, gap, by)?;
        }
        let more = self.gaps.len().saturating_sub(MAX_NAMED_FUNCTIONS);
        if more > 0 {
            write!(f, "; and {more} more such functions")?;
        }
        f.write_str(". `--force` changes it all the same")
    }
}

fn describe(f: &mut fmt::Formatter<'_>, gap: &Gap, by: &[RegistrationName]) -> fmt::Result {
    let Gap {
        side,
        function,
        wanted,
        offered,
    } = gap;
    match (side, offered) {
        (Side::Itself(by), Offered::Otherwise(other)) => {
            write!(
                f,
                "it imports `{function}` as `{wanted}`, and `{by}` has it as `{other}`"
            )
        }
        (Side::Itself(by), _) => {
            write!(
                f,
                "it imports `{function}: {wanted}`, which `{by}` does not have"
            )
        }
        (_, Offered::Nothing) => {
            write!(f, "it would lack `{function}: {wanted}`, which ")?;
            who(f, side, by)
        }
        (_, Offered::Otherwise(other)) => {
            write!(
                f,
                "it would have `{function}` as `{other}` and not as `{wanted}`, which "
            )?;
            who(f, side, by)
        }
        (_, Offered::Several) => {
            write!(
                f,
                "it would have several functions that `{function}` can mean, and not one `{wanted}`, which "
            )?;
            who(f, side, by)
        }
    }
}

fn who(f: &mut fmt::Formatter<'_>, side: &Side, by: &[RegistrationName]) -> fmt::Result {
    match side {
        Side::Clients => return f.write_str("clients have called"),
        Side::Served => return f.write_str("its client serves"),
        Side::Dependents | Side::Itself(_) => {}
    }
    for (index, name) in by.iter().take(MAX_NAMED_DEPENDENTS).enumerate() {
        let before = match index {
            0 => "",
            _ if index.saturating_add(1) == by.len() => " and ",
            _ => ", ",
        };
        write!(f, "{before}`{name}`")?;
    }
    match by.len() {
        1 => f.write_str(" imports"),
        count if count <= MAX_NAMED_DEPENDENTS => f.write_str(" import"),
        count => write!(
            f,
            " and {} more import",
            count.saturating_sub(MAX_NAMED_DEPENDENTS)
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rpc_host_protocol::Signature;
    use rpc_host_protocol::types::{Field, Type};

    use super::*;

    fn function(interface: &str, name: &str, parameter: Option<Type>) -> Function {
        let parameters = parameter.map(|ty| Field {
            name: "level".into(),
            ty,
        });
        Function {
            interface: (!interface.is_empty()).then(|| Arc::from(interface)),
            name: name.into(),
            signature: Signature {
                parameters: parameters.into_iter().collect(),
                result: None,
            },
            docs: None,
        }
    }

    fn name(text: &str) -> RegistrationName {
        text.parse().unwrap()
    }

    const OLD: &str = "acme:log/logger@0.1.0";
    const NEW: &str = "acme:log/logger@0.1.1";

    #[test]
    fn more_functions_and_a_compatible_version_are_fine() {
        let imported = [function(OLD, "log", Some(Type::String))];
        let offered = Functions::new(vec![
            function(NEW, "flush", None),
            function(NEW, "log", Some(Type::String)),
        ]);
        let present = Functions::new(imported.to_vec());
        let mut contract = Contract::default();
        contract.imports(&name("app"), &imported, &offered);
        contract.needs(&imported, &name("other"), &offered);
        contract.serves(&present, &offered);
        for path in [
            "log",
            "logger.log",
            "acme:log/logger@0.1.0.log",
            "never-there",
        ] {
            contract.calls(path, &present, &offered);
        }
        contract.holds(&name("logger")).unwrap();
    }

    #[test]
    fn what_is_missing_or_other_is_named_with_who_depends_on_it() {
        let imported = [
            function(OLD, "flush", None),
            function(OLD, "log", Some(Type::String)),
        ];
        let present = Functions::new([&imported[..], &[function("", "run", None)]].concat());
        let offered = Functions::new(vec![
            function(OLD, "log", Some(Type::U8)),
            function("a:b/c", "run", None),
            function("a:b/d", "run", None),
        ]);
        let refused = |work: &dyn Fn(&mut Contract)| {
            let mut contract = Contract::default();
            work(&mut contract);
            contract.holds(&name("logger")).unwrap_err().to_string()
        };
        assert_eq!(
            refused(&|contract| {
                for by in ["app", "batch", "cron"] {
                    contract.imports(&name(by), &imported, &offered);
                }
                contract.imports(&name("desk"), &imported[..1], &offered);
            }),
            "`logger` is not changed: it would lack `acme:log/logger@0.1.0.flush: func()`, which `app`, \
             `batch`, `cron` and 1 more import; it would have `acme:log/logger@0.1.0.log` as `func(level: u8)` \
             and not as `func(level: string)`, which `app`, `batch` and `cron` import. `--force` changes it all \
             the same"
        );
        assert_eq!(
            refused(&|contract| {
                for path in ["flush", "log", "run"] {
                    contract.calls(path, &present, &offered);
                }
            }),
            "`logger` is not changed: it would lack `flush: func()`, which clients have called; it would have \
             `log` as `func(level: u8)` and not as `func(level: string)`, which clients have called; it would \
             have several functions that `run` can mean, and not one `func()`, which clients have called. \
             `--force` changes it all the same"
        );
        assert_eq!(
            refused(&|contract| contract.serves(&Functions::new(imported[..1].to_vec()), &offered)),
            "`logger` is not changed: it would lack `acme:log/logger@0.1.0.flush: func()`, which its client \
             serves. `--force` changes it all the same"
        );
        assert_eq!(
            refused(&|contract| contract.needs(&imported, &name("old"), &offered)),
            "`logger` is not changed: it imports `acme:log/logger@0.1.0.flush: func()`, which `old` does not \
             have; it imports `acme:log/logger@0.1.0.log` as `func(level: string)`, and `old` has it as \
             `func(level: u8)`. `--force` changes it all the same"
        );
    }

    #[test]
    fn a_refusal_is_no_longer_than_an_answer_may_be() {
        let long = |number: usize| format!("f{number}-{}", "x".repeat(100_000));
        let imported: Vec<_> = (0..100)
            .map(|number| function(OLD, &long(number), None))
            .collect();
        let offered = Functions::new(Vec::new());
        let mut contract = Contract::default();
        for number in 0..1000 {
            let by = name(&format!(
                "{:a>128}",
                number.to_string().replace(|_: char| true, "b")
            ));
            contract.imports(&by, &imported, &offered);
        }
        let refused = contract
            .holds(&name(&"n".repeat(128)))
            .unwrap_err()
            .to_string();
        assert!(refused.len() < 4096, "{}", refused.len());
        assert!(refused.contains(" and 997 more import; "), "{refused}");
        assert!(
            refused.contains("; and 97 more such functions. "),
            "{refused}"
        );
    }
}
