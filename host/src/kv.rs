//! Buckets of keys and values on the node's store, each tenant its own.
//!
//! A bucket is there as soon as something is in it. What is in it counts in quotas of the bucket and of the
//! tenant, which are kept beside the pairs and change with them in one commit. Whatever changes something is
//! durable when it is done, and costs the disk a sync, so a tenant changes something only so often a second;
//! whoever comes earlier waits. All of it lies below what belongs to the tenant, and goes with it.
//!
//! Deliberately not here: who may open which bucket. That is told by grants, before anything comes here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::capability::{Accessing, Done, KeyValue, KeyValueError, SubjectName};
use crate::config::{Limits, count};
use crate::processor::time_of_this_thread;
use crate::share::{Shares, Taken};
use crate::storage::{Batch, Expect, Key, Storage, StorageError, blocking, decode, encode};
use crate::tenant::{TenantId, owned, tenant_key};

/// So long a tenant may have saved up what it did not change.
const BURST: Duration = Duration::from_secs(1);
/// Tenants that are remembered before those that have nothing to wait for are forgotten.
const MANY_TENANTS: usize = 64;
/// Threads that may block, of those that the node has, which changes of buckets may keep busy, and reads too.
const THREADS: u32 = 16;
/// And of those, by reads of one tenant.
const READS_OF_TENANT: u32 = 4;
/// So many bytes more cost a change as much as another one.
const BYTES_OF_STEP: usize = 64 << 10;

/// The buckets of all tenants. A clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct Buckets {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    storage: Arc<dyn Storage>,
    /// Held over a whole change, disk included, by threads that may block: quotas are counted in the order
    /// of the changes.
    changing: Mutex<()>,
    /// When each tenant has used up what it may change.
    paces: Mutex<HashMap<TenantId, Instant>>,
    /// Changes under way, those that wait for their turn included: one of each tenant.
    changes: Shares,
    /// Threads that read.
    reads: Shares,
}

/// The buckets of one tenant, within its limits.
struct OfTenant {
    buckets: Buckets,
    tenant: TenantId,
    /// Whose share it works by.
    share: Arc<str>,
    limits: Limits,
}

/// What there is of something, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Usage {
    keys: u64,
    bytes: u64,
}

impl Usage {
    fn of(key: &str, value: &[u8]) -> Self {
        Usage {
            keys: 1,
            bytes: (key.len() as u64).saturating_add(value.len() as u64),
        }
    }

    fn plus(self, other: Self) -> Self {
        Usage {
            keys: self.keys.saturating_add(other.keys),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }

    fn minus(self, other: Self) -> Self {
        Usage {
            keys: self.keys.saturating_sub(other.keys),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

fn pairs(tenant: TenantId, bucket: &SubjectName) -> Key {
    owned(tenant).join("kv").join(bucket.as_str())
}

fn usages(tenant: TenantId) -> Key {
    owned(tenant).join("kv-usage")
}

/// What a change comes to for one key: its new value, or none, made of the present one.
type Changed = Vec<(String, Option<Vec<u8>>)>;

impl Buckets {
    /// Buckets on this store.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Buckets {
            inner: Arc::new(Inner {
                storage,
                changing: Mutex::default(),
                paces: Mutex::default(),
                changes: Shares::with_share(THREADS, 1),
                reads: Shares::with_share(THREADS, READS_OF_TENANT),
            }),
        }
    }

    /// The buckets of one tenant, within these limits.
    pub fn of(&self, tenant: TenantId, limits: &Limits) -> Arc<dyn KeyValue> {
        Arc::new(OfTenant {
            buckets: self.clone(),
            tenant,
            share: Arc::from(tenant.number().to_string()),
            limits: limits.clone(),
        })
    }
}

impl Inner {
    /// When a tenant may make its next change.
    fn turn(&self, tenant: TenantId) -> Instant {
        let now = Instant::now();
        let used_up = self.paces().get(&tenant).copied().unwrap_or(now);
        used_up.max(now).checked_sub(BURST).unwrap_or(now)
    }

    /// It makes one that costs so many steps.
    fn take_turn(&self, tenant: TenantId, per_second: u64, steps: u32) {
        let step = Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX).max(1);
        let now = Instant::now();
        let mut paces = self.paces();
        if paces.len() >= MANY_TENANTS {
            paces.retain(|_, used_up| *used_up > now);
        }
        let used_up = paces.entry(tenant).or_insert(now);
        *used_up = (*used_up).max(now) + step.saturating_mul(steps);
    }

    // Nothing panics while it is locked, so poison means nothing here.
    fn paces(&self) -> MutexGuard<'_, HashMap<TenantId, Instant>> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(
        &self,
        tenant: TenantId,
        bucket: &SubjectName,
        keys: &[String],
    ) -> Result<Vec<Option<Vec<u8>>>, StorageError> {
        let all = pairs(tenant, bucket);
        let values = keys.iter().map(|key| {
            let found = self.storage.get(&all.clone().join(key))?;
            Ok(found.map(|entry| entry.value))
        });
        values.collect()
    }

    fn keys(
        &self,
        tenant: TenantId,
        bucket: &SubjectName,
        skip: u64,
        most: u64,
    ) -> Result<(Vec<String>, bool), StorageError> {
        let prefix = pairs(tenant, bucket).below();
        let found = self
            .storage
            .keys(&prefix, count(skip), count(most.saturating_add(1)))?;
        let more = found.len() > count(most);
        let keys = found.iter().take(count(most)).map(Key::last_segment);
        Ok((keys.collect(), more))
    }

    /// Makes a change that is made of what is there.
    fn change<T>(
        &self,
        tenant: TenantId,
        bucket: &SubjectName,
        limits: &Limits,
        make: impl FnOnce(&Self) -> Result<(Changed, T), Trouble>,
    ) -> Result<T, Trouble> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (changed, made) = make(self)?;
        // Of two for the same key the later one counts.
        let changed: BTreeMap<_, _> = changed.into_iter().collect();
        let mut used = BTreeMap::new();
        for entry in self.storage.scan(&usages(tenant).below())? {
            used.insert(entry.key.last_segment(), decode::<Usage>(&entry)?);
        }
        let before = used.get(bucket.as_str()).copied().unwrap_or_default();
        let mut after = before;
        let mut batch = Batch::new().expect(tenant_key(tenant), Expect::Present);
        let mut is_change = false;
        for (key, value) in changed {
            let place = pairs(tenant, bucket).join(&key);
            let present = self.storage.get(&place)?.map(|entry| entry.value);
            if present == value {
                continue;
            }
            is_change = true;
            if let Some(present) = &present {
                after = after.minus(Usage::of(&key, present));
            }
            batch = match value {
                Some(value) => {
                    after = after.plus(Usage::of(&key, &value));
                    batch.put(place, value)
                }
                None => batch.delete(place),
            };
        }
        if !is_change {
            return Ok(made);
        }
        within(bucket, before, after, &used, limits)?;
        let place = usages(tenant).join(bucket.as_str());
        let batch = match after.keys {
            0 => batch.delete(place),
            _ => batch.put(place, encode(&after)?),
        };
        self.storage.commit(batch)?;
        Ok(made)
    }
}

/// Whether there is room for what a bucket has grown by. Whoever deletes always may.
fn within(
    bucket: &SubjectName,
    before: Usage,
    after: Usage,
    used: &BTreeMap<String, Usage>,
    limits: &Limits,
) -> Result<(), KeyValueError> {
    let of_others = used.iter().filter(|(name, _)| *name != bucket.as_str());
    let of_others = of_others.fold(Usage::default(), |sum, (_, one)| sum.plus(*one));
    let of_tenant = of_others.plus(after);
    let full = |of, limit, what| Err(KeyValueError::Full { of, limit, what });
    if after.keys > before.keys {
        let buckets = used.len() as u64 + u64::from(before.keys == 0);
        if buckets > limits.max_kv_buckets_per_tenant {
            return full("tenant", limits.max_kv_buckets_per_tenant, "buckets");
        }
        if after.keys > limits.max_kv_keys_per_bucket {
            return full("bucket", limits.max_kv_keys_per_bucket, "keys");
        }
        if of_tenant.keys > limits.max_kv_keys_per_tenant {
            return full("tenant", limits.max_kv_keys_per_tenant, "keys");
        }
    }
    if after.bytes > before.bytes {
        if after.bytes > limits.max_kv_bytes_per_bucket {
            return full("bucket", limits.max_kv_bytes_per_bucket, "bytes");
        }
        if of_tenant.bytes > limits.max_kv_bytes_per_tenant {
            return full("tenant", limits.max_kv_bytes_per_tenant, "bytes");
        }
    }
    Ok(())
}

/// Why something is not done: the guest's doing, or not.
enum Trouble {
    Refused(KeyValueError),
    Storage(StorageError),
}

impl From<KeyValueError> for Trouble {
    fn from(error: KeyValueError) -> Self {
        Self::Refused(error)
    }
}

impl From<StorageError> for Trouble {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

/// Works on a thread that may block.
async fn work<T: Send + 'static>(
    thread: Option<Taken>,
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Done<T> {
    let timed = blocking(move || {
        // Given back when the work is done, even if nobody waits for it any more.
        let _thread = thread;
        // Not what it waits for the disk, or for others who change something.
        let before = time_of_this_thread();
        (work(), time_of_this_thread().saturating_sub(before))
    });
    let (result, took) = match timed.await {
        Ok(done) => done,
        Err(stopped) => (Err(StorageError::from(stopped).into()), Duration::ZERO),
    };
    let result = result.map_err(|trouble| match trouble {
        Trouble::Refused(error) => error,
        Trouble::Storage(error) => {
            tracing::error!(%error, "a bucket was not read or changed, by the node's own fault");
            KeyValueError::Failed
        }
    });
    Done { result, took }
}

fn refused<T>(error: KeyValueError) -> Done<T> {
    Done {
        result: Err(error),
        took: Duration::ZERO,
    }
}

impl OfTenant {
    fn check_keys<'a>(
        &self,
        keys: impl ExactSizeIterator<Item = &'a String>,
    ) -> Result<(), KeyValueError> {
        let limit = self.limits.max_kv_keys_per_batch;
        if keys.len() as u64 > limit {
            return Err(KeyValueError::TooManyAtOnce { limit });
        }
        let limit_bytes = self.limits.max_kv_key_bytes;
        for key in keys {
            if key.is_empty() || key.len() as u64 > limit_bytes {
                return Err(KeyValueError::Key { limit_bytes });
            }
        }
        Ok(())
    }

    /// Makes a change when it is this tenant's turn.
    async fn change_in_turn<T: Send + 'static>(
        &self,
        bucket: &SubjectName,
        bytes: usize,
        make: impl FnOnce(&Inner) -> Result<(Changed, T), Trouble> + Send + 'static,
    ) -> Done<T> {
        let inner = Arc::clone(&self.buckets.inner);
        // One at a time, so that a turn is taken when it has come: whoever gives up waiting has taken none.
        let thread = inner.changes.take(&self.share, 1).await;
        tokio::time::sleep_until(inner.turn(self.tenant)).await;
        let per_second = self.limits.max_kv_writes_per_second_per_tenant;
        let steps = u32::try_from(1 + bytes / BYTES_OF_STEP).unwrap_or(u32::MAX);
        inner.take_turn(self.tenant, per_second, steps);
        let (tenant, bucket, limits) = (self.tenant, bucket.clone(), self.limits.clone());
        work(thread, move || inner.change(tenant, &bucket, &limits, make)).await
    }
}

impl KeyValue for OfTenant {
    fn get<'a>(
        &'a self,
        bucket: &'a SubjectName,
        keys: Vec<String>,
    ) -> Accessing<'a, Vec<Option<Vec<u8>>>> {
        Box::pin(async move {
            if let Err(error) = self.check_keys(keys.iter()) {
                return refused(error);
            }
            let inner = Arc::clone(&self.buckets.inner);
            let (tenant, bucket) = (self.tenant, bucket.clone());
            let thread = inner.reads.take(&self.share, 1).await;
            work(thread, move || Ok(inner.get(tenant, &bucket, &keys)?)).await
        })
    }

    fn keys<'a>(
        &'a self,
        bucket: &'a SubjectName,
        skip: u64,
    ) -> Accessing<'a, (Vec<String>, bool)> {
        Box::pin(async move {
            let inner = Arc::clone(&self.buckets.inner);
            let (tenant, bucket) = (self.tenant, bucket.clone());
            let most = self.limits.max_kv_keys_per_page;
            let thread = inner.reads.take(&self.share, 1).await;
            work(thread, move || Ok(inner.keys(tenant, &bucket, skip, most)?)).await
        })
    }

    fn change<'a>(
        &'a self,
        bucket: &'a SubjectName,
        pairs: Vec<(String, Option<Vec<u8>>)>,
    ) -> Accessing<'a, ()> {
        Box::pin(async move {
            if let Err(error) = self.check_keys(pairs.iter().map(|(key, _)| key)) {
                return refused(error);
            }
            let limit_bytes = self.limits.max_kv_value_bytes;
            let mut values = pairs.iter().filter_map(|(_, value)| value.as_ref());
            if values.any(|value| value.len() as u64 > limit_bytes) {
                return refused(KeyValueError::ValueTooLong { limit_bytes });
            }
            let sizes = pairs.iter().filter_map(|(_, value)| value.as_ref());
            let bytes = sizes.map(Vec::len).sum();
            self.change_in_turn(bucket, bytes, move |_| Ok((pairs, ())))
                .await
        })
    }

    fn increment<'a>(
        &'a self,
        bucket: &'a SubjectName,
        key: String,
        delta: u64,
    ) -> Accessing<'a, u64> {
        Box::pin(async move {
            if let Err(error) = self.check_keys([&key].into_iter()) {
                return refused(error);
            }
            let (tenant, name) = (self.tenant, bucket.clone());
            let make = move |inner: &Inner| {
                let place = pairs(tenant, &name).join(&key);
                let present = inner.storage.get(&place)?.map(|entry| entry.value);
                let number = present.map_or(Some(0), |value| {
                    let text = String::from_utf8(value).ok()?;
                    text.parse::<u64>().ok()
                });
                let sum = number.and_then(|number| number.checked_add(delta));
                let sum = sum.ok_or(KeyValueError::NoNumber)?;
                Ok((vec![(key, Some(sum.to_string().into_bytes()))], sum))
            };
            self.change_in_turn(bucket, 0, make).await
        })
    }
}

#[cfg(test)]
mod tests;
