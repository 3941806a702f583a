//! Where the work of a call is done: on the quick way while it is short, and then in the mill.
//!
//! All of a call's work goes through here, its guest's and what the host does for it, so that all of it
//! counts. What it leads to is part of it.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::Instant;

use super::engine::Ticker;
use super::mill::Mill;
use super::quick::QuickWay;
use super::rest::gave_up_this_thread;
use super::{Sandbox, SandboxError};
use crate::account::Account;
use crate::processor::Meter;

/// Calls that bring more bytes than this are long: to decode that many takes a while.
const LARGE_BYTES: usize = 64 << 10;

/// What is known of a call before its first turn.
#[derive(Clone, Debug)]
pub enum Forecast {
    /// Nothing.
    Open,
    /// It takes long: it begins in the mill. Its processor time is counted where somebody wants to know whether it did.
    Long(Option<Meter>),
}

impl Forecast {
    /// Of a call that comes with so many bytes.
    pub fn of_arguments(bytes: usize) -> Self {
        match bytes > LARGE_BYTES {
            true => Forecast::Long(None),
            false => Forecast::Open,
        }
    }
}

/// The two ways together.
#[derive(Debug)]
pub(super) struct Ways {
    quick: Arc<QuickWay>,
    pub(super) mill: Mill,
}

impl Ways {
    pub(super) fn start(ticker: Arc<Ticker>) -> Result<Ways, SandboxError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let quick = Arc::new(QuickWay::new(processors));
        let mill = Mill::start(processors, Arc::clone(&quick), ticker)?;
        Ok(Ways { quick, mill })
    }
}

impl Sandbox {
    /// Does the work of a call that has time until `deadline`, by turns with other calls. Dropping the future ends it,
    /// within one turn of a guest.
    ///
    /// # Panics
    /// When the work does.
    pub async fn work<T: Send + 'static>(
        &self,
        account: &Arc<Account>,
        forecast: Forecast,
        deadline: Instant,
        mut work: Pin<Box<impl Future<Output = T> + Send + 'static>>,
    ) -> T {
        let Ways { quick, mill } = &self.ways;
        let done = poll_fn(|context| {
            if matches!(forecast, Forecast::Long(_)) {
                return Poll::Ready(None);
            }
            let Some(turn) = quick.begin(account) else {
                return Poll::Ready(None);
            };
            let polled = work.as_mut().poll(context);
            let (was_long, gave_up) = (quick.end(account, &turn), gave_up_this_thread());
            match polled {
                Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
                Poll::Pending if was_long || gave_up => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        match (done.await, forecast) {
            (Some(outcome), _) => outcome,
            (None, Forecast::Long(Some(meter))) => {
                mill.work(account, deadline, meter.measure(work)).await
            }
            (None, _) => mill.work(account, deadline, work).await,
        }
    }
}
