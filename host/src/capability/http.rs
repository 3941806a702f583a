//! `wasi:http/outgoing-handler`: requests to hosts that a grant names.
//!
//! The interfaces are the engine's own; what is sent, to whom and how much of it is decided here and in
//! [`crate::outgoing`]. A request that is refused ends with an error of `wasi:http` that the guest can
//! handle, and with a line in the log that says what is in its way. Modules are never asked by HTTP, so
//! what WASI has for answering requests is inert.

use std::sync::Arc;

use http::{HeaderName, Request, Response};
use http_body_util::BodyExt;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceTable};
use wasmtime_wasi_http::p2::bindings::http::types::{self, HostOutgoingRequest as _};
use wasmtime_wasi_http::p2::bindings::{LinkOptions, http as bindings};
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody, WasiHttp, WasiHttpCtx,
    WasiHttpCtxView, WasiHttpHooks,
};

use super::{Grant, Grants, is_heard};
use crate::account::Account;
use crate::journal::Scribe;
use crate::outgoing::{
    Allowance, Destination, Excess, Host, Outgoing, OutgoingError, Patience, ResponseBody,
};
use crate::sandbox::{CallLabel, CallLimits, State};

/// What is served of `wasi:http`, without versions.
pub(super) const INTERFACES: &[&str] = &["wasi:http/outgoing-handler", "wasi:http/types"];

/// Bytes of one write to the body of a request; as much waits to be sent.
const MAX_WRITE_BYTES: usize = 16 << 10;

/// As the engine links it.
const TYPES: &str = "wasi:http/types@0.2.12";

pub(super) fn add_to_linker(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    let options = LinkOptions::default();
    bindings::outgoing_handler::add_to_linker::<State, WasiHttp>(linker, State::http)?;
    types::add_to_linker::<State, WasiHttp>(linker, &(&options).into(), State::http)?;
    bound_lengths(linker)
}

/// Bytes of the name of a method, and of a host with its port. The longest of those that are registered, and of
/// those that there can be.
const MAX_METHOD_BYTES: usize = 64;
const MAX_AUTHORITY_BYTES: usize = 253 + 6;

/// What is set of a request that was not sent yet is kept outside of a guest's memory, and the engine's own functions
/// keep a method and an authority of any length. These stand in front of them.
fn bound_lengths(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut interface = linker.instance(TYPES)?;
    interface.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: StoreContextMut<'_, State>,
         (request, method): (Resource<types::OutgoingRequest>, types::Method)| {
            if matches!(&method, types::Method::Other(name) if name.len() > MAX_METHOD_BYTES) {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_method(request, method)?,))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: StoreContextMut<'_, State>,
         (request, authority): (Resource<types::OutgoingRequest>, Option<String>)| {
            if authority
                .as_ref()
                .is_some_and(|text| text.len() > MAX_AUTHORITY_BYTES)
            {
                return Ok((Err(()),));
            }
            Ok((store.data_mut().http().set_authority(request, authority)?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The requests of one instance.
pub(crate) struct HttpCtx {
    ctx: WasiHttpCtx,
    requests: Requests,
}

impl HttpCtx {
    /// For an instance with these grants. Nothing is sent before there is a way out.
    pub(crate) fn new(
        label: CallLabel,
        account: Arc<Account>,
        grants: Arc<Grants>,
        limits: &CallLimits,
    ) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(0);
        HttpCtx {
            ctx,
            requests: Requests {
                label,
                account,
                grants,
                outgoing: None,
                allowance: None,
                max_of_tenant: limits.max_http_requests_of_tenant,
                is_spent: false,
            },
        }
    }

    /// Another call begins, which may make as many requests as the first.
    pub(crate) fn begin(&mut self, label: CallLabel, limits: &CallLimits) {
        let requests = &mut self.requests;
        requests.label = label;
        requests.max_of_tenant = limits.max_http_requests_of_tenant;
        requests.allowance = None;
        requests.is_spent = false;
    }

    /// The last call is over: nothing is sent or written for it any more.
    pub(crate) fn end(&mut self) {
        let requests = &mut self.requests;
        requests.label.scribe = Scribe::default();
        requests.outgoing = None;
        requests.allowance = None;
    }

    /// Gives it the node's way out.
    pub(crate) fn open(&mut self, outgoing: Arc<Outgoing>) {
        let bytes = outgoing.limits().max_header_bytes;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.ctx.set_field_size_limit(bytes);
        self.requests.outgoing = Some(outgoing);
    }

    /// As the engine's interfaces want it.
    pub(crate) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView {
            hooks: &mut self.requests,
            table,
            ctx: &mut self.ctx,
        }
    }
}

struct Requests {
    label: CallLabel,
    account: Arc<Account>,
    grants: Arc<Grants>,
    outgoing: Option<Arc<Outgoing>>,
    /// Made with the first request: most instances make none.
    allowance: Option<Arc<Allowance>>,
    /// Requests that its tenant may have under way.
    max_of_tenant: u64,
    /// It has made all requests that it may, which was said.
    is_spent: bool,
}

/// What a request may be sent with.
struct Cleared {
    outgoing: Arc<Outgoing>,
    allowance: Arc<Allowance>,
    destination: Destination,
}

impl Requests {
    fn clear(&mut self, request: &Request<WasiBody>) -> Result<Cleared, OutgoingError> {
        let outgoing = self.outgoing.clone().ok_or(OutgoingError::Closed)?;
        let fresh = || Arc::new(Allowance::new(outgoing.limits(), self.max_of_tenant));
        let allowance = Arc::clone(self.allowance.get_or_insert_with(fresh));
        allowance.take_request()?;
        let uri = request.uri();
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let destination = Destination::parse(uri.scheme_str().unwrap_or_default(), authority)?;
        if !is_granted(&self.grants, &destination) {
            return Err(OutgoingError::Ungranted {
                protocol: if destination.is_tls { "https" } else { "http" },
                destination: destination.to_string(),
            });
        }
        Ok(Cleared {
            outgoing,
            allowance,
            destination,
        })
    }

    /// Whether this refusal is to be told. All that follow one of too many requests would be the same.
    fn is_news(&mut self, error: &OutgoingError) -> bool {
        match error {
            OutgoingError::OverLimit { limit, .. } if *limit == Allowance::REQUESTS => {
                !std::mem::replace(&mut self.is_spent, true)
            }
            _ => true,
        }
    }
}

/// A grant without a port is for HTTPS at its own port; one with a port is for that port, and for HTTP
/// without TLS too: whoever writes the port down knows what speaks there.
fn is_granted(grants: &Grants, destination: &Destination) -> bool {
    /// Where HTTPS is spoken.
    const PORT: u16 = 443;
    grants.iter().any(|grant| {
        let Grant::Http(granted) = grant else {
            return false;
        };
        let names_host = match &destination.host {
            Host::Name(name) => granted.covers_host(name),
            Host::Address(address) => granted.host() == address.to_string(),
        };
        let names_port = match granted.port() {
            Some(port) => port == destination.port,
            None => destination.is_tls && destination.port == PORT,
        };
        names_host && names_port
    })
}

type Answered = Result<
    (
        Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    Error,
>;

impl WasiHttpHooks for Requests {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        DEFAULT_FORBIDDEN_HEADERS.contains(name)
    }

    /// The host that was checked is set where the request is sent.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _read: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Answered> + Send> {
        let cleared = self.clear(&request);
        if let Err(error) = &cleared
            && self.is_news(error)
        {
            tell(&self.account, &self.label, error);
        }
        let (account, label) = (Arc::clone(&self.account), self.label.clone());
        Box::new(async move {
            let Cleared {
                outgoing,
                allowance,
                destination,
            } = cleared.map_err(to_wasi)?;
            let request = request.map(|body| body.map_err(|_aborted| OutgoingError::Protocol));
            let patience = patience(options.unwrap_or_default());
            let sending = outgoing.send(&label.tenant, &allowance, &destination, request, patience);
            let (response, connection) = sending.await.map_err(|error| {
                if error.is_refusal() {
                    tell(&account, &label, &error);
                }
                to_wasi(error)
            })?;
            let response = response.map(|body: ResponseBody| body.map_err(to_wasi).boxed_unsync());
            let connection = async move {
                connection.await;
                Ok(())
            };
            Ok((response, Box::new(connection) as _))
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_WRITE_BYTES
    }
}

/// Tells whoever reads the log what is in the way of a request. There is a bounded number of these in a
/// call, and none of the guest's text but names of hosts.
fn tell(account: &Account, label: &CallLabel, error: &OutgoingError) {
    if !is_heard(account, label, error.to_string().len()) {
        return;
    }
    let CallLabel {
        tenant,
        module,
        call,
        scribe: _,
    } = label;
    tracing::info!(%tenant, %module, %call, %error, "a request of a module was refused");
}

fn patience(options: RequestOptions) -> Patience {
    Patience {
        connect: options.connect_timeout,
        first_byte: options.first_byte_timeout,
        between_bytes: options.between_bytes_timeout,
    }
}

/// What the guest is told.
fn to_wasi(error: OutgoingError) -> Error {
    match error {
        OutgoingError::NoScheme | OutgoingError::Protocol => Error::HttpProtocolError,
        OutgoingError::NoDestination => Error::HttpRequestUriInvalid,
        OutgoingError::Closed
        | OutgoingError::Tunnel
        | OutgoingError::Ungranted { .. }
        | OutgoingError::ClosedPort { .. } => Error::HttpRequestDenied,
        OutgoingError::Forbidden(_) => Error::DestinationIpProhibited,
        OutgoingError::OverLimit { value, of, .. } => {
            let header = u32::try_from(value).ok();
            match of {
                Excess::Requests => Error::ConnectionLimitReached,
                Excess::RequestHeader => Error::HttpRequestHeaderSectionSize(header),
                Excess::ResponseHeader => Error::HttpResponseHeaderSectionSize(header),
                Excess::RequestBody => Error::HttpRequestBodySize(Some(value)),
                Excess::ResponseBody => Error::HttpResponseBodySize(Some(value)),
            }
        }
        OutgoingError::UnknownHost => Error::DnsError {
            rcode: None,
            info_code: None,
        },
        OutgoingError::LookupTooSlow => Error::DnsTimeout,
        OutgoingError::ConnectTooSlow => Error::ConnectionTimeout,
        OutgoingError::Refused => Error::ConnectionRefused,
        OutgoingError::Unreachable => Error::DestinationUnavailable,
        OutgoingError::Certificate(_) => Error::TlsCertificateError,
        OutgoingError::Tls(_) => Error::TlsProtocolError,
        OutgoingError::Stalled => Error::ConnectionReadTimeout,
        OutgoingError::AnswerTooSlow => Error::HttpResponseTimeout,
        OutgoingError::Ended => Error::ConnectionTerminated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(grants: &[&str], scheme: &str, authority: &str) -> bool {
        let grants = Grants::parse(grants).unwrap();
        is_granted(&grants, &Destination::parse(scheme, authority).unwrap())
    }

    #[test]
    fn a_grant_is_for_its_host_and_its_port_alone() {
        let exact = ["http:api.example.com"];
        assert!(allows(&exact, "https", "api.example.com"));
        assert!(allows(&exact, "https", "API.example.com:443"));
        for (scheme, authority) in [
            ("http", "api.example.com"),
            ("http", "api.example.com:443"),
            ("https", "api.example.com:8443"),
            ("https", "example.com"),
            ("https", "x.api.example.com"),
            ("https", "api.example.com.evil.example"),
            ("https", "xapi.example.com"),
        ] {
            assert!(!allows(&exact, scheme, authority), "{scheme} {authority}");
        }
        let port = ["http:api.example.com:8080"];
        for scheme in ["http", "https"] {
            assert!(allows(&port, scheme, "api.example.com:8080"));
            assert!(!allows(&port, scheme, "api.example.com"));
        }
        assert!(allows(&["http:10.0.0.7"], "https", "10.0.0.7"));
        assert!(!allows(&["http:10.0.0.7"], "https", "10.0.0.8"));
        assert!(!allows(&["http:10.0.0.7"], "https", "[::ffff:10.0.0.7]"));
        assert!(!allows(&[], "https", "api.example.com"));
        let others = ["log", "env:A=api.example.com", "fs:data=rw"];
        assert!(!allows(&others, "https", "api.example.com"));
    }

    #[test]
    fn a_wildcard_is_for_names_below_and_for_nothing_else() {
        let below = ["http:*.example.com"];
        assert!(allows(&below, "https", "api.example.com"));
        assert!(allows(&below, "https", "a.b.example.com"));
        for authority in ["example.com", "xexample.com", "example.com.evil.example"] {
            assert!(!allows(&below, "https", authority), "{authority}");
        }
        assert!(!allows(&below, "http", "api.example.com"));
    }
}
