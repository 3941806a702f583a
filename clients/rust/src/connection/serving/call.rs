//! One call into this client, in a task of its own.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use rpc_host_protocol::assembler::RawMessage;
use rpc_host_protocol::message::CallHeader;
use rpc_host_protocol::payload::Payload;
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Message};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Term;
use crate::connection::window::Place;
use crate::connection::{Arrival, Passed, Shared, acquire};
use crate::error::Error;
use crate::object::Implementation;
use crate::object::scope::Read;
use crate::provider::{Answer, Incoming, ProviderError};

tokio::task_local! {
    /// The call into this client that a task serves.
    static SERVED: ServedCall;
}

struct ServedCall {
    connection: Weak<Shared>,
    id: ExchangeId,
}

/// The number of the host's call that this task serves, if it came over this connection.
pub(in crate::connection) fn served_call(shared: &Arc<Shared>) -> Option<ExchangeId> {
    SERVED
        .try_with(|served| {
            std::ptr::eq(served.connection.as_ptr(), Arc::as_ptr(shared)).then_some(served.id)
        })
        .ok()
        .flatten()
}

/// What is called.
pub(super) enum Target {
    /// A name that is served.
    Term(Arc<Term>),
    /// An object.
    Object(Arc<Implementation>),
}

/// A call into this client.
pub(super) struct Call {
    pub(super) shared: Arc<Shared>,
    pub(super) id: ExchangeId,
    pub(super) target: Target,
    pub(super) header: CallHeader,
    pub(super) arguments: Payload,
    pub(super) arrival: Option<Arc<Arrival>>,
    pub(super) arrived: Instant,
}

impl Call {
    /// Answers the call: with what the implementation gives, unless it is stopped before.
    pub(super) async fn serve(self, place: Arc<Place>, mut stopped: oneshot::Receiver<()>) {
        let (shared, id) = (self.shared.clone(), self.id);
        let served = ServedCall {
            connection: Arc::downgrade(&shared),
            id,
        };
        let answered = async {
            let (message, passed) = SERVED.scope(served, self.message()).await;
            let (message, room, fits) = shared.with_room(message.encode(id)).await;
            (message, room, if fits { passed } else { Passed::default() })
        };
        let (message, room, passed) = tokio::select! {
            biased;
            _ = &mut stopped => {
                let problem = "the call was cancelled";
                let failure = Failure::new(ErrorCode::Cancelled, Fault::Peer, problem);
                (Message::Failure(failure).encode(id), None, Passed::default())
            }
            answer = answered => answer,
        };
        shared.answer(message, room, place, passed);
    }

    /// The answer, and the objects in it.
    async fn message(self) -> (Message, Passed) {
        let shared = self.shared.clone();
        match self.run().await {
            Ok((answer, is_result)) => {
                let (value, passed) = answer.into_parts();
                if passed.proxies.iter().any(|proxy| !proxy.is_of(&shared)) {
                    let problem = "the answer holds an object of another connection";
                    let failure = ProviderError::new(problem).into_failure();
                    return (Message::Failure(failure), Passed::default());
                }
                (Message::Reply { value, is_result }, passed)
            }
            Err(error) => (Message::Failure(error.into_failure()), Passed::default()),
        }
    }

    /// What the implementation gives, and whether the function returns a WIT `result`.
    async fn run(self) -> Result<(Answer, bool), ProviderError> {
        let (name, functions, provider) = match self.target {
            Target::Object(object) => {
                let name = Arc::from(self.header.module.as_str());
                (name, Arc::default(), object.provider.clone())
            }
            Target::Term(term) => {
                let granted = term.answered().await;
                let lease = self.header.lease;
                let granted = granted.filter(|granted| Some(granted.lease) == lease);
                let Some(granted) = granted else {
                    let problem = format!("{} is not served on this lease", self.header.module);
                    return Err(
                        ProviderError::new(problem).with_code(ErrorCode::FailedPrecondition)
                    );
                };
                let functions = granted.functions.clone();
                (term.name.clone(), functions, term.provider.clone())
            }
        };
        let time_left = self.header.timeout_ms.map(Duration::from_millis);
        let brought = self.arrival.zip(self.shared.connection.upgrade());
        let read = brought.map(|(arrival, connection)| Read {
            arrival,
            connection,
            // Which module made them is not said.
            module: Arc::from(""),
        });
        let call = Incoming::new(
            name,
            self.header.function,
            functions,
            self.arguments,
            read,
            time_left.and_then(|time_left| self.arrived.checked_add(time_left)),
        );
        let is_result = call
            .signature()
            .is_some_and(|signature| signature.returns_result());
        let answer = caught(async move { provider.serve(call).await }).await?;
        Ok((answer, is_result))
    }
}

/// What comes of an implementation, a panic included.
async fn caught(
    serving: impl Future<Output = Result<Answer, ProviderError>>,
) -> Result<Answer, ProviderError> {
    let mut serving = std::pin::pin!(serving);
    poll_fn(|context| {
        // What a panic leaves half done is the implementation's own; it is not polled again.
        match catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(context))) {
            Ok(progress) => progress,
            Err(panic) => Err(ProviderError::of_panic(&*panic)).into(),
        }
    })
    .await
}

impl Shared {
    /// Waits until the host has room for an answer that is longer than a frame; says whether it is that answer
    /// that is sent, or that it does not fit.
    async fn with_room(
        &self,
        answer: RawMessage,
    ) -> (RawMessage, Option<OwnedSemaphorePermit>, bool) {
        match self.frames_of(&answer) {
            Ok(0) => (answer, None, true),
            // If there is none any more, there is nobody to answer.
            Ok(frames) => (answer, acquire(&self.room, frames).await, true),
            Err(error) => {
                let error = ProviderError::new(format!("the answer is too long: {error}"))
                    .with_code(ErrorCode::ResourceExhausted);
                let failure = Message::Failure(error.into_failure());
                (failure.encode(answer.id), None, false)
            }
        }
    }
}

/// The error of a call that is made while serving and finds no place among those that may be under way.
pub(in crate::connection) fn no_slot() -> Error {
    Error::Remote(Failure::new(
        ErrorCode::ResourceExhausted,
        Fault::Peer,
        "as many calls are under way as the host allows, and one that is made while serving does not \
         wait: what it waits for may wait for it",
    ))
}
