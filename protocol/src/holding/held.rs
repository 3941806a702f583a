//! The side that holds the objects.

use std::collections::{HashMap, VecDeque};

/// What this side of a session holds of the other's, how often it was received, and what is to be let go of.
#[derive(Debug, Default)]
pub struct Held {
    objects: HashMap<u64, Holding>,
    last_term: u64,
    due: VecDeque<(u64, u32)>,
}

#[derive(Debug)]
struct Holding {
    /// Which of the times that this number is held.
    term: u64,
    received: u64,
    grips: u64,
}

/// A part in an object that is held: each of those who use it has one of their own.
///
/// It goes back to [`Held::let_go`]. One that is just dropped keeps its object to the end of the session.
#[derive(Debug, PartialEq, Eq, Hash)]
#[must_use = "an object that is not let go of is held to the end of the session"]
pub struct Grip {
    number: u64,
    term: u64,
}

impl Grip {
    /// The number of the object.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Held {
    /// Nothing yet.
    pub fn new() -> Self {
        Held::default()
    }

    /// How many objects are held.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether nothing is held and nothing to be let go of.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.due.is_empty()
    }

    /// An object has come, once more or for the first time. To be called for each time that its number occurs in
    /// what was received, before anything else is done with it.
    pub fn receive(&mut self, number: u64) -> Grip {
        let last_term = &mut self.last_term;
        let holding = self.objects.entry(number).or_insert_with(|| {
            *last_term += 1;
            Holding {
                term: *last_term,
                received: 0,
                grips: 0,
            }
        });
        holding.received = holding.received.saturating_add(1);
        holding.grips += 1;
        Grip {
            number,
            term: holding.term,
        }
    }

    /// A part for somebody else.
    pub fn share(&mut self, grip: &Grip) -> Grip {
        if let Some(holding) = self.holding(grip) {
            holding.grips += 1;
        }
        Grip { ..*grip }
    }

    /// Whether the object is held still: nobody has closed it.
    pub fn is_held(&self, grip: &Grip) -> bool {
        let holding = self.objects.get(&grip.number);
        holding.is_some_and(|holding| holding.term == grip.term)
    }

    /// Somebody does not use it any more. With the last of them the object is let go of; says whether that is so,
    /// and something new is [due](Held::take_due).
    pub fn let_go(&mut self, grip: Grip) -> bool {
        let Some(holding) = self.holding(&grip) else {
            return false;
        };
        holding.grips = holding.grips.saturating_sub(1);
        if holding.grips > 0 {
            return false;
        }
        let counts = self.close(&grip);
        self.due.extend(counts);
        true
    }

    /// Lets go of an object for all that use it. What has to be released is not due, but the caller's to send;
    /// nothing, if it is not held any more.
    pub fn close(&mut self, grip: &Grip) -> Vec<(u64, u32)> {
        let mut counts = Vec::new();
        let Some(holding) = self.holding(grip) else {
            return counts;
        };
        let mut received = holding.received;
        self.objects.remove(&grip.number);
        while received > 0 {
            let count = u32::try_from(received).unwrap_or(u32::MAX);
            counts.push((grip.number, count));
            received -= u64::from(count);
        }
        counts
    }

    /// At most so many of the releases that are due, each with its count; they are due no more.
    pub fn take_due(&mut self, max: usize) -> Vec<(u64, u32)> {
        let max = max.min(self.due.len());
        self.due.drain(..max).collect()
    }

    fn holding(&mut self, grip: &Grip) -> Option<&mut Holding> {
        let holding = self.objects.get_mut(&grip.number)?;
        (holding.term == grip.term).then_some(holding)
    }
}
