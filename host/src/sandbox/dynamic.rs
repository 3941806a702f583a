//! Calls of functions whose types are known at run time alone, without the engine's dynamic values: what goes in is
//! written into the guest's memory as it is read, and what comes out is read there as it is encoded. Both ways: functions
//! of the guest that are called, and those that it imports and calls.
//!
//! With [`Sealer::open`](super::artifact) this is all the `unsafe` code of the host. It tells the engine that four types
//! of ours keep to its layout of arguments and results, which it cannot check; what they read and write by is the
//! engine's own description of the function, in safe code that checks every place in the guest's memory
//! ([`lowering`], [`lifting`]). So a mistake there gives a wrong value or an error, and never a wrong
//! access.
#![allow(
    unsafe_code,
    reason = "the engine's traits for what crosses are unsafe to implement; see each of them here"
)]

use std::mem::MaybeUninit;
use std::sync::Arc;

use rpc_host_protocol::Signature;
use wasmtime::component::__internal::{
    CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, LowerContext,
};
use wasmtime::component::{ComponentNamedList, ComponentType, Func, Lift, LinkerInstance, Lower};
use wasmtime::{Store, ValRaw};

use super::encoded::{Arguments, Reply};
use super::lifting::Source;
use super::lowering::Target;
use super::{Imported, State, flat, lifting, link, lowering};

/// The most values that arguments are in a core call; more go by way of memory. The engine's number.
pub(super) const MAX_FLAT_PARAMS: usize = 16;
/// The same of a result.
pub(super) const MAX_FLAT_RESULTS: usize = 1;

/// Bounds of what is encoded of a result, of which a call has the least that is enough for its limit.
const SMALL_REPLY_BYTES: usize = 1 << 20;
const REPLY_BYTES: usize = 16 << 20;
const LARGE_REPLY_BYTES: usize = 1 << 30;

/// Calls a function with arguments that were checked by its signature. Of a result that takes more than
/// `max_reply_bytes`, not much more than that is written.
pub(super) async fn call(
    func: Func,
    store: &mut Store<State>,
    arguments: Arguments<'_>,
    max_reply_bytes: u64,
) -> wasmtime::Result<Reply> {
    let most = usize::try_from(max_reply_bytes).unwrap_or(usize::MAX);
    if most <= SMALL_REPLY_BYTES {
        call_within::<SMALL_REPLY_BYTES>(func, store, arguments).await
    } else if most <= REPLY_BYTES {
        call_within::<REPLY_BYTES>(func, store, arguments).await
    } else {
        call_within::<LARGE_REPLY_BYTES>(func, store, arguments).await
    }
}

async fn call_within<const MOST: usize>(
    func: Func,
    store: &mut Store<State>,
    arguments: Arguments<'_>,
) -> wasmtime::Result<Reply> {
    let func = func.typed::<Arguments<'_>, Within<MOST>>(&*store)?;
    Ok(func.call_async(store, arguments).await?.0)
}

/// A result of which so many bytes are encoded at most.
struct Within<const MOST: usize>(Reply);

/// Whatever a function takes, the engine sees one type here; which it is, the walker is told by the engine itself
/// at each call.
fn takes_any(ty: &InterfaceType) -> wasmtime::Result<()> {
    match ty {
        InterfaceType::Tuple(_) => Ok(()),
        _ => Err(wasmtime::format_err!(
            "arguments and results are a tuple each"
        )),
    }
}

// SAFETY: `Lower` is as many adjacent `ValRaw` as arguments of any function may be, which is the room that the engine's
// own dynamic call gives them (`Func::call`); the function reads as many of them as it takes. `ABI` is read
// only where a type has more flat values than fit, which this one never has.
unsafe impl ComponentType for Arguments<'_> {
    type Lower = [ValRaw; MAX_FLAT_PARAMS];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::SCALAR8;

    fn typecheck(ty: &InterfaceType, _: &InstanceType<'_>) -> wasmtime::Result<()> {
        takes_any(ty)
    }
}

// SAFETY: it stands for all parameters together, and `typecheck` takes nothing else.
unsafe impl ComponentNamedList for Arguments<'_> {}

// SAFETY: all of `Lower` is written before anything else is done, so that nothing of it is left as it was. What is
// then put there are numbers, never references; the trampoline takes from each slot the bits of its own type.
unsafe impl Lower for Arguments<'_> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> wasmtime::Result<()> {
        let flat = dst.write([ValRaw::u64(0); MAX_FLAT_PARAMS]);
        lowering::lower(*self, cx, ty, flat)
    }

    fn linear_lower_to_memory<T>(
        &self,
        _: &mut LowerContext<'_, T>,
        _: InterfaceType,
        _: usize,
    ) -> wasmtime::Result<()> {
        Err(wasmtime::format_err!("arguments are never part of a value"))
    }
}

// SAFETY: as of `Arguments`; a result is one `ValRaw` at most, a value or the place of several. Where there is no result,
// it is not looked at, but by the guest's clean-up, which then takes nothing.
unsafe impl<const MOST: usize> ComponentType for Within<MOST> {
    type Lower = [ValRaw; MAX_FLAT_RESULTS];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::SCALAR8;

    fn typecheck(ty: &InterfaceType, _: &InstanceType<'_>) -> wasmtime::Result<()> {
        takes_any(ty)
    }
}

// SAFETY: it stands for all results together, and `typecheck` takes nothing else.
unsafe impl<const MOST: usize> ComponentNamedList for Within<MOST> {}

// SAFETY: it reads the slot that the function wrote, and the guest's memory by checked places. Any bits are right.
unsafe impl<const MOST: usize> Lift for Within<MOST> {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &Self::Lower,
    ) -> wasmtime::Result<Self> {
        lifting::lift(cx, ty, src, MOST).map(Within)
    }

    fn linear_lift_from_memory(
        _: &mut LiftContext<'_>,
        _: InterfaceType,
        _: &[u8],
    ) -> wasmtime::Result<Self> {
        Err(wasmtime::format_err!("a result is never part of a value"))
    }
}

/// Makes an imported function known, through which nothing but data passes.
pub(super) fn import(
    linked: &mut LinkerInstance<'_, State>,
    imported: &Arc<Imported>,
) -> wasmtime::Result<()> {
    let Signature { parameters, result } = &imported.function.signature;
    let parameters = flat::all(parameters.iter().map(|parameter| &parameter.ty));
    let result = result.as_ref().map_or(0, flat::count);
    // Where they go by way of memory, it does not matter how many they are.
    let counts = match (parameters, result.min(MAX_FLAT_RESULTS)) {
        (many, result) if many > MAX_FLAT_PARAMS => (0, result),
        few => few,
    };
    macro_rules! by_count {
        ($($parameters:literal)*) => {
            match counts {
                $(
                    ($parameters, 0) => import_of::<$parameters, 0>(linked, imported),
                    ($parameters, _) => import_of::<$parameters, 1>(linked, imported),
                )*
                _ => Err(wasmtime::format_err!("more flat values than there are")),
            }
        };
    }
    by_count!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
}

fn import_of<const PARAMETERS: usize, const RESULTS: usize>(
    linked: &mut LinkerInstance<'_, State>,
    imported: &Arc<Imported>,
) -> wasmtime::Result<()> {
    let imported = Arc::clone(imported);
    let name = Arc::clone(&imported.function.name);
    linked.func_wrap_async(
        &name,
        move |store, Handed(arguments): Handed<PARAMETERS>| {
            let imported = Arc::clone(&imported);
            Box::new(async move {
                let answered = link::call_with_data(store, &imported, arguments).await?;
                Ok(Answered::<RESULTS>(answered))
            })
        },
    )
}

/// The arguments of an imported function, which are so many flat values; none where they are in memory.
struct Handed<const N: usize>(Reply);

/// What an imported function gives, which is so many flat values.
struct Answered<const N: usize>(link::Answered);

/// Whether the engine has the same number of flat values for what it takes or gives. Where it has none, as it all goes
/// by way of memory, that is as good as this number.
fn takes_so_many(
    ty: &InterfaceType,
    types: &InstanceType<'_>,
    (count, most, in_memory): (usize, usize, usize),
) -> wasmtime::Result<()> {
    takes_any(ty)?;
    let flat = types.types.canonical_abi(ty).flat_count(most);
    match flat.unwrap_or(in_memory) == count {
        true => Ok(()),
        false => Err(wasmtime::format_err!(
            "{count} flat values, where the engine has {flat:?}"
        )),
    }
}

// SAFETY: `Lower` is as many `ValRaw` as the parameters are where they are flat, which `typecheck` makes sure of; the engine
// makes sure of it again for each call. Where they are in memory, it is not looked at, and no bytes of the size
// that `ABI` tells are.
unsafe impl<const N: usize> ComponentType for Handed<N> {
    type Lower = [ValRaw; N];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        takes_so_many(ty, types, (N, MAX_FLAT_PARAMS, 0))
    }
}

// SAFETY: it stands for all parameters together, and `typecheck` takes nothing else.
unsafe impl<const N: usize> ComponentNamedList for Handed<N> {}

// SAFETY: it reads the values that the guest handed over, and the guest's memory by checked places. Any bits are right.
unsafe impl<const N: usize> Lift for Handed<N> {
    fn linear_lift_from_flat(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        src: &Self::Lower,
    ) -> wasmtime::Result<Self> {
        lifting::lift_arguments(cx, ty, Source::Flat(src)).map(Handed)
    }

    fn linear_lift_from_memory(
        cx: &mut LiftContext<'_>,
        ty: InterfaceType,
        bytes: &[u8],
    ) -> wasmtime::Result<Self> {
        // They are none, but they begin where the arguments do.
        let memory = cx.memory().as_ptr().addr();
        let place = bytes.as_ptr().addr().wrapping_sub(memory);
        lifting::lift_arguments(cx, ty, Source::Memory(place)).map(Handed)
    }
}

// SAFETY: as of `Handed`.
unsafe impl<const N: usize> ComponentType for Answered<N> {
    type Lower = [ValRaw; N];

    const ABI: CanonicalAbiInfo = CanonicalAbiInfo::ZERO;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        takes_so_many(ty, types, (N, MAX_FLAT_RESULTS, MAX_FLAT_RESULTS))
    }
}

// SAFETY: it stands for all results together, and `typecheck` takes nothing else.
unsafe impl<const N: usize> ComponentNamedList for Answered<N> {}

// SAFETY: all of `Lower` is written before anything else is done. What is then put there, and into memory, are numbers,
// never references, at checked places.
unsafe impl<const N: usize> Lower for Answered<N> {
    fn linear_lower_to_flat<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        dst: &mut MaybeUninit<Self::Lower>,
    ) -> wasmtime::Result<()> {
        let flat = dst.write([ValRaw::u64(0); N]);
        self.0.lower(cx, ty, Target::Flat(flat))
    }

    fn linear_lower_to_memory<T>(
        &self,
        cx: &mut LowerContext<'_, T>,
        ty: InterfaceType,
        offset: usize,
    ) -> wasmtime::Result<()> {
        self.0.lower(cx, ty, Target::Memory(offset))
    }
}

/// Where the guest has this text now, in its own encoding, and how long it is there.
pub(super) fn lower_text<T>(
    cx: &mut LowerContext<'_, T>,
    text: &str,
) -> wasmtime::Result<(ValRaw, ValRaw)> {
    let mut pair = MaybeUninit::new([ValRaw::u64(0); 2]);
    text.linear_lower_to_flat(cx, InterfaceType::String, &mut pair)?;
    // SAFETY: it was made with all of it written; the engine writes both again.
    let [place, length] = unsafe { pair.assume_init() };
    Ok((place, length))
}
