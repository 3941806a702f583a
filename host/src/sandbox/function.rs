//! The functions of a component, and how a call names one of them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::{fmt, slice};

use rpc_host_protocol::Signature;
use rpc_host_protocol::cbor::MAX_ENVELOPE_DEPTH;
use rpc_host_protocol::operation::{Description, FunctionDescription, ResourceDescription};
use rpc_host_protocol::types::Name;

use super::interface::is_compatible;
use super::{Resource, SandboxError};

/// A function that a component exports.
#[derive(Clone, Debug)]
pub struct Function {
    /// The interface that it is in; `None` at world level.
    pub interface: Option<Arc<str>>,
    /// Its name as in WIT, `[method]…` and the like included.
    pub name: Arc<str>,
    /// What it takes and gives.
    pub signature: Signature,
    /// What its author says about it.
    pub docs: Option<Arc<str>>,
}

impl Function {
    pub(super) fn new(interface: Option<Arc<str>>, name: Arc<str>, signature: Signature) -> Self {
        Function {
            interface,
            name,
            signature,
            docs: None,
        }
    }

    /// The same, about which its author says this.
    pub(super) fn with_docs(mut self, docs: Option<&str>) -> Self {
        self.docs = docs.map(Arc::from);
        self
    }

    /// The same as data. Types may be deeper than a message: then that is said in their place, so that the other
    /// functions can be told.
    pub fn describe(&self) -> FunctionDescription {
        let levels = self.signature.levels();
        let fits = levels <= MAX_ENVELOPE_DEPTH - LEVELS_AROUND;
        let signature = fits.then(|| self.signature.clone());
        FunctionDescription {
            interface: self.interface.as_deref().map(str::to_owned),
            name: self.name.to_string(),
            signature: signature.unwrap_or_default(),
            undescribed: (!fits).then(|| {
                let most = MAX_ENVELOPE_DEPTH - LEVELS_AROUND;
                format!("its types take {levels} levels as data, and {most} can be told")
            }),
            docs: self.docs.as_deref().map(str::to_owned),
        }
    }

    /// The resource that it is of: whose constructor, method or static it is.
    pub fn of_resource(&self) -> Option<&str> {
        let (kind, rest) = self.name.strip_prefix('[')?.split_once(']')?;
        match kind {
            "constructor" => Some(rest),
            "method" | "static" => rest.split_once('.').map(|(resource, _)| resource),
            _ => None,
        }
    }

    /// A resource that it takes or gives, as far as its interface tells.
    pub fn resource(&self, name: &Name) -> Resource {
        Resource {
            interface: self.interface.clone(),
            name: name.clone(),
        }
    }

    /// Its name as a call may say it: a method or static of a resource without the word that says so.
    fn spoken_name(&self) -> &str {
        let of_resource = ["[method]", "[static]"];
        let mut spoken = of_resource
            .iter()
            .filter_map(|word| self.name.strip_prefix(word));
        spoken.next().unwrap_or(&self.name)
    }

    /// Whether `path` is all of it, which is what it is shown as.
    fn is_at(&self, path: &str) -> bool {
        match &self.interface {
            None => *path == *self.name,
            Some(interface) => {
                let rest = path.strip_prefix(&**interface);
                rest.and_then(|rest| rest.strip_prefix('.')) == Some(&*self.name)
            }
        }
    }

    /// Whether a call may say `path` for this function: its name alone, or behind the interface in any
    /// of the forms `demo:calc/calc@0.1.0`, `demo:calc/calc`, `calc@0.1.0` and `calc`.
    fn answers_to(&self, path: &str) -> bool {
        if path == &*self.name || path == self.spoken_name() {
            return true;
        }
        let without_version = |name| str::split_once(name, '@').map_or(name, |(name, _)| name);
        self.behind(path).is_some_and(|(before, [full, short])| {
            [full, without_version(full), short, without_version(short)].contains(&before)
        })
    }

    /// Whether it answers for `path`, which names a version that is not there: a module may move on to a
    /// later one that is compatible, and whoever names the earlier one goes on calling.
    fn answers_for(&self, path: &str) -> bool {
        self.behind(path).is_some_and(|(before, forms)| {
            forms.into_iter().any(|form| is_compatible(before, form))
        })
    }

    /// What stands before this function's name in `path`, and what its interface is called, in full and
    /// without the package.
    fn behind<'p>(&self, path: &'p str) -> Option<(&'p str, [&str; 2])> {
        let before = path.strip_suffix(&*self.name);
        let before = before.or_else(|| path.strip_suffix(self.spoken_name()));
        let before = before?.strip_suffix('.')?;
        let full = self.interface.as_deref()?;
        let short = full.rsplit_once('/').map_or(full, |(_, short)| short);
        Some((before, [full, short]))
    }
}

impl fmt::Display for Function {
    /// The full path, which is never ambiguous.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            None => f.write_str(&self.name),
            Some(interface) => write!(f, "{interface}.{}", self.name),
        }
    }
}

/// All functions of a component.
#[derive(Clone, Debug)]
pub struct Functions(Vec<Function>);

impl FromIterator<Function> for Functions {
    fn from_iter<I: IntoIterator<Item = Function>>(functions: I) -> Self {
        Functions(functions.into_iter().collect())
    }
}

/// Levels of a description around a signature: of all of it, of its functions, and of one of them.
const LEVELS_AROUND: u32 = 3;

/// How many functions an error lists.
const MAX_HINTS: usize = 8;

impl Functions {
    pub(crate) fn new(functions: Vec<Function>) -> Self {
        Functions(functions)
    }

    /// One more.
    pub(crate) fn push(&mut self, function: Function) {
        self.0.push(function);
    }

    /// In the order of the component.
    pub fn iter(&self) -> impl Iterator<Item = &Function> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Function> {
        self.0.get(index)
    }

    /// All of them as data, or the one that `path` names, with the resources that they are of; with all of them,
    /// these resources as well.
    ///
    /// # Errors
    /// When there is no such function.
    pub fn describe(
        &self,
        path: Option<&str>,
        more: &[Resource],
    ) -> Result<Description, SandboxError> {
        let (functions, more) = match path {
            None => (self.0.as_slice(), more),
            Some(path) => (slice::from_ref(self.find(path)?.1), &[][..]),
        };
        let of_functions = functions.iter().filter_map(|function| {
            let resource = function.of_resource()?;
            Some((function.interface.as_deref(), resource))
        });
        let more = more
            .iter()
            .map(|one| (one.interface.as_deref(), &*one.name));
        let mut known = HashSet::new();
        let resources = of_functions.chain(more).filter(|one| known.insert(*one));
        let resources = resources.map(|(interface, name)| ResourceDescription {
            interface: interface.map(str::to_owned),
            name: name.to_owned(),
            docs: None,
        });
        Ok(Description {
            resources: resources.collect(),
            functions: functions.iter().map(Function::describe).collect(),
            docs: None,
        })
    }

    /// The one function that `path` names. Names with `_` are taken for those with `-`, which WIT
    /// never confuses, so that callers may use the spelling of their language.
    pub fn find(&self, path: &str) -> Result<(usize, &Function), SandboxError> {
        let kebab = match path.contains('_') {
            true => Cow::Owned(path.replace('_', "-")),
            false => Cow::Borrowed(path),
        };
        // A full path is exact, and at world level the bare name is one.
        let exact = self.0.iter().position(|function| function.is_at(&kebab));
        if let Some((index, function)) = exact.and_then(|index| Some((index, self.0.get(index)?))) {
            return Ok((index, function));
        }
        self.only(path, |function| function.answers_to(&kebab))
            .or_else(|| self.only(path, |function| function.answers_for(&kebab)))
            .unwrap_or_else(|| Err(self.not_found(path)))
    }

    /// The one function that `path` can mean, if it can mean any.
    fn only(
        &self,
        path: &str,
        is_meant: impl Fn(&Function) -> bool,
    ) -> Option<Result<(usize, &Function), SandboxError>> {
        let all = self.0.iter().enumerate();
        let mut found = all.filter(|(_, function)| is_meant(function));
        Some(match (found.next()?, found.next()) {
            (only, None) => Ok(only),
            (first, Some(second)) => Err(SandboxError::Ambiguous {
                function: path.to_owned(),
                candidates: [first, second]
                    .into_iter()
                    .chain(found)
                    .take(MAX_HINTS)
                    .map(|(_, function)| function.to_string())
                    .collect(),
            }),
        })
    }

    /// The function that answers an imported one: of the same name, in an interface that answers for the
    /// imported one's. Whether it takes and gives the same is not looked at.
    pub fn answering(&self, imported: &Function) -> Option<(usize, &Function)> {
        let mut candidates = self.0.iter().enumerate().filter(|(_, function)| {
            function.name == imported.name
                && match (&imported.interface, &function.interface) {
                    (None, None) => true,
                    (Some(imported), Some(exported)) => is_compatible(imported, exported),
                    _ => false,
                }
        });
        let first = candidates.next()?;
        let is_exact = |candidate: &(usize, &Function)| candidate.1.interface == imported.interface;
        if is_exact(&first) {
            return Some(first);
        }
        Some(candidates.find(is_exact).unwrap_or(first))
    }

    fn not_found(&self, path: &str) -> SandboxError {
        let hint = if self.0.is_empty() {
            "; the component exports no functions".to_owned()
        } else {
            let names: Vec<_> = self
                .0
                .iter()
                .take(MAX_HINTS)
                .map(Function::to_string)
                .collect();
            let more = self.0.len().saturating_sub(MAX_HINTS);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            format!("; there are {}{more}", names.join(", "))
        };
        SandboxError::NoFunction {
            function: path.to_owned(),
            hint,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn functions(names: &[(&str, &str)]) -> Functions {
        let make = |(interface, name): &(&str, &str)| {
            let interface = (!interface.is_empty()).then(|| Arc::from(*interface));
            Function::new(interface, Arc::from(*name), Signature::default())
        };
        Functions::new(names.iter().map(make).collect())
    }

    #[test]
    fn a_function_answers_to_all_its_names() {
        let all = functions(&[
            ("demo:calc/calc@0.1.0", "add"),
            ("demo:calc/calc@0.1.0", "line-length"),
            ("", "run"),
        ]);
        for path in [
            "add",
            "calc.add",
            "calc@0.1.0.add",
            "demo:calc/calc.add",
            "demo:calc/calc@0.1.0.add",
        ] {
            assert_eq!(all.find(path).unwrap().0, 0, "{path}");
        }
        for function in all.iter() {
            assert!(function.is_at(&function.to_string()), "{function}");
        }
        assert_eq!(all.find("line_length").unwrap().0, 1);
        assert_eq!(all.find("run").unwrap().0, 2);
        for path in [
            "",
            "ad",
            "alc.add",
            "calc.run",
            "demo:calc/calc@0.2.0.add",
            ".add",
        ] {
            assert!(
                matches!(all.find(path), Err(SandboxError::NoFunction { .. })),
                "{path}"
            );
        }
    }

    #[test]
    fn what_belongs_to_a_resource_is_named_with_the_word_for_it_or_without() {
        let all = functions(&[
            ("a:b/counters@0.1.0", "[constructor]counter"),
            ("a:b/counters@0.1.0", "[method]counter.add"),
            ("a:b/counters@0.1.0", "[static]counter.merge"),
            ("a:b/counters@0.1.0", "counter"),
        ]);
        for (path, index) in [
            ("[constructor]counter", 0),
            ("counters.[constructor]counter", 0),
            ("[method]counter.add", 1),
            ("counter.add", 1),
            ("counters.counter.add", 1),
            ("a:b/counters@0.1.0.counter.add", 1),
            ("a:b/counters@0.1.0.[method]counter.add", 1),
            ("counter.merge", 2),
            ("counter", 3),
        ] {
            assert_eq!(all.find(path).unwrap().0, index, "{path}");
        }
        for path in ["[static]counter.add", "add", "counter.new"] {
            assert!(all.find(path).is_err(), "{path}");
        }
    }

    #[test]
    fn an_earlier_version_in_a_path_means_a_compatible_one() {
        let all = functions(&[("demo:calc/calc@0.1.3", "add"), ("a:b/x@1.2.0", "go")]);
        for path in ["demo:calc/calc@0.1.0.add", "calc@0.1.0.add"] {
            assert_eq!(all.find(path).unwrap().0, 0, "{path}");
        }
        assert!(all.find("x@1.0.0.go").is_ok());
        for path in ["calc@0.2.0.add", "other:calc/calc@0.1.0.add", "x@2.0.0.go"] {
            assert!(all.find(path).is_err(), "{path}");
        }
        let both = functions(&[
            ("demo:calc/calc@0.1.1", "add"),
            ("demo:calc/calc@0.1.2", "add"),
        ]);
        assert_eq!(both.find("calc@0.1.2.add").unwrap().0, 1);
        assert!(matches!(
            both.find("calc@0.1.0.add"),
            Err(SandboxError::Ambiguous { .. })
        ));
    }

    #[test]
    fn an_import_is_answered_by_its_own_version_before_a_compatible_one() {
        let all = functions(&[
            ("a:b/log@0.1.3", "go"),
            ("a:b/log@0.1.0", "go"),
            ("", "run"),
        ]);
        let imported = |interface: &str, name: &str| {
            let functions = functions(&[(interface, name)]);
            all.answering(functions.get(0).unwrap())
                .map(|(index, _)| index)
        };
        assert_eq!(imported("a:b/log@0.1.0", "go"), Some(1));
        assert_eq!(imported("a:b/log@0.1.1", "go"), Some(0));
        assert_eq!(imported("", "run"), Some(2));
        assert_eq!(imported("a:b/log@0.2.0", "go"), None);
        assert_eq!(imported("a:b/log@0.1.0", "stop"), None);
        assert_eq!(imported("", "go"), None);
    }

    #[test]
    fn a_short_name_for_two_functions_is_refused_with_both() {
        let all = functions(&[
            ("a:b/one", "go"),
            ("a:b/two", "go"),
            ("a:c/two@1.0.0", "go"),
        ]);
        assert!(all.find("one.go").is_ok());
        let error = all.find("go").unwrap_err().to_string();
        assert!(error.contains("a:b/one.go, a:b/two.go"), "{error}");
        assert!(
            matches!(all.find("two.go"), Err(SandboxError::Ambiguous { candidates, .. }) if candidates.len() == 2)
        );
        assert_eq!(all.find("a:c/two.go").unwrap().0, 2);
        // At world level the bare name is the full path.
        assert_eq!(
            functions(&[("a:b/one", "go"), ("", "go")])
                .find("go")
                .unwrap()
                .0,
            1
        );
    }
}
