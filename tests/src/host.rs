//! A node.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rpc_host_client::{Client, Profile};
use tempfile::TempDir;

use crate::cli::{Cli, binary, signal};
use crate::log::Log;
use crate::tenant::TestTenant;
use crate::{PATIENCE, in_time};

/// What a node is started with, besides a free port and an empty data directory.
#[derive(Clone, Debug, Default)]
pub struct HostOptions {
    limits: Vec<(String, u64)>,
    allow: Option<Vec<String>>,
    log_level: Option<String>,
    is_log_for_people: bool,
    is_open: bool,
    server_names: Vec<String>,
}

impl HostOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// A limit of the configuration file.
    pub fn limit(mut self, name: &str, value: u64) -> Self {
        self.limits.push((name.to_owned(), value));
        self
    }

    /// What may be granted, in the place of what a node allows that is not told.
    pub fn allow<const N: usize>(mut self, patterns: [&str; N]) -> Self {
        self.allow = Some(patterns.map(str::to_owned).to_vec());
        self
    }

    /// How much is logged.
    pub fn log_level(mut self, level: &str) -> Self {
        self.log_level = Some(level.to_owned());
        self
    }

    /// The log as people read it, not JSON.
    pub fn log_for_people(mut self) -> Self {
        self.is_log_for_people = true;
        self
    }

    /// Not confined, so that whoever runs the tests can look at what the process has open.
    pub fn open(mut self) -> Self {
        self.is_open = true;
        self
    }

    /// A name that clients know it by.
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_names.push(name.to_owned());
        self
    }

    fn text(&self) -> String {
        let format = if self.is_log_for_people {
            "human"
        } else {
            "json"
        };
        let mut text = format!("log-format = \"{format}\"\n");
        if self.is_open {
            text.push_str("sandbox = \"off\"\n");
        }
        if let Some(level) = &self.log_level {
            text.push_str(&format!("log-level = \"{level}\"\n"));
        }
        text.push_str(&format!("server-names = {:?}\n", self.server_names));
        if let Some(allow) = &self.allow {
            text.push_str(&format!("[grants]\nallow = {allow:?}\n"));
        }
        text.push_str("[limits]\n");
        for (name, value) in &self.limits {
            text.push_str(&format!("{name} = {value}\n"));
        }
        text
    }
}

/// A running node. Killed when dropped, and its data with it.
pub struct TestHost {
    directory: TempDir,
    process: Mutex<Process>,
    counter: AtomicU32,
}

struct Process {
    child: Child,
    address: String,
    log: Log,
    stdout: Log,
    ended: Option<ExitStatus>,
}

impl TestHost {
    /// A node that only the caller uses.
    pub async fn start() -> Arc<Self> {
        Self::start_with(HostOptions::new()).await
    }

    /// The same, not with the default configuration.
    pub async fn start_with(options: HostOptions) -> Arc<Self> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("node.toml"), options.text()).unwrap();
        let process = Process::start(directory.path()).await;
        Arc::new(TestHost {
            directory,
            process: Mutex::new(process),
            counter: AtomicU32::new(0),
        })
    }

    /// The node that tests share which do not change it as a whole: it lives as long as one of them
    /// holds it, so that no process is left behind.
    pub async fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<TestHost>> = Mutex::new(Weak::new());
        static STARTING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
        let _only_one = STARTING.lock().await;
        let present = SHARED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .upgrade();
        if let Some(host) = present {
            return host;
        }
        let host = Self::start().await;
        *SHARED.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&host);
        host
    }

    /// A tenant that only the caller uses.
    pub async fn tenant(self: &Arc<Self>) -> TestTenant {
        TestTenant::new(Arc::clone(self)).await
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        self.with_process(|process| process.address.clone())
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.with_process(|process| process.child.id())
    }

    /// What it logs.
    pub fn log(&self) -> Log {
        self.with_process(|process| process.log.clone())
    }

    /// What it prints as a result.
    pub fn stdout(&self) -> Log {
        self.with_process(|process| process.stdout.clone())
    }

    /// A directory for files of the test, the configuration and the data directory among them.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        data(self.directory.path())
    }

    /// A file of the test, made anew.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A name that was not given before.
    pub fn fresh_name(&self, stem: &str) -> String {
        format!("{stem}-{}", self.counter.fetch_add(1, Ordering::Relaxed))
    }

    /// The profile that the node wrote at its first start.
    pub fn client_profile_path(&self) -> PathBuf {
        self.data().join("client.toml")
    }

    /// The table of that profile.
    pub fn client_profile(&self) -> toml::Table {
        let text = std::fs::read_to_string(self.client_profile_path()).expect("a profile");
        text.parse().expect("a profile is TOML")
    }

    /// The authority that vouches for the node.
    pub fn ca_pem(&self) -> String {
        self.client_profile()["ca"].as_str().unwrap().to_owned()
    }

    /// The token of the node's first admin.
    pub fn admin_token(&self) -> String {
        self.client_profile()["token"].as_str().unwrap().to_owned()
    }

    /// A profile for this node with another token.
    pub fn profile(&self, token: &str) -> Profile {
        Profile::new(self.address())
            .server_name("localhost")
            .ca_pem(self.ca_pem())
            .token(token)
    }

    /// The same as a file.
    pub fn profile_file(&self, name: &str, token: &str) -> PathBuf {
        let mut table = self.client_profile();
        table.insert("address".to_owned(), self.address().into());
        table.insert("token".to_owned(), token.into());
        self.file(&format!("{name}.toml"), table.to_string())
    }

    /// A client with the first admin's token.
    pub async fn client(&self) -> Client {
        let profile = Profile::from_file(self.client_profile_path()).expect("a profile");
        Client::connect(profile).await.expect("the admin's client")
    }

    /// The command line with the first admin's profile.
    pub fn cli<const N: usize>(&self, arguments: [&str; N]) -> Cli {
        Cli::new(self.directory(), arguments).env("RPC_HOST_PROFILE", self.client_profile_path())
    }

    /// Sends it a signal by name.
    pub async fn signal(&self, name: &str) {
        signal(self.pid(), name).await;
    }

    /// Waits for its end.
    pub async fn end(&self) -> ExitStatus {
        let (log, stdout) = (self.log(), self.stdout());
        // Its pipes close when it is gone, so this needs no polling.
        log.over().await;
        stdout.over().await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.with_process(|process| {
                if process.ended.is_none() {
                    process.ended = process.child.try_wait().expect("a child can be waited for");
                }
                process.ended
            });
            match ended {
                Some(status) => return status,
                None if Instant::now() > deadline => panic!("the node did not end"),
                None => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    /// Ends it at once, as a failing machine does.
    pub async fn kill(&self) {
        self.with_process(|process| process.child.kill())
            .expect("it can be killed");
        self.end().await;
    }

    /// Starts it again on the same data directory with another configuration, after it has ended.
    pub async fn start_again_with(&self, options: HostOptions) {
        self.file("node.toml", options.text());
        self.start_again().await;
    }

    /// Starts it again on the same data directory, after it has ended.
    pub async fn start_again(&self) {
        let running = self.with_process(|process| process.ended.is_none());
        assert!(!running, "the node is still running");
        let process = Process::start(self.directory.path()).await;
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
    }

    /// Processor time that it has used, in ticks of the system (mostly 10 ms).
    pub fn cpu_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("stat");
        let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // utime and stime are fields 14 and 15, and the one after the name is the third.
        [fields[11], fields[12]]
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .iter()
            .sum()
    }

    fn with_process<T>(&self, work: impl FnOnce(&mut Process) -> T) -> T {
        work(&mut self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn data(directory: &Path) -> PathBuf {
    directory.join("rpc-host-data")
}

impl Process {
    async fn start(directory: &Path) -> Process {
        let mut child = std::process::Command::new(binary())
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--config",
                "node.toml",
                "--data",
            ])
            .arg(data(directory))
            .env_clear()
            .env("HOME", directory)
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary can be run");
        let log = Log::of(child.stderr.take().expect("a pipe"));
        let stdout = Log::of(child.stdout.take().expect("a pipe"));
        let ready = in_time("a ready line", stdout.first()).await;
        let address = ready
            .as_deref()
            .and_then(|line| line.strip_prefix("listening on "));
        let Some(address) = address else {
            let _killed = child.kill();
            let _status = child.wait();
            panic!("no ready line, but {ready:?} and\n{}", log.text());
        };
        Process {
            address: address.to_owned(),
            child,
            log,
            stdout,
            ended: None,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // It may have ended by itself.
            let _killed = self.child.kill();
            let _status = self.child.wait();
        }
    }
}
