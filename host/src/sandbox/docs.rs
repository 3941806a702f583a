//! What the author of a component says about its exports: the doc comments of its WIT.
//!
//! The binary form of a component has no place for them, so they come in a custom section, of the component or of a
//! module in it: `package-docs`, as `wit-component` writes it, or `rpc-host:docs`, as the guest SDK does. The
//! two have one form and differ in how they name interfaces, of which the first knows only the short
//! names. What is no such text is left out; nothing about a component depends on it.

use std::collections::BTreeMap;

use rpc_host_protocol::error::printable;
use rpc_host_protocol::operation::Description;
use serde::{Deserialize, Serialize};
use wasmparser::{Parser, Payload};

use super::Function;

/// As `wit-component` writes it.
const PACKAGE_DOCS: &str = "package-docs";
/// As the guest SDK writes it.
const OWN_DOCS: &str = "rpc-host:docs";
/// Bytes of a section that is read; one that is larger is none.
const MAX_SECTION_BYTES: usize = 4 << 20;
/// Bytes of the text about one export; the rest is cut off.
pub(super) const MAX_DOC_BYTES: usize = 4 << 10;
/// Bytes of all that is kept of one component, names included.
pub(super) const MAX_DOCS_BYTES: usize = 256 << 10;

/// What is said about a component, by the names that its exports have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Docs {
    /// About the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<String>,
    /// About interfaces, by their full or their short names, and what is in them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    interfaces: BTreeMap<String, InterfaceDocs>,
    /// About functions at world level.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    funcs: BTreeMap<String, ItemDocs>,
    /// About types at world level.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    types: BTreeMap<String, ItemDocs>,
    /// What a package says about its worlds, until it is taken for what it says about the component.
    #[serde(skip_serializing)]
    worlds: BTreeMap<String, WorldDocs>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct InterfaceDocs {
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    funcs: BTreeMap<String, ItemDocs>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    types: BTreeMap<String, ItemDocs>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct ItemDocs {
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<String>,
}

/// Of what is exported; what is imported is others' to describe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct WorldDocs {
    docs: Option<String>,
    interfaces: BTreeMap<String, InterfaceDocs>,
    interface_exports: BTreeMap<String, InterfaceDocs>,
    interface_export_docs: BTreeMap<String, String>,
    funcs: BTreeMap<String, ItemDocs>,
    func_exports: BTreeMap<String, ItemDocs>,
    types: BTreeMap<String, ItemDocs>,
}

impl Docs {
    /// What the sections of a component say. Those of components within it are about what it does not export.
    pub(super) fn of_component(bytes: &[u8]) -> Docs {
        let mut docs = Docs::default();
        let mut left_bytes = MAX_DOCS_BYTES;
        let mut components_within = 0_u32;
        // One for each binary that has begun: whether it is a component within another.
        let mut open = Vec::new();
        for payload in Parser::new(0).parse_all(bytes) {
            match payload {
                Ok(Payload::ModuleSection { .. }) => open.push(false),
                Ok(Payload::ComponentSection { .. }) => {
                    open.push(true);
                    components_within += 1;
                }
                Ok(Payload::End(_)) => {
                    if open.pop() == Some(true) {
                        components_within = components_within.saturating_sub(1);
                    }
                }
                Ok(Payload::CustomSection(section))
                    if components_within == 0
                        && [PACKAGE_DOCS, OWN_DOCS].contains(&section.name())
                        && section.data().len() <= MAX_SECTION_BYTES =>
                {
                    if let Some(said) = Docs::read(section.data()) {
                        docs.add(said, &mut left_bytes);
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        docs
    }

    /// What one section says; nothing if it is none of these.
    fn read(data: &[u8]) -> Option<Docs> {
        // The version of `package-docs`; both that there are say the same here.
        let text = match data {
            [0 | 1, text @ ..] => text,
            text => text,
        };
        let mut said: Docs = serde_json::from_slice(text).ok()?;
        for (_, world) in std::mem::take(&mut said.worlds) {
            said.docs = said.docs.or(world.docs);
            for (name, docs) in world.interface_export_docs {
                let interface = said.interfaces.entry(name).or_default();
                interface.docs.get_or_insert(docs);
            }
            let exports = world.interface_exports.into_iter();
            for (name, interface) in exports.chain(world.interfaces) {
                said.interfaces.entry(name).or_insert(interface);
            }
            for (name, function) in world.func_exports.into_iter().chain(world.funcs) {
                said.funcs.entry(name).or_insert(function);
            }
            for (name, ty) in world.types {
                said.types.entry(name).or_insert(ty);
            }
        }
        Some(said)
    }

    /// Adds what nothing was said about yet, as far as there is room for it.
    fn add(&mut self, said: Docs, left_bytes: &mut usize) {
        let mut keep = |name: &str, docs: Option<String>| {
            let docs = tidied(&docs?)?;
            let bytes = name.len().saturating_add(docs.len());
            *left_bytes = left_bytes.checked_sub(bytes)?;
            Some(docs)
        };
        if self.docs.is_none() {
            self.docs = keep("", said.docs);
        }
        fn add_items(
            to: &mut BTreeMap<String, ItemDocs>,
            said: BTreeMap<String, ItemDocs>,
            keep: &mut impl FnMut(&str, Option<String>) -> Option<String>,
        ) {
            for (name, item) in said {
                if let Some(docs) = keep(&name, item.docs) {
                    to.entry(name).or_insert(ItemDocs { docs: Some(docs) });
                }
            }
        }
        add_items(&mut self.funcs, said.funcs, &mut keep);
        add_items(&mut self.types, said.types, &mut keep);
        for (name, interface) in said.interfaces {
            let docs = keep(&name, interface.docs);
            let mut kept = InterfaceDocs::default();
            add_items(&mut kept.funcs, interface.funcs, &mut keep);
            add_items(&mut kept.types, interface.types, &mut keep);
            // An empty one would still take the room of its name.
            if docs.is_none() && kept == InterfaceDocs::default() {
                continue;
            }
            let known = self.interfaces.entry(name).or_default();
            known.docs = known.docs.take().or(docs);
            for (name, item) in kept.funcs {
                known.funcs.entry(name).or_insert(item);
            }
            for (name, item) in kept.types {
                known.types.entry(name).or_insert(item);
            }
        }
    }

    /// How much it takes, more or less.
    pub(super) fn size_bytes(&self) -> usize {
        self.to_bytes().len()
    }

    /// As the compile worker hands it over, and as it lies in an artifact.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Plain maps of text into a Vec: neither side can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The same read again; nothing if it is not that.
    pub(super) fn from_bytes(bytes: &[u8]) -> Docs {
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    /// Functions with what is said about them.
    pub(super) fn added_to(&self, functions: Vec<Function>) -> Vec<Function> {
        let functions = functions.into_iter().map(|function| {
            let said = self.of_function(function.interface.as_deref(), &function.name);
            function.with_docs(said)
        });
        functions.collect()
    }

    /// Adds what is said about resources, and about the whole.
    pub(super) fn add_to(&self, description: &mut Description) {
        for resource in &mut description.resources {
            let said = self.of_type(resource.interface.as_deref(), &resource.name);
            resource.docs = said.map(str::to_owned);
        }
        description.docs = self.of_all().map(str::to_owned);
    }

    /// About the component; where nothing is said of that, about the only interface of which something is.
    fn of_all(&self) -> Option<&str> {
        let mut interfaces = self.interfaces.values();
        let only = match (interfaces.next(), interfaces.next()) {
            (Some(only), None) => only.docs.as_deref(),
            _ => None,
        };
        self.docs.as_deref().or(only)
    }

    /// About an exported function.
    fn of_function(&self, interface: Option<&str>, name: &str) -> Option<&str> {
        self.of_item(interface, |interface| match interface {
            None => self.funcs.get(name),
            Some(interface) => interface.funcs.get(name),
        })
    }

    /// About an exported resource.
    fn of_type(&self, interface: Option<&str>, name: &str) -> Option<&str> {
        self.of_item(interface, |interface| match interface {
            None => self.types.get(name),
            Some(interface) => interface.types.get(name),
        })
    }

    /// An interface goes by its full name, and where nothing is said of that, by the name that it has in its package.
    fn of_item<'d>(
        &'d self,
        interface: Option<&str>,
        item: impl Fn(Option<&'d InterfaceDocs>) -> Option<&'d ItemDocs>,
    ) -> Option<&'d str> {
        let Some(name) = interface else {
            return item(None)?.docs.as_deref();
        };
        let without_version = name.split_once('@').map_or(name, |(name, _)| name);
        let short = without_version.rsplit_once('/').map(|(_, short)| short);
        let names = [Some(name), Some(without_version), short].into_iter();
        let interfaces = names.flatten().filter_map(|name| self.interfaces.get(name));
        let mut said = interfaces.filter_map(|interface| item(Some(interface))?.docs.as_deref());
        said.next()
    }
}

/// A text that may be printed, line by line; nothing if it says nothing.
pub(super) fn tidied(text: &str) -> Option<String> {
    let mut tidied = String::new();
    for line in text.trim().lines() {
        if !tidied.is_empty() {
            tidied.push('\n');
        }
        let left_bytes = MAX_DOC_BYTES.saturating_sub(tidied.len());
        if left_bytes < 8 {
            break;
        }
        tidied.push_str(&printable(line.trim_end(), left_bytes));
    }
    let length = tidied.trim_end().len();
    tidied.truncate(length);
    (!tidied.is_empty()).then_some(tidied)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component without any export, with these sections; `inner` ones in a module in it, and `foreign` ones in a
    /// component in it.
    fn component(outer: &[&str], inner: &[&str], foreign: &[&str]) -> Vec<u8> {
        let sections = |texts: &[&str]| -> String {
            let one = |text: &&str| {
                let (name, text) = text.split_once('=').unwrap();
                let bytes: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
                format!("(@custom \"{name}\" \"{bytes}\")")
            };
            texts.iter().map(one).collect()
        };
        let [outer, inner, foreign] = [outer, inner, foreign].map(sections);
        let text = format!("(component {outer} (core module {inner}) (component {foreign}))");
        wat::parse_str(text).unwrap()
    }

    #[test]
    fn what_is_said_is_found_by_full_and_by_short_names() {
        let package = r#"package-docs={"docs": "not of the component", "interfaces": {
            "calc": {"docs": "Sums.", "funcs": {"add": {"docs": "The sum."}}},
            "other": {"types": {"counter": {"docs": "Counts."}}}}}"#;
        let world = "package-docs=\u{1}{\"worlds\": {\"root\": {\"docs\": \"All.\",
            \"interface_export_docs\": {\"a:b/calc@1.0.0\": \"Never: it is there already.\"},
            \"interface_exports\": {\"inline\": {\"funcs\": {\"f\": {\"docs\": \"Inline.\"}}}},
            \"func_exports\": {\"run\": {\"docs\": \"Runs.\", \"stability\": \"unknown\"}}, \"new\": 1}}}";
        let own = r#"rpc-host:docs={"interfaces": {"a:b/late@1.0.0": {"funcs": {
            "[method]x.y": {"docs": "A method."}}}, "calc": {"docs": "Never.", "funcs": {
            "add": {"docs": "Never."}, "sub": {"docs": "The difference."}}}}}"#;
        let docs = Docs::of_component(&component(&[package, world], &[own], &[]));
        let docs = Docs::from_bytes(&docs.to_bytes());
        let calc = Some("a:b/calc@1.0.0");
        assert_eq!(docs.of_function(calc, "add"), Some("The sum."));
        assert_eq!(docs.of_function(Some("x:y/calc"), "add"), Some("The sum."));
        assert_eq!(docs.of_function(None, "add"), None);
        assert_eq!(docs.of_function(calc, "sub"), Some("The difference."));
        assert_eq!(docs.of_function(calc, "mul"), None);
        assert_eq!(docs.of_function(Some("inline"), "f"), Some("Inline."));
        assert_eq!(docs.of_function(None, "run"), Some("Runs."));
        let late = Some("a:b/late@1.0.0");
        assert_eq!(docs.of_function(late, "[method]x.y"), Some("A method."));
        assert_eq!(
            docs.of_function(Some("c:d/late@1.0.0"), "[method]x.y"),
            None
        );
        assert_eq!(docs.of_type(Some("a:b/other"), "counter"), Some("Counts."));
        assert_eq!(docs.of_all(), Some("not of the component"));
        let only = r#"rpc-host:docs={"interfaces": {"a:b/calc": {"docs": "Sums."}}}"#;
        let only = Docs::of_component(&component(&[only], &[], &[]));
        assert_eq!(only.of_all(), Some("Sums."));
    }

    #[test]
    fn what_is_no_such_text_is_left_out_and_what_is_too_much_is_cut() {
        let good = r#"rpc-host:docs={"funcs": {"f": {"docs": "Said."}}}"#;
        for bad in [
            "package-docs=",
            "package-docs=\u{7}{}",
            "package-docs=not json",
            "package-docs=[]",
            r#"package-docs={"funcs": {"f": "text"}}"#,
            r#"package-docs={"funcs": {"f": {"docs": 7}}}"#,
            r#"rpc-host:docs={"interfaces": null}"#,
        ] {
            let docs = Docs::of_component(&component(&[bad, good], &[], &[]));
            assert_eq!(docs.of_function(None, "f"), Some("Said."), "{bad}");
        }
        let foreign = Docs::of_component(&component(&[], &[], &[good]));
        assert_eq!(foreign, Docs::default());
        assert_eq!(Docs::of_component(b"\0asm"), Docs::default());

        let said = format!(
            "rpc-host:docs={}",
            serde_json::json!({"funcs": {
                "long": {"docs": "é".repeat(MAX_DOC_BYTES)},
                "odd": {"docs": "\n  one \u{1b}[2J\t\n\n two\u{202e} \n\n"},
                "silent": {"docs": " \n\n "},
            }})
        );
        let docs = Docs::of_component(&component(&[&said], &[], &[]));
        let long = docs.of_function(None, "long").unwrap();
        assert!(long.len() <= MAX_DOC_BYTES && long.ends_with('…'));
        let odd = docs.of_function(None, "odd");
        assert_eq!(odd, Some("one \\u{1b}[2J\n\n two\\u{202e}"));
        assert_eq!(docs.of_function(None, "silent"), None);

        let many = (0..1000).map(|number| {
            let docs = serde_json::json!({"docs": "x".repeat(MAX_DOC_BYTES / 2)});
            (format!("f{number:03}"), docs)
        });
        let many: serde_json::Map<_, _> = many.collect();
        let said = format!("rpc-host:docs={}", serde_json::json!({"funcs": many}));
        let docs = Docs::of_component(&component(&[&said], &[], &[]));
        let kept = docs.funcs.len() * (MAX_DOC_BYTES / 2);
        assert!(
            (MAX_DOCS_BYTES / 2..MAX_DOCS_BYTES).contains(&kept),
            "{kept}"
        );
        assert!(docs.size_bytes() < 2 * MAX_DOCS_BYTES);
    }
}
