//! What serde does not know: which objects are in what it writes or reads just now.
//!
//! A value tells serde nothing but a number, and serde passes nothing on from outside. So for the time in which
//! the arguments of a call are written, or its answer is read, the thread that does it keeps the objects that
//! are met: that is done in one go, without waiting, so nothing else comes in between.

use std::cell::RefCell;
use std::sync::Arc;

use rpc_host_protocol::serde::{from_cbor, from_cbor_owned};
use rpc_host_protocol::value::ValueError;
use serde::de::DeserializeOwned;

use super::{Implementation, Object};
use crate::connection::{Arrival, Connection, Passed};

thread_local! {
    static WRITTEN: RefCell<Option<Written>> = const { RefCell::new(None) };
    static READ: RefCell<Option<Read>> = const { RefCell::new(None) };
}

/// The objects in the arguments of a call, or in an answer.
#[derive(Clone, Default)]
pub(crate) struct Written {
    pub(crate) passed: Passed,
    /// The one that those of the host's are of.
    pub(crate) connection: Option<Arc<Connection>>,
}

/// Where what is read came from.
#[derive(Clone)]
pub(crate) struct Read {
    pub(crate) arrival: Arc<Arrival>,
    pub(crate) connection: Arc<Connection>,
    /// The registration whose functions are called where the objects live, as far as it is known.
    pub(crate) module: Arc<str>,
}

/// Puts back what was before, also when serde panics.
struct Within<T: 'static> {
    place: &'static std::thread::LocalKey<RefCell<Option<T>>>,
    before: Option<T>,
    has_left: bool,
}

impl<T> Within<T> {
    fn enter(place: &'static std::thread::LocalKey<RefCell<Option<T>>>, value: T) -> Self {
        Within {
            place,
            before: place.replace(Some(value)),
            has_left: false,
        }
    }

    fn leave(mut self) -> Option<T> {
        self.has_left = true;
        self.place.replace(self.before.take())
    }
}

impl<T> Drop for Within<T> {
    fn drop(&mut self) {
        if !self.has_left {
            drop(self.place.replace(self.before.take()));
        }
    }
}

/// Writes values; adds the objects that are in them to those that were written before.
pub(crate) fn writing<T>(written: &mut Written, write: impl FnOnce() -> T) -> T {
    let within = Within::enter(&WRITTEN, std::mem::take(written));
    let outcome = write();
    *written = within.leave().unwrap_or_default();
    outcome
}

/// Reads a value that came with these objects.
pub(crate) fn reading<T: DeserializeOwned>(
    items: &[u8],
    root: &str,
    read: Option<&Read>,
) -> Result<T, ValueError> {
    reading_by(read, || from_cbor(items, root))
}

/// The same, where the bytes are needed no more.
pub(crate) fn reading_owned<T: DeserializeOwned>(
    items: Vec<u8>,
    root: &str,
    read: Option<&Read>,
) -> Result<T, ValueError> {
    reading_by(read, || from_cbor_owned(items, root))
}

fn reading_by<T>(read: Option<&Read>, value: impl FnOnce() -> T) -> T {
    let within = read.map(|read| Within::enter(&READ, read.clone()));
    let outcome = value();
    drop(within.map(Within::leave));
    outcome
}

/// An object of the host's is written.
pub(super) fn write(object: &Object) -> Result<(), String> {
    WRITTEN.with_borrow_mut(|written| {
        let written = written
            .as_mut()
            .ok_or("an object can be given to a call, and to nothing else")?;
        if let Some(gone) = object.proxy.gone() {
            return Err(gone.to_string());
        }
        match &written.connection {
            Some(connection) if !Arc::ptr_eq(connection, &object.connection) => {
                return Err("objects of two connections cannot meet in a call".to_owned());
            }
            Some(_) => {}
            None => written.connection = Some(object.connection.clone()),
        }
        written.passed.proxies.push(object.proxy.clone());
        Ok(())
    })
}

/// An object of this client's own is written, under this number.
pub(super) fn write_own(number: u64, object: &Arc<Implementation>) -> Result<(), String> {
    WRITTEN.with_borrow_mut(|written| {
        let written = written
            .as_mut()
            .ok_or("an object can be given to a call, and to nothing else")?;
        written.passed.own.push((number, object.clone()));
        Ok(())
    })
}

/// The object of the host's that a number stands for in what is read.
pub(super) fn read(number: u64) -> Option<Object> {
    let read = READ.with_borrow(Clone::clone)?;
    let proxy = read.arrival.proxy(number)?;
    Some(Object::new(proxy, read.connection, read.module))
}

/// The object of this client's own that a number stands for in what is read.
pub(super) fn read_own(number: u64) -> Option<Arc<Implementation>> {
    READ.with_borrow(|read| read.as_ref()?.arrival.own(number))
}
