//! One thing after the other: any order of what may happen, and each thing that may be wrong.

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::{Given, GivenError, Grip, Held};

#[test]
fn an_object_has_one_number_for_as_long_as_it_is_held() {
    let mut given = Given::new(10);
    let first = given.send("a").unwrap();
    assert_ne!(first, 0);
    assert_eq!(given.send("a"), Ok(first));
    let other = given.send("b").unwrap();
    assert_ne!(other, first);
    assert_eq!(given.release(first, 1), Ok(None));
    assert_eq!(given.get(first), Ok(&"a"));
    assert_eq!(given.release(first, 1), Ok(Some("a")));
    assert_eq!(given.get(first), Err(GivenError::NotHeld(first)));
    let again = given.send("a").unwrap();
    assert!(again > other, "a number does not come back");
}

#[test]
fn what_is_not_held_is_the_same_whatever_became_of_it() {
    let mut given = Given::new(10);
    let released = given.send("a").unwrap();
    given.release(released, 1).unwrap();
    for number in [0, released, released + 1, u64::MAX] {
        let error = GivenError::NotHeld(number);
        assert_eq!(
            error.to_string(),
            format!("no object {number} in this session")
        );
        assert_eq!(given.get(number), Err(error));
        assert_eq!(given.release(number, 1), Err(error));
        assert_eq!(given.consume(&[number]), Err(error));
        assert_eq!(given.release_all(&[(number, 1)]), Err(error));
        assert_eq!(given.end(number), None);
    }
}

#[test]
fn a_release_is_done_whole_or_not_at_all() {
    let mut given = Given::new(10);
    let (a, b) = (given.send("a").unwrap(), given.send("b").unwrap());
    given.send("b").unwrap();
    let too_many = GivenError::TooMany {
        number: b,
        sent: 2,
        count: 3,
    };
    assert_eq!(given.release(b, 3), Err(too_many));
    assert_eq!(given.release_all(&[(a, 1), (b, 2), (b, 1)]), Err(too_many));
    assert_eq!(
        given.release_all(&[(a, 1), (9, 1)]),
        Err(GivenError::NotHeld(9))
    );
    assert_eq!(given.len(), 2);
    assert_eq!(
        given.release_all(&[(b, 1), (a, 1), (b, 1)]),
        Ok(vec!["b", "a"])
    );
    assert!(given.is_empty());
}

#[test]
fn what_is_given_away_is_gone_whole_or_not_at_all() {
    let mut given = Given::new(10);
    let (a, b) = (given.send("a").unwrap(), given.send("b").unwrap());
    given.send("a").unwrap();
    let lent = given.lend("c").unwrap();
    assert_eq!(given.consume(&[a, a]), Err(GivenError::NotHeld(a)));
    assert_eq!(given.consume(&[a, lent]), Err(GivenError::Lent(lent)));
    assert_eq!(given.consume(&[b, 77]), Err(GivenError::NotHeld(77)));
    assert_eq!(given.len(), 3);
    assert_eq!(given.consume(&[b, a]), Ok(vec!["b", "a"]));
    assert_eq!(given.get(a), Err(GivenError::NotHeld(a)));
    // What came of it before, and is let go of only now.
    assert_eq!(given.release(a, 2), Err(GivenError::NotHeld(a)));
    assert!(given.send("a").unwrap() > lent);
}

#[test]
fn what_is_lent_has_a_number_of_its_own_and_an_end() {
    let mut given = Given::new(10);
    let held = given.send("a").unwrap();
    let lent = given.lend("a").unwrap();
    let again = given.lend("a").unwrap();
    assert!(held != lent && lent != again && held != again);
    assert_eq!(given.send("a"), Ok(held));
    // Whoever was lent it cannot end it.
    assert_eq!(given.release(lent, 1), Ok(None));
    assert_eq!(given.get(lent), Err(GivenError::NotHeld(lent)));
    assert_eq!(given.end(lent), None, "it was let go of before");
    let third = given.lend("a").unwrap();
    assert_eq!(given.release_all(&[(third, 1)]), Ok(vec![]));
    assert_eq!(given.end(third), None);
    assert_eq!(given.end(again), Some("a"));
    given.lend("b").unwrap();
    assert_eq!(given.get(held), Ok(&"a"));
    assert_eq!(given.send("a"), Ok(held));
    let mut all = given.end_all();
    assert_eq!(all.pop(), Some("a"));
    assert!(all.is_empty() && given.is_empty());
    assert_ne!(given.send("a"), Ok(held));
}

#[test]
fn so_many_are_held_and_no_more() {
    let mut given = Given::new(2);
    let first = given.send(1).unwrap();
    given.lend(2).unwrap();
    assert_eq!(given.send(3), Err(GivenError::Full(2)));
    assert_eq!(given.lend(1), Err(GivenError::Full(2)));
    assert_eq!(given.send(1), Ok(first), "it is held already");
    given.end(first);
    given.send(3).unwrap();
    assert_eq!(Given::new(0).send(1), Err(GivenError::Full(0)));
}

#[test]
fn the_last_of_those_who_use_an_object_lets_go_of_all_that_was_received() {
    let mut held = Held::new();
    let first = held.receive(7);
    let second = held.receive(7);
    let shared = held.share(&second);
    assert_eq!(held.len(), 1);
    assert!(!held.let_go(first));
    assert!(!held.let_go(second));
    assert_eq!(held.take_due(10), []);
    assert!(held.let_go(shared));
    assert_eq!(held.take_due(10), [(7, 2)]);
    assert!(held.is_empty());
}

#[test]
fn what_comes_after_an_object_was_closed_is_held_anew() {
    let mut held = Held::new();
    let first = held.receive(7);
    let before = held.share(&first);
    assert_eq!(held.close(&first), [(7, 1)]);
    assert!(!held.is_held(&first) && !held.is_held(&before));
    assert_eq!(held.close(&before), []);
    let after = held.receive(7);
    // Whoever used what was closed has nothing to say about what came later.
    let dead = held.share(&before);
    for grip in [first, before, dead] {
        assert!(!held.let_go(grip));
    }
    assert!(held.is_held(&after));
    assert!(held.let_go(after));
    assert_eq!(held.take_due(10), [(7, 1)]);
}

#[test]
fn what_is_due_is_taken_in_parts() {
    let mut held = Held::new();
    for number in 1..=5 {
        let grip = held.receive(number);
        held.let_go(grip);
    }
    assert_eq!(held.take_due(2), [(1, 1), (2, 1)]);
    assert!(!held.is_empty());
    assert_eq!(held.take_due(9), [(3, 1), (4, 1), (5, 1)]);
    assert_eq!(held.take_due(9), []);
}

/// What may happen next in a session.
#[derive(Clone, Debug)]
enum Step {
    /// The host sends an object.
    Send(u8),
    /// The next message of the host's arrives.
    Arrive,
    /// Somebody at the client shares an object.
    Share(prop::sample::Index),
    /// Somebody at the client lets go of one.
    LetGo(prop::sample::Index),
    /// The client closes one for all.
    Close(prop::sample::Index),
    /// The client gives one away; the message is on its way.
    Give(prop::sample::Index),
    /// The client sends what is due.
    Flush,
    /// The next message of the client's arrives.
    Process,
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<prop::sample::Index>;
    prop_oneof![
        3 => (0..4_u8).prop_map(Step::Send),
        3 => Just(Step::Arrive),
        1 => any().prop_map(Step::Share),
        3 => any().prop_map(Step::LetGo),
        1 => any().prop_map(Step::Close),
        1 => any().prop_map(Step::Give),
        2 => Just(Step::Flush),
        3 => Just(Step::Process),
    ]
}

/// From the client.
#[derive(Clone, Debug)]
enum Up {
    Release(u64, u32),
    Own(u64),
}

/// Both sides and what is between them.
struct Session {
    given: Given<u8>,
    held: Held,
    down: VecDeque<u64>,
    up: VecDeque<Up>,
    grips: Vec<Grip>,
    /// How often each object was freed, beyond how often it was made: it is made when it is sent and not held.
    alive: HashMap<u8, bool>,
}

impl Session {
    fn step(&mut self, step: Step) {
        let pick =
            |index: prop::sample::Index, length: usize| (length > 0).then(|| index.index(length));
        match step {
            Step::Send(object) => {
                self.alive.insert(object, true);
                self.down.push_back(self.given.send(object).unwrap());
            }
            Step::Arrive => {
                if let Some(number) = self.down.pop_front() {
                    self.grips.push(self.held.receive(number));
                }
            }
            Step::Share(index) => {
                if let Some(place) = pick(index, self.grips.len()) {
                    let grip = self.held.share(&self.grips[place]);
                    self.grips.push(grip);
                }
            }
            Step::LetGo(index) => {
                if let Some(place) = pick(index, self.grips.len()) {
                    let grip = self.grips.swap_remove(place);
                    self.held.let_go(grip);
                }
            }
            Step::Close(index) => {
                if let Some(place) = pick(index, self.grips.len()) {
                    let counts = self.held.close(&self.grips[place]);
                    let releases = counts.into_iter().map(|(n, count)| Up::Release(n, count));
                    self.up.extend(releases);
                }
            }
            Step::Give(index) => {
                if let Some(place) = pick(index, self.grips.len())
                    && self.held.is_held(&self.grips[place])
                {
                    self.up.push_back(Up::Own(self.grips[place].number()));
                }
            }
            Step::Flush => {
                let due = self.held.take_due(2);
                let releases = due.into_iter().map(|(n, count)| Up::Release(n, count));
                self.up.extend(releases);
            }
            Step::Process => match self.up.pop_front() {
                None => {}
                Some(Up::Release(number, count)) => {
                    match self.given.release(number, u64::from(count)) {
                        Ok(None) => {}
                        Ok(Some(object)) => self.free(object),
                        // It was given away meanwhile, or what is on its way is all that there is of it.
                        Err(GivenError::NotHeld(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
                Some(Up::Own(number)) => {
                    for object in self.given.consume(&[number]).unwrap_or_default() {
                        // Given away, it is somebody else's: as good as freed here.
                        self.free(object);
                    }
                }
            },
        }
    }

    fn free(&mut self, object: u8) {
        assert_eq!(self.alive.insert(object, false), Some(true), "freed twice");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_any_order_nothing_is_freed_that_is_used_and_nothing_is_left(
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut session = Session {
            given: Given::new(100),
            held: Held::new(),
            down: VecDeque::new(),
            up: VecDeque::new(),
            grips: Vec::new(),
            alive: HashMap::new(),
        };
        let mut given_away = std::collections::HashSet::new();
        for step in steps {
            session.step(step);
            for up in &session.up {
                if let Up::Own(number) = up {
                    given_away.insert(*number);
                }
            }
            // What somebody uses, and what is on its way, is there.
            let used = session.grips.iter().filter(|grip| session.held.is_held(grip));
            let used = used.map(Grip::number).chain(session.down.iter().copied());
            for number in used {
                let is_there = session.given.get(number).is_ok();
                prop_assert!(is_there || given_away.contains(&number), "{number} is gone");
            }
        }
        // Everything arrives, everybody lets go, and everything arrives again.
        while !session.down.is_empty() {
            session.step(Step::Arrive);
        }
        for grip in std::mem::take(&mut session.grips) {
            session.held.let_go(grip);
        }
        while !session.held.is_empty() {
            session.step(Step::Flush);
        }
        while !session.up.is_empty() {
            session.step(Step::Process);
        }
        prop_assert!(session.given.is_empty());
        prop_assert!(session.held.is_empty());
        prop_assert!(session.alive.values().all(|is_alive| !is_alive));
    }
}
