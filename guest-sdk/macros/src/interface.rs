//! The interface of a module, as read from the items of its `mod`.
//!
//! Public functions and public methods are the interface; of the types, those that they mention.
//! The rest of the `mod` is the author's own affair and is not looked at.

use std::collections::BTreeMap;

use proc_macro2::Ident;
use syn::{Item, Visibility};

use crate::declarations;
use crate::docs::{self, Docs};
use crate::faults::Faults;
use crate::functions::{self, Function};
use crate::names::Kebab;
use crate::types::{Declared, Scope, Type};

/// Everything that is exported.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) name: Kebab,
    pub(crate) docs: Docs,
    /// In the order that they are needed in.
    pub(crate) values: Vec<Value>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) functions: Vec<Function>,
}

/// A type whose values are copied.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) ident: Ident,
    pub(crate) name: Kebab,
    pub(crate) docs: Docs,
    pub(crate) shape: Shape,
}

/// What a copied type is made of.
#[derive(Debug)]
pub(crate) enum Shape {
    /// A struct with named fields.
    Record(Vec<Field>),
    /// An enum of which no case carries a value.
    Enum(Vec<Case>),
    /// An enum of which some do.
    Variant(Vec<Case>),
}

/// One field of a record.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) ident: Ident,
    pub(crate) name: Kebab,
    pub(crate) docs: Docs,
    pub(crate) ty: Type,
}

/// One case of an enum or variant; more than one payload is a tuple in WIT.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) ident: Ident,
    pub(crate) name: Kebab,
    pub(crate) docs: Docs,
    pub(crate) payload: Vec<Type>,
}

/// A struct that callers hold by handle.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) ident: Ident,
    pub(crate) name: Kebab,
    pub(crate) docs: Docs,
    /// Constructor, methods and statics.
    pub(crate) functions: Vec<Function>,
}

/// The items that may become types, by their Rust name.
type Items<'a> = BTreeMap<String, &'a Item>;

impl Interface {
    /// Read the `mod` called `ident`.
    pub(crate) fn read(
        ident: &Ident,
        attributes: &[syn::Attribute],
        items: &[Item],
    ) -> syn::Result<Self> {
        let mut faults = Faults::default();
        let methods = public_methods(items, &mut faults);
        let (scope, declared) = declare(items, &methods);

        let mut functions = Vec::new();
        for item in items {
            match item {
                Item::Fn(function)
                    if is_public(&function.vis) && !is_test_only(&function.attrs) =>
                {
                    let read = functions::read(&scope, &function.attrs, &function.sig);
                    functions.extend(faults.keep(read));
                }
                _ => faults.note(refuse_item(item)),
            }
        }
        let mut resources = Vec::new();
        for (name, methods) in &methods {
            if let Some(Item::Struct(declared)) = declared.get(name).copied() {
                let read = read_resource(declared, methods, &scope, &mut faults);
                resources.extend(faults.keep(read));
            }
        }
        resources.sort_by_key(|resource| position(items, &resource.ident));

        let values = read_values(&functions, &resources, &scope, &declared, &mut faults);
        check_names(&functions, &values, &resources, &mut faults);
        if functions.is_empty() && resources.is_empty() && faults.is_none() {
            faults.note(Err(syn::Error::new(
                ident.span(),
                "this module exports nothing: make a function in it `pub`",
            )));
        }
        let name = faults.keep(Kebab::of(ident));
        faults.end()?;
        Ok(Self {
            name: name.ok_or_else(|| syn::Error::new(ident.span(), "this module has no name"))?,
            docs: docs::read(attributes),
            values,
            resources,
            functions,
        })
    }
}

/// Whether callers see it. `pub(crate)` and the like stay inside.
fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// Whether it exists only in unit tests, and so is never part of the interface.
fn is_test_only(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<Ident>()
                .is_ok_and(|condition| condition == "test")
    })
}

/// Public things that look as if they were exported and cannot be.
fn refuse_item(item: &Item) -> syn::Result<()> {
    let (advice, item): (_, &dyn quote::ToTokens) = match item {
        Item::Mod(inner) if is_public(&inner.vis) && !is_test_only(&inner.attrs) => (
            "only what stands directly in this `mod` is exported: move it out of the inner \
             module, or make that one private",
            &inner.ident,
        ),
        Item::Use(import) if is_public(&import.vis) => (
            "what is defined elsewhere cannot be exported: write a function here that calls it, \
             or make this `use` private",
            import,
        ),
        _ => return Ok(()),
    };
    Err(syn::Error::new_spanned(item, advice))
}

/// The public functions of inherent `impl` blocks, by the name of their type.
fn public_methods<'a>(
    items: &'a [Item],
    faults: &mut Faults,
) -> BTreeMap<String, Vec<&'a syn::ImplItemFn>> {
    let mut methods: BTreeMap<String, Vec<&syn::ImplItemFn>> = BTreeMap::new();
    for item in items {
        let Item::Impl(block) = item else { continue };
        if block.trait_.is_some() || is_test_only(&block.attrs) {
            continue;
        }
        let public: Vec<&syn::ImplItemFn> = block
            .items
            .iter()
            .filter_map(|item| match item {
                syn::ImplItem::Fn(function) if is_public(&function.vis) => Some(function),
                _ => None,
            })
            .filter(|function| !is_test_only(&function.attrs))
            .collect();
        let Some(first) = public.first() else {
            continue;
        };
        faults.note(docs::refuse_cfg(&block.attrs));
        match resource_name(block, items) {
            Ok(name) => methods.entry(name).or_default().extend(public),
            Err(advice) => faults.note(Err(syn::Error::new(first.sig.ident.span(), advice))),
        }
    }
    methods
}

/// The struct of a block with public methods.
fn resource_name(block: &syn::ItemImpl, items: &[Item]) -> Result<String, &'static str> {
    let syn::Type::Path(path) = &*block.self_ty else {
        return Err("only a struct of this `mod` can have public methods");
    };
    let Some(ident) = path.path.get_ident() else {
        return Err("a struct with public methods is a resource, and WIT has no generic resources");
    };
    let declared = items.iter().find_map(|item| match item {
        Item::Struct(declared) if declared.ident == *ident => Some(Ok(ident.to_string())),
        Item::Enum(declared) if declared.ident == *ident => Some(Err(
            "an enum is copied to the caller, who cannot call its methods: make this one \
             `pub(crate)`, or write a function that takes the enum",
        )),
        _ => None,
    });
    declared.unwrap_or(Err("only a struct of this `mod` can have public methods"))
}

/// What the names in the `mod` stand for, and the items behind them.
fn declare<'a>(
    items: &'a [Item],
    methods: &BTreeMap<String, Vec<&syn::ImplItemFn>>,
) -> (Scope, Items<'a>) {
    let mut scope = Scope::default();
    let mut declared = Items::new();
    for item in items {
        let (name, kind) = match item {
            Item::Struct(it) if methods.contains_key(&it.ident.to_string()) => {
                (it.ident.to_string(), Declared::Resource)
            }
            Item::Struct(it) => (it.ident.to_string(), Declared::Value),
            Item::Enum(it) => (it.ident.to_string(), Declared::Value),
            Item::Type(it) if it.generics.params.is_empty() => {
                (it.ident.to_string(), Declared::Alias(it.ty.clone()))
            }
            _ => continue,
        };
        scope.declared.insert(name.clone(), kind);
        declared.insert(name, item);
    }
    (scope, declared)
}

fn read_resource(
    declared: &syn::ItemStruct,
    methods: &[&syn::ImplItemFn],
    scope: &Scope,
    faults: &mut Faults,
) -> syn::Result<Resource> {
    docs::refuse_cfg(&declared.attrs)?;
    declarations::refuse_generics(&declared.generics)?;
    let scope = Scope {
        declared: scope.declared.clone(),
        this: Some(declared.ident.clone()),
    };
    let functions = methods
        .iter()
        .filter_map(|method| {
            faults.keep(functions::read_method(&scope, &method.attrs, &method.sig))
        })
        .collect();
    Ok(Resource {
        ident: declared.ident.clone(),
        name: Kebab::of_type(&declared.ident)?,
        docs: docs::read(&declared.attrs),
        functions,
    })
}

/// Where in the `mod` a struct stands.
fn position(items: &[Item], ident: &Ident) -> Option<usize> {
    items
        .iter()
        .position(|item| matches!(item, Item::Struct(declared) if declared.ident == *ident))
}

/// The copied types that functions mention, and those that these are made of.
fn read_values(
    functions: &[Function],
    resources: &[Resource],
    scope: &Scope,
    declared: &Items<'_>,
    faults: &mut Faults,
) -> Vec<Value> {
    let of_resources = resources.iter().flat_map(|resource| &resource.functions);
    let mut wanted: Vec<Ident> = functions
        .iter()
        .chain(of_resources)
        .flat_map(Function::values)
        .collect();
    wanted.reverse();

    let mut values: Vec<Value> = Vec::new();
    let mut seen = Vec::new();
    while let Some(ident) = wanted.pop() {
        if seen.contains(&ident) {
            continue;
        }
        seen.push(ident.clone());
        let read = match declared.get(&ident.to_string()) {
            Some(Item::Struct(declared)) => declarations::read_struct(declared, scope),
            Some(Item::Enum(declared)) => declarations::read_enum(declared, scope),
            _ => continue,
        };
        if let Some(value) = faults.keep(read) {
            wanted.extend(value.parts());
            values.push(value);
        }
    }
    for value in &values {
        faults.note(refuse_cycle(value, &values));
    }
    values
}

impl Value {
    /// The copied types that it is made of.
    fn parts(&self) -> Vec<Ident> {
        let mut found = Vec::new();
        match &self.shape {
            Shape::Record(fields) => fields.iter().for_each(|field| field.ty.values(&mut found)),
            Shape::Enum(cases) | Shape::Variant(cases) => cases
                .iter()
                .flat_map(|case| &case.payload)
                .for_each(|ty| ty.values(&mut found)),
        }
        found.into_iter().cloned().collect()
    }
}

/// WIT has no recursive types.
fn refuse_cycle(value: &Value, values: &[Value]) -> syn::Result<()> {
    let mut wanted = value.parts();
    let mut seen: Vec<Ident> = Vec::new();
    while let Some(part) = wanted.pop() {
        if part == value.ident {
            return Err(syn::Error::new(
                part.span(),
                format!(
                    "`{part}` contains itself, which WIT cannot express: use a list of parts \
                     that name each other by index"
                ),
            ));
        }
        if !seen.contains(&part) {
            let inner = values.iter().find(|value| value.ident == part);
            wanted.extend(inner.map(Value::parts).unwrap_or_default());
            seen.push(part);
        }
    }
    Ok(())
}

/// Functions and types share one space of names in WIT, and not in Rust.
fn check_names(
    functions: &[Function],
    values: &[Value],
    resources: &[Resource],
    faults: &mut Faults,
) {
    let of_functions = functions.iter().map(|it| (&it.name, &it.ident));
    let of_values = values.iter().map(|it| (&it.name, &it.ident));
    let of_resources = resources.iter().map(|it| (&it.name, &it.ident));
    faults.note(refuse_twins(
        of_values.chain(of_resources).chain(of_functions),
    ));
    for resource in resources {
        let functions = resource.functions.iter();
        faults.note(refuse_twins(functions.map(|it| (&it.name, &it.ident))));
    }
}

/// Refuse two names that are one in WIT.
pub(crate) fn refuse_twins<'a>(
    names: impl Iterator<Item = (&'a Kebab, &'a Ident)>,
) -> syn::Result<()> {
    let mut taken: BTreeMap<&Kebab, &Ident> = BTreeMap::new();
    for (name, ident) in names {
        if let Some(other) = taken.insert(name, ident) {
            return Err(syn::Error::new(
                ident.span(),
                format!(
                    "`{ident}` and `{other}` are both `{}` in WIT: rename one",
                    name.as_str()
                ),
            ));
        }
    }
    Ok(())
}
