//! The attribute macro of `rpc-guest`, which documents it: depend on that crate instead.
//!
//! A `mod` of plain Rust is read (`interface`), written down as WIT (`wit`), and given a child
//! `mod` (`glue`) with bindings generated from that WIT; and the doc comments of any WIT become a section of
//! what is built (`section`). This crate deliberately knows nothing of
//! the component model's binary form: that is wit-bindgen's business.

#![forbid(unsafe_code)]

mod declarations;
mod docs;
mod faults;
mod functions;
mod glue;
mod interface;
mod names;
mod section;
mod types;
mod wit;

use proc_macro2::TokenStream;
use quote::quote;
use syn::ItemMod;

use crate::interface::Interface;

// Documented where it is re-exported, so that its examples can use it.
#[allow(missing_docs, reason = "documented by `rpc_guest`")]
#[proc_macro_attribute]
pub fn module(
    arguments: proc_macro::TokenStream,
    item: proc_macro::TokenStream,
) -> proc_macro::TokenStream {
    expand(arguments.into(), item.into()).into()
}

/// A section with the doc comments of the WIT that these options of `generate!` mean.
#[doc(hidden)]
#[proc_macro]
pub fn docs_section(options: proc_macro::TokenStream) -> proc_macro::TokenStream {
    section::of_options(options.into()).into()
}

fn expand(arguments: TokenStream, item: TokenStream) -> TokenStream {
    if let Some(argument) = arguments.into_iter().next() {
        let error = syn::Error::new(argument.span(), "`module` takes no arguments");
        let error = error.into_compile_error();
        return quote!(#error #item);
    }
    let mut module: ItemMod = match syn::parse2(item.clone()) {
        Ok(module) => module,
        Err(error) => {
            let advice = syn::Error::new(
                error.span(),
                format!("`module` goes before a `mod` with its body: {error}"),
            );
            let advice = advice.into_compile_error();
            return quote!(#advice #item);
        }
    };
    let child = match read(&module) {
        Ok(interface) => glue::child(&interface),
        Err(error) => error.into_compile_error(),
    };
    if let Some((_, items)) = &mut module.content {
        items.push(syn::Item::Verbatim(child));
        quote!(#module)
    } else {
        quote!(#child)
    }
}

fn read(module: &ItemMod) -> syn::Result<Interface> {
    let Some((_, items)) = &module.content else {
        return Err(syn::Error::new(
            module.ident.span(),
            "write the body here, between braces: a macro does not see into another file",
        ));
    };
    Interface::read(&module.ident, &module.attrs, items)
}
