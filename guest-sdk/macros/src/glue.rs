//! The code between the author's functions and the bindings generated from the WIT text.
//!
//! It lives in a child of the author's `mod`, so that it may use what is private there. Values that
//! have one form on both sides are passed on as they are; only declared types are converted, case
//! by case and field by field, so that a list of bytes is never walked.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote};

use crate::functions::{Function, Role};
use crate::interface::{Case, Interface, Resource, Shape, Value};
use crate::types::Type;
use crate::wit;

/// The child `mod` that makes a component of the author's.
pub(crate) fn child(interface: &Interface) -> TokenStream {
    let text = wit::package(interface);
    let world = wit::world_name(interface);
    let name = interface.name.snake_ident(Span::call_site());
    let glue = Glue { interface };
    let values = interface.values.iter().map(|value| glue.value(value));
    let resources = interface.resources.iter().map(|it| glue.resource(it));
    let associated = interface.resources.iter().map(|resource| {
        let bound = resource.name.type_ident(Span::call_site());
        let cell = cell_ident(&resource.ident);
        quote!(type #bound = #cell;)
    });
    let functions = interface.functions.iter().map(|it| glue.function(it, None));
    quote! {
        #[doc(hidden)]
        #[allow(
            dead_code,
            missing_docs,
            non_snake_case,
            unreachable_pub,
            unused_qualifications,
            clippy::all,
            clippy::pedantic,
            clippy::nursery,
            clippy::restriction,
            reason = "generated code"
        )]
        mod __rpc_guest {
            ::rpc_guest::__generate! {
                inline: #text,
                path: [],
                world: #world,
            }
            use self::exports::module::#name::#name as wit;

            struct Component;

            impl wit::Guest for Component {
                #(#associated)*
                #(#functions)*
            }

            #(#resources)*
            #(#values)*

            export!(Component);
        }
    }
}

struct Glue<'a> {
    interface: &'a Interface,
}

impl Glue<'_> {
    /// One function of the traits that the bindings ask to be implemented.
    fn function(&self, function: &Function, resource: Option<&Resource>) -> TokenStream {
        let called = &function.ident;
        let bound = function.name.snake_ident(Span::call_site());
        let names: Vec<Ident> = (0..function.parameters.len())
            .map(|at| format_ident!("argument{at}"))
            .collect();
        let types = function.parameters.iter().map(|it| self.bound_type(&it.ty));
        let arguments = function
            .parameters
            .iter()
            .zip(&names)
            .map(|(parameter, name)| self.argument(&parameter.ty, name));
        let this = match function.role {
            Role::Method { mutable: false } => Some(quote!(&*self.0.borrow(),)),
            Role::Method { mutable: true } => Some(quote!(&mut *self.0.borrow_mut(),)),
            _ => None,
        };
        let receiver = this.is_some().then(|| quote!(&self,));
        let path = match resource {
            Some(Resource { ident, .. }) => quote!(super::#ident::#called),
            None => quote!(super::#called),
        };
        let call = quote!(#path(#this #(#arguments),*));
        let (result, body) = match (&function.result, function.role) {
            (Some(ty), Role::Constructor) => self.constructed(ty, call),
            (Some(ty), _) => (self.bound_type(ty), self.to_bindings(ty, call)),
            (None, _) => (quote!(()), call),
        };
        quote! {
            fn #bound(#receiver #(#names: #types),*) -> #result {
                #body
            }
        }
    }

    /// The result of a constructor, which makes the cell and not yet a handle.
    fn constructed(&self, ty: &Type, call: TokenStream) -> (TokenStream, TokenStream) {
        let cell = quote!(|made| Self(::core::cell::RefCell::new(made)));
        let Type::Result(_, err) = ty else {
            return (quote!(Self), quote!((#cell)(#call)));
        };
        let (err_type, err_value) = match err {
            Some(err) => (self.bound_type(err), self.to_bindings(err, quote!(error))),
            None => (quote!(()), quote!(error)),
        };
        (
            quote!(::core::result::Result<Self, #err_type>),
            quote!(#call.map(#cell).map_err(|error| #err_value)),
        )
    }

    /// The argument called `name`, as the author's function takes it.
    fn argument(&self, ty: &Type, name: &Ident) -> TokenStream {
        match ty {
            Type::Str => quote!(&#name),
            Type::Slice(element) => {
                let list = self.list(element, quote!(#name), Self::to_author);
                quote!(&#list)
            }
            Type::Lent { resource, mutable } => {
                let cell = cell_ident(resource);
                if *mutable {
                    quote!(&mut *#name.get::<#cell>().0.borrow_mut())
                } else {
                    quote!(&*#name.get::<#cell>().0.borrow())
                }
            }
            _ => self.to_author(ty, quote!(#name)),
        }
    }

    /// A resource: the author's struct in a cell, since the bindings lend it out by `&`.
    fn resource(&self, resource: &Resource) -> TokenStream {
        let ident = &resource.ident;
        let cell = cell_ident(ident);
        let bound = resource.name.type_ident(Span::call_site());
        let guest = format_ident!("Guest{bound}");
        let functions = resource
            .functions
            .iter()
            .map(|function| self.function(function, Some(resource)));
        quote! {
            struct #cell(::core::cell::RefCell<super::#ident>);

            impl wit::#guest for #cell {
                #(#functions)*
            }
        }
    }

    /// The two conversions of a copied type.
    fn value(&self, value: &Value) -> TokenStream {
        let ident = &value.ident;
        let bound = value.name.type_ident(Span::call_site());
        let (from, to) = (from_ident(ident), to_ident(ident));
        let (from_body, to_body) = match &value.shape {
            Shape::Record(fields) => {
                let theirs: Vec<Ident> = fields
                    .iter()
                    .map(|field| field.name.snake_ident(Span::call_site()))
                    .collect();
                let ours: Vec<&Ident> = fields.iter().map(|field| &field.ident).collect();
                let froms = fields.iter().zip(&theirs);
                let froms = froms.map(|(it, name)| self.to_author(&it.ty, quote!(value.#name)));
                let tos = fields.iter().zip(&ours);
                let tos = tos.map(|(it, name)| self.to_bindings(&it.ty, quote!(value.#name)));
                (
                    quote!(super::#ident { #(#ours: #froms),* }),
                    quote!(wit::#bound { #(#theirs: #tos),* }),
                )
            }
            Shape::Enum(cases) | Shape::Variant(cases) => {
                let froms = cases.iter().map(|case| self.case_from(ident, &bound, case));
                let tos = cases.iter().map(|case| self.case_to(ident, &bound, case));
                (
                    quote!(match value { #(#froms)* }),
                    quote!(match value { #(#tos)* }),
                )
            }
        };
        quote! {
            fn #from(value: wit::#bound) -> super::#ident {
                #from_body
            }

            fn #to(value: super::#ident) -> wit::#bound {
                #to_body
            }
        }
    }

    fn case_from(&self, ident: &Ident, bound: &Ident, case: &Case) -> TokenStream {
        let ours = &case.ident;
        let theirs = case.name.case_ident(Span::call_site());
        let names = part_idents(case.payload.len());
        let parts = case.payload.iter().zip(&names);
        let parts = parts.map(|(ty, name)| self.to_author(ty, quote!(#name)));
        match names.as_slice() {
            [] => quote!(wit::#bound::#theirs => super::#ident::#ours,),
            [name] => quote!(wit::#bound::#theirs(#name) => super::#ident::#ours(#(#parts),*),),
            names => quote! {
                wit::#bound::#theirs((#(#names),*)) => super::#ident::#ours(#(#parts),*),
            },
        }
    }

    fn case_to(&self, ident: &Ident, bound: &Ident, case: &Case) -> TokenStream {
        let ours = &case.ident;
        let theirs = case.name.case_ident(Span::call_site());
        let names = part_idents(case.payload.len());
        let parts = case.payload.iter().zip(&names);
        let parts = parts.map(|(ty, name)| self.to_bindings(ty, quote!(#name)));
        match names.as_slice() {
            [] => quote!(super::#ident::#ours => wit::#bound::#theirs,),
            [name] => quote!(super::#ident::#ours(#name) => wit::#bound::#theirs(#(#parts),*),),
            names => quote! {
                super::#ident::#ours(#(#names),*) => wit::#bound::#theirs((#(#parts),*)),
            },
        }
    }

    /// `value` of the bindings' type, as the author's.
    fn to_author(&self, ty: &Type, value: TokenStream) -> TokenStream {
        match ty {
            Type::Value(ident) => {
                let from = from_ident(ident);
                quote!(#from(#value))
            }
            Type::Owned(ident) => {
                let cell = cell_ident(ident);
                quote!(#value.into_inner::<#cell>().0.into_inner())
            }
            _ => self.within(ty, value, Self::to_author),
        }
    }

    /// `value` of the author's type, as the bindings'.
    fn to_bindings(&self, ty: &Type, value: TokenStream) -> TokenStream {
        match ty {
            Type::Value(ident) => {
                let to = to_ident(ident);
                quote!(#to(#value))
            }
            Type::Owned(ident) => {
                let cell = cell_ident(ident);
                let bound = self.bound_type(ty);
                quote!(#bound::new(#cell(::core::cell::RefCell::new(#value))))
            }
            _ => self.within(ty, value, Self::to_bindings),
        }
    }

    /// Convert what `value` is made of, if any of it differs.
    fn within(
        &self,
        ty: &Type,
        value: TokenStream,
        convert: fn(&Self, &Type, TokenStream) -> TokenStream,
    ) -> TokenStream {
        if !ty.differs() {
            return value;
        }
        match ty {
            Type::List(element) | Type::Slice(element) => self.list(element, value, convert),
            Type::Option(inner) => {
                let inner = convert(self, inner, quote!(inner));
                quote!(#value.map(|inner| #inner))
            }
            Type::Result(ok, err) => {
                let side = |side: &Option<Box<Type>>| match side {
                    Some(ty) => convert(self, ty, quote!(inner)),
                    None => quote!(inner),
                };
                let (ok, err) = (side(ok), side(err));
                quote!(#value.map(|inner| #ok).map_err(|inner| #err))
            }
            Type::Tuple(elements) => {
                let names = part_idents(elements.len());
                let parts = elements.iter().zip(&names);
                let parts = parts.map(|(ty, name)| convert(self, ty, quote!(#name)));
                quote!({ let (#(#names,)*) = #value; (#(#parts,)*) })
            }
            _ => value,
        }
    }

    fn list(
        &self,
        element: &Type,
        value: TokenStream,
        convert: fn(&Self, &Type, TokenStream) -> TokenStream,
    ) -> TokenStream {
        if !element.differs() {
            return value;
        }
        let element = convert(self, element, quote!(element));
        quote! {
            #value.into_iter().map(|element| #element).collect::<::std::vec::Vec<_>>()
        }
    }

    /// How the bindings write a type.
    fn bound_type(&self, ty: &Type) -> TokenStream {
        match ty {
            Type::Plain(name) => plain_type(name),
            Type::Str => quote!(::std::string::String),
            Type::List(element) | Type::Slice(element) => {
                let element = self.bound_type(element);
                quote!(::std::vec::Vec<#element>)
            }
            Type::Option(inner) => {
                let inner = self.bound_type(inner);
                quote!(::core::option::Option<#inner>)
            }
            Type::Result(ok, err) => {
                let side = |side: &Option<Box<Type>>| match side {
                    Some(ty) => self.bound_type(ty),
                    None => quote!(()),
                };
                let (ok, err) = (side(ok), side(err));
                quote!(::core::result::Result<#ok, #err>)
            }
            Type::Tuple(elements) => {
                let elements = elements.iter().map(|element| self.bound_type(element));
                quote!((#(#elements,)*))
            }
            Type::Value(ident) => {
                let values = self.interface.values.iter();
                let name = values.filter(|value| value.ident == *ident);
                let name = name.map(|value| value.name.type_ident(Span::call_site()));
                quote!(wit::#(#name)*)
            }
            Type::Owned(ident) => {
                let name = self.resource_ident(ident);
                quote!(wit::#name)
            }
            Type::Lent { resource, .. } => {
                let name = format_ident!("{}Borrow", self.resource_ident(resource));
                quote!(wit::#name<'_>)
            }
        }
    }

    /// What the bindings call a resource.
    fn resource_ident(&self, ident: &Ident) -> Ident {
        let mut resources = self.interface.resources.iter();
        resources
            .find(|resource| resource.ident == *ident)
            .map_or_else(
                || ident.clone(),
                |resource| resource.name.type_ident(Span::call_site()),
            )
    }
}

fn plain_type(name: &str) -> TokenStream {
    let rust = match name {
        "s8" => "i8",
        "s16" => "i16",
        "s32" => "i32",
        "s64" => "i64",
        "string" => return quote!(::std::string::String),
        same => same,
    };
    let ident = Ident::new(rust, Span::call_site());
    quote!(#ident)
}

fn part_idents(count: usize) -> Vec<Ident> {
    (0..count).map(|at| format_ident!("part{at}")).collect()
}

fn from_ident(ident: &Ident) -> Ident {
    format_ident!("from_wit_{ident}", span = Span::call_site())
}

fn to_ident(ident: &Ident) -> Ident {
    format_ident!("to_wit_{ident}", span = Span::call_site())
}

fn cell_ident(ident: &Ident) -> Ident {
    format_ident!("{ident}Cell", span = Span::call_site())
}
