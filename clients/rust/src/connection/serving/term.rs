//! What this client offered to serve, and what the host said to it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use rpc_host_protocol::message::Leased;
use tokio::sync::watch;

use crate::connection::window::{Place, Window};
use crate::lease::Lost;
use crate::provider::{Functions, Provider};

/// An offer to serve a name, from the time it is made until it is over.
pub(crate) struct Term {
    pub(super) name: Arc<str>,
    pub(super) provider: Arc<dyn Provider>,
    window: Arc<Window>,
    grant: watch::Sender<Grant>,
    lost: watch::Sender<Option<Lost>>,
}

/// What the host said to an offer.
#[derive(Debug)]
enum Grant {
    /// Nothing yet.
    Awaited,
    Granted(Arc<Granted>),
    Refused,
}

/// An offer that the host took.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) lease: u64,
    pub(crate) lease_time: Duration,
    pub(crate) window: u32,
    pub(crate) functions: Arc<Functions>,
}

impl Term {
    pub(in crate::connection) fn new(
        name: Arc<str>,
        provider: Arc<dyn Provider>,
        window: u32,
        taken: Arc<AtomicUsize>,
    ) -> Self {
        Term {
            name,
            provider,
            window: Arc::new(Window::new(window, taken)),
            grant: watch::Sender::new(Grant::Awaited),
            lost: watch::Sender::new(None),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn granted(&self) -> Option<Arc<Granted>> {
        match &*self.grant.borrow() {
            Grant::Granted(granted) => Some(granted.clone()),
            Grant::Awaited | Grant::Refused => None,
        }
    }

    pub(super) fn is_awaited(&self) -> bool {
        matches!(*self.grant.borrow(), Grant::Awaited)
    }

    pub(crate) fn lost(&self) -> watch::Receiver<Option<Lost>> {
        self.lost.subscribe()
    }

    /// The host took the offer.
    pub(super) fn grant(&self, leased: Leased) {
        let granted = Granted {
            lease: leased.lease,
            lease_time: Duration::from_millis(leased.lease_ms),
            window: leased.window,
            functions: Arc::new(Functions::new(leased.functions)),
        };
        self.grant.send_replace(Grant::Granted(Arc::new(granted)));
    }

    /// The host did not, or nobody wants it to.
    pub(super) fn refuse(&self) {
        self.grant.send_replace(Grant::Refused);
    }

    /// Waits for either; mostly it is there.
    pub(super) async fn answered(&self) -> Option<Arc<Granted>> {
        let mut grant = self.grant.subscribe();
        // The sender is here, so this never fails.
        drop(
            grant
                .wait_for(|grant| !matches!(grant, Grant::Awaited))
                .await,
        );
        self.granted()
    }

    pub(super) fn take_place(&self) -> Option<Arc<Place>> {
        self.window.take()
    }

    pub(in crate::connection) fn lose(&self, why: Lost) {
        self.lost.send_replace(Some(why));
    }
}
