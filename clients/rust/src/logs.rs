//! What the guests of a registration write.

use rpc_host_protocol::operation::Logs;
use rpc_host_protocol::{Message, Operation};
use tokio::sync::mpsc;

use crate::Line;
use crate::client::{Client, OPERATION_TIMEOUT, within};
use crate::connection::Passed;
use crate::error::Error;

/// Which lines of a registration are shown. By default: all that are kept, and then no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Only so many of those that are kept, the newest.
    pub tail: Option<u32>,
    /// Go on with what is written from now on, until nobody waits for it any more or the registration is removed.
    pub follow: bool,
}

impl Client {
    /// Shows the lines that the guests of a registration wrote: to their standard output, their standard error
    /// and their log. The host keeps the newest in memory, up to a limit. Where some are missing, because they came
    /// faster than they were read, a line says how many ([`Line::lost`]).
    ///
    /// ```standalone_crate
    /// # use rpc_host_client::{Client, LogOptions, Options, Profile};
    /// # rpc_host_tests::documented(async || {
    /// # let client = Client::connect(Profile::load()?).await?;
    /// # let module = client.upload_module(rpc_host_tests::built("counter")).await?;
    /// # client.register("counter", &module, Options::default()).await?;
    /// let last = LogOptions { tail: Some(100), follow: false };
    /// client.logs("counter", last, |line| println!("{}", line.text)).await?;
    /// # Ok::<(), rpc_host_client::Error>(())
    /// # });
    /// ```
    pub async fn logs(
        &self,
        name: &str,
        options: LogOptions,
        show: impl FnMut(Line),
    ) -> Result<(), Error> {
        let LogOptions { tail, follow } = options;
        let request = Message::Request(Operation::Logs(Logs {
            name: name.to_owned(),
            tail,
            follow,
        }));
        let (sender, lines) = mpsc::unbounded_channel();
        let shown = async {
            let connection = self.connection().await?;
            let begun = connection.begin_with(request, Passed::default(), Some(sender));
            begun.await?.finished_showing(lines, show).await
        };
        let answer = match follow {
            true => shown.await,
            false => within(OPERATION_TIMEOUT, shown).await,
        };
        answer.map(|_null| ())
    }
}
