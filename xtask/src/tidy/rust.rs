//! As much of Rust as the rules need: code without its comments and texts, and the names in it.

use std::fs;
use std::path::Path;

/// One source file.
pub(super) struct Source {
    /// From the root of the repository, with `/`.
    pub(super) path: String,
    /// Its code. Comments, strings and characters are blanked out; lines stay where they were.
    pub(super) code: String,
}

pub(super) fn read_below(root: &Path, folder: &Path, sources: &mut Vec<Source>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_below(root, &path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).unwrap();
            sources.push(Source {
                path: relative.to_str().unwrap().replace('\\', "/"),
                code: code_of(&fs::read_to_string(&path).unwrap()),
            });
        }
    }
}

/// Blanks out comments, strings and characters.
pub(super) fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = skipped(text, at);
        if end > at {
            let lines = text[at..end].matches('\n').count();
            code.push(' ');
            code.extend(std::iter::repeat_n('\n', lines));
            at = end;
        } else {
            let next = text[at..].chars().next().unwrap();
            code.push(next);
            at += next.len_utf8();
        }
    }
    code
}

/// Where the comment, string or character that begins here ends; `at` if none does.
fn skipped(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    let end_after = |from: usize, mark: &str| {
        let found = text[from..].find(mark);
        found.map_or(text.len(), |found| from + found + mark.len())
    };
    if rest.starts_with("//") {
        return rest.find('\n').map_or(text.len(), |line| at + line);
    }
    if rest.starts_with("/*") {
        return block_comment(text, at);
    }
    let is_inside_a_name = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    if !is_inside_a_name {
        let raw = rest.trim_start_matches(['b', 'c']);
        let prefix = rest.len() - raw.len();
        if prefix <= 1 && raw.starts_with('r') {
            let hashes = raw[1..].len() - raw[1..].trim_start_matches('#').len();
            if raw[1 + hashes..].starts_with('"') {
                let mark = format!("\"{}", "#".repeat(hashes));
                return end_after(at + prefix + 1 + hashes + 1, &mark);
            }
        }
    }
    if !is_inside_a_name && (rest.starts_with("b\"") || rest.starts_with("c\"")) {
        return quoted(text, at + 1, '"');
    }
    if rest.starts_with('"') {
        return quoted(text, at, '"');
    }
    // A character, as opposed to a lifetime: 'x' or an escape.
    if let Some(inner) = rest.strip_prefix('\'') {
        let mut inner = inner.chars();
        return match (inner.next(), inner.next()) {
            (Some('\\'), _) => quoted(text, at, '\''),
            (Some(c), Some('\'')) => at + 2 + c.len_utf8(),
            _ => at,
        };
    }
    at
}

fn quoted(text: &str, at: usize, mark: char) -> usize {
    let mut characters = text[at..].char_indices().skip(1);
    while let Some((offset, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == mark {
            return at + offset + 1;
        }
    }
    text.len()
}

fn block_comment(text: &str, at: usize) -> usize {
    let mut depth = 0_usize;
    let mut position = at;
    while position < text.len() {
        let rest = &text[position..];
        if rest.starts_with("/*") {
            depth += 1;
            position += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            position += 2;
            if depth == 0 {
                return position;
            }
        } else {
            position += rest.chars().next().unwrap().len_utf8();
        }
    }
    text.len()
}

/// A name, or a mark of punctuation; and its line.
fn tokens(code: &str) -> Vec<(&str, usize)> {
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut characters = code.char_indices().peekable();
    while let Some((start, character)) = characters.next() {
        let is_of_a_name = |c: char| c.is_alphanumeric() || c == '_';
        let mut end = start + character.len_utf8();
        if character == '\n' {
            line += 1;
        } else if is_of_a_name(character) {
            while let Some((at, _)) = characters.next_if(|(_, c)| is_of_a_name(*c)) {
                end = at + 1;
            }
            tokens.push((code.get(start..end).unwrap_or_default(), line));
        } else if character == ':' && characters.next_if(|(_, c)| *c == ':').is_some() {
            tokens.push(("::", line));
        } else if !character.is_whitespace() {
            tokens.push((&code[start..end], line));
        }
    }
    tokens
}

/// All names in the code, with their lines.
pub(super) fn identifiers(code: &str) -> impl Iterator<Item = (&str, usize)> {
    let begins_a_name = |c: char| c.is_alphabetic() || c == '_';
    tokens(code)
        .into_iter()
        .filter(move |(token, _)| token.starts_with(begins_a_name))
}

/// The first two steps of every path that begins with `crate::`, with their lines.
pub(super) fn paths_from_crate(code: &str) -> Vec<(String, usize)> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    for (index, (token, _)) in tokens.iter().enumerate() {
        let follows = tokens.get(index + 1).is_some_and(|(next, _)| *next == "::");
        if *token == "crate" && follows {
            tree(&tokens, index + 2, "", &mut paths);
        }
    }
    paths
}

/// Reads one tree of a path, `a::b`, `a` or `{a, b::c}`; gives where it ends.
fn tree(
    tokens: &[(&str, usize)],
    at: usize,
    before: &str,
    paths: &mut Vec<(String, usize)>,
) -> usize {
    let Some((token, line)) = tokens.get(at).copied() else {
        return at;
    };
    if token == "{" {
        let mut at = at + 1;
        while let Some((token, _)) = tokens.get(at) {
            match *token {
                "}" => return at + 1,
                "," => at += 1,
                _ => at = tree(tokens, at, before, paths).max(at + 1),
            }
        }
        return at;
    }
    let path = if before.is_empty() {
        token.to_owned()
    } else {
        format!("{before}::{token}")
    };
    let next = |offset: usize| tokens.get(at + offset).map(|(token, _)| *token);
    let goes_on = next(1) == Some("::")
        && next(2).is_some_and(|next| next == "{" || next.starts_with(char::is_alphabetic));
    if goes_on {
        return tree(tokens, at + 2, &path, paths);
    }
    paths.push((path, line));
    if next(1) == Some("as") {
        at + 3
    } else {
        at + 1
    }
}

/// The names in `[dependencies]` of a manifest.
pub(super) fn dependencies(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut is_in_table = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_in_table = line.trim() == "[dependencies]";
        } else if is_in_table {
            let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
            if !name.is_empty() && !name.starts_with('#') {
                names.push(name);
            }
        }
    }
    names
}

#[test]
fn names_in_comments_and_texts_do_not_count() {
    let code = code_of(
        "// a\nlet x = \"b \\\" c\"; /* d /* e */ f */ r#\"g \" h\"# 'i' '\\'' b\"j\" <'k>\n// l",
    );
    let names: Vec<_> = identifiers(&code).collect();
    assert_eq!(names, [("let", 2), ("x", 2), ("k", 2)]);
}

#[test]
fn paths_are_taken_apart() {
    let code =
        "use crate::{a, b::{c::d, e as f}, g as h};\npub(crate) fn i() { crate::j::k::<u8>() }";
    let paths = paths_from_crate(code);
    let paths: Vec<_> = paths
        .iter()
        .map(|(path, line)| (path.as_str(), *line))
        .collect();
    assert_eq!(
        paths,
        [("a", 1), ("b::c::d", 1), ("b::e", 1), ("g", 1), ("j::k", 2)]
    );
}
