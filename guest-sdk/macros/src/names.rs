//! One name, three spellings: as the author wrote it in Rust, as WIT wants it, and as the
//! bindings generated from that WIT spell it.

use proc_macro2::{Ident, Span};
use syn::ext::IdentExt as _;

/// Words that WIT keeps for itself; as a name, each needs a `%` before it.
const WIT_KEYWORDS: &[&str] = &[
    "as",
    "async",
    "bool",
    "borrow",
    "char",
    "constructor",
    "enum",
    "error-context",
    "export",
    "f32",
    "f64",
    "flags",
    "from",
    "func",
    "future",
    "import",
    "include",
    "interface",
    "list",
    "map",
    "option",
    "own",
    "package",
    "record",
    "resource",
    "result",
    "s16",
    "s32",
    "s64",
    "s8",
    "static",
    "stream",
    "string",
    "tuple",
    "type",
    "u16",
    "u32",
    "u64",
    "u8",
    "use",
    "variant",
    "with",
    "world",
];

/// Words that the bindings cannot use as a name of a function or field, and write with a `_`.
const BINDINGS_KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "if", "impl", "in",
    "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// What the bindings cannot call a type.
const UNSPEAKABLE_TYPES: &[&str] = &["option", "result", "self"];

/// A name in kebab-case, without the `%` that WIT text may need.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kebab(String);

impl Kebab {
    /// The WIT name of a Rust name, in snake_case or CamelCase.
    pub(crate) fn of(ident: &Ident) -> syn::Result<Self> {
        let rust = ident.unraw().to_string();
        if !rust.is_ascii() {
            return Err(syn::Error::new(
                ident.span(),
                format!("`{rust}`: names in WIT are made of ASCII letters and digits"),
            ));
        }
        let mut words: Vec<String> = Vec::new();
        for word in rust.split('_').flat_map(camel_words) {
            match words.last_mut() {
                // A word of WIT begins with a letter, so `part_2` becomes `part2`.
                Some(last) if word.starts_with(|c: char| c.is_ascii_digit()) => {
                    last.push_str(&word);
                }
                _ => words.push(word),
            }
        }
        let kebab = words.join("-");
        if !kebab.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(syn::Error::new(
                ident.span(),
                format!("`{rust}` cannot be a name in WIT, which begins with a letter"),
            ));
        }
        Ok(Self(kebab))
    }

    /// The WIT name of a type or case, which the bindings must be able to spell.
    pub(crate) fn of_type(ident: &Ident) -> syn::Result<Self> {
        let kebab = Self::of(ident)?;
        if UNSPEAKABLE_TYPES.contains(&kebab.as_str()) {
            return Err(syn::Error::new(
                ident.span(),
                format!("`{ident}` would hide a name that generated code needs: choose another"),
            ));
        }
        Ok(kebab)
    }

    /// As people see it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As WIT text wants it.
    pub(crate) fn in_wit(&self) -> String {
        if WIT_KEYWORDS.contains(&self.0.as_str()) {
            format!("%{}", self.0)
        } else {
            self.0.clone()
        }
    }

    /// As the bindings spell a type.
    pub(crate) fn type_ident(&self, span: Span) -> Ident {
        let camel = self.camel();
        // The bindings keep this name for the trait of an interface.
        if camel == "Guest" {
            return Ident::new("Guest_", span);
        }
        Ident::new(&camel, span)
    }

    /// As the bindings spell a case.
    pub(crate) fn case_ident(&self, span: Span) -> Ident {
        Ident::new(&self.camel(), span)
    }

    fn camel(&self) -> String {
        self.0.split('-').map(capitalized).collect()
    }

    /// As the bindings spell a function, field or module.
    pub(crate) fn snake_ident(&self, span: Span) -> Ident {
        let mut snake = self.0.replace('-', "_");
        if BINDINGS_KEYWORDS.contains(&snake.as_str()) {
            snake.push('_');
        }
        Ident::new(&snake, span)
    }
}

/// The words of one `_`-free piece, in lower case: `HTTPServer2` is `http`, `server2`.
fn camel_words(piece: &str) -> Vec<String> {
    let letters: Vec<char> = piece.chars().collect();
    let mut words = Vec::new();
    let mut word = String::new();
    for (at, &letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let after = letters.get(at + 1);
        let begins = letter.is_ascii_uppercase()
            && before.is_some_and(|&before| {
                !before.is_ascii_uppercase() || after.is_some_and(char::is_ascii_lowercase)
            });
        if begins && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        word.push(letter.to_ascii_lowercase());
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(letters)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kebab(rust: &str) -> String {
        let ident = syn::parse_str::<Ident>(rust).unwrap();
        Kebab::of(&ident).map_or_else(|error| error.to_string(), |kebab| kebab.in_wit())
    }

    #[test]
    fn rust_names_become_wit_names() {
        for (rust, wit) in [
            ("add", "add"),
            ("line_length", "line-length"),
            ("Point", "point"),
            ("LineStyle", "line-style"),
            ("HTTPServer2", "http-server2"),
            ("Utf8Error", "utf8-error"),
            ("IOError", "io-error"),
            ("part_2", "part2"),
            ("_unused", "unused"),
            ("r#type", "%type"),
            ("list", "%list"),
        ] {
            assert_eq!(kebab(rust), wit, "{rust}");
        }
        assert!(kebab("größe").contains("ASCII"));
        assert!(kebab("_1").contains("begins with a letter"));
        assert!(kebab("__").contains("begins with a letter"));
    }

    #[test]
    fn bindings_spell_it_their_own_way() {
        let span = Span::call_site();
        let spelled = |rust: &str| {
            let kebab = Kebab::of(&syn::parse_str(rust).unwrap()).unwrap();
            (
                kebab.type_ident(span).to_string(),
                kebab.snake_ident(span).to_string(),
            )
        };
        assert_eq!(
            spelled("HTTPError"),
            ("HttpError".into(), "http_error".into())
        );
        assert_eq!(spelled("r#type"), ("Type".into(), "type_".into()));
        assert_eq!(spelled("Guest"), ("Guest_".into(), "guest".into()));
    }
}
