//! A node.

use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rpc_host_client::{Client, Profile};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};
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
    demands_confinement: bool,
    volumes: Vec<(String, String)>,
    server_names: Vec<String>,
    log_kept: Option<usize>,
    files: Vec<(String, String)>,
    tables: String,
    audit_file: Option<PathBuf>,
    sandbox: Option<String>,
    lacks_landlock: bool,
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

    /// Only so many lines of the log are kept to look at, for nodes that log for hours.
    pub fn log_kept(mut self, lines: usize) -> Self {
        self.log_kept = Some(lines);
        self
    }

    /// How much of its confinement it insists on.
    pub fn sandbox(mut self, demand: &str) -> Self {
        self.sandbox = Some(demand.to_owned());
        self
    }

    /// On a kernel without Landlock, as far as it can tell.
    pub fn lacking_landlock(mut self) -> Self {
        self.lacks_landlock = true;
        self
    }

    /// Where it keeps its audit log.
    pub fn audit_file(mut self, path: &Path) -> Self {
        self.audit_file = Some(path.to_owned());
        self
    }

    /// Confined in every way, or it does not start.
    pub fn confined(mut self) -> Self {
        self.demands_confinement = true;
        self
    }

    /// A directory of the machine as a volume: the lines of its table.
    pub fn volume(mut self, name: &str, lines: &str) -> Self {
        self.volumes.push((name.to_owned(), lines.to_owned()));
        self
    }

    /// A name that clients know it by.
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_names.push(name.to_owned());
        self
    }

    /// A file in the directory that it is started in.
    pub fn file(mut self, name: &str, content: impl Into<String>) -> Self {
        self.files.push((name.to_owned(), content.into()));
        self
    }

    /// A table of the configuration file.
    pub fn table(mut self, text: &str) -> Self {
        self.tables.push_str(text);
        self
    }

    pub(crate) fn text(&self) -> String {
        let format = if self.is_log_for_people {
            "human"
        } else {
            "json"
        };
        let mut text = format!("log-format = \"{format}\"\n");
        if let Some(demand) = &self.sandbox {
            text.push_str(&format!("sandbox = \"{demand}\"\n"));
        } else if self.is_open {
            text.push_str("sandbox = \"off\"\n");
        }
        if self.demands_confinement {
            text.push_str("sandbox = \"require\"\n");
        }
        if let Some(level) = &self.log_level {
            text.push_str(&format!("log-level = \"{level}\"\n"));
        }
        text.push_str(&format!("server-names = {:?}\n", self.server_names));
        if let Some(allow) = &self.allow {
            text.push_str(&format!("[grants]\nallow = {allow:?}\n"));
        }
        if let Some(path) = &self.audit_file {
            text.push_str(&format!("[audit]\nfile = {path:?}\n"));
        }
        text.push_str("[limits]\n");
        for (name, value) in &self.limits {
            text.push_str(&format!("{name} = {value}\n"));
        }
        text.push_str(&self.tables);
        for (name, lines) in &self.volumes {
            text.push_str(&format!("[volumes.{name}]\n{lines}\n"));
        }
        text
    }
}

/// A running node. Killed when dropped, and its data with it.
pub struct TestHost {
    directory: TempDir,
    log_kept: Option<usize>,
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
        for (name, content) in &options.files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let process =
            Process::start(directory.path(), options.lacks_landlock, options.log_kept).await;
        Arc::new(TestHost {
            directory,
            log_kept: options.log_kept,
            process: Mutex::new(process),
            counter: AtomicU32::new(0),
        })
    }

    /// What a node says that refuses to start like this, and how it ends.
    pub async fn refused_start(options: HostOptions) -> (ExitStatus, String) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("node.toml"), options.text()).unwrap();
        let mut child = Process::spawn(directory.path(), options.lacks_landlock);
        let log = Log::of(child.stderr.take().expect("a pipe"), None);
        let ready = Log::of(child.stdout.take().expect("a pipe"), None);
        let first = in_time("its end", ready.first()).await;
        if first.is_some() {
            let _killed = child.kill();
        }
        log.over().await;
        let status = child.wait().expect("a child can be waited for");
        assert_eq!(first, None, "it serves");
        (status, log.text())
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
        let process = Process::start(self.directory.path(), false, self.log_kept).await;
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

pub(crate) fn data(directory: &Path) -> PathBuf {
    directory.join("rpc-host-data")
}

/// From here on, the kernel has no Landlock for this thread.
fn without_landlock() {
    let calls = [(libc::SYS_landlock_create_ruleset, Vec::new())];
    let machine = TargetArch::try_from(std::env::consts::ARCH).expect("a machine of the node's");
    let absent = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let filter = SeccompFilter::new(calls.into(), SeccompAction::Allow, absent, machine);
    let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
    apply_filter(&program).expect("a thread may filter its own calls");
}

impl Process {
    fn spawn(directory: &Path, lacks_landlock: bool) -> Child {
        let mut command = std::process::Command::new(binary());
        command
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
            .stderr(Stdio::piped());
        let mut spawn = move || command.spawn().expect("the binary can be run");
        if !lacks_landlock {
            return spawn();
        }
        // What holds for a thread holds for the processes that it starts.
        let starting = std::thread::spawn(move || {
            without_landlock();
            spawn()
        });
        starting.join().expect("a thread that starts the node")
    }

    async fn start(directory: &Path, lacks_landlock: bool, log_kept: Option<usize>) -> Process {
        let mut child = Self::spawn(directory, lacks_landlock);
        let log = Log::of(child.stderr.take().expect("a pipe"), log_kept);
        let stdout = Log::of(child.stdout.take().expect("a pipe"), None);
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
