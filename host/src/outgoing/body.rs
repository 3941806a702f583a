//! A body whose bytes are counted as they pass.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::allowance::{Allowance, Way};
use super::{OutgoingError, Place};

/// A body that ends with an error where it passes what is left to its instance.
#[derive(Debug)]
pub(super) struct Counted<B> {
    body: B,
    way: Way,
    allowance: Arc<Allowance>,
    /// An answer is under way until it is read, or let go of.
    _place: Arc<Place>,
}

impl<B> Counted<B> {
    pub(super) fn new(
        body: B,
        way: Way,
        allowance: &Arc<Allowance>,
        place: &Arc<Place>,
    ) -> Counted<B> {
        Counted {
            body,
            way,
            allowance: Arc::clone(allowance),
            _place: Arc::clone(place),
        }
    }
}

impl<B> Body for Counted<B>
where
    B: Body<Data = Bytes, Error = OutgoingError> + Unpin,
{
    type Data = Bytes;
    type Error = OutgoingError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OutgoingError>>> {
        let next = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(next.map(|next| {
            let frame = next?;
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.allowance.take_bytes(self.way, bytes)?;
            Ok(frame)
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
