use super::*;
use crate::clock::ManualClock;
use crate::storage::RedbStorage;
use crate::tenant::{Directory, Principal, SettingsChange, Token};

struct Node {
    buckets: Buckets,
    directory: Directory,
    operator: Principal,
    storage: Arc<dyn Storage>,
}

fn node() -> Node {
    let storage: Arc<dyn Storage> = Arc::new(RedbStorage::in_memory().unwrap());
    let clock = ManualClock::at(1_000);
    let directory = Directory::open(Arc::clone(&storage), clock, &Limits::default()).unwrap();
    let token = Token::generate().unwrap();
    directory.found(&token).unwrap();
    Node {
        buckets: Buckets::new(Arc::clone(&storage)),
        operator: directory.authenticate(&token.expose()).unwrap(),
        directory,
        storage,
    }
}

impl Node {
    async fn tenant(&self, name: &str) -> TenantId {
        let permit = self.operator.permit_operate().unwrap();
        let made =
            self.directory
                .create_tenant(&permit, name.parse().unwrap(), SettingsChange::default());
        made.await.unwrap().id
    }
}

fn name(text: &str) -> SubjectName {
    text.parse().unwrap()
}

async fn set(
    of: &Arc<dyn KeyValue>,
    bucket: &str,
    key: &str,
    value: &[u8],
) -> Result<(), KeyValueError> {
    let pairs = vec![(key.to_owned(), Some(value.to_vec()))];
    of.change(&name(bucket), pairs).await.result
}

async fn delete(of: &Arc<dyn KeyValue>, bucket: &str, key: &str) {
    let pairs = vec![(key.to_owned(), None)];
    of.change(&name(bucket), pairs).await.result.unwrap();
}

async fn get(of: &Arc<dyn KeyValue>, bucket: &str, key: &str) -> Option<Vec<u8>> {
    let values = of.get(&name(bucket), vec![key.to_owned()]).await.result;
    values.unwrap().remove(0)
}

#[tokio::test(start_paused = true)]
async fn each_tenant_and_each_bucket_has_pairs_of_its_own_until_the_tenant_goes() {
    let node = node();
    let (one, two) = (node.tenant("one").await, node.tenant("two").await);
    let limits = Limits::default();
    let (of_one, of_two) = (node.buckets.of(one, &limits), node.buckets.of(two, &limits));
    for key in ["k", "a|b", "%7c", "..", "ключ"] {
        set(&of_one, "a", key, b"1").await.unwrap();
        assert_eq!(get(&of_one, "a", key).await.as_deref(), Some(&b"1"[..]));
        assert_eq!(get(&of_one, "b", key).await, None);
        assert_eq!(get(&of_two, "a", key).await, None);
    }
    let (keys, more) = of_one.keys(&name("a"), 0).await.result.unwrap();
    assert_eq!((keys.len(), more), (5, false));
    set(&of_two, "a", "k", b"2").await.unwrap();
    delete(&of_one, "a", "k").await;
    assert_eq!(get(&of_one, "a", "k").await, None);

    let permit = node.operator.permit_operate().unwrap();
    let one_s_name = "one".parse().unwrap();
    let removed = node.directory.remove_tenant(&permit, &one_s_name);
    assert_eq!(removed.await.unwrap().id(), one);
    assert!(node.storage.scan(&owned(one).below()).unwrap().is_empty());
    let late = set(&of_one, "a", "k", b"late").await;
    assert_eq!(
        late,
        Err(KeyValueError::Failed),
        "nothing is kept for who is gone"
    );
    assert_eq!(get(&of_two, "a", "k").await.as_deref(), Some(&b"2"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_quota_is_full_and_has_room_again_when_something_goes() {
    let node = node();
    let tenant = node.tenant("one").await;
    let full = |of, limit, what| Err(KeyValueError::Full { of, limit, what });
    let limits = Limits {
        max_kv_keys_per_bucket: 2,
        max_kv_bytes_per_bucket: 10,
        max_kv_keys_per_tenant: 3,
        max_kv_bytes_per_tenant: 15,
        max_kv_buckets_per_tenant: 2,
        ..Limits::default()
    };
    let of = node.buckets.of(tenant, &limits);
    set(&of, "a", "1", b"").await.unwrap();
    set(&of, "a", "2", b"").await.unwrap();
    assert_eq!(set(&of, "a", "3", b"").await, full("bucket", 2, "keys"));
    set(&of, "b", "1", b"").await.unwrap();
    assert_eq!(set(&of, "b", "2", b"").await, full("tenant", 3, "keys"));
    delete(&of, "a", "2").await;
    assert_eq!(set(&of, "c", "1", b"").await, full("tenant", 2, "buckets"));
    set(&of, "b", "2", b"").await.unwrap();

    set(&of, "a", "1", b"123456789").await.unwrap();
    assert_eq!(
        set(&of, "a", "1", b"1234567890").await,
        full("bucket", 10, "bytes")
    );
    assert_eq!(
        set(&of, "b", "1", b"12345").await,
        full("tenant", 15, "bytes")
    );
    set(&of, "b", "1", b"123").await.unwrap();
    // Whoever is over a limit that was lowered may still take away and make smaller.
    let strict = Limits {
        max_kv_bytes_per_tenant: 1,
        max_kv_keys_per_tenant: 1,
        ..limits
    };
    let of = node.buckets.of(tenant, &strict);
    set(&of, "a", "1", b"12345678").await.unwrap();
    for (bucket, key) in [("a", "1"), ("b", "1"), ("b", "2")] {
        delete(&of, bucket, key).await;
    }
    assert!(
        node.storage
            .scan(&usages(tenant).below())
            .unwrap()
            .is_empty()
    );
    set(&of, "c", "1", b"").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_or_too_much_at_once_is_refused_whole() {
    let node = node();
    let limits = Limits {
        max_kv_key_bytes: 3,
        max_kv_value_bytes: 4,
        max_kv_keys_per_batch: 2,
        max_kv_keys_per_page: 2,
        ..Limits::default()
    };
    let of = node.buckets.of(node.tenant("one").await, &limits);
    set(&of, "a", "abc", b"1234").await.unwrap();
    for key in ["", "abcd"] {
        let refused = set(&of, "a", key, b"").await;
        assert_eq!(refused, Err(KeyValueError::Key { limit_bytes: 3 }), "{key}");
    }
    let refused = set(&of, "a", "x", b"12345").await;
    assert_eq!(refused, Err(KeyValueError::ValueTooLong { limit_bytes: 4 }));
    let pair = |key: &str| (key.to_owned(), Some(Vec::new()));
    let many = vec![pair("1"), pair("2"), pair("3")];
    let refused = of.change(&name("a"), many).await.result;
    assert_eq!(refused, Err(KeyValueError::TooManyAtOnce { limit: 2 }));
    let half_bad = vec![pair("1"), pair("long")];
    assert!(of.change(&name("a"), half_bad).await.result.is_err());
    assert_eq!(get(&of, "a", "1").await, None);

    of.change(&name("a"), vec![pair("b"), pair("c")])
        .await
        .result
        .unwrap();
    let page = |skip| {
        let of = Arc::clone(&of);
        async move { of.keys(&name("a"), skip).await.result.unwrap() }
    };
    assert_eq!(
        page(0).await,
        (vec!["abc".to_owned(), "b".to_owned()], true)
    );
    assert_eq!(page(2).await, (vec!["c".to_owned()], false));
    assert_eq!(page(u64::MAX).await, (vec![], false));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_changes_something_so_often_a_second_and_waits_for_the_rest() {
    let node = node();
    let limits = Limits {
        max_kv_writes_per_second_per_tenant: 10,
        ..Limits::default()
    };
    let greedy = node.buckets.of(node.tenant("greedy").await, &limits);
    let other = node.buckets.of(node.tenant("other").await, &limits);
    let begin = Instant::now();
    for number in 0..40 {
        set(&greedy, "a", "k", &[number]).await.unwrap();
    }
    let took = begin.elapsed();
    // One second's worth at once, and the other three seconds' worth in their time.
    assert!(took >= Duration::from_millis(2_900), "{took:?}");
    assert!(took <= Duration::from_millis(3_100), "{took:?}");
    let begin = Instant::now();
    set(&other, "a", "k", b"1").await.unwrap();
    assert!(
        get(&greedy, "a", "k").await.is_some(),
        "looking waits for nothing"
    );
    assert!(begin.elapsed() < Duration::from_millis(1));
}

#[tokio::test(start_paused = true)]
async fn additions_at_once_all_count() {
    let node = node();
    let of = node
        .buckets
        .of(node.tenant("one").await, &Limits::default());
    let adding: Vec<_> = (0..50)
        .map(|_| {
            let of = Arc::clone(&of);
            tokio::spawn(async move { of.increment(&name("a"), "n".to_owned(), 2).await.result })
        })
        .collect();
    let mut sums = Vec::new();
    for one in adding {
        sums.push(one.await.unwrap().unwrap());
    }
    sums.sort_unstable();
    assert_eq!(
        sums,
        (1..=50).map(|number| number * 2).collect::<Vec<u64>>()
    );
    assert_eq!(get(&of, "a", "n").await.as_deref(), Some(&b"100"[..]));
    let over = of
        .increment(&name("a"), "n".to_owned(), u64::MAX)
        .await
        .result;
    assert_eq!(over, Err(KeyValueError::NoNumber));
    set(&of, "a", "text", b"one").await.unwrap();
    let text = of.increment(&name("a"), "text".to_owned(), 1).await.result;
    assert_eq!(text, Err(KeyValueError::NoNumber));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_has_taken_no_turn() {
    let node = node();
    let limits = Limits {
        max_kv_writes_per_second_per_tenant: 1,
        ..Limits::default()
    };
    let of = node.buckets.of(node.tenant("one").await, &limits);
    for number in 0..2 {
        set(&of, "a", "k", &[number]).await.unwrap();
    }
    for _ in 0..100 {
        let late = tokio::time::timeout(Duration::from_millis(1), set(&of, "a", "k", b"late"));
        late.await.unwrap_err();
    }
    let begin = Instant::now();
    set(&of, "a", "k", b"in time").await.unwrap();
    let took = begin.elapsed();
    assert!(took <= Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn many_bytes_cost_a_change_as_much_as_many_changes() {
    let node = node();
    let limits = Limits {
        max_kv_writes_per_second_per_tenant: 10,
        ..Limits::default()
    };
    let of = node.buckets.of(node.tenant("one").await, &limits);
    let begin = Instant::now();
    for number in 0..4 {
        let value = vec![number; BYTES_OF_STEP];
        let pairs = (0..9).map(|key| (format!("k{key}"), Some(value.clone())));
        of.change(&name("a"), pairs.collect()).await.result.unwrap();
    }
    // Four times ten steps, of which a second's worth came at once.
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(1_900), "{took:?}");
}
