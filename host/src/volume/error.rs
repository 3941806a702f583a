//! Why something in a volume was not done.

use std::path::PathBuf;

use rustix::io::Errno;

/// Why something in a volume was not done. A guest learns which it is, and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// Nothing of this name.
    #[error("there is no such file or directory")]
    NoEntry,
    /// There is something of this name.
    #[error("there is one already")]
    Exists,
    /// A file where a directory is needed.
    #[error("it is no directory")]
    NotDirectory,
    /// A directory where a file is needed.
    #[error("it is a directory")]
    IsDirectory,
    /// A directory with something in it.
    #[error("the directory is not empty")]
    NotEmpty,
    /// Nobody may do this in a volume.
    #[error("that is not permitted in a volume")]
    NotPermitted,
    /// The volume is for reading only.
    #[error("the volume is granted for reading only")]
    ReadOnly,
    /// The way leads through a symbolic link.
    #[error("the path leads through a symbolic link, which none may")]
    Link,
    /// The path, or a name in it, is too long or too deep.
    #[error("the path is too long or too deep")]
    NameTooLong,
    /// The path holds what no name can.
    #[error("the path holds a NUL")]
    IllegalName,
    /// A quota of bytes or of files is used up.
    #[error("the quota of the volume, or of the tenant's volumes, is used up")]
    Quota,
    /// So many files are open already.
    #[error("too many files are open")]
    TooManyOpen,
    /// The disk is full.
    #[error("the disk is full")]
    InsufficientSpace,
    /// What was opened is not open for this.
    #[error("the file was not opened for this")]
    BadDescriptor,
    /// An offset or size that no file has.
    #[error("no file can be so large")]
    FileTooLarge,
    /// From one volume to another.
    #[error("it would cross from one volume to another")]
    CrossVolume,
    /// What was asked makes no sense.
    #[error("the request contradicts itself")]
    Invalid,
    /// Somebody else is at it.
    #[error("it is in use")]
    Busy,
    /// The kernel or the file system cannot.
    #[error("the node's system cannot do this")]
    Unsupported,
    /// The disk failed, or the node did.
    #[error("reading or writing failed")]
    Io,
}

impl From<Errno> for VolumeError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::NoEntry,
            Errno::EXIST => Self::Exists,
            Errno::NOTDIR => Self::NotDirectory,
            Errno::ISDIR => Self::IsDirectory,
            Errno::NOTEMPTY => Self::NotEmpty,
            Errno::LOOP => Self::Link,
            // What the kernel answers where a way would lead out of the root: `..`, which no place
            // has, or another file system.
            Errno::XDEV | Errno::ACCESS | Errno::PERM => Self::NotPermitted,
            Errno::ROFS => Self::ReadOnly,
            Errno::NAMETOOLONG => Self::NameTooLong,
            Errno::DQUOT | Errno::MLINK => Self::Quota,
            Errno::NOSPC => Self::InsufficientSpace,
            Errno::BADF => Self::BadDescriptor,
            Errno::FBIG | Errno::OVERFLOW => Self::FileTooLarge,
            Errno::INVAL => Self::Invalid,
            Errno::BUSY | Errno::TXTBSY | Errno::AGAIN => Self::Busy,
            Errno::MFILE | Errno::NFILE => Self::TooManyOpen,
            Errno::NOSYS | Errno::OPNOTSUPP => Self::Unsupported,
            _ => Self::Io,
        }
    }
}

impl From<std::io::Error> for VolumeError {
    fn from(error: std::io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Self::Io,
        }
    }
}

/// Why a node cannot have its volumes.
#[derive(Debug, thiserror::Error)]
pub enum OpenVolumesError {
    /// A directory that the configuration names.
    #[error("`[volumes.{volume}]`: cannot open the directory {}: {source}; make it, or leave the volume out", .path.display())]
    HostDirectory {
        /// The volume.
        volume: String,
        /// Its directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A directory that the configuration names, and that is part of another one.
    #[error(
        "`[volumes.{volume}]`: {} is part of {} or holds it; choose a directory of its own",
        .path.display(), .other.display()
    )]
    Overlap {
        /// The volume.
        volume: String,
        /// Its directory.
        path: PathBuf,
        /// The other one: of another volume, or the node's data directory.
        other: PathBuf,
    },
    /// The directory of tenants' own.
    #[error("cannot use {}: {source}", .path.display())]
    Own {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}
