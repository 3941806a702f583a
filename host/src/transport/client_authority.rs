//! The node's own authority for certificates of clients, for operators who have none.
//!
//! It is apart from the one that vouches for the node itself: who may speak for a tenant and which node
//! is the right one are two questions. It lies in a directory of its own in the data directory, and is
//! used from the command line, by the node's own user; a node only reads its certificate and its list.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::authority::{Authority, damaged};
use super::{AuthorityFiles, IdentityError};
use crate::clock::Timestamp;
use crate::hex;
use crate::storage::StorageError;
use crate::storage::file::{self, Access};

const KEY: &str = "ca.key";
const CERTIFICATE: &str = "ca.pem";
const REVOKED: &str = "revoked.pem";
const ISSUED: &str = "issued.json";
/// Where all of it is made before it is where it belongs, so that a node finds all of it or nothing.
const UNFINISHED: &str = ".clients-unfinished";
/// Too long to be guessed, and always positive and of this length.
const SERIAL_BYTES: usize = 16;

/// What there is to tell of a certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct IssuedCertificate {
    /// Its number, in hexadecimal digits.
    pub serial: String,
    /// For whom it is: `rpc-host://TENANT/ROLE/NAME`.
    pub subject: String,
    /// When it was issued.
    pub issued_at_ms: u64,
    /// When it ends by itself.
    pub expires_at_ms: u64,
    /// When it was revoked, if it was.
    pub revoked_at_ms: Option<u64>,
}

/// A certificate with its key, both in PEM. The only time that the key is anywhere.
pub struct NewCertificate {
    /// What is kept of it.
    pub issued: IssuedCertificate,
    /// The certificate.
    pub certificate_pem: String,
    /// The key.
    pub key_pem: Zeroizing<String>,
}

/// The authority, for one change at a time.
pub struct ClientAuthority {
    directory: PathBuf,
    authority: Authority,
    issued: Vec<IssuedCertificate>,
    _turn: File,
}

impl ClientAuthority {
    /// What a node reads of the authority that is kept in this directory, if there is one.
    pub fn files(directory: &Path) -> AuthorityFiles {
        AuthorityFiles {
            certificates: directory.join(CERTIFICATE),
            revoked: Some(directory.join(REVOKED)),
            may_be_absent: true,
        }
    }

    /// Opens the authority kept in `directory`, making it if there is none. Blocks on the disk.
    ///
    /// # Errors
    /// When somebody else uses it, it is damaged, or a file cannot be written.
    pub fn open(directory: &Path, now: Timestamp) -> Result<Self, IdentityError> {
        if !directory.exists() {
            make(directory, now)?;
        }
        let turn = file::open_private(&directory.join("lock"))?;
        match turn.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(damaged(directory, "another process is changing it"));
            }
            Err(TryLockError::Error(error)) => {
                return Err(StorageError::file("lock", directory)(error).into());
            }
        }
        let authority =
            Authority::load_or_create(&directory.join(KEY), &directory.join(CERTIFICATE), now)?;
        let path = directory.join(ISSUED);
        let text = file::read_text(&path)?.ok_or_else(|| damaged(&path, "it is missing"))?;
        let issued = serde_json::from_str(&text).map_err(|error| damaged(&path, error))?;
        Ok(Self {
            directory: directory.to_owned(),
            authority,
            issued,
            _turn: turn,
        })
    }

    /// All certificates that were issued, oldest first.
    pub fn issued(&self) -> &[IssuedCertificate] {
        &self.issued
    }

    /// Issues a certificate for a subject. Blocks on the disk.
    ///
    /// # Errors
    /// When the system has no randomness, or the disk refuses.
    pub fn issue(
        &mut self,
        subject: &str,
        life: Duration,
        now: Timestamp,
    ) -> Result<NewCertificate, IdentityError> {
        let mut serial = [0; SERIAL_BYTES];
        rand::fill(&mut serial).map_err(|_| IdentityError::NoRandomness)?;
        let [first, ..] = &mut serial;
        *first = *first & 0x7f | 0x40;
        let (certificate_pem, key_pem) = self.authority.certify(subject, &serial, life, now)?;
        let issued = IssuedCertificate {
            serial: hex::encode(&serial),
            subject: subject.to_owned(),
            issued_at_ms: now.unix_ms(),
            expires_at_ms: now.plus(life).unix_ms(),
            revoked_at_ms: None,
        };
        self.issued.push(issued.clone());
        keep(&self.directory, &self.issued)?;
        Ok(NewCertificate {
            issued,
            certificate_pem,
            key_pem,
        })
    }

    /// Revokes a certificate by its serial number; false if there is none. Nodes know of it when they have
    /// read the list anew. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn revoke(&mut self, serial: &str, now: Timestamp) -> Result<bool, IdentityError> {
        let Some(found) = self.issued.iter_mut().find(|one| one.serial == serial) else {
            return Ok(false);
        };
        found.revoked_at_ms.get_or_insert(now.unix_ms());
        // What counts comes first.
        publish(&self.directory, &self.authority, &self.issued, now)?;
        keep(&self.directory, &self.issued)?;
        Ok(true)
    }
}

fn make(directory: &Path, now: Timestamp) -> Result<(), IdentityError> {
    let unfinished = directory.with_file_name(UNFINISHED);
    match fs::remove_dir_all(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(StorageError::file("delete", &unfinished)(error).into());
        }
        _ => {}
    }
    file::create_directory(&unfinished)?;
    let authority =
        Authority::load_or_create(&unfinished.join(KEY), &unfinished.join(CERTIFICATE), now)?;
    publish(&unfinished, &authority, &[], now)?;
    keep(&unfinished, &[])?;
    fs::rename(&unfinished, directory).map_err(StorageError::file("place", directory))?;
    Ok(file::sync_directory(
        directory.parent().unwrap_or(Path::new(".")),
    )?)
}

/// Writes the revocation list.
fn publish(
    directory: &Path,
    authority: &Authority,
    issued: &[IssuedCertificate],
    now: Timestamp,
) -> Result<(), IdentityError> {
    let revoked = issued.iter().filter_map(|one| {
        let serial: [u8; SERIAL_BYTES] = hex::decode(&one.serial)?;
        Some((serial.to_vec(), Timestamp::from_unix_ms(one.revoked_at_ms?)))
    });
    let list = authority.revoked(revoked.collect(), now)?;
    let path = directory.join(REVOKED);
    Ok(file::replace(&path, list.as_bytes(), Access::Public)?)
}

fn keep(directory: &Path, issued: &[IssuedCertificate]) -> Result<(), IdentityError> {
    let path = directory.join(ISSUED);
    let text = serde_json::to_string_pretty(issued).map_err(|error| damaged(&path, error))?;
    Ok(file::replace(&path, text.as_bytes(), Access::Private)?)
}

impl std::fmt::Debug for ClientAuthority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClientAuthority")
            .field("directory", &self.directory)
            .field("issued", &self.issued.len())
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for NewCertificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "NewCertificate({})", self.issued.serial)
    }
}
