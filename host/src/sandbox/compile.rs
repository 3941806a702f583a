//! The compiler's process, parent's side.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use aws_lc_rs::digest;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::artifact::Compiled;
use super::worker::REFUSED;
use super::{SandboxError, SandboxLimits, blocking, count, sniff};

/// Bytes of the child's stderr that are read.
const MAX_MESSAGE_BYTES: u64 = 16 << 10;

pub(super) struct Compiler {
    timeout: Duration,
    max_artifact_bytes: u64,
    slots: Semaphore,
}

impl Compiler {
    pub(super) fn new(limits: &SandboxLimits) -> Compiler {
        Compiler {
            timeout: Duration::from_millis(limits.compile_timeout_ms),
            max_artifact_bytes: limits.max_artifact_bytes,
            slots: Semaphore::new(limits.max_parallel_compiles as usize),
        }
    }

    /// Compiles the component in a file, if it still is the one with this digest.
    pub(super) async fn compile(
        &self,
        wasm: &Path,
        sha256: [u8; 32],
    ) -> Result<Compiled, SandboxError> {
        let path = wasm.to_owned();
        // Cheap checks first, here, so that what is no component never starts a process.
        let file = blocking(move || {
            let bytes = std::fs::read(&path).map_err(SandboxError::io("cannot read the module"))?;
            if digest::digest(&digest::SHA256, &bytes).as_ref() != sha256 {
                return Err(SandboxError::Damaged);
            }
            sniff::is_component(&bytes)?;
            count::check(&bytes)?;
            std::fs::File::open(&path).map_err(SandboxError::io("cannot read the module"))
        })
        .await?;
        let _slot = self
            .slots
            .acquire()
            .await
            .map_err(|_| SandboxError::Internal("the compiler is closed".to_owned()))?;
        match tokio::time::timeout(self.timeout, self.child(file)).await {
            Ok(result) => result,
            Err(_) => Err(SandboxError::CompileTimeout(self.timeout)),
        }
    }

    async fn child(&self, wasm: std::fs::File) -> Result<Compiled, SandboxError> {
        // The very file that this process runs, even where an upgrade has put another in its place:
        // the code that it makes must fit this engine.
        let mut child = Command::new("/proc/self/exe")
            .arg("compile-worker")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(wasm))
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
        let (mut output, mut message) = (Vec::new(), Vec::new());
        let (mut stdout, mut stderr) = (
            stdout.take(self.max_artifact_bytes + 1),
            stderr.take(MAX_MESSAGE_BYTES),
        );
        let read = tokio::try_join!(
            stdout.read_to_end(&mut output),
            stderr.read_to_end(&mut message)
        );
        read.map_err(SandboxError::io("cannot read from the compiler"))?;
        if output.len() as u64 > self.max_artifact_bytes {
            return Err(SandboxError::ArtifactTooLarge {
                limit_bytes: self.max_artifact_bytes,
            });
        }
        let status = child
            .wait()
            .await
            .map_err(SandboxError::io("cannot wait for the compiler"))?;
        if status.success() {
            return Compiled::read_from(output);
        }
        let message = String::from_utf8_lossy(&message);
        match message.lines().find_map(|line| line.strip_prefix(REFUSED)) {
            Some(problem) => Err(SandboxError::InvalidComponent(problem.to_owned())),
            None => {
                tracing::warn!(%status, %message, "the compiler ended without a result");
                Err(SandboxError::CompilerDied(status.to_string()))
            }
        }
    }
}
