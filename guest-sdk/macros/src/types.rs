//! Rust types as WIT types.
//!
//! A value crosses into a module by copy, so what is accepted here is what can be copied: no
//! references except those that stand for an argument, nothing whose size or meaning differs
//! between machines, nothing generic. Everything else is refused with what to write instead.

use std::collections::BTreeMap;

use proc_macro2::{Ident, Span};
use syn::{GenericArgument, PathArguments, PathSegment};

/// A type as WIT knows it, and as much of its Rust form as the glue needs.
#[derive(Clone, Debug)]
pub(crate) enum Type {
    /// A type that both languages have, by its WIT name. Never needs conversion.
    Plain(&'static str),
    /// `&str`, only as a whole parameter.
    Str,
    /// `Vec<T>`
    List(Box<Type>),
    /// `&[T]`, only as a whole parameter.
    Slice(Box<Type>),
    /// `Option<T>`
    Option(Box<Type>),
    /// `Result<T, E>`, where `()` is nothing.
    Result(Option<Box<Type>>, Option<Box<Type>>),
    /// `(A, B)`
    Tuple(Vec<Type>),
    /// A record, enum or variant declared in the module.
    Value(Ident),
    /// A resource declared in the module, handed over.
    Owned(Ident),
    /// A resource declared in the module, lent for the call; only as a whole parameter.
    Lent {
        /// The resource.
        resource: Ident,
        /// `&mut`
        mutable: bool,
    },
}

/// What a declared name stands for.
#[derive(Clone, Debug)]
pub(crate) enum Declared {
    /// A struct or enum whose values are copied.
    Value,
    /// A struct with public methods.
    Resource,
    /// `type Name = …`
    Alias(Box<syn::Type>),
}

/// The types declared in the module, by name.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// By their Rust name.
    pub(crate) declared: BTreeMap<String, Declared>,
    /// What `Self` is, inside an `impl`.
    pub(crate) this: Option<Ident>,
}

/// How deep one written type may nest; also what stops an alias that names itself.
const NESTING_LIMIT: usize = 24;

impl Scope {
    /// The type of a parameter, which may be a reference.
    pub(crate) fn parameter(&self, ty: &syn::Type) -> syn::Result<Type> {
        let syn::Type::Reference(reference) = ty else {
            return self.value(ty, 0);
        };
        let mutable = reference.mutability.is_some();
        match &*reference.elem {
            syn::Type::Path(path) if path.path.is_ident("str") && !mutable => Ok(Type::Str),
            syn::Type::Slice(slice) if !mutable => {
                Ok(Type::Slice(Box::new(self.value(&slice.elem, 0)?)))
            }
            inner => {
                if let Ok(Type::Owned(resource)) = self.value(inner, 0) {
                    return Ok(Type::Lent { resource, mutable });
                }
                Err(syn::Error::new_spanned(
                    ty,
                    reference_advice(inner, mutable),
                ))
            }
        }
    }

    /// The type of a result, a field or an element.
    pub(crate) fn owned(&self, ty: &syn::Type) -> syn::Result<Type> {
        self.value(ty, 0)
    }

    fn value(&self, ty: &syn::Type, depth: usize) -> syn::Result<Type> {
        if depth > NESTING_LIMIT {
            return Err(syn::Error::new_spanned(
                ty,
                "this type is nested too deeply, or contains itself",
            ));
        }
        let refuse = |message: &str| Err(syn::Error::new_spanned(ty, message));
        match ty {
            syn::Type::Path(path) if path.qself.is_none() => self.path(&path.path, depth),
            syn::Type::Paren(paren) => self.value(&paren.elem, depth + 1),
            syn::Type::Group(group) => self.value(&group.elem, depth + 1),
            syn::Type::Tuple(tuple) if tuple.elems.is_empty() => refuse(
                "`()` holds no value: it can only be a whole result, or one side of a `Result`",
            ),
            syn::Type::Tuple(tuple) => {
                let elements = tuple
                    .elems
                    .iter()
                    .map(|element| self.value(element, depth + 1));
                Ok(Type::Tuple(elements.collect::<syn::Result<_>>()?))
            }
            syn::Type::Reference(reference) => match &*reference.elem {
                syn::Type::Path(path) if path.path.is_ident("str") => {
                    refuse("text can only be borrowed as a whole parameter: use `String` here")
                }
                syn::Type::Slice(_) => {
                    refuse("a list can only be borrowed as a whole parameter: use `Vec<T>` here")
                }
                _ => refuse(
                    "values cross into and out of a module by copy: use the type without `&`",
                ),
            },
            syn::Type::Array(_) => refuse("arrays cannot cross: use `Vec<T>`, or a tuple"),
            syn::Type::Slice(_) => refuse("a bare slice cannot cross: use `Vec<T>`"),
            syn::Type::FnPtr(_) => refuse(
                "functions cannot cross: return what the caller needs, or use a resource (a \
                 struct with public methods)",
            ),
            syn::Type::ImplTrait(_) | syn::Type::TraitObject(_) => {
                refuse("WIT has no traits: use a type that is declared in this `mod`")
            }
            syn::Type::Ptr(_) => refuse("pointers cannot cross: use the value itself"),
            syn::Type::Never(_) => {
                refuse("a function always ends with a result: use `Result<…, E>` for failure")
            }
            _ => refuse("this type has no counterpart in WIT"),
        }
    }

    fn path(&self, path: &syn::Path, depth: usize) -> syn::Result<Type> {
        let Some(last) = path.segments.last() else {
            return Err(syn::Error::new_spanned(path, "this type has no name"));
        };
        let name = last.ident.to_string();
        let outer = path.segments.first().map(|first| first.ident.to_string());
        let standard = matches!(outer.as_deref(), Some("std" | "core" | "alloc"));
        if path.segments.len() == 1 {
            if name == "Self"
                && let Some(this) = &self.this
            {
                return Ok(Type::Owned(respanned(this, last.ident.span())));
            }
            if let Some(declared) = self.declared.get(&name) {
                return self.declared(declared, last, depth);
            }
        } else if !standard {
            return Err(syn::Error::new_spanned(
                path,
                format!(
                    "the interface is made of what is written in this `mod`: declare `{name}` \
                     here, and write it without a path"
                ),
            ));
        }
        self.built_in(&name, last, depth)
    }

    fn declared(
        &self,
        declared: &Declared,
        segment: &PathSegment,
        depth: usize,
    ) -> syn::Result<Type> {
        if !matches!(segment.arguments, PathArguments::None) {
            return Err(syn::Error::new_spanned(
                segment,
                "WIT has no generic types of one's own: declare one type for each use",
            ));
        }
        match declared {
            Declared::Value => Ok(Type::Value(segment.ident.clone())),
            Declared::Resource => Ok(Type::Owned(segment.ident.clone())),
            Declared::Alias(ty) => self.value(ty, depth + 1),
        }
    }

    fn built_in(&self, name: &str, segment: &PathSegment, depth: usize) -> syn::Result<Type> {
        let plain = match name {
            "bool" => "bool",
            "u8" => "u8",
            "u16" => "u16",
            "u32" => "u32",
            "u64" => "u64",
            "i8" => "s8",
            "i16" => "s16",
            "i32" => "s32",
            "i64" => "s64",
            "f32" => "f32",
            "f64" => "f64",
            "char" => "char",
            "String" => "string",
            "Vec" => {
                let [element] = arguments(segment)?;
                return Ok(Type::List(Box::new(self.value(element, depth + 1)?)));
            }
            "Option" => {
                let [value] = arguments(segment)?;
                return Ok(Type::Option(Box::new(self.value(value, depth + 1)?)));
            }
            "Result" => {
                let [ok, err] = arguments(segment)?;
                return Ok(Type::Result(
                    self.side(ok, depth + 1)?,
                    self.side(err, depth + 1)?,
                ));
            }
            _ => return Err(syn::Error::new_spanned(segment, name_advice(name))),
        };
        Ok(Type::Plain(plain))
    }

    /// One side of a `Result`, where `()` means that there is no value.
    fn side(&self, ty: &syn::Type, depth: usize) -> syn::Result<Option<Box<Type>>> {
        match ty {
            syn::Type::Tuple(tuple) if tuple.elems.is_empty() => Ok(None),
            _ => Ok(Some(Box::new(self.value(ty, depth)?))),
        }
    }
}

impl Type {
    /// Whether Rust's form differs from that of the bindings.
    pub(crate) fn differs(&self) -> bool {
        match self {
            Self::Plain(_) | Self::Str => false,
            Self::List(inner) | Self::Slice(inner) | Self::Option(inner) => inner.differs(),
            Self::Result(ok, err) => [ok, err].into_iter().flatten().any(|side| side.differs()),
            Self::Tuple(elements) => elements.iter().any(Self::differs),
            Self::Value(_) | Self::Owned(_) | Self::Lent { .. } => true,
        }
    }

    /// The declared values in it, for following what the interface needs.
    pub(crate) fn values<'a>(&'a self, found: &mut Vec<&'a Ident>) {
        match self {
            Self::Plain(_) | Self::Str | Self::Owned(_) | Self::Lent { .. } => {}
            Self::List(inner) | Self::Slice(inner) | Self::Option(inner) => inner.values(found),
            Self::Result(ok, err) => {
                for side in [ok, err].into_iter().flatten() {
                    side.values(found);
                }
            }
            Self::Tuple(elements) => elements.iter().for_each(|element| element.values(found)),
            Self::Value(ident) => found.push(ident),
        }
    }
}

/// The `N` types between `<` and `>`.
fn arguments<const N: usize>(segment: &PathSegment) -> syn::Result<[&syn::Type; N]> {
    let written: Vec<&syn::Type> = match &segment.arguments {
        PathArguments::AngleBracketed(arguments) => arguments
            .args
            .iter()
            .filter_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    written.try_into().map_err(|_: Vec<_>| {
        let example = match N {
            1 => format!("`{}<T>`", segment.ident),
            _ => format!("`{}<T, E>`", segment.ident),
        };
        syn::Error::new_spanned(
            segment,
            format!("write it in full, as {example}: a macro does not see through aliases"),
        )
    })
}

fn respanned(ident: &Ident, span: Span) -> Ident {
    let mut ident = ident.clone();
    ident.set_span(span);
    ident
}

/// What to write instead of a reference to `inner`.
fn reference_advice(inner: &syn::Type, mutable: bool) -> String {
    let name = match inner {
        syn::Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
    .map(|segment| segment.ident.to_string());
    match name.as_deref() {
        Some("str" | "String") if mutable => {
            "an argument is a copy, so changing it has no effect: take `String`, return the result"
                .to_owned()
        }
        Some("String") => "use `&str` or `String`".to_owned(),
        Some("Vec") if !mutable => "use `&[T]` or `Vec<T>`".to_owned(),
        _ if mutable => {
            "an argument is a copy, so changing it has no effect: take it by value and return the \
             result"
                .to_owned()
        }
        _ => {
            "an argument is a copy: take it by value (only `&str`, `&[T]` and a `&` to a resource \
              can be borrowed)"
                .to_owned()
        }
    }
}

/// What to write instead of the type called `name`.
fn name_advice(name: &str) -> String {
    match name {
        "usize" => "`usize` differs between machines: use `u32` or `u64`".to_owned(),
        "isize" => "`isize` differs between machines: use `i32` or `i64`".to_owned(),
        "u128" | "i128" => {
            format!("WIT has no 128-bit integers, so no `{name}`: use two `u64`, or text")
        }
        "HashMap" | "BTreeMap" => format!("`{name}` cannot cross: use `Vec<(K, V)>`"),
        "HashSet" | "BTreeSet" | "VecDeque" => format!("`{name}` cannot cross: use `Vec<T>`"),
        "Box" | "Rc" | "Arc" | "Cow" | "Cell" | "RefCell" | "Mutex" => {
            format!("`{name}` cannot cross, values are copied: use what it holds")
        }
        "str" => "bare `str` cannot cross: use `String`".to_owned(),
        "Path" | "PathBuf" | "OsString" | "OsStr" => {
            format!("`{name}` cannot cross: use `String`")
        }
        "Duration" | "Instant" | "SystemTime" => {
            format!("`{name}` cannot cross: use a number, with its unit in the name")
        }
        _ => format!(
            "`{name}` is not declared in this `mod`: declare it here, as a struct or an enum, or \
             describe the interface in WIT and use `rpc_guest::generate!`"
        ),
    }
}
