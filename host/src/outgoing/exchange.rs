//! One request and its answer, by HTTP/1.1, over a connection of its own.
//!
//! No answer is followed anywhere, no proxy is asked, nothing is kept for the next request. The host that a
//! server is told is the one that was checked.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderValue};
use http::{Method, Request, Response, Uri};
use http_body::Body;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout};

use super::allowance::{Allowance, Way};
use super::body::Counted;
use super::error::Excess;
use super::paced::Paced;
use super::{Destination, Outgoing, OutgoingError, Place};
use crate::share::Full;

/// What the library needs at least; a smaller limit on headers is held after it.
const MIN_BUFFER_BYTES: usize = 8 << 10;
/// Fields of one answer.
const MAX_FIELDS: usize = 128;
/// What a field takes on the wire beside its name and value.
const FIELD_OVERHEAD_BYTES: usize = 4;

/// The body of an answer, counted.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, OutgoingError>;

/// What goes on for as long as the body of an answer is wanted: the connection. It ends by itself.
pub(crate) type Connection = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How long a guest wants to wait, where it says so. Never longer than the node does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Patience {
    pub(crate) connect: Option<Duration>,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) between_bytes: Option<Duration>,
}

impl Outgoing {
    /// Sends a request and waits for its answer to begin. Dropping the future, or what it gives, breaks
    /// the exchange off.
    ///
    /// # Errors
    /// When a rule forbids it, a limit is met, or the far side fails.
    pub(crate) async fn send<B>(
        &self,
        tenant: &Arc<str>,
        allowance: &Arc<Allowance>,
        destination: &Destination,
        mut request: Request<B>,
        patience: Patience,
    ) -> Result<(Response<ResponseBody>, Connection), OutgoingError>
    where
        B: Body<Data = Bytes, Error = OutgoingError> + Send + Unpin + 'static,
    {
        if !self.ports.contains(&destination.port) {
            let port = destination.port;
            return Err(OutgoingError::ClosedPort { port });
        }
        if request.method() == Method::CONNECT {
            return Err(OutgoingError::Tunnel);
        }
        address_to(&mut request, destination)?;
        let header_bytes = self.request_header_bytes(&request);
        self.bound_header(header_bytes, Excess::RequestHeader)?;
        allowance.fits(Way::Sent, request.body().size_hint().lower())?;
        let place = Arc::new(self.place(tenant, allowance)?);

        let wait = shorter(self.limits.connect_timeout, patience.connect);
        let deadline = Instant::now() + wait;
        let stream = self.connect(tenant, destination, &place, deadline).await?;
        let wait = shorter(self.limits.idle_timeout, patience.between_bytes);
        let stream = TokioIo::new(Paced::new(stream, wait));

        let failed = |error| OutgoingError::exchanging(&error, self.limits.max_header_bytes);
        let request = request.map(|body| Counted::new(body, Way::Sent, allowance, &place));
        let (mut sender, connection) = self.builder().handshake(stream).await.map_err(failed)?;
        let mut connection = Box::pin(connection);
        let mut is_over = false;
        let answering = async {
            let mut exchange = Box::pin(sender.send_request(request));
            // Nothing passes unless the connection is driven as well.
            tokio::select! {
                biased;
                answer = &mut exchange => answer,
                ended = &mut connection => {
                    is_over = true;
                    match ended {
                        Ok(()) => exchange.await,
                        Err(error) => Err(error),
                    }
                }
            }
        };
        let answer = match patience.first_byte {
            None => answering.await,
            Some(wait) => {
                let answer = timeout(wait, answering).await;
                answer.map_err(|_late| OutgoingError::AnswerTooSlow)?
            }
        };
        let answer = answer.map_err(failed)?;
        self.bound_header(fields_bytes(answer.headers()), Excess::ResponseHeader)?;
        allowance.fits(Way::Received, answer.body().size_hint().lower())?;

        let max_header_bytes = self.limits.max_header_bytes;
        let answer = answer.map(|body| {
            let body =
                body.map_err(move |error| OutgoingError::exchanging(&error, max_header_bytes));
            Counted::new(body, Way::Received, allowance, &place).boxed_unsync()
        });
        let rest = async move {
            let _place = place;
            if !is_over {
                // Whoever reads the body is told how it ended.
                let _told = connection.await;
            }
        };
        Ok((answer, Box::pin(rest)))
    }

    fn place(&self, tenant: &Arc<str>, allowance: &Allowance) -> Result<Place, OutgoingError> {
        let of_instance = allowance.try_begin()?;
        let most = allowance.max_of_tenant();
        let of_node = self.places.try_take(tenant, 1, most).map_err(|full| {
            let (limit, value) = match full {
                Full::Tenant => ("max-http-requests-at-once-per-tenant", most),
                Full::Node => ("max-http-requests-at-once", self.limits.max_at_once),
            };
            OutgoingError::OverLimit {
                limit,
                value: u64::from(value),
                of: Excess::Requests,
            }
        })?;
        Ok(Place {
            _of_instance: of_instance,
            _of_node: of_node,
        })
    }

    fn builder(&self) -> http1::Builder {
        let max_header_bytes = usize::try_from(self.limits.max_header_bytes).unwrap_or(usize::MAX);
        let mut builder = http1::Builder::new();
        builder
            .max_buf_size(max_header_bytes.max(MIN_BUFFER_BYTES))
            .max_header_size(max_header_bytes)
            .max_headers(MAX_FIELDS);
        builder
    }

    fn request_header_bytes<B>(&self, request: &Request<B>) -> usize {
        let line = request
            .uri()
            .path_and_query()
            .map_or(1, |path| path.as_str().len());
        let line = line.saturating_add(request.method().as_str().len());
        line.saturating_add(fields_bytes(request.headers()))
    }

    fn bound_header(&self, bytes: usize, of: Excess) -> Result<(), OutgoingError> {
        let value = self.limits.max_header_bytes;
        if bytes as u64 <= value {
            return Ok(());
        }
        let limit = "max-http-header-bytes";
        Err(OutgoingError::OverLimit { limit, value, of })
    }
}

/// Makes a request one to this very destination: it names the host that was checked, and nothing but a
/// path stands in its first line.
fn address_to<B>(request: &mut Request<B>, destination: &Destination) -> Result<(), OutgoingError> {
    let host = HeaderValue::try_from(destination.to_string());
    let host = host.map_err(|_error| OutgoingError::NoDestination)?;
    request.headers_mut().insert(HOST, host);
    let path = request.uri().path_and_query().cloned();
    let uri = match path {
        None => Uri::default(),
        Some(path) => Uri::from(path),
    };
    *request.uri_mut() = uri;
    Ok(())
}

fn fields_bytes(fields: &HeaderMap) -> usize {
    fields.iter().fold(0, |sum: usize, (name, value)| {
        sum.saturating_add(name.as_str().len())
            .saturating_add(value.len())
            .saturating_add(FIELD_OVERHEAD_BYTES)
    })
}

fn shorter(limit: Duration, wanted: Option<Duration>) -> Duration {
    wanted.map_or(limit, |wanted| wanted.min(limit))
}
