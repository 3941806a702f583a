//! Names of WIT as Python spells them, like its client library does.

/// What no name in Python can be.
const KEYWORDS: &[&str] = &[
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif",
    "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda",
    "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// `dark-blue` → `dark_blue`. What is no letter, digit or line, which no component can have, becomes one.
pub(super) fn snake(name: &str) -> String {
    let is_fine = |character: char| character.is_ascii_alphanumeric();
    let spelled = name.chars().map(|character| match is_fine(character) {
        true => character.to_ascii_lowercase(),
        false => '_',
    });
    spelled.collect()
}

/// The same as a name in a program: `from` → `from_`.
pub(super) fn identifier(name: &str) -> String {
    let mut name = snake(name);
    if KEYWORDS.contains(&name.as_str()) {
        name.push('_');
    }
    if !name.starts_with(|character: char| character.is_ascii_alphabetic()) {
        name.insert_str(0, "n_");
    }
    name
}

/// `open-file` → `OpenFile`.
pub(super) fn pascal(name: &str) -> String {
    let words = name.split(|character: char| !character.is_ascii_alphanumeric());
    let mut pascal = String::new();
    for word in words {
        let mut characters = word.chars();
        pascal.extend(characters.next().map(|first| first.to_ascii_uppercase()));
        pascal.extend(characters);
    }
    if !pascal.starts_with(|character: char| character.is_ascii_alphabetic()) {
        pascal.insert(0, 'N');
    }
    // Those that look so.
    if ["None", "True", "False"].contains(&pascal.as_str()) {
        pascal.push('_');
    }
    pascal
}

/// `demo:calc/calc@0.1.0` → `calc`.
pub(super) fn short(interface: &str) -> &str {
    let name = interface
        .rsplit_once('/')
        .map_or(interface, |(_, name)| name);
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    name.rsplit_once(':').map_or(name, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_spelled_as_in_python() {
        for (name, expected) in [
            ("add", "add"),
            ("dark-blue", "dark_blue"),
            ("HTTP-error", "http_error"),
            ("from", "from_"),
            ("async-def", "async_def"),
            ("match", "match"),
            ("f-0", "f_0"),
            ("0\"é", "n_0__"),
            ("", "n_"),
        ] {
            assert_eq!(identifier(name), expected);
        }
        for (name, expected) in [
            ("counter", "Counter"),
            ("open-file", "OpenFile"),
            ("none", "None_"),
            ("", "N"),
        ] {
            assert_eq!(pascal(name), expected);
        }
        for (name, expected) in [
            ("demo:calc/calc@0.1.0", "calc"),
            ("demo:calc/calc", "calc"),
            ("calc@1.0.0", "calc"),
            ("inline", "inline"),
        ] {
            assert_eq!(short(name), expected);
        }
    }
}
