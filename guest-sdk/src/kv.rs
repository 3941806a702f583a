//! Buckets of keys and values that outlive the call.
//!
//! A bucket belongs to the tenant: whichever of its modules is granted it finds there what any of them put
//! into it. The module needs the grant `kv:BUCKET=ro` or `kv:BUCKET=rw` (`rpc-host upload … --grant
//! kv:visits=rw`). What was changed is durable when the function returns.
//!
//! ```
//! use rpc_guest::kv::{self, Bucket};
//!
//! fn visit(name: &str) -> Result<u64, kv::Error> {
//!     let visits = Bucket::open("visits")?;
//!     visits.increment(name, 1)
//! }
//! # assert_eq!(visit("ada").unwrap(), 1);
//! # assert_eq!(visit("ada").unwrap(), 2);
//! ```
//!
//! On another machine than the host's sandbox, as in a unit test, buckets are in memory, and all are granted.

use std::fmt;

/// Why something was not read or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The module has no grant of this bucket, or one to look only.
    AccessDenied,
    /// Anything else, such as a limit that was reached, in words.
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AccessDenied => f.write_str("the module has no grant for that of this bucket"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

/// An open bucket.
#[derive(Debug)]
pub struct Bucket(inner::Bucket);

impl Bucket {
    /// Opens a bucket that the module is granted. It is there without being made.
    ///
    /// # Errors
    /// When it is not granted.
    pub fn open(name: &str) -> Result<Self, Error> {
        inner::open(name).map(Self)
    }

    /// What a key holds, if it is there.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        inner::get(&self.0, key)
    }

    /// Has a key hold a value.
    ///
    /// # Errors
    /// When the bucket is granted to look only, or a limit is reached.
    pub fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        inner::set(&self.0, key, value)
    }

    /// Has several keys hold their values: all of them, or none if it fails.
    ///
    /// # Errors
    /// When the bucket is granted to look only, or a limit is reached.
    pub fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), Error> {
        inner::set_many(&self.0, pairs)
    }

    /// Takes a key away, if it is there.
    ///
    /// # Errors
    /// When the bucket is granted to look only.
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        inner::delete(&self.0, key)
    }

    /// All keys, in the order of their bytes.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn keys(&self) -> Result<Vec<String>, Error> {
        inner::keys(&self.0)
    }

    /// Adds to the number that a key holds as decimal text, zero if it is not there, and gives the sum.
    /// Nobody comes between.
    ///
    /// # Errors
    /// When the bucket is granted to look only, or the key holds no number.
    pub fn increment(&self, key: &str, delta: u64) -> Result<u64, Error> {
        inner::increment(&self.0, key, delta)
    }
}

#[cfg(target_arch = "wasm32")]
mod inner {
    use super::Error;
    pub(super) use crate::bindings::keyvalue::wasi::keyvalue::store::Bucket;
    use crate::bindings::keyvalue::wasi::keyvalue::{atomics, batch, store};

    impl From<store::Error> for Error {
        fn from(error: store::Error) -> Self {
            match error {
                store::Error::NoSuchStore | store::Error::AccessDenied => Self::AccessDenied,
                store::Error::Other(text) => Self::Other(text),
            }
        }
    }

    pub(super) fn open(name: &str) -> Result<Bucket, Error> {
        Ok(store::open(name)?)
    }

    pub(super) fn get(bucket: &Bucket, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(bucket.get(key)?)
    }

    pub(super) fn set(bucket: &Bucket, key: &str, value: &[u8]) -> Result<(), Error> {
        Ok(bucket.set(key, value)?)
    }

    pub(super) fn set_many(bucket: &Bucket, pairs: &[(String, Vec<u8>)]) -> Result<(), Error> {
        Ok(batch::set_many(bucket, pairs)?)
    }

    pub(super) fn delete(bucket: &Bucket, key: &str) -> Result<(), Error> {
        Ok(bucket.delete(key)?)
    }

    pub(super) fn keys(bucket: &Bucket) -> Result<Vec<String>, Error> {
        let mut keys = Vec::new();
        let mut cursor = None;
        loop {
            let page = bucket.list_keys(cursor)?;
            keys.extend(page.keys);
            cursor = page.cursor;
            if cursor.is_none() {
                return Ok(keys);
            }
        }
    }

    pub(super) fn increment(bucket: &Bucket, key: &str, delta: u64) -> Result<u64, Error> {
        Ok(atomics::increment(bucket, key, delta)?)
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod inner {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::Error;

    type Pairs = BTreeMap<String, Vec<u8>>;

    static BUCKETS: Mutex<BTreeMap<String, Pairs>> = Mutex::new(BTreeMap::new());

    #[derive(Debug)]
    pub(super) struct Bucket(String);

    impl Bucket {
        fn pairs<T>(&self, work: impl FnOnce(&mut Pairs) -> T) -> T {
            let mut buckets: MutexGuard<'_, _> =
                BUCKETS.lock().unwrap_or_else(PoisonError::into_inner);
            work(buckets.entry(self.0.clone()).or_default())
        }
    }

    pub(super) fn open(name: &str) -> Result<Bucket, Error> {
        Ok(Bucket(name.to_owned()))
    }

    pub(super) fn get(bucket: &Bucket, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(bucket.pairs(|pairs| pairs.get(key).cloned()))
    }

    pub(super) fn set(bucket: &Bucket, key: &str, value: &[u8]) -> Result<(), Error> {
        bucket.pairs(|pairs| pairs.insert(key.to_owned(), value.to_owned()));
        Ok(())
    }

    pub(super) fn set_many(bucket: &Bucket, new: &[(String, Vec<u8>)]) -> Result<(), Error> {
        bucket.pairs(|pairs| pairs.extend(new.iter().cloned()));
        Ok(())
    }

    pub(super) fn delete(bucket: &Bucket, key: &str) -> Result<(), Error> {
        bucket.pairs(|pairs| pairs.remove(key));
        Ok(())
    }

    pub(super) fn keys(bucket: &Bucket) -> Result<Vec<String>, Error> {
        Ok(bucket.pairs(|pairs| pairs.keys().cloned().collect()))
    }

    pub(super) fn increment(bucket: &Bucket, key: &str, delta: u64) -> Result<u64, Error> {
        bucket.pairs(|pairs| {
            let present = pairs.get(key).map_or(Some(0), |value| {
                std::str::from_utf8(value).ok()?.parse::<u64>().ok()
            });
            let sum = present.and_then(|present| present.checked_add(delta));
            let sum =
                sum.ok_or_else(|| Error::Other("the key holds no number below 2^64".into()))?;
            pairs.insert(key.to_owned(), sum.to_string().into_bytes());
            Ok(sum)
        })
    }
}
