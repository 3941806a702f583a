//! Answers requests over HTTP: the sum of two numbers, or the bytes that came.

#![forbid(unsafe_code)]

use std::io::Write;

use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use wasip2::io::streams::StreamError;

wasip2::http::proxy::export!(Echo);

struct Echo;

/// How much is asked for at once.
const CHUNK: u64 = 256 * 1024;

impl wasip2::exports::http::incoming_handler::Guest for Echo {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let (status, answer) = match path.strip_prefix("/add?") {
            Some(numbers) => match sum(numbers) {
                Some(sum) => (200, sum.to_string().into_bytes()),
                None => (400, Vec::new()),
            },
            None if path == "/echo" => match body(&request) {
                Some(body) => (200, body),
                None => (400, Vec::new()),
            },
            None => (404, Vec::new()),
        };
        let fields = Fields::new();
        let length = answer.len().to_string().into_bytes();
        if fields.append("content-length", &length).is_err() {
            return;
        }
        let response = OutgoingResponse::new(fields);
        if response.set_status_code(status).is_err() {
            return;
        }
        let Ok(body) = response.body() else {
            return;
        };
        ResponseOutparam::set(out, Ok(response));
        if let Ok(mut stream) = body.write() {
            let written = stream.write_all(&answer);
            // Whoever asked does not listen any more, if it fails.
            let _ = written.and_then(|()| Write::flush(&mut stream));
        }
        let _ = OutgoingBody::finish(body, None);
    }
}

/// Of two numbers: `2,3`.
fn sum(numbers: &str) -> Option<i64> {
    let (a, b) = numbers.split_once(',')?;
    a.parse::<i64>().ok()?.checked_add(b.parse().ok()?)
}

fn body(request: &IncomingRequest) -> Option<Vec<u8>> {
    let body = request.consume().ok()?;
    let stream = body.stream().ok()?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(CHUNK) {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Some(bytes),
            Err(StreamError::LastOperationFailed(_)) => return None,
        }
    }
}
