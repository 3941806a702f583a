//! `serve`: the only verb that is a node.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rpc_host::Ways;
use rpc_host::config::{Config, Flags, ListenAddress, LogFormat, LogLevel, SandboxDemand};
use rpc_host::confinement::standard_streams::{self, StandardStreams};
use rpc_host::tenant::{Role, Starter, TenantName};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::print;
use super::problem::Problem;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The configuration file; what is said here goes before what it says
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:7443]; port 0 lets the system choose
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<ListenAddress>,
    /// Where to keep everything [default: ./rpc-host-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// For whom the log on stderr is: human or json [default: human]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// What to do where the kernel cannot confine the node: require, best-effort or off
    /// [default: best-effort]
    #[arg(long, value_name = "DEMAND")]
    sandbox: Option<SandboxDemand>,
    /// Serve one client over stdin and stdout, until it closes them, and nobody else unless --listen is
    /// said as well. Whoever can start this is the node's operator, without a token
    #[arg(long)]
    stdio: bool,
    /// The tenant that the client of --stdio acts for [default: default]
    #[arg(long, value_name = "NAME", requires = "stdio")]
    tenant: Option<TenantName>,
    /// The most that the client of --stdio may do: reader, caller, deployer or admin [default: admin]
    #[arg(long, value_name = "ROLE", requires = "stdio")]
    role: Option<Role>,
    /// Stdin and stdout were set aside
    #[arg(long = STREAMS_ARE_ASIDE, hide = true, requires = "stdio")]
    streams_are_aside: bool,
}

const STREAMS_ARE_ASIDE: &str = "streams-are-aside";
/// How long what blocks may take to end after the node: at the end of a connection something may still wait to read
/// or write its streams.
const LAST_READ_TIMEOUT: Duration = Duration::from_secs(2);

impl Serve {
    /// What the process was given as stdin and stdout, if they are a connection. Afterwards nobody comes upon them by
    /// printing or reading.
    fn streams(&self) -> Result<Option<StandardStreams>, Problem> {
        let unusable =
            |error: io::Error| Problem::new(format!("cannot serve over stdin and stdout: {error}"));
        if !self.stdio {
            return Ok(None);
        }
        if self.streams_are_aside {
            return standard_streams::take().map(Some).map_err(unusable);
        }
        if io::stdin().is_terminal() || io::stdout().is_terminal() {
            return Err(Problem::usage(
                "--stdio is for a program at the other end of stdin and stdout, and one of them is a \
                 terminal",
            ));
        }
        let mark = format!("--{STREAMS_ARE_ASIDE}");
        Err(unusable(standard_streams::set_aside(&mark)))
    }

    fn flags(self, verbose: u8) -> Flags {
        Flags {
            config: self.config,
            listen: self.listen,
            data: self.data,
            log_format: self.log_format,
            sandbox: self.sandbox,
            log_level: match verbose {
                0 => None,
                1 => Some(LogLevel::Debug),
                _ => Some(LogLevel::Trace),
            },
        }
    }

    pub(crate) fn run(self, verbose: u8) -> Result<(), Problem> {
        let starter = Starter {
            tenant: self.tenant.clone(),
            role: self.role,
        };
        let stdio = self.streams()?.map(|streams| (streams, starter));
        let is_stdio = stdio.is_some();
        let ways = Ways {
            listens: !is_stdio || self.listen.is_some(),
            stdio,
        };
        let config =
            Config::load(self.flags(verbose)).map_err(|error| Problem::usage(error.to_string()))?;
        log_to_stderr(&config);
        // Reads files that are out of reach a moment later.
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        // While there is one thread: what holds for it holds for all that it starts.
        let confined = rpc_host::confine(&config);
        let confined = confined.map_err(|error| Problem::new(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build()
            .map_err(|error| Problem::new(format!("cannot start: {error}")))?;
        let served = runtime.block_on(async {
            let shutdown = shutdown()?;
            // The one line on stdout: whoever started the node waits for it, and reads the port. Where
            // stdout is a connection, it goes to stderr.
            let ready = |bound| {
                // Whether anybody reads it is not the node's business.
                let _unread = print::stdout(&format!("listening on {bound}\n"));
            };
            let reload = reload()?;
            rpc_host::serve(config, confined, ways, ready, &reload, shutdown)
                .await
                .map_err(|error| Problem::new(error.to_string()))
        });
        if is_stdio {
            runtime.shutdown_timeout(LAST_READ_TIMEOUT);
        }
        served
    }
}

/// Ends when the node is asked to stop.
fn shutdown() -> Result<impl Future<Output = ()>, Problem> {
    let on = |kind| {
        signal(kind).map_err(|error| Problem::new(format!("cannot listen for signals: {error}")))
    };
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Is notified when the node is asked to read its certificates anew.
fn reload() -> Result<Arc<Notify>, Problem> {
    let mut hangup = signal(SignalKind::hangup())
        .map_err(|error| Problem::new(format!("cannot listen for signals: {error}")))?;
    let reload = Arc::new(Notify::new());
    let asked = Arc::clone(&reload);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            asked.notify_one();
        }
    });
    Ok(reload)
}

fn log_to_stderr(config: &Config) {
    // Only this project's own lines below `warn`: what libraries tell at those levels may hold bytes
    // of the wire.
    let level = match config.log_level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let targets = Targets::new()
        .with_default(LevelFilter::WARN)
        // It warns of what guests do wrong, as often as they do it.
        .with_target("wasmtime_wasi_http", LevelFilter::OFF)
        .with_target("rpc_host", level)
        .with_target("guest", level);
    // The highest of these: what is below it costs nothing, also where libraries ask for each record and instance.
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level.max(LevelFilter::WARN))
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match config.log_format {
        LogFormat::Human => subscriber.finish().with(targets).init(),
        LogFormat::Json => subscriber.json().finish().with(targets).init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_handed_on_as_they_are() {
        let serve = Serve {
            config: Some("node.toml".into()),
            listen: Some("0.0.0.0:0".parse().unwrap()),
            data: Some("data".into()),
            log_format: Some(LogFormat::Json),
            sandbox: Some(SandboxDemand::Off),
            stdio: false,
            tenant: None,
            role: None,
            streams_are_aside: false,
        };
        let flags = serve.flags(1);
        assert_eq!(flags.config, Some("node.toml".into()));
        assert_eq!(flags.listen.unwrap().to_string(), "0.0.0.0:0");
        assert_eq!(flags.data, Some("data".into()));
        assert_eq!(flags.log_format, Some(LogFormat::Json));
        assert_eq!(flags.sandbox, Some(SandboxDemand::Off));
        assert_eq!(flags.log_level, Some(LogLevel::Debug));
    }
}
