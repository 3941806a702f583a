//! `wasi:keyvalue`: buckets of keys and values, in the version 0.2.0-draft.
//!
//! This is the guest's side: which bucket it may open, and how far. Where the pairs are, and how many there
//! may be, is behind [`KeyValue`], which whoever makes the instance gives to it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use super::{Access, Grants, SubjectName};
use crate::budget::Budget;
use crate::sandbox::State;

/// The version that is served, and no other: a draft promises nothing to the next.
pub(super) const VERSION: &str = "0.2.0-draft";
pub(super) const STORE: &str = "wasi:keyvalue/store";
pub(super) const ATOMICS: &str = "wasi:keyvalue/atomics";
pub(super) const BATCH: &str = "wasi:keyvalue/batch";

mod bindings {
    wasmtime::component::bindgen!({
        path: "../wit/deps/keyvalue",
        inline: "package rpc-host:keyvalue;
            world keyvalue {
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
                import wasi:keyvalue/batch@0.2.0-draft;
            }",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store.bucket": super::OpenBucket },
    });
}

use bindings::wasi::keyvalue::store::{Error, KeyResponse};
use bindings::wasi::keyvalue::{atomics, batch, store};

/// Why pairs were not read or changed, as the guest is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyValueError {
    /// No key, or one over its limit.
    #[error("a key has 1 to {limit_bytes} bytes")]
    Key {
        /// How many it may have.
        limit_bytes: u64,
    },
    /// Over its limit.
    #[error("a value has at most {limit_bytes} bytes")]
    ValueTooLong {
        /// How many it may have.
        limit_bytes: u64,
    },
    /// Too many in one call.
    #[error("at most {limit} keys can be named at once")]
    TooManyAtOnce {
        /// How many may be.
        limit: u64,
    },
    /// A quota is used up.
    #[error("the {of} has room for {limit} {what}; delete some first")]
    Full {
        /// Whose quota.
        of: &'static str,
        /// How much there may be.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// A number was to be added to something else.
    #[error("the key holds no number below 2^64")]
    NoNumber,
    /// The node's own fault; its log says more.
    #[error("the node failed")]
    Failed,
}

/// What came of an access, and how long it kept the node busy.
pub struct Done<T> {
    /// What came of it.
    pub result: Result<T, KeyValueError>,
    /// How long that took, without any waiting.
    pub took: Duration,
}

/// An access under way. Dropped, a change may be made or not, and never half.
pub type Accessing<'a, T> = Pin<Box<dyn Future<Output = Done<T>> + Send + 'a>>;

/// The buckets of one tenant.
pub trait KeyValue: Send + Sync + 'static {
    /// What each of these keys holds.
    fn get<'a>(
        &'a self,
        bucket: &'a SubjectName,
        keys: Vec<String>,
    ) -> Accessing<'a, Vec<Option<Vec<u8>>>>;

    /// A page of keys, after so many that are skipped, and whether there are more.
    fn keys<'a>(&'a self, bucket: &'a SubjectName, skip: u64)
    -> Accessing<'a, (Vec<String>, bool)>;

    /// Has keys hold values, or takes them away. It is durable when this is done.
    fn change<'a>(
        &'a self,
        bucket: &'a SubjectName,
        pairs: Vec<(String, Option<Vec<u8>>)>,
    ) -> Accessing<'a, ()>;

    /// Adds to a number.
    fn increment<'a>(
        &'a self,
        bucket: &'a SubjectName,
        key: String,
        delta: u64,
    ) -> Accessing<'a, u64>;
}

impl fmt::Debug for dyn KeyValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyValue")
    }
}

/// A bucket that a guest has open.
pub struct OpenBucket {
    name: SubjectName,
}

/// What an instance has of all this.
pub(crate) struct KeyValueView<'a> {
    pub(crate) table: &'a mut ResourceTable,
    pub(crate) grants: &'a Grants,
    pub(crate) buckets: Option<&'a Arc<dyn KeyValue>>,
    pub(crate) budget: &'a Budget,
}

struct HasKeyValue;

impl HasData for HasKeyValue {
    type Data<'a> = KeyValueView<'a>;
}

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    store::add_to_linker::<State, HasKeyValue>(linker, State::key_value)?;
    atomics::add_to_linker::<State, HasKeyValue>(linker, State::key_value)?;
    batch::add_to_linker::<State, HasKeyValue>(linker, State::key_value)
}

type Outcome<T> = wasmtime::Result<Result<T, Error>>;

impl KeyValueView<'_> {
    /// The buckets, and the name of an open one, if the grant that is in force opens it so far.
    fn opened(
        &self,
        bucket: &Resource<OpenBucket>,
        needed: Access,
    ) -> wasmtime::Result<Option<(Arc<dyn KeyValue>, SubjectName)>> {
        let name = self.table.get(bucket)?.name.clone();
        let granted = self.grants.bucket(&name);
        let buckets = self
            .buckets
            .filter(|_| granted.is_some_and(|granted| granted >= needed));
        Ok(buckets.map(|buckets| (Arc::clone(buckets), name)))
    }

    /// What the node does for a guest is time of the call's, as if the guest had done it.
    fn done<T>(&self, done: Done<T>) -> Outcome<T> {
        self.budget.spend(done.took)?;
        Ok(done.result.map_err(|error| Error::Other(error.to_string())))
    }

    async fn read(
        &mut self,
        bucket: &Resource<OpenBucket>,
        keys: Vec<String>,
    ) -> Outcome<Vec<Option<Vec<u8>>>> {
        let Some((buckets, name)) = self.opened(bucket, Access::ReadOnly)? else {
            return Ok(Err(Error::AccessDenied));
        };
        let done = buckets.get(&name, keys).await;
        self.done(done)
    }

    async fn change(
        &mut self,
        bucket: &Resource<OpenBucket>,
        pairs: Vec<(String, Option<Vec<u8>>)>,
    ) -> Outcome<()> {
        let Some((buckets, name)) = self.opened(bucket, Access::ReadWrite)? else {
            return Ok(Err(Error::AccessDenied));
        };
        let done = buckets.change(&name, pairs).await;
        self.done(done)
    }
}

impl store::Host for KeyValueView<'_> {
    async fn open(&mut self, identifier: String) -> Outcome<Resource<OpenBucket>> {
        // A name that nothing could be called, one that nobody has and one of others are all alike.
        let name = identifier.parse::<SubjectName>().ok();
        let granted = name.filter(|name| self.grants.bucket(name).is_some());
        match granted {
            Some(name) => Ok(Ok(self.table.push(OpenBucket { name })?)),
            None => Ok(Err(Error::AccessDenied)),
        }
    }
}

impl store::HostBucket for KeyValueView<'_> {
    async fn get(&mut self, bucket: Resource<OpenBucket>, key: String) -> Outcome<Option<Vec<u8>>> {
        let read = self.read(&bucket, vec![key]).await?;
        Ok(read.map(|values| values.into_iter().next().flatten()))
    }

    async fn set(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
        value: Vec<u8>,
    ) -> Outcome<()> {
        self.change(&bucket, vec![(key, Some(value))]).await
    }

    async fn delete(&mut self, bucket: Resource<OpenBucket>, key: String) -> Outcome<()> {
        self.change(&bucket, vec![(key, None)]).await
    }

    async fn exists(&mut self, bucket: Resource<OpenBucket>, key: String) -> Outcome<bool> {
        let read = self.read(&bucket, vec![key]).await?;
        Ok(read.map(|values| values.iter().any(Option::is_some)))
    }

    async fn list_keys(
        &mut self,
        bucket: Resource<OpenBucket>,
        cursor: Option<u64>,
    ) -> Outcome<KeyResponse> {
        let Some((buckets, name)) = self.opened(&bucket, Access::ReadOnly)? else {
            return Ok(Err(Error::AccessDenied));
        };
        let skip = cursor.unwrap_or(0);
        let done = buckets.keys(&name, skip).await;
        let page = self.done(done)?;
        Ok(page.map(|(keys, more)| KeyResponse {
            cursor: more.then(|| skip.saturating_add(keys.len() as u64)),
            keys,
        }))
    }

    async fn drop(&mut self, bucket: Resource<OpenBucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for KeyValueView<'_> {
    async fn increment(
        &mut self,
        bucket: Resource<OpenBucket>,
        key: String,
        delta: u64,
    ) -> Outcome<u64> {
        let Some((buckets, name)) = self.opened(&bucket, Access::ReadWrite)? else {
            return Ok(Err(Error::AccessDenied));
        };
        let done = buckets.increment(&name, key, delta).await;
        self.done(done)
    }
}

impl batch::Host for KeyValueView<'_> {
    async fn get_many(
        &mut self,
        bucket: Resource<OpenBucket>,
        keys: Vec<String>,
    ) -> Outcome<Vec<Option<(String, Vec<u8>)>>> {
        let values = self.read(&bucket, keys.clone()).await?;
        let pairs = |values: Vec<Option<Vec<u8>>>| {
            let pairs = keys.into_iter().zip(values);
            pairs.map(|(key, value)| Some((key, value?))).collect()
        };
        Ok(values.map(pairs))
    }

    async fn set_many(
        &mut self,
        bucket: Resource<OpenBucket>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> Outcome<()> {
        let pairs = pairs.into_iter().map(|(key, value)| (key, Some(value)));
        self.change(&bucket, pairs.collect()).await
    }

    async fn delete_many(
        &mut self,
        bucket: Resource<OpenBucket>,
        keys: Vec<String>,
    ) -> Outcome<()> {
        let pairs = keys.into_iter().map(|key| (key, None));
        self.change(&bucket, pairs.collect()).await
    }
}
