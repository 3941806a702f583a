//! The doc comments of WIT, which the binary form of a component has no place for, as a section of their own.
//!
//! It is for the host to show and changes nothing else, so whatever cannot be read is left out: what is wrong with the
//! WIT, the bindings say.

use std::path::{Path, PathBuf};

use proc_macro2::{Literal, TokenStream, TokenTree};
use quote::quote;
use syn::LitStr;
use wit_parser::{Docs, TypeDefKind, UnresolvedPackage, UnresolvedPackageGroup, WorldItem};

/// The section for the WIT that these options of `generate!` mean.
pub(crate) fn of_options(options: TokenStream) -> TokenStream {
    let options = Options::read(options);
    let mut said = Said::default();
    for group in options.groups() {
        for package in [&group.main].into_iter().chain(&group.nested) {
            said.add(package, options.world.as_deref());
        }
    }
    let json = said.json();
    if json == "{}" {
        return TokenStream::new();
    }
    let json = Literal::byte_string(json.as_bytes());
    quote!(::rpc_guest::__docs_section! { #json })
}

/// Where the WIT is, and which world is meant.
#[derive(Default)]
struct Options {
    inline: Option<String>,
    paths: Vec<String>,
    world: Option<String>,
}

impl Options {
    fn read(options: TokenStream) -> Self {
        let mut read = Options::default();
        let mut key = None;
        for token in options {
            match token {
                TokenTree::Ident(ident) => key = Some(ident.to_string()),
                TokenTree::Punct(_) => {}
                TokenTree::Literal(literal) => {
                    if let (Some(key), Some(text)) = (key.take(), text(literal)) {
                        read.set(&key, text);
                    }
                }
                TokenTree::Group(group) => {
                    let key = key.take().unwrap_or_default();
                    for token in group.stream() {
                        if let TokenTree::Literal(literal) = token
                            && let Some(text) = text(literal)
                            && key == "path"
                        {
                            read.set(&key, text);
                        }
                    }
                }
            }
        }
        read
    }

    fn set(&mut self, key: &str, text: String) {
        match key {
            "inline" => self.inline = Some(text),
            "path" => self.paths.push(text),
            "world" => self.world = Some(text),
            _ => {}
        }
    }

    fn groups(&self) -> Vec<UnresolvedPackageGroup> {
        let root = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = root.unwrap_or_default();
        let mut groups = Vec::new();
        if let Some(inline) = &self.inline {
            groups.extend(UnresolvedPackageGroup::parse("inline", inline));
        }
        let usual = ["wit".to_owned()];
        let paths = match (&self.inline, self.paths.as_slice()) {
            (None, []) => &usual,
            (_, paths) => paths,
        };
        groups.extend(paths.iter().filter_map(|path| parse(&root.join(path))));
        groups
    }
}

fn text(literal: Literal) -> Option<String> {
    let literal: LitStr = syn::parse2(TokenTree::from(literal).into()).ok()?;
    Some(literal.value())
}

fn parse(path: &Path) -> Option<UnresolvedPackageGroup> {
    if path.is_dir() {
        return UnresolvedPackageGroup::parse_dir(path).ok();
    }
    let text = std::fs::read_to_string(path).ok()?;
    UnresolvedPackageGroup::parse(path, &text).ok()
}

/// What is said, by name.
type Items = Vec<(String, String)>;

/// All that is said about a module.
#[derive(Default)]
struct Said {
    docs: Option<String>,
    interfaces: Vec<(String, Option<String>, Items, Items)>,
    functions: Items,
}

impl Said {
    fn add(&mut self, package: &UnresolvedPackage, world: Option<&str>) {
        for (_, interface) in package.interfaces.iter() {
            let Some(name) = &interface.name else {
                continue;
            };
            let functions = interface.functions.iter();
            let functions = functions.filter_map(|(name, function)| item(name, &function.docs));
            let types = interface.types.iter().filter_map(|(name, id)| {
                let ty = package.types.get(*id)?;
                let is_resource = matches!(ty.kind, TypeDefKind::Resource);
                is_resource.then(|| item(name, &ty.docs)).flatten()
            });
            let (functions, types): (Items, Items) = (functions.collect(), types.collect());
            let docs = interface.docs.contents.clone();
            if docs.is_some() || !functions.is_empty() || !types.is_empty() {
                let name = package.name.interface_id(name);
                self.interfaces.push((name, docs, functions, types));
            }
        }
        let is_only = package.worlds.len() == 1;
        for (_, one) in package.worlds.iter() {
            let is_meant = match world {
                Some(world) => {
                    let world = world.rsplit_once('/').map_or(world, |(_, name)| name);
                    world.split_once('@').map_or(world, |(name, _)| name) == one.name
                }
                None => is_only,
            };
            if !is_meant {
                continue;
            }
            self.docs = self.docs.take().or_else(|| one.docs.contents.clone());
            for item_of_world in one.exports.values() {
                if let WorldItem::Function(function) = item_of_world {
                    self.functions.extend(item(&function.name, &function.docs));
                }
            }
        }
    }

    fn json(&self) -> String {
        let interfaces = self
            .interfaces
            .iter()
            .map(|(name, docs, functions, types)| {
                let parts = [
                    docs.as_ref().map(|docs| pair("docs", &string(docs))),
                    items("funcs", functions),
                    items("types", types),
                ];
                pair(name, &object(parts.into_iter().flatten()))
            });
        let interfaces = object(interfaces);
        let parts = [
            self.docs.as_ref().map(|docs| pair("docs", &string(docs))),
            (interfaces != "{}").then(|| pair("interfaces", &interfaces)),
            items("funcs", &self.functions),
        ];
        object(parts.into_iter().flatten())
    }
}

fn item(name: &str, docs: &Docs) -> Option<(String, String)> {
    Some((name.to_owned(), docs.contents.clone()?))
}

fn items(key: &str, items: &Items) -> Option<String> {
    let items = items.iter();
    let items = items.map(|(name, docs)| pair(name, &object([pair("docs", &string(docs))])));
    let items = object(items);
    (items != "{}").then(|| pair(key, &items))
}

fn object(parts: impl IntoIterator<Item = String>) -> String {
    let parts: Vec<String> = parts.into_iter().collect();
    format!("{{{}}}", parts.join(","))
}

fn pair(key: &str, value: &str) -> String {
    format!("{}:{value}", string(key))
}

fn string(text: &str) -> String {
    let mut json = String::from('"');
    for character in text.chars() {
        match character {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            character if character.is_control() => {
                json.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            character => json.push(character),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(options: TokenStream) -> String {
        of_options(options).to_string()
    }

    #[test]
    fn what_the_wit_says_of_its_exports_is_in_the_section() {
        let wit = r#"
            package demo:calc@1.2.0;
            /// Sums
            /// and "more".
            interface calc {
                /// The sum.
                add: func(a: s64, b: s64) -> s64;
                sub: func(a: s64, b: s64) -> s64;
                /// A value.
                record point { x: u8 }
                /// Counts.
                resource counter {
                    /// Begins.
                    constructor(start: u64);
                    /// One more.
                    increment: func() -> u64;
                }
            }
            interface silent { f: func(); }
            /// Another one.
            world other { import nothing: func(); }
            /// All of it.
            world all {
                export calc;
                /// Runs.
                export run: func();
            }"#;
        let expected = r#"{"docs":"All of it.","interfaces":{"demo:calc/calc@1.2.0":{"docs":"Sums\u000aand \"more\".","#
            .to_owned()
            + r#""funcs":{"add":{"docs":"The sum."},"[constructor]counter":{"docs":"Begins."},"#
            + r#""[method]counter.increment":{"docs":"One more."}},"types":{"counter":{"docs":"Counts."}}}},"#
            + r#""funcs":{"run":{"docs":"Runs."}}}"#;
        let options = quote!(inline: #wit, path: [], world: "demo:calc/all@1.2.0", generate_all,);
        let options = Options::read(options);
        let mut said = Said::default();
        for group in options.groups() {
            said.add(&group.main, options.world.as_deref());
        }
        assert_eq!(said.json(), expected);
    }

    #[test]
    fn what_says_nothing_or_cannot_be_read_has_no_section() {
        let silent = "package a:b; interface i { f: func(); } world w { export i; }";
        assert_eq!(section(quote!(inline: #silent)), "");
        assert_eq!(section(quote!(inline: "no wit")), "");
        assert_eq!(section(quote!(path: "not/there", world: "w")), "");
        assert_eq!(section(quote!(path: 7)), "");
    }
}
