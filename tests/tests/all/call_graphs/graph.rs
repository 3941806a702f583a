//! Graphs, and plans of what to do in them.

use std::fmt::{self, Display};

use super::Random;

/// How many nodes a graph has.
pub(super) const NODES: usize = 8;

pub(super) const IMPORTS: [&str; 4] = [
    "test:graph/one@0.1.0",
    "test:graph/two@0.1.0",
    "test:graph/three@0.1.0",
    "test:graph/four@0.1.0",
];

/// Where an import leads.
#[derive(Clone, Copy)]
pub(super) enum Edge {
    To(usize),
    /// Bound to a name that nobody has.
    Absent,
    /// Not bound, and nobody is named like it.
    Unbound,
}

pub(super) struct Graph {
    number: usize,
    pub(super) edges: [[Edge; 4]; NODES],
    /// The nodes that clients serve.
    pub(super) served: [bool; NODES],
}

impl Graph {
    /// Every other graph has no loops. Of the nodes, clients serve every third or so, or none.
    pub(super) fn random(number: usize, has_clients: bool, random: &mut Random) -> Self {
        let edges = std::array::from_fn(|node| {
            let first = if number.is_multiple_of(2) {
                0
            } else {
                node + 1
            };
            std::array::from_fn(|_| match random.below(25) {
                0 => Edge::Absent,
                _ if first < NODES && random.below(25) > 0 => {
                    Edge::To(first + random.below(NODES - first))
                }
                _ => Edge::Unbound,
            })
        });
        let served = std::array::from_fn(|_| has_clients && random.below(3) == 0);
        Graph {
            number,
            edges,
            served,
        }
    }

    pub(super) fn name(&self, node: usize) -> String {
        format!("g{}-h{node}", self.number)
    }

    pub(super) fn absent(&self) -> String {
        format!("g{}-none", self.number)
    }
}

impl Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (node, edges) in self.edges.iter().enumerate() {
            let by = if self.served[node] { " (client)" } else { "" };
            write!(f, "\n{}{by}:", self.name(node))?;
            for edge in edges {
                match edge {
                    Edge::To(other) => write!(f, " {}", self.name(*other))?,
                    Edge::Absent => f.write_str(" absent")?,
                    Edge::Unbound => f.write_str(" unbound")?,
                }
            }
        }
        Ok(())
    }
}

pub(super) enum Step {
    Call(usize, Vec<Step>),
    Trap,
    Spin,
    Sleep,
    Unknown,
}

impl Step {
    /// A plan of some steps, which nests so deep at most.
    pub(super) fn plan(random: &mut Random, depth: usize) -> Vec<Step> {
        let steps = random.below(3) + usize::from(depth > 4);
        let step = |random: &mut Random| match random.below(60) {
            0 => Step::Trap,
            1 => Step::Spin,
            2 => Step::Unknown,
            3..8 => Step::Sleep,
            _ if depth == 0 => Step::Sleep,
            _ => Step::Call(random.below(4), Step::plan(random, depth - 1)),
        };
        (0..steps).map(|_| step(random)).collect()
    }
}

pub(super) struct Plan<'a>(pub(super) &'a [Step]);

impl Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.0 {
            match step {
                Step::Call(import, inner) => write!(f, "{}({})", import + 1, Plan(inner))?,
                Step::Trap => f.write_str("t")?,
                Step::Spin => f.write_str("s")?,
                Step::Sleep => f.write_str("z")?,
                Step::Unknown => f.write_str("?")?,
            }
        }
        Ok(())
    }
}
