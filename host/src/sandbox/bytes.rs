//! Functions of bytes alone: what they take and give goes straight into the guest's memory and out of it.
//!
//! As dynamic values of the engine's, a byte takes forty. Behaviour is the same either way; only room and time
//! differ.

use std::mem::take;

use rpc_host_protocol::{Signature, Type, Value};
use wasmtime::Store;
use wasmtime::component::{Func, Val};

use super::State;

/// What a function of bytes alone does with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    /// `func(list<u8>)`
    Taken,
    /// `func() -> list<u8>`
    Given,
    /// `func(list<u8>) -> list<u8>`
    Both,
}

impl Bytes {
    /// Which of them a function is, if it is one.
    pub(super) fn of(signature: &Signature) -> Option<Bytes> {
        let takes = match signature.parameters.as_slice() {
            [] => false,
            [only] if are_bytes(&only.ty) => true,
            _ => return None,
        };
        match &signature.result {
            None if takes => Some(Bytes::Taken),
            Some(ty) if are_bytes(ty) => Some(if takes { Bytes::Both } else { Bytes::Given }),
            _ => None,
        }
    }

    /// Calls one.
    pub(super) async fn call(
        self,
        func: Func,
        store: &mut Store<State>,
        bytes: Vec<u8>,
    ) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(match self {
            Bytes::Taken => {
                let func = func.typed::<(&[u8],), ()>(&*store)?;
                func.call_async(store, (&bytes,)).await?;
                None
            }
            Bytes::Given => {
                let func = func.typed::<(), (Vec<u8>,)>(&*store)?;
                Some(func.call_async(store, ()).await?.0)
            }
            Bytes::Both => {
                let func = func.typed::<(&[u8],), (Vec<u8>,)>(&*store)?;
                Some(func.call_async(store, (&bytes,)).await?.0)
            }
        })
    }
}

fn are_bytes(ty: &Type) -> bool {
    matches!(ty, Type::List(element) if **element == Type::U8)
}

/// What a byte of arguments may take once it is decoded.
pub(super) fn growth(signature: &Signature) -> usize {
    match Bytes::of(signature) {
        // As it came, and decoded.
        Some(_) => 2,
        // Each of a list becomes a value of the engine's.
        None => size_of::<Val>(),
    }
}

/// The bytes among checked arguments of such a function.
pub(super) fn of_arguments(arguments: &mut [Value]) -> Option<Vec<u8>> {
    match arguments {
        [] => Some(Vec::new()),
        [Value::Bytes(bytes)] => Some(take(bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rpc_host_protocol::types::Parameter;

    use super::*;

    fn signature(parameters: &[Type], result: Option<Type>) -> Signature {
        let parameters = parameters.iter().map(|ty| Parameter {
            name: "p".into(),
            ty: ty.clone(),
        });
        Signature {
            parameters: parameters.collect(),
            result,
        }
    }

    #[test]
    fn only_functions_of_bytes_alone_are_such() {
        let bytes = || Type::List(Type::U8.into());
        for (parameters, result, expected) in [
            (vec![bytes()], None, Some(Bytes::Taken)),
            (vec![], Some(bytes()), Some(Bytes::Given)),
            (vec![bytes()], Some(bytes()), Some(Bytes::Both)),
            (vec![], None, None),
            (vec![bytes(), bytes()], Some(bytes()), None),
            (vec![bytes()], Some(Type::U8), None),
            (vec![Type::List(Type::S8.into())], Some(bytes()), None),
            (vec![Type::String], Some(bytes()), None),
        ] {
            assert_eq!(Bytes::of(&signature(&parameters, result)), expected);
        }
    }
}
