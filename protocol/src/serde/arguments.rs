//! The arguments of a call.

use serde::Serialize;

use super::error::Misfit;
use super::name::kebab;
use super::ser::Output;
use crate::cbor::Writer;
use crate::payload::Payload;
use crate::value::ValueError;

/// Room for the envelope of a call, which is known after its arguments, and for the head of their array. One that is
/// longer moves them.
const ROOM_BYTES: usize = 256;
/// What the arguments of most calls need.
const FEW_BYTES: usize = 64;

/// The arguments of a call while they are put together: positional ones, then named ones.
#[derive(Debug, Default)]
pub struct ArgumentList {
    /// Behind room for what comes before them.
    positional: Output,
    positional_count: usize,
    named: Output,
    named_count: usize,
}

impl ArgumentList {
    /// No arguments.
    pub fn new() -> Self {
        ArgumentList::default()
    }

    /// Adds the next positional argument.
    pub fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        let index = self.positional_count;
        if index == 0 {
            self.leave_room();
        }
        self.positional_count += 1;
        self.positional
            .write(value)
            .map_err(|misfit: Misfit| misfit.in_index(index).at_root("args"))
    }

    /// Adds an argument by the name of its parameter, in snake_case or kebab-case.
    pub fn insert<T: Serialize + ?Sized>(
        &mut self,
        name: &str,
        value: &T,
    ) -> Result<(), ValueError> {
        let name = kebab(name);
        self.named_count += 1;
        self.named.writer().text(&name);
        self.named
            .write(value)
            .map_err(|misfit: Misfit| misfit.in_field(&name).at_root("args"))
    }

    fn leave_room(&mut self) {
        let writer = self.positional.writer();
        writer.reserve(ROOM_BYTES + FEW_BYTES);
        writer.raw(&[0; ROOM_BYTES]);
    }

    /// The two CBOR items that follow the envelope of a call, with room for that.
    pub fn into_payload(mut self) -> Payload {
        let mut array = Writer::new();
        array.array(self.positional_count);
        if self.positional_count == 0 {
            self.leave_room();
        }
        let writer = self.positional.writer();
        writer.map(self.named_count);
        writer.raw(&self.named.into_bytes());
        let mut payload = Payload::behind(ROOM_BYTES, self.positional.into_bytes());
        payload.put_in_front(&array.into_bytes());
        payload
    }
}

/// What can be given as the positional arguments of a call: a tuple.
#[diagnostic::on_unimplemented(
    message = "arguments are given as a tuple",
    label = "write `(2, 3)`, or `(2,)` for a single argument, or `()` for none"
)]
pub trait Arguments {
    /// Adds them, in order.
    fn push_to(&self, list: &mut ArgumentList) -> Result<(), ValueError>;
}

impl<T: Arguments + ?Sized> Arguments for &T {
    fn push_to(&self, list: &mut ArgumentList) -> Result<(), ValueError> {
        T::push_to(self, list)
    }
}

macro_rules! tuples {
    ($(($($name:ident)*))+) => {$(
        impl<$($name: Serialize),*> Arguments for ($($name,)*) {
            fn push_to(&self, list: &mut ArgumentList) -> Result<(), ValueError> {
                #[allow(non_snake_case, reason = "the names of the types name their values too")]
                let ($($name,)*) = self;
                $(list.push($name)?;)*
                let _unused_where_there_are_none = list;
                Ok(())
            }
        }
    )+};
}

// A WIT function takes at most 16 flat parameters in practice; more go by name or as a record.
tuples! {
    ()
    (A)
    (A B)
    (A B C)
    (A B C D)
    (A B C D E)
    (A B C D E F)
    (A B C D E F G)
    (A B C D E F G H)
    (A B C D E F G H I)
    (A B C D E F G H I J)
    (A B C D E F G H I J K)
    (A B C D E F G H I J K L)
    (A B C D E F G H I J K L M)
    (A B C D E F G H I J K L M N)
    (A B C D E F G H I J K L M N O)
    (A B C D E F G H I J K L M N O P)
}
