//! Structs and enums whose values are copied: WIT's records, enums and variants.

use syn::spanned::Spanned as _;
use syn::{Fields, Generics, ItemEnum, ItemStruct};

use crate::docs;
use crate::faults::Faults;
use crate::interface::{self, Case, Field, Shape, Value};
use crate::names::Kebab;
use crate::types::Scope;

/// Read a struct without public methods.
pub(crate) fn read_struct(declared: &ItemStruct, scope: &Scope) -> syn::Result<Value> {
    docs::refuse_cfg(&declared.attrs)?;
    refuse_generics(&declared.generics)?;
    let named = match &declared.fields {
        Fields::Named(fields) if !fields.named.is_empty() => &fields.named,
        Fields::Unnamed(_) => {
            return Err(syn::Error::new(
                declared.ident.span(),
                "the fields of a record have names: write `struct Name { field: T }`, or use a \
                 tuple",
            ));
        }
        _ => {
            return Err(syn::Error::new(
                declared.ident.span(),
                "a record has at least one field, and a resource at least one public method",
            ));
        }
    };
    let mut faults = Faults::default();
    let mut fields = Vec::new();
    for field in named {
        fields.extend(faults.keep(read_field(field, scope)));
    }
    faults.note(interface::refuse_twins(
        fields.iter().map(|it| (&it.name, &it.ident)),
    ));
    faults.end()?;
    Ok(Value {
        ident: declared.ident.clone(),
        name: Kebab::of_type(&declared.ident)?,
        docs: docs::read(&declared.attrs),
        shape: Shape::Record(fields),
    })
}

/// Read an enum: of WIT's two kinds, the plainer one that will do.
pub(crate) fn read_enum(declared: &ItemEnum, scope: &Scope) -> syn::Result<Value> {
    docs::refuse_cfg(&declared.attrs)?;
    refuse_generics(&declared.generics)?;
    if declared.variants.is_empty() {
        return Err(syn::Error::new(
            declared.ident.span(),
            "an enum of WIT has at least one case",
        ));
    }
    let mut faults = Faults::default();
    let mut cases = Vec::new();
    for variant in &declared.variants {
        cases.extend(faults.keep(read_case(variant, scope)));
    }
    faults.note(interface::refuse_twins(
        cases.iter().map(|it| (&it.name, &it.ident)),
    ));
    faults.end()?;
    let shape = if cases.iter().all(|case| case.payload.is_empty()) {
        Shape::Enum(cases)
    } else {
        Shape::Variant(cases)
    };
    Ok(Value {
        ident: declared.ident.clone(),
        name: Kebab::of_type(&declared.ident)?,
        docs: docs::read(&declared.attrs),
        shape,
    })
}

/// Refuse a type with parameters.
pub(crate) fn refuse_generics(generics: &Generics) -> syn::Result<()> {
    match generics.params.first() {
        None => Ok(()),
        Some(first) => Err(syn::Error::new_spanned(
            first,
            "WIT has no generic types of one's own: declare one type for each use, with owned \
             fields",
        )),
    }
}

fn read_field(field: &syn::Field, scope: &Scope) -> syn::Result<Field> {
    docs::refuse_cfg(&field.attrs)?;
    let ident = field
        .ident
        .clone()
        .ok_or_else(|| syn::Error::new(field.span(), "this field has no name"))?;
    Ok(Field {
        name: Kebab::of(&ident)?,
        docs: docs::read(&field.attrs),
        ty: scope.owned(&field.ty)?,
        ident,
    })
}

fn read_case(variant: &syn::Variant, scope: &Scope) -> syn::Result<Case> {
    docs::refuse_cfg(&variant.attrs)?;
    let payload = match &variant.fields {
        Fields::Unit => Vec::new(),
        Fields::Unnamed(fields) if !fields.unnamed.is_empty() => fields
            .unnamed
            .iter()
            .map(|field| scope.owned(&field.ty))
            .collect::<syn::Result<_>>()?,
        Fields::Unnamed(_) => {
            return Err(syn::Error::new_spanned(
                variant,
                "this case carries nothing: write it without `()`",
            ));
        }
        Fields::Named(_) => {
            return Err(syn::Error::new_spanned(
                variant,
                "a case carries one value without field names: declare a struct, and write \
                 `Case(Struct)`",
            ));
        }
    };
    Ok(Case {
        ident: variant.ident.clone(),
        name: Kebab::of_type(&variant.ident)?,
        docs: docs::read(&variant.attrs),
        payload,
    })
}
