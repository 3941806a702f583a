use super::*;

fn table() -> Table<&'static str> {
    Table::new(3)
}

#[test]
fn an_object_has_one_number_as_long_as_it_is_held_and_no_number_comes_back() {
    let mut table = table();
    assert_eq!(table.tell("a"), Ok(1));
    assert_eq!(table.tell("b"), Ok(2));
    assert_eq!(table.tell("a"), Ok(1), "the same again");
    assert_eq!(table.find(1), Ok(&"a"));
    assert_eq!(table.release(1, 2), Some("a"));
    assert_eq!(table.find(1), Err(ObjectError::NotHeld { number: 1 }));
    assert_eq!(table.tell("a"), Ok(3), "another number");
    for number in [0, 1, 4, u64::MAX] {
        assert_eq!(table.find(number), Err(ObjectError::NotHeld { number }));
    }
}

#[test]
fn a_release_that_crosses_another_telling_does_not_end_the_object() {
    let mut table = table();
    table.tell("a").unwrap();
    table.tell("a").unwrap();
    // The client has seen one of both.
    assert_eq!(table.release(1, 1), None);
    assert_eq!(table.find(1), Ok(&"a"));
    assert_eq!(table.release(1, 1), Some("a"));
    assert_eq!(table.release(1, 1), None);
    assert_eq!(table.ignored(), 1);
}

#[test]
fn what_releases_too_much_releases_nothing() {
    let mut table = table();
    table.tell("a").unwrap();
    table.tell("b").unwrap();
    assert_eq!(table.release(1, 2), None);
    assert_eq!(table.find(1), Ok(&"a"));
    let too_often = Err(ObjectError::ReleasedTooOften { number: 2, told: 1 });
    assert_eq!(table.release_all(&[(1, 1), (2, 2)]), too_often);
    assert_eq!(table.release_all(&[(1, 1), (2, 1), (2, 1)]), too_often);
    assert_eq!(
        table.release_all(&[(1, 1), (7, 1)]),
        Err(ObjectError::NotHeld { number: 7 })
    );
    assert_eq!(table.len(), 2);
    let mut released = table.release_all(&[(1, 1), (2, 1)]).unwrap();
    released.sort_unstable();
    assert_eq!(released, ["a", "b"]);
    assert!(table.is_empty());
}

#[test]
fn what_is_given_away_is_held_no_more_and_what_is_lent_cannot_be_given() {
    let mut table = table();
    table.tell("a").unwrap();
    table.lend(1);
    assert_eq!(table.check_free(1), Err(ObjectError::Lent { number: 1 }));
    table.take_back(1);
    assert_eq!(table.check_free(1), Ok(()));
    assert_eq!(table.forget(1), Some("a"));
    assert_eq!(table.release(1, 1), None);
    assert_eq!(table.check_free(1), Err(ObjectError::NotHeld { number: 1 }));
    // It comes back as another one.
    assert_eq!(table.tell("a"), Ok(2));
    // And what the client has for a call only is not its to give.
    let number = table.tell_for_a_call("a").unwrap();
    assert_eq!(number, 3, "a number of its own");
    assert_eq!(table.check_free(3), Err(ObjectError::Lent { number }));
    assert_eq!(table.forget(3), Some("a"));
    assert_eq!(table.find(2), Ok(&"a"));
}

#[test]
fn what_the_client_has_for_a_call_only_is_not_its_to_let_go_of() {
    let mut table = table();
    table.tell("a").unwrap();
    for number in [2, 3] {
        assert_eq!(table.tell_for_a_call("a"), Ok(number));
        match number {
            2 => assert_eq!(table.release(number, 1), None),
            _ => assert_eq!(table.release_all(&[(number, 1)]), Ok(vec![])),
        }
        assert_eq!(table.find(number), Err(ObjectError::NotHeld { number }));
        assert_eq!(table.forget(number), None);
    }
    assert_eq!(table.ignored(), 0);
    table.tell_for_a_call("b").unwrap();
    assert_eq!(table.end(), ["a"], "what it held");
}

#[test]
fn there_are_so_many_and_no_more_and_none_after_the_end() {
    let mut table = table();
    for home in ["a", "b", "c", "a"] {
        table.tell(home).unwrap();
    }
    assert_eq!(table.tell("d"), Err(ObjectError::TooMany { limit: 3 }));
    assert_eq!(table.tell("a"), Ok(1), "what is held is told again");
    let full = table.tell_for_a_call("a");
    assert_eq!(full, Err(ObjectError::TooMany { limit: 3 }));
    let mut held = table.end();
    held.sort_unstable();
    assert_eq!(held, ["a", "b", "c"]);
    assert_eq!(table.tell("d"), Err(ObjectError::SessionOver));
    assert_eq!(table.release(1, 1), None);
    assert!(table.end().is_empty());
}
