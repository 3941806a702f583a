//! The calls that wait for one another.
//!
//! A call may lead to others: of modules that the called one imports, of clients that serve a name, and
//! of calls that such a client makes meanwhile. All of them are one chain. It is known at each step, so
//! that a chain can be told from another: it has one deadline, a depth that ends it, and whoever would
//! wait for itself is told so at once.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use crate::budget::Budget;

/// One call, and those that wait for it. A clone is the same chain.
#[derive(Clone, Debug)]
pub struct Chain(Arc<Link>);

#[derive(Debug)]
struct Link {
    /// What is called: a registration, or a name that a client serves.
    name: Arc<str>,
    /// The lease that the call rests on, if a client answers it.
    lease: Option<u64>,
    /// One for the outermost call.
    depth: u32,
    max_depth: u32,
    deadline: Instant,
    budget: Budget,
    /// The line of calls that it has the turn of.
    line: Option<u64>,
    outer: Option<Chain>,
}

/// Why a chain does not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// More calls would wait for one another than may.
    #[error("calls lead to calls more than {limit} deep: {chain}")]
    TooDeep {
        /// How many may wait for one another.
        limit: u32,
        /// The chain, as far as it came.
        chain: String,
    },
    /// What would be called waits for this very call.
    #[error("this would wait for itself: {chain}")]
    WouldDeadlock {
        /// The chain, with the call that was not made.
        chain: String,
    },
    /// One call would need more instances than it may have.
    #[error("one call led to more than {limit} modules")]
    TooManyInstances {
        /// How many it may have.
        limit: u64,
    },
}

impl Chain {
    /// A call that nobody waits for but a client.
    pub fn begin(name: Arc<str>, deadline: Instant, max_depth: u32, budget: Budget) -> Self {
        Chain(Arc::new(Link {
            name,
            lease: None,
            depth: 1,
            max_depth,
            deadline,
            budget,
            line: None,
            outer: None,
        }))
    }

    /// A call that this one leads to. It ends at `deadline`, or with this one if that is earlier.
    ///
    /// # Errors
    /// When too many would wait for one another.
    pub fn then(
        &self,
        name: Arc<str>,
        lease: Option<u64>,
        deadline: Instant,
    ) -> Result<Self, ChainError> {
        if self.0.depth >= self.0.max_depth {
            return Err(ChainError::TooDeep {
                limit: self.0.max_depth,
                chain: self.to_string(),
            });
        }
        Ok(Chain(Arc::new(Link {
            name,
            lease,
            depth: self.0.depth.saturating_add(1),
            max_depth: self.0.max_depth,
            deadline: deadline.min(self.0.deadline),
            budget: self.0.budget.clone(),
            line: None,
            outer: Some(self.clone()),
        })))
    }

    /// The same call, which has the turn of a line of calls. Only for one that nobody has seen yet.
    #[must_use]
    pub fn with_turn(mut self, line: u64) -> Self {
        if let Some(link) = Arc::get_mut(&mut self.0) {
            link.line = Some(line);
        }
        self
    }

    /// Whether one of its calls has the turn of this line.
    pub fn has_turn(&self, line: u64) -> bool {
        self.links().any(|link| link.line == Some(line))
    }

    /// Whether this is the innermost of `self`, or a call that waits for it.
    pub fn includes(&self, other: &Chain) -> bool {
        self.links().any(|link| std::ptr::eq(link, &*other.0))
    }

    /// How many calls it is, this one included.
    pub fn depth(&self) -> u32 {
        self.0.depth
    }

    /// When it has to be over.
    pub fn deadline(&self) -> Instant {
        self.0.deadline
    }

    /// What all of it spends from.
    pub fn budget(&self) -> &Budget {
        &self.0.budget
    }

    /// Whether one of its calls rests on this lease.
    pub fn rests_on(&self, lease: u64) -> bool {
        self.links().any(|link| link.lease == Some(lease))
    }

    /// From the innermost call outwards.
    fn links(&self) -> impl Iterator<Item = &Link> {
        std::iter::successors(Some(&*self.0), |link| {
            link.outer.as_ref().map(|outer| &*outer.0)
        })
    }
}

impl fmt::Display for Chain {
    /// Outermost first: `app → acme:log/logger`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(outer) = &self.0.outer {
            write!(formatter, "{outer} → ")?;
        }
        formatter.write_str(&self.0.name)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::account::Account;

    #[tokio::test(start_paused = true)]
    async fn a_chain_knows_its_calls_its_end_and_its_depth() {
        let soon = Instant::now() + Duration::from_secs(1);
        let late = soon + Duration::from_secs(1);
        let outer = Chain::begin(
            "app".into(),
            soon,
            3,
            Budget::new(Duration::ZERO, Account::for_tests(0)),
        );
        let middle = outer.then("logger".into(), Some(7), late).unwrap();
        let inner = middle.then("app".into(), None, late).unwrap();
        assert_eq!(inner.to_string(), "app → logger → app");
        assert_eq!((outer.depth(), inner.depth()), (1, 3));
        assert_eq!(inner.deadline(), soon, "no later than the outermost");
        assert!(inner.rests_on(7) && !outer.rests_on(7) && !inner.rests_on(8));
        assert!(inner.includes(&outer) && inner.includes(&inner) && !outer.includes(&inner));
        let turn = outer.then("x".into(), None, late).unwrap().with_turn(5);
        let within = turn.then("y".into(), None, late).unwrap();
        assert!(within.has_turn(5) && !within.has_turn(6) && !inner.has_turn(5));
        let refused = inner.then("x".into(), None, late).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "calls lead to calls more than 3 deep: app → logger → app"
        );
    }
}
