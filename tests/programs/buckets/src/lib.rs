//! Reads and changes what it is asked to in buckets of keys and values.

#![forbid(unsafe_code)]

#[rpc_guest::module]
mod buckets {
    use rpc_guest::kv::Bucket;

    /// What a key holds, as text.
    pub fn get(bucket: &str, key: &str) -> Result<Option<String>, String> {
        let value = Bucket::open(bucket).and_then(|bucket| bucket.get(key));
        let text = |value: Vec<u8>| String::from_utf8_lossy(&value).into_owned();
        value
            .map(|value| value.map(text))
            .map_err(|error| error.to_string())
    }

    /// Has a key hold a text.
    pub fn set(bucket: &str, key: &str, value: &str) -> Result<(), String> {
        let set = Bucket::open(bucket).and_then(|bucket| bucket.set(key, value.as_bytes()));
        set.map_err(|error| error.to_string())
    }

    /// Has a key hold so many bytes.
    pub fn fill(bucket: &str, key: &str, bytes: u32) -> Result<(), String> {
        let value = vec![b'x'; usize::try_from(bytes).unwrap_or(usize::MAX)];
        let set = Bucket::open(bucket).and_then(|bucket| bucket.set(key, &value));
        set.map_err(|error| error.to_string())
    }

    /// Has so many keys hold something, all at once.
    pub fn set_many(bucket: &str, keys: u32) -> Result<(), String> {
        let pairs: Vec<_> = (0..keys)
            .map(|key| (format!("{key:06}"), vec![b'x']))
            .collect();
        let set = Bucket::open(bucket).and_then(|bucket| bucket.set_many(&pairs));
        set.map_err(|error| error.to_string())
    }

    /// Takes a key away.
    pub fn delete(bucket: &str, key: &str) -> Result<(), String> {
        let deleted = Bucket::open(bucket).and_then(|bucket| bucket.delete(key));
        deleted.map_err(|error| error.to_string())
    }

    /// All keys.
    pub fn keys(bucket: &str) -> Result<Vec<String>, String> {
        let keys = Bucket::open(bucket).and_then(|bucket| bucket.keys());
        keys.map_err(|error| error.to_string())
    }

    /// Adds to a number.
    pub fn increment(bucket: &str, key: &str, delta: u64) -> Result<u64, String> {
        let sum = Bucket::open(bucket).and_then(|bucket| bucket.increment(key, delta));
        sum.map_err(|error| error.to_string())
    }

    /// Changes a key again and again, without end.
    pub fn hammer(bucket: &str) -> Result<(), String> {
        let bucket = Bucket::open(bucket).map_err(|error| error.to_string())?;
        for number in 0_u64.. {
            let set = bucket.set("k", number.to_string().as_bytes());
            set.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}
