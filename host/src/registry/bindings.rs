//! Which registration answers which import.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::{RegistrationName, RegistryError};

const MAX_BINDINGS: usize = 64;
/// Imports of one module that registrations answer: so many are looked at for each registration when
/// another one changes.
const MAX_IMPORTS_BOUND: usize = 64;
const MAX_CHARACTERS: usize = 256;

/// The name of an import as a component states it: `acme:log/logger@1.0.0`, `log`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImportName(String);

impl ImportName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The imports of one module that registrations answer.
    ///
    /// # Errors
    /// When there are too many, or one is not named as an import can be.
    pub fn collect<'a>(names: impl Iterator<Item = &'a str>) -> Result<Arc<[Self]>, RegistryError> {
        let imports: Arc<[Self]> = names.map(str::parse).collect::<Result<_, _>>()?;
        if imports.len() > MAX_IMPORTS_BOUND {
            return Err(RegistryError::TooManyImports {
                found: imports.len(),
                limit: MAX_IMPORTS_BOUND,
            });
        }
        Ok(imports)
    }
}

impl FromStr for ImportName {
    type Err = RegistryError;

    fn from_str(text: &str) -> Result<Self, RegistryError> {
        let of_the_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"-:/.@+".contains(&byte);
        let begins_well = text.starts_with(|first: char| first.is_ascii_alphabetic());
        if !begins_well || text.len() > MAX_CHARACTERS || !text.bytes().all(of_the_alphabet) {
            return Err(RegistryError::InvalidImport);
        }
        Ok(Self(text.to_owned()))
    }
}

/// So that a look-up by the text of a component allocates nothing.
impl Borrow<str> for ImportName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ImportName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Imports and who answers them. The default is that nobody does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings(BTreeMap<ImportName, RegistrationName>);

impl Bindings {
    /// Collects bindings.
    ///
    /// # Errors
    /// When one import is bound twice, or there are too many.
    pub fn collect(
        bindings: impl IntoIterator<Item = (ImportName, RegistrationName)>,
    ) -> Result<Self, RegistryError> {
        let mut collected = BTreeMap::new();
        for (import, name) in bindings {
            if collected.len() == MAX_BINDINGS {
                return Err(RegistryError::TooManyBindings {
                    limit: MAX_BINDINGS,
                });
            }
            if collected.contains_key(&import) {
                return Err(RegistryError::BoundTwice { import });
            }
            collected.insert(import, name);
        }
        Ok(Self(collected))
    }

    /// Who answers an import.
    pub fn get(&self, import: &str) -> Option<&RegistrationName> {
        self.0.get(import)
    }

    /// Under which names an import is looked for, in this order: the one that is bound to it alone, or
    /// else its own, with its version and without.
    pub fn candidates<'a>(&'a self, import: &'a str) -> impl Iterator<Item = &'a str> {
        let bound = self.get(import).map(RegistrationName::as_str);
        let without_version = import.split_once('@').map(|(name, _)| name);
        let own = [Some(import), without_version];
        let own = own.into_iter().flatten().filter(move |_| bound.is_none());
        bound.into_iter().chain(own)
    }

    /// All of them, by import.
    pub fn iter(&self) -> impl Iterator<Item = (&ImportName, &RegistrationName)> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(imports: impl IntoIterator<Item = String>) -> Result<Bindings, RegistryError> {
        let bind = |import: String| (import.parse().unwrap(), "log".parse().unwrap());
        Bindings::collect(imports.into_iter().map(bind))
    }

    #[test]
    fn one_import_has_one_answer() {
        let bindings = collect(["acme:log/logger@1.0.0-rc+7".to_owned()]).unwrap();
        let answering = bindings.get("acme:log/logger@1.0.0-rc+7");
        assert_eq!(answering.unwrap().as_str(), "log");
        assert!(matches!(
            collect(["a".to_owned(), "a".to_owned()]),
            Err(RegistryError::BoundTwice { .. })
        ));
    }

    #[test]
    fn a_binding_is_the_only_answer_and_else_the_version_comes_first() {
        let bindings = collect(["a:b/log@1.0.0".to_owned()]).unwrap();
        let names = |import| bindings.candidates(import).collect::<Vec<_>>().join(" ");
        assert_eq!(names("a:b/log@1.0.0"), "log");
        assert_eq!(names("a:b/log@1.0.1"), "a:b/log@1.0.1 a:b/log");
        assert_eq!(names("hello"), "hello");
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let numbered = |count| collect((0..count).map(|number| format!("i{number}")));
        assert_eq!(numbered(MAX_BINDINGS).unwrap().iter().count(), MAX_BINDINGS);
        assert!(numbered(MAX_BINDINGS + 1).is_err());
        let imports = |count| {
            let names: Vec<_> = (0..count).map(|number| format!("i{number}")).collect();
            ImportName::collect(names.iter().map(String::as_str))
        };
        assert_eq!(imports(MAX_IMPORTS_BOUND).unwrap().len(), MAX_IMPORTS_BOUND);
        assert_eq!(
            imports(MAX_IMPORTS_BOUND + 1).unwrap_err().to_string(),
            "the module has 65 imports for registrations to answer, the most are 64"
        );
        for bad in ["", "1", "a b", "a|b", &"x".repeat(257)] {
            assert!(bad.parse::<ImportName>().is_err(), "{bad:?}");
        }
    }
}
