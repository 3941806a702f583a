//! The functions that a host may call here.

use std::collections::HashMap;

use rpc_host_protocol::operation::FunctionDescription;

/// The functions of a served name, as the host described them.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    all: Vec<FunctionDescription>,
    /// By full path, and by the bare name where one function only has it.
    by_path: HashMap<String, Option<usize>>,
}

impl Functions {
    pub(crate) fn new(all: Vec<FunctionDescription>) -> Self {
        let mut by_path = HashMap::with_capacity(all.len() * 2);
        for (index, function) in all.iter().enumerate() {
            by_path
                .entry(function.name.clone())
                .and_modify(|of_two| *of_two = None)
                .or_insert(Some(index));
        }
        for (index, function) in all.iter().enumerate() {
            // After the bare names: at world level a bare name is a full path.
            by_path.insert(path_of(function), Some(index));
        }
        Functions { all, by_path }
    }

    pub(crate) fn all(&self) -> &[FunctionDescription] {
        &self.all
    }

    /// The function of this path: `log`, or `acme:log/logger@0.1.0.log`.
    pub(crate) fn find(&self, path: &str) -> Option<&FunctionDescription> {
        let index = (*self.by_path.get(path)?)?;
        self.all.get(index)
    }
}

fn path_of(function: &FunctionDescription) -> String {
    match &function.interface {
        None => function.name.clone(),
        Some(interface) => format!("{interface}.{}", function.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_a_path_and_a_name_of_their_own() {
        let function = |interface: Option<&str>, name: &str| FunctionDescription {
            interface: interface.map(str::to_owned),
            name: name.to_owned(),
            ..FunctionDescription::default()
        };
        let functions = Functions::new(vec![
            function(Some("a:b/c@0.1.0"), "f"),
            function(Some("a:b/d@0.1.0"), "f"),
            function(Some("a:b/d@0.1.0"), "g"),
            function(None, "h"),
            function(Some("a:b/d@0.1.0"), "h"),
        ]);
        let interface = |path| functions.find(path).map(|found| found.interface.as_deref());
        assert_eq!(interface("a:b/c@0.1.0.f"), Some(Some("a:b/c@0.1.0")));
        assert_eq!(interface("f"), None, "two have it");
        assert_eq!(interface("g"), Some(Some("a:b/d@0.1.0")));
        assert_eq!(interface("h"), Some(None));
        assert_eq!(interface("i"), None);
    }
}
