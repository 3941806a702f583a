//! Whether what a reply tells of came to be told.

use std::fmt;

use rpc_host_protocol::ExchangeId;

/// What rests on whether the client gets a reply: the objects in it would be held by nobody who knows of them,
/// and those that came with the call were given only if it went well.
pub trait Telling: Send {
    /// The reply of this exchange is on its way.
    fn told(self: Box<Self>, exchange: ExchangeId);

    /// It never will be.
    fn untold(self: Box<Self>);
}

/// What is to be done when the reply is on its way, or will never be.
#[derive(Default)]
#[must_use = "dropped, what the reply tells of is undone"]
pub struct Told(Option<Box<dyn Telling>>);

impl Told {
    /// This is to be done.
    pub fn by(telling: impl Telling + 'static) -> Self {
        Told(Some(Box::new(telling)))
    }

    /// The reply is on its way.
    pub fn keep(mut self, exchange: ExchangeId) {
        if let Some(telling) = self.0.take() {
            telling.told(exchange);
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(telling) = self.0.take() {
            telling.untold();
        }
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Told")
    }
}
