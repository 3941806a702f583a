use super::*;

fn key(name: &str) -> Key {
    Key::root("k").join(name)
}

fn put(storage: &RedbStorage, name: &str, value: &str) -> KeyRevision {
    storage
        .commit(Batch::new().put(key(name), value.into()))
        .unwrap()
}

fn names(storage: &RedbStorage) -> Vec<String> {
    let entries = storage.scan(&Key::root("k").below()).unwrap();
    entries
        .iter()
        .map(|entry| entry.key.last_segment())
        .collect()
}

#[test]
fn reads_what_was_written_in_key_order() {
    let storage = RedbStorage::in_memory().unwrap();
    let first = put(&storage, "b", "1");
    let second = put(&storage, "a", "2");
    assert!(second > first);
    storage
        .commit(Batch::new().put(Key::root("l").join("z"), b"other".to_vec()))
        .unwrap();
    assert_eq!(names(&storage), ["a", "b"]);
    let entry = storage.get(&key("b")).unwrap().unwrap();
    assert_eq!(
        (entry.value.as_slice(), entry.revision),
        (b"1".as_slice(), first)
    );
    assert_eq!(storage.get(&key("c")).unwrap(), None);
}

#[test]
fn a_batch_is_applied_as_a_whole_or_not_at_all() {
    let storage = RedbStorage::in_memory().unwrap();
    let first = put(&storage, "a", "1");
    put(&storage, "a", "2");
    let cases = [
        (key("a"), Expect::Absent),
        (key("a"), Expect::At(first)),
        (key("b"), Expect::Present),
        (key("b"), Expect::At(first)),
    ];
    for (expected, expect) in cases {
        let batch = Batch::new()
            .put(key("new"), b"x".to_vec())
            .expect(expected, expect);
        let refused = storage.commit(batch).unwrap_err();
        assert!(
            matches!(refused, StorageError::Conflict { .. }),
            "{refused}"
        );
        assert_eq!(names(&storage), ["a"]);
    }
    let current = storage.get(&key("a")).unwrap().unwrap().revision;
    let batch = Batch::new()
        .expect(key("a"), Expect::At(current))
        .expect(key("b"), Expect::Absent)
        .delete(key("a"))
        .put(key("b"), b"x".to_vec());
    storage.commit(batch).unwrap();
    assert_eq!(names(&storage), ["b"]);
}

#[test]
fn a_key_made_again_is_not_the_key_it_was() {
    let storage = RedbStorage::in_memory().unwrap();
    let first = put(&storage, "a", "1");
    storage.commit(Batch::new().delete(key("a"))).unwrap();
    assert!(put(&storage, "a", "1") > first);
}

#[test]
fn deletes_below_a_prefix_and_nothing_beside_it() {
    let storage = RedbStorage::in_memory().unwrap();
    let (one, eleven) = (Key::root("k").join("1"), Key::root("k").join("11"));
    let batch = Batch::new()
        .put(one.clone(), b"itself".to_vec())
        .put(one.clone().join("x"), b"below".to_vec())
        .put(eleven.join("x"), b"beside".to_vec());
    storage.commit(batch).unwrap();
    storage
        .commit(Batch::new().delete_below(one.below()))
        .unwrap();
    assert_eq!(storage.scan(&Key::root("k").below()).unwrap().len(), 2);
    assert_eq!(storage.scan(&one.below()).unwrap(), []);
}

#[test]
fn refuses_a_value_that_is_no_record() {
    let storage = RedbStorage::in_memory().unwrap();
    storage
        .commit(Batch::new().put(key("most"), vec![0; MAX_VALUE_BYTES]))
        .unwrap();
    let refused = storage.commit(Batch::new().put(key("more"), vec![0; MAX_VALUE_BYTES + 1]));
    assert!(matches!(refused, Err(StorageError::TooLarge { .. })));
    assert_eq!(names(&storage), ["most"]);
}

#[tokio::test]
async fn watchers_hear_of_their_prefix_in_commit_order() {
    let storage = RedbStorage::in_memory().unwrap();
    let mut watch = storage.watch(&Key::root("k").below());
    put(&storage, "a", "1");
    storage
        .commit(Batch::new().put(Key::root("l").join("a"), b"other".to_vec()))
        .unwrap();
    storage
        .commit(Batch::new().delete(key("a")).delete(key("never-there")))
        .unwrap();
    let made = watch.next().await.unwrap().unwrap();
    assert_eq!(
        (made.key.clone(), made.value.as_deref()),
        (key("a"), Some(b"1".as_slice()))
    );
    let gone = watch.next().await.unwrap().unwrap();
    assert_eq!((gone.key.clone(), gone.value.as_deref()), (key("a"), None));
    assert!(gone.revision > made.revision);
    drop(storage);
    assert!(watch.next().await.is_none());
}

#[tokio::test]
async fn a_slow_watcher_is_told_and_goes_on() {
    let storage = RedbStorage::in_memory().unwrap();
    let mut watch = storage.watch(&Key::root("k").below());
    let mut batch = Batch::new();
    for number in 0..=BACKLOG_CHANGES {
        batch = batch.put(key(&number.to_string()), Vec::new());
    }
    storage.commit(batch).unwrap();
    assert!(watch.next().await.unwrap().is_err());
    assert!(watch.next().await.unwrap().is_ok());
}

#[test]
fn survives_a_restart_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let before = put(&RedbStorage::open(&path).unwrap(), "a", "1");
    let storage = RedbStorage::open(&path).unwrap();
    assert_eq!(storage.get(&key("a")).unwrap().unwrap().revision, before);
    assert!(put(&storage, "b", "2") > before);
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn a_second_opener_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let first = RedbStorage::open(&path).unwrap();
    let refused = RedbStorage::open(&path).unwrap_err();
    assert!(matches!(refused, StorageError::InUse { .. }), "{refused}");
    drop(first);
    RedbStorage::open(&path).unwrap();
}

#[test]
fn a_store_of_a_later_release_is_refused_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    let storage = RedbStorage::open(&path).unwrap();
    let writing = storage.database.begin_write().unwrap();
    writing
        .open_table(ABOUT)
        .unwrap()
        .insert(FORMAT, KNOWN_FORMAT + 1)
        .unwrap();
    writing.commit().unwrap();
    drop(storage);
    let before = std::fs::read(&path).unwrap();
    let refused = RedbStorage::open(&path).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("has format 2, this release knows formats up to 1")
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_store_that_was_cut_off_while_it_was_made_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.redb");
    std::fs::write(directory.path().join(".unfinished-store"), [0; 4096]).unwrap();
    put(&RedbStorage::open(&path).unwrap(), "a", "1");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    assert_eq!(names(&RedbStorage::open(&path).unwrap()), ["a"]);
}
