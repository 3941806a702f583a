//! Compiled code on disk.
//!
//! Running an artifact is running machine code, and the engine checks no more than that it was made by
//! the same version. So every artifact is sealed with a MAC under the node's own key, over everything
//! that it must belong to: the tenant, the engine and its settings, and the code itself. What does not
//! verify is never given to the engine; the component is compiled again.
//!
//! With `dynamic` this is all of the `unsafe` code of the host: [`Sealer::open`].

use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use tempfile::TempPath;
use wasmtime::Engine;
use wasmtime::component::Component;

use super::SandboxError;
use super::docs::Docs;
use crate::storage::file::{LEFTOVER_PREFIX, create_directory};

/// First bytes of the file; the digit is the version of its layout.
const MAGIC: &[u8; 8] = b"rpchart2";
const TAG_BYTES: usize = 32;

/// The node's key for artifacts: 32 random bytes that never leave the data directory.
pub struct ArtifactKey(hmac::Key);

impl ArtifactKey {
    /// The key of these bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        ArtifactKey(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }
}

/// What the compile worker makes of a component.
pub(super) struct Compiled {
    /// Its world as WIT text; empty where WIT cannot express it.
    pub(super) wit: String,
    /// What its author says about it.
    pub(super) docs: Docs,
    /// Machine code.
    pub(super) code: Vec<u8>,
}

impl Compiled {
    pub(super) fn write_to(&self, output: &mut impl Write) -> std::io::Result<()> {
        for part in [self.wit.as_bytes(), &self.docs.to_bytes()] {
            output.write_all(&(part.len() as u64).to_be_bytes())?;
            output.write_all(part)?;
        }
        output.write_all(&self.code)
    }

    pub(super) fn read_from(mut bytes: Vec<u8>) -> Result<Compiled, SandboxError> {
        let malformed = || SandboxError::Artifact("is cut off");
        let (wit, rest) = part(&bytes).ok_or_else(malformed)?;
        let wit = String::from_utf8(wit.to_vec()).map_err(|_| malformed())?;
        let (docs, code) = part(rest).ok_or_else(malformed)?;
        let docs = Docs::from_bytes(docs);
        let code = bytes.split_off(bytes.len() - code.len());
        Ok(Compiled { wit, docs, code })
    }
}

/// What comes after its length, and the rest.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)
}

/// A component loaded from an artifact that verified.
pub(super) struct Opened {
    pub(super) component: Component,
    pub(super) wit: String,
    pub(super) docs: Docs,
}

/// Seals artifacts, and opens those that it sealed.
#[derive(Clone)]
pub(super) struct Sealer {
    key: hmac::Key,
    /// Stands for the engine's version and all settings that decide about the code.
    environment: [u8; 8],
}

/// An artifact that is whole, and not in its place. Dropped, it leaves nothing behind.
#[derive(Debug)]
#[must_use = "dropped, it is deleted"]
pub struct SealedArtifact {
    file: TempPath,
    place: PathBuf,
    size_bytes: u64,
}

impl SealedArtifact {
    /// Where it is until it is placed.
    pub(super) fn path(&self) -> &Path {
        &self.file
    }

    /// How large its file is.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Puts it in its place, durably. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn place(self) -> Result<(), SandboxError> {
        let io = || SandboxError::io("cannot store the compiled code");
        let placed = self.file.persist(&self.place);
        placed.map_err(|error| io()(error.error))?;
        let directory = self.place.parent().unwrap_or(Path::new("."));
        std::fs::File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(io())
    }
}

/// Hashes the engine's environment with a fixed function: the standard hasher may change with the
/// compiler that built this program, which would only cost a recompilation.
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Sealer {
    pub(super) fn new(key: &ArtifactKey, engine: &Engine) -> Sealer {
        let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Sealer {
            key: key.0.clone(),
            environment: hasher.finish().to_be_bytes(),
        }
    }

    fn context(&self, binding: &[u8]) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(MAGIC);
        context.update(&self.environment);
        context.update(&(binding.len() as u64).to_be_bytes());
        context.update(binding);
        context
    }

    /// Writes an artifact beside its place, so that after a crash there is the whole of it or nothing.
    pub(super) fn seal(
        &self,
        path: &Path,
        compiled: &Compiled,
        binding: &[u8],
    ) -> Result<SealedArtifact, SandboxError> {
        let io = || SandboxError::io("cannot store the compiled code");
        let mut body = Vec::with_capacity(compiled.code.len() + compiled.wit.len());
        compiled.write_to(&mut body).map_err(io())?;
        let mut context = self.context(binding);
        context.update(&body);
        let directory = path.parent().unwrap_or(Path::new("."));
        // Durable, as what is kept beside it later relies on the directories above both.
        create_directory(directory).map_err(|error| SandboxError::Internal(error.to_string()))?;
        // Readable by the node's user only, as all temporary files are.
        let file = tempfile::Builder::new()
            .prefix(LEFTOVER_PREFIX)
            .tempfile_in(directory);
        let mut file = file.map_err(io())?;
        file.write_all(MAGIC).map_err(io())?;
        file.write_all(context.sign().as_ref()).map_err(io())?;
        file.write_all(&body).map_err(io())?;
        file.as_file().sync_all().map_err(io())?;
        Ok(SealedArtifact {
            file: file.into_temp_path(),
            place: path.to_owned(),
            size_bytes: (MAGIC.len() + TAG_BYTES + body.len()) as u64,
        })
    }

    /// Loads an artifact that this node sealed for `binding` under this very engine.
    #[allow(
        unsafe_code,
        reason = "the engine cannot check machine code; the MAC does"
    )]
    pub(super) fn open(
        &self,
        engine: &Engine,
        path: &Path,
        binding: &[u8],
    ) -> Result<Opened, SandboxError> {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(SandboxError::Artifact("is not there"));
            }
            Err(error) => return Err(SandboxError::io("cannot read the compiled code")(error)),
        }
        let head = bytes.split_at_checked(MAGIC.len() + TAG_BYTES);
        let (head, body) = head.ok_or(SandboxError::Artifact("is cut off"))?;
        let (magic, tag) = head.split_at_checked(MAGIC.len()).unwrap_or_default();
        if magic != MAGIC {
            return Err(SandboxError::Artifact("has another layout"));
        }
        let mut signed = self.context(binding).clone();
        signed.update(body);
        if aws_lc_rs::constant_time::verify_slices_are_equal(signed.sign().as_ref(), tag).is_err() {
            return Err(SandboxError::Artifact(
                "is stale, foreign or changed: its seal does not verify",
            ));
        }
        let compiled = Compiled::read_from(body.to_vec())?;
        // SAFETY: the bytes are held in memory and are, byte for byte, what `seal` wrote under the
        // node's key: the output of our own compile worker for this engine version and settings.
        // Nobody without the key can make other bytes that verify.
        #[allow(clippy::disallowed_methods, reason = "the one place, after the MAC")]
        let component = unsafe { Component::deserialize(engine, &compiled.code) };
        // The seal says that it is for this engine and its settings, so it is the component itself that
        // does not fit: its memories, tables or instances are more than the pool has for one.
        let component =
            component.map_err(|error| SandboxError::NoSuchRoom(error.root_cause().to_string()))?;
        Ok(Opened {
            component,
            wit: compiled.wit,
            docs: compiled.docs,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::sandbox::{SandboxLimits, engine};

    #[test]
    fn only_what_this_node_sealed_for_this_binding_is_opened() {
        let limits = SandboxLimits {
            max_live_instances: 1,
            ..SandboxLimits::default()
        };
        let engine = engine::runtime(&limits).unwrap();
        let wasm = wat::parse_str("(component)").unwrap();
        let code = engine::compiler()
            .unwrap()
            .precompile_component(&wasm)
            .unwrap();
        let compiled = Compiled {
            wit: "package a:b;".to_owned(),
            docs: Docs::of_component(b"no component"),
            code,
        };
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("tenant/artifacts");
        let path = directory.join("x.artifact");
        let sealer = Sealer::new(&ArtifactKey::new(&[7; 32]), &engine);
        let files = || std::fs::read_dir(&directory).unwrap().count();
        drop(sealer.seal(&path, &compiled, b"tenant 1").unwrap());
        assert_eq!(files(), 0, "what is not placed leaves nothing behind");
        let sealed = sealer.seal(&path, &compiled, b"tenant 1").unwrap();
        let name = sealed.path().file_name().unwrap().to_string_lossy();
        assert!(name.starts_with(LEFTOVER_PREFIX), "a crash leaves {name}");
        sealed.place().unwrap();
        assert_eq!(files(), 1);
        let mode = std::fs::metadata(parent.path().join("tenant")).unwrap();
        assert_eq!(mode.permissions().mode() & 0o777, 0o700);
        assert_eq!(
            sealer.open(&engine, &path, b"tenant 1").unwrap().wit,
            "package a:b;"
        );

        assert!(
            sealer.open(&engine, &path, b"tenant 2").is_err(),
            "another tenant's"
        );
        let other = Sealer::new(&ArtifactKey::new(&[8; 32]), &engine);
        assert!(
            other.open(&engine, &path, b"tenant 1").is_err(),
            "another node's"
        );
        let mut aged = sealer.clone();
        aged.environment[0] ^= 1;
        assert!(
            aged.open(&engine, &path, b"tenant 1").is_err(),
            "another engine's"
        );

        let good = std::fs::read(&path).unwrap();
        let places = [0, 7, 8, 39, 40, 47, good.len() / 2, good.len() - 1];
        for place in places {
            let mut bad = good.clone();
            bad[place] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            assert!(
                sealer.open(&engine, &path, b"tenant 1").is_err(),
                "byte {place} changed"
            );
        }
        for length in [0, 1, 8, 39, 40, 48, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            assert!(
                sealer.open(&engine, &path, b"tenant 1").is_err(),
                "cut at {length}"
            );
        }
        std::fs::write(&path, &good).unwrap();
        assert!(sealer.open(&engine, &path, b"tenant 1").is_ok());
    }
}
