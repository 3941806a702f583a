//! `FUNCTION(ARGS)` on the command line: which function, and which text is which argument.
//!
//! The text of an argument is WAVE, which can be read only by someone who knows its type; so here it is
//! cut out and no more.

use std::fmt;

/// The text of a call, in its parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CallText {
    /// In kebab-case: `add`, `calc.add`, `demo:calc/calc@0.1.0.add`.
    pub(crate) function: String,
    /// In order.
    pub(crate) positional: Vec<String>,
    /// Names are in kebab-case.
    pub(crate) named: Vec<(String, String)>,
}

/// Why text is not a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallTextError {
    /// Nothing stands before the parenthesis.
    NoFunction,
    /// What stands there is not the name of a function.
    OddFunction,
    /// The last character is not the closing parenthesis.
    NotClosed,
    /// A parenthesis, bracket or brace without its partner.
    Unbalanced,
    /// A string or character that does not end.
    OpenQuote,
    /// Nothing stands between two commas.
    EmptyArgument,
    /// A positional argument after a named one.
    PositionalAfterNamed,
}

impl fmt::Display for CallTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CallTextError::NoFunction => "the call names no function",
            CallTextError::OddFunction => "what stands before the parenthesis is no function name",
            CallTextError::NotClosed => "the call does not end with a parenthesis",
            CallTextError::Unbalanced => "a parenthesis, bracket or brace has no partner",
            CallTextError::OpenQuote => "a string or character does not end",
            CallTextError::EmptyArgument => "an argument is empty",
            CallTextError::PositionalAfterNamed => "a positional argument stands after a named one",
        })
    }
}

impl CallText {
    /// Takes a call apart. A name alone is a call without arguments.
    pub(crate) fn parse(text: &str) -> Result<Self, CallTextError> {
        let text = text.trim();
        let (function, arguments) = match text.split_once('(') {
            None => (text, ""),
            Some((function, rest)) => {
                let arguments = rest.strip_suffix(')').ok_or(CallTextError::NotClosed)?;
                (function.trim_end(), arguments)
            }
        };
        if function.is_empty() {
            return Err(CallTextError::NoFunction);
        }
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || "-_.:/@+[]%".contains(c);
        if !function.chars().all(of_a_name) {
            return Err(CallTextError::OddFunction);
        }
        let mut call = CallText {
            function: kebab(function),
            positional: Vec::new(),
            named: Vec::new(),
        };
        for argument in split(arguments)? {
            match named(argument) {
                Some((name, value)) => call.named.push((kebab(name), value.to_owned())),
                None if !call.named.is_empty() => return Err(CallTextError::PositionalAfterNamed),
                None => call.positional.push(argument.to_owned()),
            }
        }
        Ok(call)
    }
}

/// WIT has no underscores in names, so they can only be meant as hyphens.
fn kebab(name: &str) -> String {
    name.replace('_', "-")
}

/// `name = value`. No value begins with a word and an equals sign.
fn named(argument: &str) -> Option<(&str, &str)> {
    let (name, value) = argument.split_once('=')?;
    let name = name.trim_end().trim_start_matches('%');
    let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
    let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (begins_well && name.chars().all(of_a_name)).then_some((name, value.trim_start()))
}

/// Cuts at the commas that stand outside of everything.
fn split(text: &str) -> Result<Vec<&str>, CallTextError> {
    let mut parts = Vec::new();
    let mut open: Vec<char> = Vec::new();
    let mut start = 0;
    let mut rest = text.char_indices();
    while let Some((index, character)) = rest.next() {
        match character {
            '(' => open.push(')'),
            '[' => open.push(']'),
            '{' => open.push('}'),
            ')' | ']' | '}' if open.pop() != Some(character) => {
                return Err(CallTextError::Unbalanced);
            }
            '"' | '\'' => {
                let after = quoted(text, index, character).ok_or(CallTextError::OpenQuote)?;
                while rest.clone().next().is_some_and(|(index, _)| index < after) {
                    rest.next();
                }
            }
            ',' if open.is_empty() => {
                parts.push(text.get(start..index).unwrap_or_default().trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    if !open.is_empty() {
        return Err(CallTextError::Unbalanced);
    }
    let last = text.get(start..).unwrap_or_default().trim();
    // A comma after the last argument is allowed, as in WAVE's lists.
    if !last.is_empty() {
        parts.push(last);
    }
    if parts.iter().any(|part| part.is_empty()) {
        return Err(CallTextError::EmptyArgument);
    }
    Ok(parts)
}

/// Where the quoted text that begins at `start` is over; strings over several lines have three quotes.
fn quoted(text: &str, start: usize, quote: char) -> Option<usize> {
    const LINES: &str = "\"\"\"";
    let rest = text.get(start..)?;
    if rest.starts_with(LINES) {
        let length = rest.get(LINES.len()..)?.find(LINES)?;
        return Some(start + LINES.len() + length + LINES.len());
    }
    let mut is_escaped = false;
    for (offset, character) in rest.char_indices().skip(1) {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if character == quote => return Some(start + offset + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parts(text: &str) -> (Vec<String>, Vec<(String, String)>) {
        let call = CallText::parse(&format!("f({text})")).unwrap();
        (call.positional, call.named)
    }

    #[track_caller]
    fn positional(text: &str, expected: &[&str]) {
        let (positional, named) = parts(text);
        assert_eq!(positional, expected);
        assert!(named.is_empty(), "{named:?}");
    }

    #[test]
    fn functions_have_short_and_long_names() {
        for (text, function) in [
            ("add", "add"),
            ("add()", "add"),
            (" add ( ) ", "add"),
            ("line_length()", "line-length"),
            ("calc.add()", "calc.add"),
            ("demo:calc/calc@0.1.0.add()", "demo:calc/calc@0.1.0.add"),
        ] {
            let call = CallText::parse(text).unwrap();
            assert_eq!(call.function, function);
            assert!(call.positional.is_empty() && call.named.is_empty());
        }
    }

    #[test]
    fn arguments_are_cut_at_the_outer_commas_only() {
        positional("2, 3", &["2", "3"]);
        positional("2,3,", &["2", "3"]);
        positional("", &[]);
        positional(r#""a, b", 'c'"#, &[r#""a, b""#, "'c'"]);
        positional(
            r#""a\", (b", ',', '\'', 1"#,
            &[r#""a\", (b""#, "','", r"'\''", "1"],
        );
        positional(
            "[1, 2], {a: 1, b: [2, 3]}",
            &["[1, 2]", "{a: 1, b: [2, 3]}"],
        );
        positional("some((1, 2)), err(\")\")", &["some((1, 2))", "err(\")\")"]);
        positional(
            "\"\"\"\na, \"b\"\n\"\"\", 1",
            &["\"\"\"\na, \"b\"\n\"\"\"", "1"],
        );
        positional("\"é=,(\", 1", &["\"é=,(\"", "1"]);
    }

    #[test]
    fn arguments_can_be_named() {
        let (positional, named) = parts(r#"1, line_width = 2.5, text="a=b, c""#);
        assert_eq!(positional, ["1"]);
        let expected = [("line-width", "2.5"), ("text", "\"a=b, c\"")];
        assert_eq!(named, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        let (positional, named) = parts(r#""x=1", {a: "b=c"}"#);
        assert_eq!(positional, [r#""x=1""#, r#"{a: "b=c"}"#]);
        assert!(named.is_empty());
    }

    #[test]
    fn what_is_no_call_is_refused() {
        for (text, error) in [
            ("", CallTextError::NoFunction),
            ("(1)", CallTextError::NoFunction),
            ("add(1", CallTextError::NotClosed),
            ("add(1) 2", CallTextError::NotClosed),
            ("add 1", CallTextError::OddFunction),
            ("add([1)", CallTextError::Unbalanced),
            ("add(1))", CallTextError::Unbalanced),
            ("add((1)", CallTextError::Unbalanced),
            ("add(\"1)", CallTextError::OpenQuote),
            ("add(1,,2)", CallTextError::EmptyArgument),
            ("add(,)", CallTextError::EmptyArgument),
            ("add(a=1, 2)", CallTextError::PositionalAfterNamed),
        ] {
            assert_eq!(CallText::parse(text), Err(error), "{text}");
        }
    }
}
