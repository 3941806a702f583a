//! Functions and methods of the interface.

use proc_macro2::Ident;
use syn::{Attribute, FnArg, GenericParam, Pat, ReceiverKind, ReturnType, Safety, Signature};

use crate::docs::{self, Docs};
use crate::faults::Faults;
use crate::interface;
use crate::names::Kebab;
use crate::types::{Scope, Type};

/// One exported function.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) ident: Ident,
    pub(crate) name: Kebab,
    pub(crate) docs: Docs,
    pub(crate) role: Role,
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) result: Option<Type>,
}

/// What a function is to its resource, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It belongs to none.
    Free,
    /// It is called on the type, not on a value.
    Static,
    /// It makes one.
    Constructor,
    /// It is called on one.
    Method {
        /// `&mut self`
        mutable: bool,
    },
}

/// One parameter.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) ident: Ident,
    pub(crate) name: Kebab,
    pub(crate) ty: Type,
}

impl Function {
    /// The copied types that its signature mentions.
    pub(crate) fn values(&self) -> Vec<Ident> {
        let mut found = Vec::new();
        let parameters = self.parameters.iter().map(|parameter| &parameter.ty);
        for ty in parameters.chain(&self.result) {
            ty.values(&mut found);
        }
        found.into_iter().cloned().collect()
    }
}

/// Read a function outside of any `impl`.
pub(crate) fn read(
    scope: &Scope,
    attributes: &[Attribute],
    signature: &Signature,
) -> syn::Result<Function> {
    read_as(Role::Free, scope, attributes, signature)
}

/// Read a public function of an `impl`.
pub(crate) fn read_method(
    scope: &Scope,
    attributes: &[Attribute],
    signature: &Signature,
) -> syn::Result<Function> {
    let role = match signature.receiver() {
        None if signature.ident == "new" => Role::Constructor,
        None => Role::Static,
        Some(receiver) => match &receiver.kind {
            ReceiverKind::Reference(_, _, mutability) => Role::Method {
                mutable: mutability.is_some(),
            },
            _ => {
                return Err(syn::Error::new_spanned(
                    receiver,
                    "a caller keeps its handle, so a method cannot take the resource away: use \
                     `&self` or `&mut self`, or write a function that takes the resource as an \
                     ordinary parameter",
                ));
            }
        },
    };
    let function = read_as(role, scope, attributes, signature)?;
    if role == Role::Constructor && !function.makes(scope) {
        return Err(syn::Error::new_spanned(
            &signature.output,
            "`new` is the constructor, so its result is `Self` or `Result<Self, E>`: name it \
             otherwise if it is not one",
        ));
    }
    Ok(function)
}

impl Function {
    /// Whether the result is what a constructor's can be.
    fn makes(&self, scope: &Scope) -> bool {
        let is_this =
            |ty: &Type| matches!(ty, Type::Owned(ident) if Some(ident) == scope.this.as_ref());
        match &self.result {
            Some(Type::Result(Some(ok), _)) => is_this(ok),
            Some(ty) => is_this(ty),
            None => false,
        }
    }
}

fn read_as(
    role: Role,
    scope: &Scope,
    attributes: &[Attribute],
    signature: &Signature,
) -> syn::Result<Function> {
    refuse_generics(signature)?;
    let mut faults = Faults::default();
    faults.note(docs::refuse_cfg(attributes));
    faults.note(refuse_qualifiers(signature));
    let mut parameters = Vec::new();
    for argument in &signature.inputs {
        if let FnArg::Typed(argument) = argument {
            parameters.extend(faults.keep(read_parameter(scope, argument)));
        }
    }
    faults.note(interface::refuse_twins(
        parameters.iter().map(|it| (&it.name, &it.ident)),
    ));
    let result = match &signature.output {
        ReturnType::Default => None,
        ReturnType::Type(_, ty) => match &**ty {
            syn::Type::Tuple(tuple) if tuple.elems.is_empty() => None,
            ty => faults.keep(scope.owned(ty)),
        },
    };
    let name = faults.keep(Kebab::of(&signature.ident));
    faults.end()?;
    Ok(Function {
        ident: signature.ident.clone(),
        name: name.ok_or_else(|| syn::Error::new(signature.ident.span(), "no name"))?,
        docs: docs::read(attributes),
        role,
        parameters,
        result,
    })
}

fn read_parameter(scope: &Scope, argument: &syn::PatType) -> syn::Result<Parameter> {
    let Pat::Ident(pattern) = &*argument.pat else {
        return Err(syn::Error::new_spanned(
            &argument.pat,
            "callers may name this argument, so it needs a name: take it apart inside the function",
        ));
    };
    Ok(Parameter {
        ident: pattern.ident.clone(),
        name: Kebab::of(&pattern.ident)?,
        ty: scope.parameter(&argument.ty)?,
    })
}

fn refuse_qualifiers(signature: &Signature) -> syn::Result<()> {
    if let Some(word) = &signature.asyncness {
        return Err(syn::Error::new(
            word.span,
            "a call runs to its end, and the host runs many at a time: remove `async`",
        ));
    }
    if let Safety::Unsafe(word) = &signature.safety {
        return Err(syn::Error::new(
            word.span,
            "callers from outside cannot promise anything: remove `unsafe`",
        ));
    }
    if let Some(abi) = &signature.abi {
        return Err(syn::Error::new_spanned(
            abi,
            "a component has a calling convention of its own: remove `extern`",
        ));
    }
    Ok(())
}

fn refuse_generics(signature: &Signature) -> syn::Result<()> {
    for parameter in &signature.generics.params {
        if !matches!(parameter, GenericParam::Lifetime(_)) {
            return Err(syn::Error::new_spanned(
                parameter,
                "WIT has no generics: write one function for each type",
            ));
        }
    }
    Ok(())
}
