//! Rust names ↔ WIT names.

use std::borrow::Cow;

/// A Rust name (`snake_case`, `CamelCase`) in kebab-case. What holds a hyphen is in kebab-case already.
pub(super) fn kebab(name: &str) -> Cow<'_, str> {
    let is_kebab = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if name.contains('-') || name.bytes().all(is_kebab) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len() + 4);
    let mut characters = name.chars().peekable();
    let mut before = None;
    while let Some(character) = characters.next() {
        if character == '_' {
            out.push('-');
        } else if character.is_ascii_uppercase() {
            // A word begins after a small letter or digit, and at the last capital of a run of them
            // that a small letter follows: `HTTPError` is `http-error`.
            let ends_run = before.is_some_and(|c: char| c.is_ascii_uppercase())
                && characters.peek().is_some_and(char::is_ascii_lowercase);
            let follows_word = before.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
            if ends_run || follows_word {
                out.push('-');
            }
            out.push(character.to_ascii_lowercase());
        } else {
            out.push(character);
        }
        before = Some(character);
    }
    Cow::Owned(out)
}

/// The Rust name among `names` that `wire` stands for.
pub(super) fn find(names: &'static [&'static str], wire: &str) -> Option<&'static str> {
    names.iter().copied().find(|name| kebab(name) == wire)
}

/// Names as a message lists them.
pub(super) fn listed(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| kebab(name)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::kebab;

    #[test]
    fn rust_names_become_wit_names() {
        for (rust, wit) in [
            ("a", "a"),
            ("line_length", "line-length"),
            ("x1", "x1"),
            ("Ok", "ok"),
            ("DivisionByZero", "division-by-zero"),
            ("HTTPError", "http-error"),
            ("HTTP", "http"),
            ("V4Address", "v4-address"),
            ("already-kebab", "already-kebab"),
            ("HTTP-error", "HTTP-error"),
            ("A", "a"),
        ] {
            assert_eq!(kebab(rust), wit);
        }
    }
}
