//! Files in a volume, by the standard library and nothing else.

#![forbid(unsafe_code)]

/// Files in the volumes that the module was granted. A path begins with the volume: `/data/notes.txt`.
#[rpc_guest::module]
mod files {
    use std::fs::{self, File, OpenOptions};
    use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
    use std::time::UNIX_EPOCH;

    /// Bytes that are read at once at most.
    const MAX_READ_BYTES: u32 = 1 << 20;

    /// Why something was not done.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Problem {
        /// There is no such file or directory, or no such volume.
        NotFound,
        /// There is one already.
        Exists,
        /// It is a directory, and a file is needed.
        IsDirectory,
        /// It is a file, and a directory is needed.
        NotDirectory,
        /// The directory has something in it.
        NotEmpty,
        /// The volume is granted for reading only.
        ReadOnly,
        /// Nobody may do this in a volume.
        NotPermitted,
        /// The quota of the volume is used up, or the disk is full.
        Full,
        /// The file is not text in UTF-8; read its bytes.
        NotText,
        /// Something else.
        Other(String),
    }

    /// One thing in a directory.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Entry {
        /// Its name.
        pub name: String,
        /// Whether it is a directory.
        pub is_directory: bool,
    }

    /// What is known of a file or directory.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Status {
        /// Its length; none of a directory.
        pub size_bytes: Option<u64>,
        /// When it was last written, in milliseconds since 1970.
        pub modified_ms: u64,
    }

    /// Makes a file, which must not be there, with this text.
    pub fn create(path: &str, text: &str) -> Result<(), Problem> {
        let mut file = File::create_new(path).map_err(problem)?;
        file.write_all(text.as_bytes()).map_err(problem)
    }

    /// Writes a file, which is made if it is not there; what was in it is gone.
    pub fn write(path: &str, text: &str) -> Result<(), Problem> {
        fs::write(path, text).map_err(problem)
    }

    /// Writes at the end of a file, which is made if it is not there.
    pub fn append(path: &str, text: &str) -> Result<(), Problem> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let mut file = file.map_err(problem)?;
        file.write_all(text.as_bytes()).map_err(problem)
    }

    /// All of a file, as text.
    pub fn read(path: &str) -> Result<String, Problem> {
        fs::read_to_string(path).map_err(problem)
    }

    /// At most `length` bytes of a file, and a mebibyte, from `offset` on.
    pub fn read_bytes(path: &str, offset: u64, length: u32) -> Result<Vec<u8>, Problem> {
        let mut file = File::open(path).map_err(problem)?;
        file.seek(SeekFrom::Start(offset)).map_err(problem)?;
        let mut bytes = Vec::new();
        let part = file.take(length.min(MAX_READ_BYTES).into());
        { part }.read_to_end(&mut bytes).map_err(problem)?;
        Ok(bytes)
    }

    /// Writes bytes into a file that is there, from `offset` on.
    pub fn write_bytes(path: &str, offset: u64, bytes: Vec<u8>) -> Result<(), Problem> {
        let file = OpenOptions::new().write(true).open(path);
        let mut file = file.map_err(problem)?;
        file.seek(SeekFrom::Start(offset)).map_err(problem)?;
        file.write_all(&bytes).map_err(problem)
    }

    /// What is in a directory, by name.
    pub fn list(path: &str) -> Result<Vec<Entry>, Problem> {
        let entries = fs::read_dir(path).map_err(problem)?;
        let mut listed = Vec::new();
        for entry in entries {
            let entry = entry.map_err(problem)?;
            listed.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_directory: entry.file_type().map_err(problem)?.is_dir(),
            });
        }
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }

    /// What is known of a file or directory.
    pub fn stat(path: &str) -> Result<Status, Problem> {
        let found = fs::metadata(path).map_err(problem)?;
        let modified = found.modified().map_err(problem)?;
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Status {
            size_bytes: found.is_file().then_some(found.len()),
            modified_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Gives a file or directory another path in the same volume. A file there is replaced.
    pub fn rename(from: &str, to: &str) -> Result<(), Problem> {
        fs::rename(from, to).map_err(problem)
    }

    /// Deletes a file.
    pub fn delete(path: &str) -> Result<(), Problem> {
        fs::remove_file(path).map_err(problem)
    }

    /// Makes a directory.
    pub fn make_directory(path: &str) -> Result<(), Problem> {
        fs::create_dir(path).map_err(problem)
    }

    /// Removes a directory with nothing in it.
    pub fn remove_directory(path: &str) -> Result<(), Problem> {
        fs::remove_dir(path).map_err(problem)
    }

    /// `notempty`, as WASI's C library numbers it.
    const NOT_EMPTY: i32 = 55;

    fn problem(error: io::Error) -> Problem {
        match error.kind() {
            ErrorKind::NotFound => Problem::NotFound,
            ErrorKind::AlreadyExists => Problem::Exists,
            ErrorKind::IsADirectory => Problem::IsDirectory,
            ErrorKind::NotADirectory => Problem::NotDirectory,
            ErrorKind::DirectoryNotEmpty => Problem::NotEmpty,
            ErrorKind::ReadOnlyFilesystem => Problem::ReadOnly,
            ErrorKind::PermissionDenied => Problem::NotPermitted,
            ErrorKind::QuotaExceeded | ErrorKind::StorageFull => Problem::Full,
            ErrorKind::InvalidData => Problem::NotText,
            // Its standard library has no kind for this one under WASI.
            _ if cfg!(target_family = "wasm") && error.raw_os_error() == Some(NOT_EMPTY) => {
                Problem::NotEmpty
            }
            _ => Problem::Other(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::files::*;

    #[test]
    fn a_file_is_made_changed_and_deleted() {
        let directory = std::env::temp_dir().join(format!("files-{}", std::process::id()));
        let at = |name: &str| format!("{}/{name}", directory.display());
        let root = at("");
        make_directory(&root).unwrap();
        create(&at("a"), "one").unwrap();
        assert_eq!(create(&at("a"), "two"), Err(Problem::Exists));
        append(&at("a"), ", two").unwrap();
        write_bytes(&at("a"), 0, b"ONE".to_vec()).unwrap();
        assert_eq!(read(&at("a")).unwrap(), "ONE, two");
        assert_eq!(read_bytes(&at("a"), 5, 100).unwrap(), b"two");
        assert_eq!(stat(&at("a")).unwrap().size_bytes, Some(8));
        rename(&at("a"), &at("b")).unwrap();
        assert_eq!(read(&at("a")), Err(Problem::NotFound));
        let entry = Entry {
            name: "b".to_owned(),
            is_directory: false,
        };
        assert_eq!(list(&root).unwrap(), [entry]);
        assert_eq!(remove_directory(&root), Err(Problem::NotEmpty));
        delete(&at("b")).unwrap();
        remove_directory(&root).unwrap();
    }
}
