//! The first two messages: hello, and the welcome or failure that answers it.

use std::time::Duration;

use rpc_host_protocol::assembler::{Assembler, AssemblerLimits, RawMessage, fragments};
use rpc_host_protocol::frame::{HEADER_BYTES, Header};
use rpc_host_protocol::message::{Hello, Welcome};
use rpc_host_protocol::{ErrorCode, ExchangeId, Failure, Fault, Message, VERSIONS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::error::Error;
use crate::streams::{Input, Streams};
use crate::tls::{Dialer, is_refused_certificate};

/// Time for TCP, TLS and the two messages together.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A welcome or a failure is far smaller.
const LIMITS: AssemblerLimits = AssemblerLimits {
    max_message_bytes: 64 << 10,
    max_buffered_bytes: 64 << 10,
    max_incomplete_messages: 1,
};

/// A channel to a host that has welcomed us.
pub(super) async fn establish(
    dialer: &Dialer,
    token: Option<&str>,
) -> Result<(Streams, Welcome), Error> {
    let attempt = async {
        let mut streams = Streams::of(dialer.dial().await?);
        let welcome = greet(&mut streams, token).await?;
        Ok((streams, welcome))
    };
    in_time(dialer.address(), attempt).await
}

/// The same over streams that are there already.
pub(super) async fn establish_over(mut streams: Streams) -> Result<(Streams, Welcome), Error> {
    let attempt = async {
        let welcome = greet(&mut streams, None).await?;
        Ok((streams, welcome))
    };
    in_time("the other end of the streams", attempt).await
}

async fn in_time<T>(
    address: &str,
    attempt: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let timed_out = |_| Error::Connect {
        address: address.to_owned(),
        cause: std::sync::Arc::new(std::io::ErrorKind::TimedOut.into()),
    };
    tokio::time::timeout(HANDSHAKE_TIMEOUT, attempt)
        .await
        .map_err(timed_out)?
}

async fn greet(streams: &mut Streams, token: Option<&str>) -> Result<Welcome, Error> {
    let Streams { input, output } = streams;
    let hello = Message::Hello(Hello {
        versions: VERSIONS.to_vec(),
        client: concat!("rpc-host-client/", env!("CARGO_PKG_VERSION")).to_owned(),
        token: token.map(str::to_owned),
    });
    let hello = hello.encode(ExchangeId::CONNECTION);
    let mut bytes = Vec::new();
    for (header, part) in fragments(&hello) {
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(part);
    }
    output.write_all(&bytes).await.map_err(broken)?;
    output.flush().await.map_err(broken)?;

    let answer = read_message(input).await?;
    if answer.id != ExchangeId::CONNECTION {
        return Err(unexpected("an answer to what was not asked"));
    }
    match Message::decode(answer).map_err(|error| unexpected(&error.to_string()))? {
        Message::Welcome(welcome) if VERSIONS.contains(&welcome.version) => Ok(welcome),
        Message::Welcome(_) => Err(unexpected("a version of the protocol that we do not speak")),
        Message::Failure(failure) if failure.code == ErrorCode::Unauthenticated => {
            Err(Error::Unauthenticated(failure))
        }
        Message::Failure(failure) => Err(Error::Remote(failure)),
        Message::Goaway(goaway) => Err(Error::Remote(goaway.failure)),
        other => Err(unexpected(other.kind().name())),
    }
}

fn broken(error: std::io::Error) -> Error {
    if is_refused_certificate(&error) {
        return Error::Unauthenticated(Failure::new(
            ErrorCode::Unauthenticated,
            Fault::Peer,
            "the host did not accept the certificate; ask an admin of the tenant for a new one",
        ));
    }
    Error::lost(format!(
        "the host broke off before it said welcome: {error}"
    ))
}

fn unexpected(what: &str) -> Error {
    Error::lost(format!("the host did not say welcome, but: {what}"))
}

async fn read_message(input: &mut Input) -> Result<RawMessage, Error> {
    let mut assembler = Assembler::new(LIMITS);
    loop {
        let mut header = [0; HEADER_BYTES];
        input.read_exact(&mut header).await.map_err(broken)?;
        let header = Header::decode(header).map_err(|error| unexpected(&error.to_string()))?;
        let mut payload = vec![0; header.length_bytes as usize];
        input.read_exact(&mut payload).await.map_err(broken)?;
        let message = assembler.accept(header, &payload);
        if let Some(message) = message.map_err(|error| unexpected(&error.to_string()))? {
            return Ok(message);
        }
    }
}
