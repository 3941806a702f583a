//! Makes requests by HTTP, by WASI's own interfaces, and says what came of them.

#![forbid(unsafe_code)]

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method, OutgoingBody,
    OutgoingRequest, Scheme,
};
use wasip2::io::streams::StreamError;

#[rpc_guest::module]
mod fetch {
    /// Asks for a URL. `STATUS BODY`, or `error: CODE`.
    pub fn get(url: String) -> String {
        super::outcome(super::ask(&url, &super::Method::Get, 0).and_then(super::read))
    }

    /// Sends so many bytes. `STATUS BODY`, or `error: CODE`.
    pub fn post(url: String, bytes: u64) -> String {
        super::outcome(super::ask(&url, &super::Method::Post, bytes).and_then(super::read))
    }

    /// Asks to be connected through.
    pub fn connect(url: String) -> String {
        super::outcome(super::ask(&url, &super::Method::Connect, 0).and_then(super::read))
    }

    /// Asks for a URL as often as this, one after the other, and says how each ended.
    pub fn get_often(url: String, times: u32) -> Vec<String> {
        (0..times).map(|_| get(url.clone())).collect()
    }

    /// Asks for a URL as often as this at once, and then says how each ended.
    pub fn get_at_once(url: String, times: u32) -> Vec<String> {
        let begin = |_| super::begin(&url, &super::Method::Get);
        let begun: Vec<_> = (0..times).map(begin).collect();
        let answers: Vec<_> = begun
            .into_iter()
            .map(|begun| begun.and_then(|(pending, _)| super::answer(&pending)))
            .collect();
        let ended = |answer: Result<_, _>| super::outcome(answer.and_then(super::read));
        answers.into_iter().map(ended).collect()
    }

    /// Whether a request that is not sent may have a method, and an authority, of so many letters.
    pub fn keeps(letters: u32) -> Vec<bool> {
        let text = "a".repeat(letters as usize);
        let request = super::OutgoingRequest::new(super::Fields::new());
        vec![
            request
                .set_method(&super::Method::Other(text.clone()))
                .is_ok(),
            request.set_authority(Some(&text)).is_ok(),
        ]
    }

    /// Asks with a header of its own. `set`, or what hinders it.
    pub fn set_header(name: String, value: String) -> String {
        match super::Fields::new().append(&name, value.as_bytes()) {
            Ok(()) => "set".into(),
            Err(error) => format!("error: {error:?}"),
        }
    }
}

fn outcome(ended: Result<String, String>) -> String {
    ended.unwrap_or_else(|error| format!("error: {error}"))
}

fn told(error: &ErrorCode) -> String {
    let text = format!("{error:?}");
    text.strip_prefix("ErrorCode::").unwrap_or(&text).into()
}

type Begun = (FutureIncomingResponse, OutgoingBody);

fn begin(url: &str, method: &Method) -> Result<Begun, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no url")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        other => Scheme::Other(other.into()),
    };
    let request = OutgoingRequest::new(Fields::new());
    let path = if path.is_empty() { "/" } else { path };
    request.set_method(method).map_err(|()| "bad method")?;
    request
        .set_scheme(Some(&scheme))
        .map_err(|()| "bad scheme")?;
    request
        .set_authority(Some(authority))
        .map_err(|()| "bad authority")?;
    request
        .set_path_with_query(Some(path))
        .map_err(|()| "bad path")?;
    let body = request.body().map_err(|()| "no body")?;
    let pending = outgoing_handler::handle(request, None).map_err(|error| told(&error))?;
    Ok((pending, body))
}

fn ask(url: &str, method: &Method, mut bytes: u64) -> Result<IncomingResponse, String> {
    let (pending, body) = begin(url, method)?;
    let stream = body.write().map_err(|()| "no stream")?;
    let part = [b'x'; 4096];
    while bytes > 0 {
        let now = usize::try_from(bytes).unwrap_or(usize::MAX).min(part.len());
        // Whoever does not take it says why in its answer.
        if stream.blocking_write_and_flush(&part[..now]).is_err() {
            break;
        }
        bytes -= now as u64;
    }
    drop(stream);
    let _told = OutgoingBody::finish(body, None);
    answer(&pending)
}

fn answer(pending: &FutureIncomingResponse) -> Result<IncomingResponse, String> {
    pending.subscribe().block();
    let answered = pending.get().ok_or("not ready")?.map_err(|()| "taken")?;
    answered.map_err(|error| told(&error))
}

fn read(response: IncomingResponse) -> Result<String, String> {
    let body = response.consume().map_err(|()| "taken")?;
    let stream = body.stream().map_err(|()| "taken")?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(part) => bytes.extend(part),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
    let location = response.headers().get("location");
    let location = location
        .first()
        .map(|to| format!(" -> {}", String::from_utf8_lossy(to)));
    let (status, text) = (response.status(), String::from_utf8_lossy(&bytes));
    Ok(format!("{status} {text}{}", location.unwrap_or_default()))
}
