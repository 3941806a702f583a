//! The client: a profile, and the connection that serves it now.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rpc_host_protocol::cbor::decode_envelope;
use rpc_host_protocol::value::ValueError;
use rpc_host_protocol::{Message, Operation};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use crate::call::RawReply;
use crate::connection::{Connection, Exchange, Standing};
use crate::error::Error;
use crate::module::NamedModule;
use crate::profile::{DEFAULT_MAX_REPLY_BYTES, Profile};
use crate::streams::Streams;
use crate::tls::Dialer;

/// After a failed attempt to connect, the next one waits so long; twice as long each time.
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
/// But not longer than this.
const MAX_BACK_OFF: Duration = Duration::from_secs(5);
/// Longer than a host takes to compile a module, which some operations make it do.
pub(crate) const OPERATION_TIMEOUT: Duration = Duration::from_secs(300);

/// A client of one host. Cheap to clone; all clones share one connection.
///
/// See the [crate's documentation](crate) for what happens when the connection is lost.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    /// How to connect anew; `None` over streams that somebody handed over, which end once and for all.
    way: Option<Way>,
    current: Mutex<Option<Arc<Connection>>>,
    /// Held by the one that connects; the others wait for what comes of it.
    attempts: tokio::sync::Mutex<Attempts>,
}

struct Way {
    profile: Profile,
    dialer: Dialer,
}

/// What came of earlier attempts to connect.
#[derive(Default)]
struct Attempts {
    failed: Option<Failed>,
}

struct Failed {
    why: Error,
    next_at: Instant,
    back_off: Duration,
}

impl Client {
    /// Connects to the host of a profile.
    pub async fn connect(profile: Profile) -> Result<Self, Error> {
        let dialer = Dialer::new(&profile)?;
        let client = Client {
            shared: Arc::new(Shared {
                way: Some(Way { profile, dialer }),
                current: Mutex::new(None),
                attempts: tokio::sync::Mutex::default(),
            }),
        };
        client.connection().await?;
        Ok(client)
    }

    /// Speaks to a host over streams that are there already, without TLS: to `rpc-host serve --stdio` at the
    /// other end of a pipe or of ssh. That end knows who this is, so it is told no token.
    ///
    /// The streams are used as they are given. When the connection ends, what was written is flushed, and they
    /// are dropped; of a stream that is only borrowed, such as [`tokio::io::stdout`] or a `&mut` of somebody's,
    /// nothing is closed by that. When they end, so does the client: there is no way to connect anew.
    ///
    /// ```
    /// # use rpc_host_client::{Client, Error};
    /// # async fn over_ssh() -> Result<Client, Box<dyn std::error::Error>> {
    /// use std::process::Stdio;
    ///
    /// let mut node = tokio::process::Command::new("ssh")
    ///     .args(["node.example", "rpc-host", "serve", "--stdio"])
    ///     .stdin(Stdio::piped())
    ///     .stdout(Stdio::piped())
    ///     .spawn()?;
    /// let (Some(output), Some(input)) = (node.stdout.take(), node.stdin.take()) else {
    ///     unreachable!("both are piped");
    /// };
    /// let client = Client::from_streams(output, input).await?;
    /// # Ok(client)
    /// # }
    /// ```
    pub async fn from_streams(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, Error> {
        let streams = Streams::new(reader, writer);
        let connection = Connection::over(streams, DEFAULT_MAX_REPLY_BYTES).await?;
        Ok(Client {
            shared: Arc::new(Shared {
                way: None,
                current: Mutex::new(Some(connection)),
                attempts: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// The registration of this name, whether or not there is one.
    pub fn module(&self, name: impl Into<Arc<str>>) -> NamedModule {
        NamedModule::new(self.clone(), name.into())
    }

    /// Begins an exchange on the present connection, or on a new one if it is over.
    pub(crate) async fn begin(&self, message: Message) -> Result<Exchange, Error> {
        self.connection().await?.begin(message).await
    }

    /// One operation and its answer.
    pub(crate) async fn operate<T: DeserializeOwned>(
        &self,
        operation: Operation,
    ) -> Result<T, Error> {
        let answer = async {
            let exchange = self.begin(Message::Request(operation)).await?;
            exchange.finished().await
        };
        let RawReply { value, .. } = within(OPERATION_TIMEOUT, answer).await?;
        decode_envelope(&value).map_err(|error| {
            Error::Decode(ValueError {
                path: "reply".to_owned(),
                problem: error.to_string(),
            })
        })
    }

    /// The present connection, or a new one if it is over.
    pub(crate) async fn connection(&self) -> Result<Arc<Connection>, Error> {
        match self.usable()? {
            Some(connection) => Ok(connection),
            // Boxed: a call, which passes here each time, is not to carry what it takes to connect.
            None => Box::pin(self.connected_anew()).await,
        }
    }

    async fn connected_anew(&self) -> Result<Arc<Connection>, Error> {
        let mut attempts = self.shared.attempts.lock().await;
        // Somebody else may have connected meanwhile, or have found out that it is no use.
        if let Some(connection) = self.usable()? {
            return Ok(connection);
        }
        if let Some(failed) = &attempts.failed
            && Instant::now() < failed.next_at
        {
            return Err(failed.why.clone());
        }
        let Some(Way { profile, dialer }) = &self.shared.way else {
            return Err(Error::lost("its streams have ended"));
        };
        let token = profile.secret();
        let max_reply_bytes = profile.reply_limit_bytes();
        match Connection::open(dialer, token, max_reply_bytes).await {
            Ok(connection) => {
                attempts.failed = None;
                *self.current() = Some(connection.clone());
                Ok(connection)
            }
            Err(why) => {
                let earlier = attempts.failed.as_ref();
                let back_off = earlier.map_or(FIRST_BACK_OFF, |earlier| {
                    (earlier.back_off * 2).min(MAX_BACK_OFF)
                });
                attempts.failed = Some(Failed {
                    why: why.clone(),
                    next_at: Instant::now() + back_off,
                    back_off,
                });
                Err(why)
            }
        }
    }

    fn usable(&self) -> Result<Option<Arc<Connection>>, Error> {
        let mut current = self.current();
        match current.as_ref().map(|connection| connection.standing()) {
            Some(Standing::Open) => Ok(current.clone()),
            Some(Standing::GoingAway(failure)) => Err(Error::Remote(failure)),
            Some(Standing::Over(why)) if self.shared.way.is_none() => Err(why),
            Some(Standing::Over(_)) => {
                *current = None;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, Option<Arc<Connection>>> {
        let current = self.shared.current.lock();
        current.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("profile", &self.shared.way.as_ref().map(|way| &way.profile))
            .finish_non_exhaustive()
    }
}

/// What comes of `answer`, unless it takes too long.
pub(crate) async fn within<T>(
    after: Duration,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(after, answer).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::Timeout { after }),
    }
}
