//! The file, and those before it.
//!
//! `audit.jsonl` is the newest, `audit.jsonl.1` the one before, and so on. Lines are whole or not there: a
//! line that could be written in part only is taken back.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Record;
use crate::storage::{StorageError, file};

/// How long a file that could not be opened is left alone.
const RETRY: Duration = Duration::from_millis(200);
/// In so many of the last bytes the last line begins.
const TAIL_BYTES: u64 = 64 * 1024;

pub(super) struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    max_files: u64,
    open: Option<Open>,
    tried_at: Option<Instant>,
}

struct Open {
    file: File,
    /// Bytes that are in it.
    length: u64,
    /// Not a pipe or a device.
    is_regular: bool,
    /// Whether the last line may have no end.
    is_torn: bool,
    /// Whether there is anything that the disk may not have yet.
    is_dirty: bool,
}

impl LogFile {
    pub(super) fn new(path: PathBuf, max_bytes: u64, max_files: u64) -> Self {
        LogFile {
            path,
            max_bytes,
            max_files,
            open: None,
            tried_at: None,
        }
    }

    /// Opens it; gives the number of the last line that there is, in it or in the one before.
    pub(super) fn open(&mut self) -> Result<u64, StorageError> {
        if let Some(directory) = self.path.parent()
            && !directory.as_os_str().is_empty()
        {
            file::create_directory(directory)?;
        }
        match self.opened() {
            // A pipe that nobody reads yet.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(0),
            outcome => outcome.map_err(StorageError::file("open the audit log", &self.path))?,
        };
        let last = [self.path.clone(), numbered(&self.path, 1)]
            .iter()
            .find_map(|path| last_seq(path));
        Ok(last.unwrap_or_default())
    }

    fn opened(&mut self) -> io::Result<()> {
        // Never waits: not for a reader of a pipe, and not for its room.
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NONBLOCK)
            .open(&self.path)?;
        let metadata = file.metadata()?;
        let (is_regular, length) = (metadata.is_file(), metadata.len());
        let is_torn = is_regular && length > 0 && last_byte(&self.path, length)? != b'\n';
        self.open = Some(Open {
            file,
            length,
            is_regular,
            is_torn,
            is_dirty: false,
        });
        Ok(())
    }

    /// Appends a line, in a new file if this one is full.
    pub(super) fn append(&mut self, line: &str) -> io::Result<()> {
        if self.open.is_none() {
            if self.tried_at.is_some_and(|at| at.elapsed() < RETRY) {
                return Err(ErrorKind::NotConnected.into());
            }
            self.tried_at = Some(Instant::now());
            self.opened()?;
        }
        let more_bytes = line.len() as u64;
        let is_full = |open: &Open| {
            let bytes = open.length.saturating_add(more_bytes);
            open.is_regular && open.length > 0 && bytes > self.max_bytes
        };
        if self.open.as_ref().is_some_and(is_full) {
            self.rotate()?;
        }
        let Some(open) = &mut self.open else {
            return Err(ErrorKind::NotConnected.into());
        };
        let written = open.append(line);
        if written.is_err() && !open.is_regular {
            // Its reader may be gone; another one gets a new pipe.
            self.open = None;
        }
        written
    }

    /// Sees to it that the disk has what was written.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        match &mut self.open {
            Some(open) if open.is_dirty && open.is_regular => {
                open.file.sync_data()?;
                open.is_dirty = false;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn is_dirty(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.is_dirty && open.is_regular)
    }

    /// Begins a new file. The oldest goes before there are too many.
    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        self.open = None;
        let kept = self.max_files.saturating_sub(1);
        absent_is_fine(std::fs::remove_file(if kept == 0 {
            self.path.clone()
        } else {
            numbered(&self.path, kept)
        }))?;
        for number in (1..kept).rev() {
            let (from, to) = (
                numbered(&self.path, number),
                numbered(&self.path, number + 1),
            );
            absent_is_fine(std::fs::rename(from, to))?;
        }
        if kept > 0 {
            absent_is_fine(std::fs::rename(&self.path, numbered(&self.path, 1)))?;
        }
        self.opened()?;
        let directory = self.path.parent().unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    }
}

impl Open {
    fn append(&mut self, line: &str) -> io::Result<()> {
        // At once, so that a pipe takes all of it or nothing.
        let whole = match self.is_torn {
            true => format!("\n{line}"),
            false => line.to_owned(),
        };
        let mut rest = whole.as_bytes();
        let outcome = loop {
            match self.file.write(rest) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    if rest.is_empty() {
                        break Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.is_dirty = true;
        match outcome {
            Ok(()) => {
                self.is_torn = false;
                self.length = self.length.saturating_add(whole.len() as u64);
            }
            Err(_) if rest.len() < whole.len() => {
                // What cannot be taken back is ended before the next line.
                let taken_back = self.is_regular && self.file.set_len(self.length).is_ok();
                self.is_torn = self.is_torn || !taken_back;
            }
            Err(_) => {}
        }
        outcome
    }
}

/// The one that is `number` files before the newest.
pub(super) fn numbered(path: &Path, number: u64) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

fn absent_is_fine(outcome: io::Result<()>) -> io::Result<()> {
    match outcome {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

fn last_byte(path: &Path, length: u64) -> io::Result<u8> {
    let mut byte = [0];
    File::open(path)?.read_exact_at(&mut byte, length.saturating_sub(1))?;
    Ok(byte[0])
}

/// The number of the last whole line; none where there is no such file or line.
fn last_seq(path: &Path) -> Option<u64> {
    if !path.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))
        .ok()?;
    let mut tail = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut tail).ok()?;
    let mut lines = tail.rsplit(|byte| *byte == b'\n');
    lines.find_map(|line| Some(serde_json::from_slice::<Record>(line).ok()?.seq))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn line(seq: u64) -> String {
        format!("{{\"seq\":{seq},\"time\":\"t\",\"event\":\"e\",\"outcome\":\"allowed\"}}\n")
    }

    #[test]
    fn files_are_private_so_large_and_so_many_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit/audit.jsonl");
        let size = line(10).len() as u64;
        let mut file = LogFile::new(path.clone(), 2 * size, 3);
        assert_eq!(file.open().unwrap(), 0);
        for seq in 10..20 {
            file.append(&line(seq)).unwrap();
        }
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!(text(&path), line(18) + &line(19));
        assert_eq!(text(&numbered(&path, 1)), line(16) + &line(17));
        assert_eq!(text(&numbered(&path, 2)), line(14) + &line(15));
        let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
        let modes: Vec<_> = entries
            .map(|entry| entry.unwrap().metadata().unwrap().permissions().mode() & 0o777)
            .collect();
        assert_eq!(modes, [0o600; 3]);
        assert_eq!(LogFile::new(path.clone(), 1, 1).open().unwrap(), 19);
        std::fs::write(&path, "").unwrap();
        assert_eq!(
            LogFile::new(path, 1, 1).open().unwrap(),
            17,
            "of the one before"
        );
    }

    #[test]
    fn one_file_is_enough_and_a_line_is_never_too_large_for_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut file = LogFile::new(path.clone(), 1, 1);
        file.open().unwrap();
        for seq in 1..4 {
            file.append(&line(seq)).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), line(seq));
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn half_a_line_does_not_spoil_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, line(1) + "{\"seq\":2,\"ti").unwrap();
        let mut file = LogFile::new(path.clone(), 1000, 1);
        assert_eq!(file.open().unwrap(), 1);
        file.append(&line(3)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, line(1) + "{\"seq\":2,\"ti\n" + &line(3));
    }

    #[test]
    fn a_full_disk_is_an_error_each_time_and_nothing_waits() {
        let mut file = LogFile::new("/dev/full".into(), 1000, 2);
        file.open().unwrap();
        for _ in 0..3 {
            assert!(file.append(&line(1)).is_err());
        }
    }
}
