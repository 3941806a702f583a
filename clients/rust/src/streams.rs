//! What a connection reads from and writes to: TLS, or whatever somebody hands over.

use tokio::io::{AsyncRead, AsyncWrite};

/// Where bytes of the host come from.
pub(crate) type Input = Box<dyn AsyncRead + Send + Unpin>;
/// Where bytes for the host go.
pub(crate) type Output = Box<dyn AsyncWrite + Send + Unpin>;

/// Both directions.
pub(crate) struct Streams {
    pub(crate) input: Input,
    pub(crate) output: Output,
}

impl Streams {
    pub(crate) fn new(
        input: impl AsyncRead + Send + Unpin + 'static,
        output: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        Streams {
            input: Box::new(input),
            output: Box::new(output),
        }
    }

    /// Of one channel for both.
    pub(crate) fn of(channel: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (input, output) = tokio::io::split(channel);
        Streams::new(input, output)
    }
}
