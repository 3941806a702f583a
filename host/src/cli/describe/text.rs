//! What can be called, for people: signatures as WIT writes them, each under what is said about it.

use rpc_host_client::{Description, FunctionDescription};

use super::spaces::{Space, in_wit, spaces};

pub(super) fn text(description: &Description) -> String {
    let mut text = comment(description.docs.as_deref(), "");
    if !text.is_empty() {
        text.push('\n');
    }
    for (name, space) in spaces(description) {
        match name {
            None => text += &within(&space, ""),
            Some(name) => text += &format!("{name}\n{}", within(&space, "  ")),
        }
    }
    // The last empty line separates nothing.
    text.truncate(text.trim_end().len());
    if text.is_empty() {
        return "nothing: there is nothing to call\n".to_owned();
    }
    text + "\n"
}

fn within(space: &Space<'_>, indent: &str) -> String {
    let mut text = String::new();
    for function in &space.functions {
        text += &line(function, indent);
    }
    for (name, resource) in &space.resources {
        text += &comment(resource.docs, indent);
        text += &format!("{indent}resource {name}\n");
        for function in resource.all() {
            text += &line(function, &format!("{indent}  "));
        }
    }
    text + "\n"
}

fn line(function: &FunctionDescription, indent: &str) -> String {
    let comment = comment(function.docs.as_deref(), indent);
    let (name, shown) = in_wit(function);
    let colon = if shown.starts_with('(') { "" } else { ": " };
    format!("{comment}{indent}{name}{colon}{shown}\n")
}

fn comment(docs: Option<&str>, indent: &str) -> String {
    let lines = docs.unwrap_or_default().lines();
    lines
        .map(|line| format!("{indent}/// {line}").trim_end().to_owned() + "\n")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_stand_under_what_is_said_about_them() {
        let description = serde_json::from_str(
            r#"{"docs": "Counters\nand more.", "resources": [{"interface": "a:b/c", "name": "counter", "docs": "Counts."}],
            "functions": [
                {"name": "run", "signature": {"parameters": []}},
                {"interface": "a:b/c", "name": "[static]counter.zero",
                 "signature": {"parameters": [], "result": {"own": "counter"}}},
                {"interface": "a:b/c", "name": "[method]counter.add", "docs": "Adds.\n\nReally.", "signature":
                 {"parameters": [{"name": "self", "type": {"borrow": "counter"}}, {"name": "by", "type": "u8"}]}},
                {"interface": "a:b/c", "name": "[constructor]counter",
                 "signature": {"parameters": [{"name": "start", "type": "u8"}], "result": {"own": "counter"}}},
                {"interface": "a:b/c", "name": "deep", "undescribed": "its types are too deep", "signature":
                 {"parameters": []}}]}"#,
        );
        let expected = "/// Counters\n/// and more.\n\n\
            a:b/c\n\
            \x20 deep: its types are too deep\n\
            \x20 /// Counts.\n\
            \x20 resource counter\n\
            \x20   constructor(start: u8)\n\
            \x20   /// Adds.\n\
            \x20   ///\n\
            \x20   /// Really.\n\
            \x20   add: func(by: u8)\n\
            \x20   zero: static func() -> counter\n\
            \n\
            run: func()\n";
        assert_eq!(text(&description.unwrap()), expected);
        assert_eq!(
            text(&Description::default()),
            "nothing: there is nothing to call\n"
        );
    }
}
