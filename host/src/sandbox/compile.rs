//! The compiler's process, parent's side.

use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use aws_lc_rs::digest;
use rpc_host_protocol::error::{MAX_FAILURE_TEXT_BYTES, printable};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::artifact::Compiled;
use super::turns::Turns;
use super::worker::{OUT_OF_MEMORY, REFUSED};
use super::{
    Functions, ModuleFiles, SandboxError, SandboxLimits, blocking, count, described, sniff,
};
use crate::confinement::Enforcement;

/// Bytes of the child's stderr that are kept.
const MAX_MESSAGE_BYTES: u64 = 16 << 10;
/// Compiled code may be so much larger than the component: several times what the largest and the
/// densest real ones need.
const MAX_GROWTH: u64 = 24;
const FREE_GROWTH_BYTES: u64 = 32 << 20;
/// What reading an interface may take of the machine's memory. A few lines of WIT can include one another
/// to any size; real interfaces take a hundredth of it.
const MAX_DESCRIBE_MEMORY_BYTES: u64 = 512 << 20;
/// Bytes of the functions of an interface as data.
const MAX_DESCRIPTION_BYTES: u64 = 8 << 20;
/// What the language's runtime says when it aborts for want of memory.
const ALLOCATION_FAILED: &str = "memory allocation of ";
/// What a worker says about its confinement, and how long it may take to.
const MAX_ENFORCEMENT_BYTES: u64 = 64 << 10;
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many components are read into memory at once to be looked at.
const PARALLEL_CHECKS: usize = 2;

pub(super) struct Compiler {
    timeout: Duration,
    max_memory_bytes: u64,
    max_artifact_bytes: u64,
    checks: Semaphore,
    turns: Turns,
    /// For reading WIT text: whoever may call may send some, and must not hold up those who upload.
    describe_turns: Turns,
}

impl Compiler {
    pub(super) fn new(limits: &SandboxLimits) -> Compiler {
        let turns = || {
            Turns::new(
                limits.max_parallel_compiles,
                limits.max_queued_compiles,
                limits.max_queued_compiles_per_tenant,
            )
        };
        Compiler {
            timeout: Duration::from_millis(limits.compile_timeout_ms),
            max_memory_bytes: limits.max_compile_memory_bytes,
            max_artifact_bytes: limits.max_artifact_bytes,
            checks: Semaphore::new(PARALLEL_CHECKS),
            turns: turns(),
            describe_turns: turns(),
        }
    }

    /// Compiles the component in a file, if it still is the one with this digest, when it is its turn.
    pub(super) async fn compile(&self, module: &ModuleFiles) -> Result<Compiled, SandboxError> {
        let (path, sha256) = (module.wasm.clone(), module.sha256);
        let next = self.turns.among_own(&module.owner).await?;
        let checking = acquire(&self.checks).await?;
        // Cheap checks first, here, so that what is no component never starts a process.
        let (file, wasm_bytes) = blocking(move || {
            let failed = || SandboxError::io("cannot read the module");
            // Opened once: what is checked here is what is compiled.
            let mut file = std::fs::File::open(&path).map_err(failed())?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(failed())?;
            if digest::digest(&digest::SHA256, &bytes).as_ref() != sha256 {
                return Err(SandboxError::Damaged);
            }
            sniff::is_component(&bytes)?;
            count::check(&bytes)?;
            file.rewind().map_err(failed())?;
            Ok((file, bytes.len() as u64))
        })
        .await?;
        drop(checking);
        let _turn = next.among_all().await?;
        let max_bytes = self.max_artifact_bytes.min(most_bytes(wasm_bytes));
        let output = self
            .in_time(self.child(Work::Component(file), max_bytes))
            .await?;
        Compiled::read_from(output)
    }

    /// Reads the interface that `name` stands for from WIT text.
    pub(super) async fn describe(
        &self,
        owner: &Arc<str>,
        name: &str,
        wit: &str,
    ) -> Result<Functions, SandboxError> {
        let next = self.describe_turns.among_own(owner).await?;
        let _turn = next.among_all().await?;
        let work = Work::Interface(format!("{name}\n{wit}"));
        let output = self.in_time(self.child(work, MAX_DESCRIPTION_BYTES)).await;
        match output {
            Ok(output) => described::decode(&output),
            Err(SandboxError::InvalidComponent(problem)) => Err(SandboxError::InvalidWit(problem)),
            Err(SandboxError::CompilerDied(status)) => Err(SandboxError::InvalidWit(format!(
                "reading it is too expensive ({status})"
            ))),
            Err(SandboxError::CompilerOutOfMemory { limit_bytes }) => {
                Err(SandboxError::InvalidWit(format!(
                    "reading it is too expensive (it takes more than {limit_bytes} bytes of memory)"
                )))
            }
            Err(SandboxError::ArtifactTooLarge { limit_bytes }) => Err(SandboxError::InvalidWit(
                format!("its functions take more than {limit_bytes} bytes as data"),
            )),
            Err(other) => Err(other),
        }
    }

    /// What the kernel enforces for a worker.
    pub(super) async fn confinement(&self) -> Result<Enforcement, SandboxError> {
        let probing = self.child(Work::Nothing, MAX_ENFORCEMENT_BYTES);
        let output = tokio::time::timeout(PROBE_TIMEOUT, probing).await;
        let output =
            output.map_err(|_| SandboxError::Internal("it does not answer".to_owned()))??;
        serde_json::from_slice(&output).map_err(|error| SandboxError::Internal(error.to_string()))
    }

    /// Has a child of this program do its work; gives what it writes.
    async fn child(&self, work: Work, max_bytes: u64) -> Result<Vec<u8>, SandboxError> {
        let (mode, max_memory_bytes) = match &work {
            Work::Component(_) => (None, self.max_memory_bytes),
            Work::Interface(_) => (
                Some("--describe"),
                self.max_memory_bytes.min(MAX_DESCRIBE_MEMORY_BYTES),
            ),
            Work::Nothing => (Some("--probe"), self.max_memory_bytes),
        };
        let (stdin, text) = match work {
            Work::Component(file) => (Stdio::from(file), String::new()),
            Work::Interface(text) => (Stdio::piped(), text),
            Work::Nothing => (Stdio::null(), String::new()),
        };
        // The very file that this process runs, even where an upgrade has put another in its place:
        // the code that it makes must fit this engine.
        let mut child = Command::new("/proc/self/exe")
            .arg("compile-worker")
            .args(mode)
            .arg(format!("--max-memory-bytes={max_memory_bytes}"))
            .arg(format!("--max-cpu-seconds={}", whole_seconds(self.timeout)))
            .env_clear()
            .current_dir("/")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(SandboxError::io("cannot start the compiler"))?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(SandboxError::Internal(
                "the compiler has no pipes".to_owned(),
            ));
        };
        let stdin = child.stdin.take();
        let writing = async move {
            if let Some(mut stdin) = stdin {
                // One that is gone before it has read all says why in its own way.
                let _gone = stdin.write_all(text.as_bytes()).await;
            }
        };
        let (collected, ()) = tokio::join!(collect(stdout, stderr, max_bytes), writing);
        let (output, message) = collected?;
        let status = child
            .wait()
            .await
            .map_err(SandboxError::io("cannot wait for the compiler"))?;
        if status.success() {
            return Ok(output);
        }
        let message = String::from_utf8_lossy(&message);
        Err(self.why(status, &message, max_memory_bytes))
    }

    /// Why a worker ended without a result, as far as it can be told.
    fn why(&self, status: ExitStatus, message: &str, max_memory_bytes: u64) -> SandboxError {
        if let Some(problem) = message.lines().find_map(|line| line.strip_prefix(REFUSED)) {
            return SandboxError::InvalidComponent(problem.to_owned());
        }
        let aborted = status.signal() == Some(libc::SIGABRT);
        let mut lines = message.lines();
        if lines.any(|line| line == OUT_OF_MEMORY || aborted && line.starts_with(ALLOCATION_FAILED))
        {
            return SandboxError::CompilerOutOfMemory {
                limit_bytes: max_memory_bytes,
            };
        }
        if status.signal() == Some(libc::SIGXCPU) {
            return SandboxError::CompileTimeout(self.timeout);
        }
        // May quote the component, so it must not pass for lines of the node.
        let message = printable(message, MAX_FAILURE_TEXT_BYTES);
        tracing::warn!(%status, message, "the compiler ended without a result");
        SandboxError::CompilerDied(status.to_string())
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, SandboxError>>,
    ) -> Result<T, SandboxError> {
        match tokio::time::timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(SandboxError::CompileTimeout(self.timeout)),
        }
    }
}

/// What a worker is to do, and gets on its stdin.
enum Work {
    /// Compile it.
    Component(std::fs::File),
    /// Read it as WIT, after a line with its name.
    Interface(String),
    /// Say how it is confined.
    Nothing,
}

/// At least one, and no less than the time itself: a worker that waits for its turn has time left.
fn whole_seconds(time: Duration) -> u64 {
    time.as_millis()
        .div_ceil(1000)
        .try_into()
        .unwrap_or(u64::MAX)
        .max(1)
}

async fn acquire(semaphore: &Semaphore) -> Result<SemaphorePermit<'_>, SandboxError> {
    let permit = semaphore.acquire().await;
    permit.map_err(|_| SandboxError::Internal("the compiler is closed".to_owned()))
}

/// How large the compiled code of a component of this size may be.
fn most_bytes(wasm_bytes: u64) -> u64 {
    wasm_bytes
        .saturating_mul(MAX_GROWTH)
        .saturating_add(FREE_GROWTH_BYTES)
}

/// Reads both to their end. Who writes too much is not waited for: nobody reads it any more, so it
/// would never end.
async fn collect(
    stdout: impl AsyncRead + Unpin,
    stderr: impl AsyncRead + Unpin,
    max_bytes: u64,
) -> Result<(Vec<u8>, Vec<u8>), SandboxError> {
    let failed = || SandboxError::io("cannot read from the compiler");
    let output = async {
        let mut output = Vec::new();
        let mut stdout = stdout.take(max_bytes.saturating_add(1));
        stdout.read_to_end(&mut output).await.map_err(failed())?;
        if output.len() as u64 > max_bytes {
            return Err(SandboxError::ArtifactTooLarge {
                limit_bytes: max_bytes,
            });
        }
        Ok(output)
    };
    let message = async {
        let mut message = Vec::new();
        let mut stderr = stderr.take(MAX_MESSAGE_BYTES);
        stderr.read_to_end(&mut message).await.map_err(failed())?;
        let mut rest = stderr.into_inner();
        tokio::io::copy(&mut rest, &mut tokio::io::sink())
            .await
            .map_err(failed())?;
        Ok(message)
    };
    tokio::try_join!(output, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_compiler_that_writes_too_much_is_not_waited_for() {
        let (mut writes, stdout) = tokio::io::duplex(64);
        // Stays open, as that of a process does that is stuck in a write.
        let (_stuck, stderr) = tokio::io::duplex(64);
        let writing = async {
            let _stuck = writes.write_all(&[0; 1000]).await;
            std::future::pending::<()>().await;
        };
        let collected = tokio::select! {
            collected = timeout(Duration::from_secs(1), collect(stdout, stderr, 100)) => collected,
            () = writing => unreachable!(),
        };
        assert!(matches!(
            collected,
            Ok(Err(SandboxError::ArtifactTooLarge { limit_bytes: 100 }))
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn a_compiler_that_complains_a_lot_is_read_to_its_end() {
        let (mut complains, stderr) = tokio::io::duplex(64);
        let complaining = async move {
            let complaint = vec![b'x'; 2 * usize::try_from(MAX_MESSAGE_BYTES).unwrap()];
            complains.write_all(&complaint).await.unwrap();
        };
        let collecting = timeout(
            Duration::from_secs(1),
            collect(tokio::io::empty(), stderr, 100),
        );
        let (collected, ()) = tokio::join!(collecting, complaining);
        let (output, message) = collected.unwrap().unwrap();
        assert_eq!((output.len(), message.len() as u64), (0, MAX_MESSAGE_BYTES));
    }

    #[tokio::test]
    async fn reading_wit_does_not_wait_for_those_who_compile() {
        let compiler = Compiler::new(&SandboxLimits::default());
        let owner = Arc::from("team");
        let next = compiler.turns.among_own(&owner).await.unwrap();
        let _compiling = next.among_all().await.unwrap();
        // This program is no worker, so what comes of it is a refusal.
        let described = timeout(Duration::from_secs(30), compiler.describe(&owner, "n", ""));
        assert!(matches!(
            described.await,
            Ok(Err(SandboxError::InvalidWit(_)))
        ));
    }

    #[test]
    fn why_a_compiler_ended_is_told_as_far_as_it_can_be() {
        let compiler = Compiler::new(&SandboxLimits::default());
        let why = |signal, message: &str| {
            compiler
                .why(ExitStatus::from_raw(signal), message, 2 << 30)
                .to_string()
        };
        let memory = "more memory than `max-compile-memory-bytes` allows, 2147483648 bytes";
        let failed = "memory allocation of 1 bytes failed\n";
        assert!(why(libc::SIGABRT, failed).contains(memory));
        assert!(why(1 << 8, "out of memory\n").contains(memory));
        assert!(why(libc::SIGXCPU, "").contains("`compile-timeout-ms`"));
        let refused = why(1 << 8, "refused: memory allocation of nothing\n");
        assert!(refused.contains("not valid: memory allocation of nothing"));
        for (signal, message) in [(libc::SIGSYS, failed), (libc::SIGABRT, "panicked"), (9, "")] {
            assert!(why(signal, message).contains("too expensive to compile"));
        }
    }

    #[test]
    fn processor_time_is_no_less_than_the_time_there_is() {
        let seconds = [0, 1, 1000, 1001].map(|ms| whole_seconds(Duration::from_millis(ms)));
        assert_eq!(seconds, [1, 1, 1, 2]);
    }

    #[test]
    fn small_components_make_no_huge_artifacts() {
        assert_eq!(most_bytes(1000), FREE_GROWTH_BYTES + 24_000);
        assert_eq!(most_bytes(u64::MAX), u64::MAX);
    }
}
