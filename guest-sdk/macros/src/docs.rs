//! Attributes that the interface takes notice of: doc comments become those of WIT, and
//! conditional compilation is refused, because the WIT is made before conditions are known.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The lines of a doc comment, without the space that begins each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Docs(Vec<String>);

impl Docs {
    /// As WIT text, each line after `indent`.
    pub(crate) fn in_wit(&self, indent: &str) -> String {
        self.0
            .iter()
            .map(|line| format!("{indent}/// {line}").trim_end().to_owned() + "\n")
            .collect()
    }
}

/// The doc comments among `attributes`.
pub(crate) fn read(attributes: &[Attribute]) -> Docs {
    let mut lines = Vec::new();
    for attribute in attributes {
        if let Meta::NameValue(pair) = &attribute.meta
            && pair.path.is_ident("doc")
            && let Expr::Lit(ExprLit {
                lit: Lit::Str(text),
                ..
            }) = &pair.value
        {
            for line in text.value().lines() {
                lines.push(line.strip_prefix(' ').unwrap_or(line).to_owned());
            }
        }
    }
    Docs(lines)
}

/// Refuse `#[cfg(…)]` on something exported.
pub(crate) fn refuse_cfg(attributes: &[Attribute]) -> syn::Result<()> {
    for attribute in attributes {
        if attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr") {
            return Err(syn::Error::new_spanned(
                attribute,
                "an interface is the same in every build: put the condition inside the function",
            ));
        }
    }
    Ok(())
}
