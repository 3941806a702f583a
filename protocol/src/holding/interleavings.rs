//! Several threads at once, in every order in which they may come: run by loom, which goes through all of them.
//!
//! The host sends one object twice, two threads of the client take what arrives, use it and let go of it, and
//! releases arrive while all that goes on. What is asked is what a user would notice: that whoever holds the
//! object finds it, and that nothing is left in the end. That this would show a fault is shown by faults.

use std::collections::VecDeque;

use loom::sync::{Arc, Mutex};
use loom::thread;

use super::{Given, Grip, Held};

/// The host's side, right or wrong.
trait Host {
    fn send(&mut self, object: u8) -> u64;
    fn release(&mut self, number: u64, count: u32);
    fn is_there(&self, number: u64) -> bool;
    fn is_empty(&self) -> bool;
}

/// The client's side, right or wrong.
trait Client {
    fn receive(&mut self, number: u64) -> Grip;
    fn let_go(&mut self, grip: Grip);
    fn take_due(&mut self) -> Vec<(u64, u32)>;
}

impl Host for Given<u8> {
    fn send(&mut self, object: u8) -> u64 {
        Given::send(self, object).unwrap()
    }

    fn release(&mut self, number: u64, count: u32) {
        let _not_held = Given::release(self, number, u64::from(count));
    }

    fn is_there(&self, number: u64) -> bool {
        self.get(number).is_ok()
    }

    fn is_empty(&self) -> bool {
        Given::is_empty(self)
    }
}

impl Client for Held {
    fn receive(&mut self, number: u64) -> Grip {
        Held::receive(self, number)
    }

    fn let_go(&mut self, grip: Grip) {
        Held::let_go(self, grip);
    }

    fn take_due(&mut self) -> Vec<(u64, u32)> {
        Held::take_due(self, 8)
    }
}

/// A host that lets go of an object at its first release, whatever the count.
struct Careless(Given<u8>);

impl Host for Careless {
    fn send(&mut self, object: u8) -> u64 {
        Host::send(&mut self.0, object)
    }

    fn release(&mut self, number: u64, _: u32) {
        self.0.end(number);
    }

    fn is_there(&self, number: u64) -> bool {
        Host::is_there(&self.0, number)
    }

    fn is_empty(&self) -> bool {
        Host::is_empty(&self.0)
    }
}

/// A client that releases an object once, however often it came.
#[derive(Default)]
struct Forgetful(Held);

impl Client for Forgetful {
    fn receive(&mut self, number: u64) -> Grip {
        self.0.receive(number)
    }

    fn let_go(&mut self, grip: Grip) {
        self.0.let_go(grip);
    }

    fn take_due(&mut self) -> Vec<(u64, u32)> {
        let due = self.0.take_due(8);
        due.into_iter().map(|(number, _)| (number, 1)).collect()
    }
}

/// A client that releases an object for each of those who used it, and not for each time that it came: whoever
/// finds it in a table does not count.
#[derive(Default)]
struct Generous {
    held: Held,
    let_go: Vec<(u64, u32)>,
}

impl Client for Generous {
    fn receive(&mut self, number: u64) -> Grip {
        self.held.receive(number)
    }

    fn let_go(&mut self, grip: Grip) {
        // Twice: for the object, and for the copy that it expects on the way.
        self.let_go.push((grip.number(), 2));
        self.held.let_go(grip);
    }

    fn take_due(&mut self) -> Vec<(u64, u32)> {
        std::mem::take(&mut self.let_go)
    }
}

/// Both sides of a session and what is on its way between them. Each method is one step, in which nobody else
/// takes part: on either side, what is counted and what is put on its way or taken from there are under one lock.
struct Session<H, C> {
    host: H,
    client: C,
    down: VecDeque<u64>,
    up: VecDeque<Up>,
}

enum Up {
    Use(u64),
    Release(u64, u32),
}

const OBJECT: u8 = 1;

impl<H: Host, C: Client> Session<H, C> {
    /// The host answers with the object.
    fn send(&mut self) {
        self.down.push_back(self.host.send(OBJECT));
    }

    /// The client takes the next answer.
    fn arrive(&mut self) -> Option<Grip> {
        let number = self.down.pop_front()?;
        Some(self.client.receive(number))
    }

    /// The client calls a method.
    fn call(&mut self, grip: &Grip) {
        self.up.push_back(Up::Use(grip.number()));
    }

    /// The client sends the releases that are due.
    fn flush(&mut self) {
        let due = self.client.take_due().into_iter();
        self.up.extend(due.map(|(n, count)| Up::Release(n, count)));
    }

    /// The host takes the next message.
    fn process(&mut self) -> bool {
        match self.up.pop_front() {
            None => return false,
            Some(Up::Use(number)) => {
                assert!(self.host.is_there(number), "a live object was freed");
            }
            Some(Up::Release(number, count)) => self.host.release(number, count),
        }
        true
    }
}

/// A user who takes the object as it comes, calls a method later, and whose drop is sent at once.
fn slow_to_call<H: Host, C: Client>(session: &Mutex<Session<H, C>>) -> bool {
    let step = || session.lock().unwrap();
    let Some(grip) = step().arrive() else {
        return false;
    };
    step().call(&grip);
    let mut session = step();
    session.client.let_go(grip);
    session.flush();
    true
}

/// A user who calls a method at once, and whose drop is sent later, with those of others.
fn slow_to_flush<H: Host, C: Client>(session: &Mutex<Session<H, C>>) {
    let step = || session.lock().unwrap();
    let arrived = {
        let mut session = step();
        let grip = session.arrive();
        grip.inspect(|grip| session.call(grip))
    };
    if let Some(grip) = arrived {
        step().client.let_go(grip);
    }
    step().flush();
}

fn every_order<H, C>(host: fn() -> H, client: fn() -> C)
where
    H: Host + Send + 'static,
    C: Client + Send + 'static,
{
    loom::model(move || {
        let session = Arc::new(Mutex::new(Session {
            host: host(),
            client: client(),
            down: VecDeque::new(),
            up: VecDeque::new(),
        }));
        // The first copy is on its way already.
        session.lock().unwrap().send();
        let (first, second) = (Arc::clone(&session), Arc::clone(&session));
        let first = thread::spawn(move || slow_to_call(&first));
        let second = thread::spawn(move || slow_to_flush(&second));
        // The second one leaves, and messages arrive, while the first is used and dropped.
        session.lock().unwrap().send();
        session.lock().unwrap().process();
        session.lock().unwrap().process();
        first.join().unwrap();
        second.join().unwrap();
        while slow_to_call(&session) {}
        while session.lock().unwrap().process() {}
        let is_empty = session.lock().unwrap().host.is_empty();
        assert!(is_empty, "an object was left");
    });
}

#[test]
fn a_proxy_dropped_while_another_copy_arrives_frees_no_live_object_and_leaves_none() {
    every_order(|| Given::new(8), Held::new);
}

#[test]
#[should_panic(expected = "a live object was freed")]
fn a_release_without_counts_is_caught() {
    every_order(|| Careless(Given::new(8)), Held::new);
}

#[test]
#[should_panic(expected = "an object was left")]
fn a_release_that_forgets_a_copy_is_caught() {
    every_order(|| Given::new(8), Forgetful::default);
}

#[test]
#[should_panic(expected = "a live object was freed")]
fn a_release_of_what_has_not_come_yet_is_caught() {
    every_order(|| Given::new(8), Generous::default);
}
