//! What must happen in a graph, by the rules alone.

use rpc_host_client::{ErrorCode, Failure, Fault};

use super::client::{BY_CLIENT, FAILED, NOWHERE};
use super::graph::{Edge, Graph, IMPORTS, NODES, Step};
use super::{MAX_DEPTH, MAX_INSTANCES, SPINNING};

/// How a call ends.
#[derive(Debug, PartialEq)]
pub(super) enum End {
    Value(u32),
    GuestError(String),
    Failure {
        code: ErrorCode,
        fault: Fault,
        message: String,
    },
}

/// What must happen, by the rules alone.
pub(super) struct Model<'a> {
    graph: &'a Graph,
    /// What a client or a test called, and what that led to up to the next client.
    root: Root,
    /// The calls that wait for one another, outermost first. None stands for the test, where it calls
    /// another client.
    chain: Vec<Option<usize>>,
}

/// A call has one instance of each module.
#[derive(Default)]
struct Root {
    /// How often each has been visited.
    visits: [u32; NODES],
    /// Those that wait for others.
    busy: Vec<usize>,
}

impl Model<'_> {
    pub(super) fn start(graph: &Graph, node: usize, plan: &[Step]) -> End {
        let mut model = Model {
            graph,
            root: Root::default(),
            chain: Vec::new(),
        };
        let ended = if graph.served[node] {
            model.chain.push(None);
            model.visit_client(node, plan)
        } else {
            model.visit(node, plan)
        };
        ended.map_or_else(|end| end, End::Value)
    }

    fn visit(&mut self, node: usize, plan: &[Step]) -> Result<u32, End> {
        self.chain.push(Some(node));
        self.root.busy.push(node);
        self.root.visits[node] += 1;
        let mut sum = self.root.visits[node];
        for step in plan {
            match step {
                Step::Call(import, inner) => {
                    let other = self.answering(node, *import)?;
                    sum += if self.graph.served[other] {
                        self.visit_client(other, inner)?
                    } else {
                        self.visit(other, inner)?
                    };
                }
                Step::Trap => return Err(self.trapped(node)),
                Step::Spin => return Err(late()),
                Step::Sleep => {}
                Step::Unknown => return Err(unknown_step()),
            }
        }
        self.root.busy.pop();
        self.chain.pop();
        Ok(sum)
    }

    /// As `client` does it.
    fn visit_client(&mut self, node: usize, plan: &[Step]) -> Result<u32, End> {
        self.chain.push(Some(node));
        let mut sum = BY_CLIENT;
        for step in plan {
            match step {
                Step::Call(import, inner) => {
                    let Edge::To(other) = self.graph.edges[node][*import] else {
                        return Err(End::GuestError(NOWHERE.to_owned()));
                    };
                    // What a client calls has instances of its own.
                    let outer = std::mem::take(&mut self.root);
                    let called = self.deep_enough().and_then(|()| {
                        if self.graph.served[other] {
                            self.visit_client(other, inner)
                        } else {
                            self.visit(other, inner)
                        }
                    });
                    self.root = outer;
                    sum += called.map_err(told_by_client)?;
                }
                Step::Trap => return Err(End::GuestError(FAILED.to_owned())),
                Step::Spin => return Err(late()),
                Step::Sleep => {}
                Step::Unknown => return Err(unknown_step()),
            }
        }
        self.chain.pop();
        Ok(sum)
    }

    fn answering(&self, node: usize, import: usize) -> Result<usize, End> {
        let unbound = |remedy: String| {
            let by = self.graph.name(node);
            let import = IMPORTS[import];
            let message = format!("`{by}` called `{import}`, which nothing answers; {remedy}");
            fails(ErrorCode::FailedPrecondition, Fault::Tenant, message)
        };
        let other = match self.graph.edges[node][import] {
            Edge::To(other) => other,
            Edge::Absent => {
                let absent = self.graph.absent();
                return Err(unbound(format!(
                    "it is bound to `{absent}`, so register that"
                )));
            }
            Edge::Unbound => {
                let import = IMPORTS[import];
                let name = import.split_once('@').unwrap().0;
                return Err(unbound(format!(
                    "register `{name}`, or bind another name to it with `--bind {import}=NAME`"
                )));
            }
        };
        if self.graph.served[other] {
            return self.deep_enough().map(|()| other);
        }
        let visits = self.root.visits;
        let instances = visits.iter().filter(|visits| **visits > 0).count();
        if visits[other] == 0 && instances >= MAX_INSTANCES {
            let message = format!("one call led to more than {MAX_INSTANCES} modules");
            return Err(fails(ErrorCode::ResourceExhausted, Fault::Tenant, message));
        }
        self.deep_enough()?;
        if self.root.busy.contains(&other) {
            let chain = [&self.chain[..], &[Some(other)]].concat();
            let message = format!("this would wait for itself: {}", self.names(&chain));
            return Err(fails(ErrorCode::WouldDeadlock, Fault::Tenant, message));
        }
        Ok(other)
    }

    fn deep_enough(&self) -> Result<(), End> {
        if self.chain.len() < MAX_DEPTH {
            return Ok(());
        }
        let chain = self.names(&self.chain);
        let message = format!("calls lead to calls more than {MAX_DEPTH} deep: {chain}");
        Err(fails(ErrorCode::ResourceExhausted, Fault::Tenant, message))
    }

    fn names(&self, chain: &[Option<usize>]) -> String {
        let name =
            |node: &Option<usize>| node.map_or("client".to_owned(), |it| self.graph.name(it));
        let names: Vec<_> = chain.iter().map(name).collect();
        names.join(" → ")
    }

    fn trapped(&self, node: usize) -> End {
        let place = match self.chain.len() {
            1 => String::new(),
            _ => format!("`{}`: ", self.graph.name(node)),
        };
        let message = format!("{place}the module panicked or aborted");
        fails(ErrorCode::Trapped, Fault::Guest, message)
    }
}

/// What a client passes on of a failure is its code; but one that is out of time says nothing more.
fn told_by_client(end: End) -> End {
    match end {
        End::Failure { code, .. } if code != ErrorCode::DeadlineExceeded => {
            End::GuestError(code.to_string())
        }
        other => other,
    }
}

fn late() -> End {
    let message = format!("the call did not end within {} ms", SPINNING.as_millis());
    fails(ErrorCode::DeadlineExceeded, Fault::Guest, message)
}

fn unknown_step() -> End {
    End::GuestError("no such step: '?'".to_owned())
}

fn fails(code: ErrorCode, fault: Fault, message: String) -> End {
    End::Failure {
        code,
        fault,
        message,
    }
}

/// What is the same whenever it is so: a trap's own words, its frames, and who noticed that time was over
/// are for people.
pub(super) fn told(failure: Failure) -> End {
    let Failure {
        code,
        fault,
        message,
        ..
    } = failure;
    let message = match code {
        ErrorCode::Trapped => message.split(": thread ").next().unwrap().to_owned(),
        ErrorCode::DeadlineExceeded => message.split(": ").next().unwrap().to_owned(),
        _ => message,
    };
    fails(code, fault, message)
}

impl End {
    /// What is the same where clients take part: whoever is found at work or waiting when time is over is
    /// the one that was late.
    pub(super) fn whoever_was_late(self) -> Self {
        match self {
            End::Failure {
                code: ErrorCode::DeadlineExceeded,
                ..
            } => late(),
            other => other,
        }
    }
}
