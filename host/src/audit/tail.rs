//! Reading the log from outside of the node that writes it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{MAX_LINE_BYTES, Record};

/// Reads all files of a log, oldest first, and later what has come since.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    /// The file that was read last, and how far.
    at: Option<Place>,
    broken: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    inode: u64,
    bytes: u64,
}

impl Tail {
    /// From the beginning of the log whose newest file is `path`.
    pub fn new(path: PathBuf) -> Self {
        Tail {
            path,
            at: None,
            broken: 0,
        }
    }

    /// Gives each line that has come since the last time to `take`.
    ///
    /// # Errors
    /// When there is no such log, or the file system refuses.
    pub fn read(&mut self, mut take: impl FnMut(Record)) -> io::Result<()> {
        let mut files = opened(&self.path)?;
        if files.is_empty() {
            return Err(ErrorKind::NotFound.into());
        }
        // Where the one that was read last is still there, with those that came after it.
        let place = self.at;
        let known = place.and_then(|at| files.iter().position(|(inode, _)| *inode == at.inode));
        for (inode, file) in files.drain(known.unwrap_or_default()..) {
            let from = place.filter(|at| at.inode == inode);
            let from = from.map_or(0, |at| at.bytes);
            let bytes = self.lines(file, from, &mut take)?;
            self.at = Some(Place { inode, bytes });
        }
        Ok(())
    }

    /// How many lines could not be understood: half ones, of a machine that failed.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// Reads whole lines; gives how far.
    fn lines(
        &mut self,
        mut file: File,
        from: u64,
        take: &mut impl FnMut(Record),
    ) -> io::Result<u64> {
        file.seek(SeekFrom::Start(from))?;
        let mut reader = BufReader::new(file);
        let (mut read_bytes, mut line) = (from, Vec::new());
        loop {
            line.clear();
            let most = MAX_LINE_BYTES as u64;
            let count = reader.by_ref().take(most).read_until(b'\n', &mut line)?;
            if count == 0 || line.last() != Some(&b'\n') && count < MAX_LINE_BYTES {
                // The rest of it is not there yet.
                return Ok(read_bytes);
            }
            read_bytes = read_bytes.saturating_add(count as u64);
            match serde_json::from_slice(&line) {
                Ok(record) => take(record),
                Err(_) => self.broken = self.broken.saturating_add(1),
            }
        }
    }
}

/// All files that there are, oldest first.
fn opened(path: &Path) -> io::Result<Vec<(u64, File)>> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(ErrorKind::InvalidInput.into());
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|found| {
            let rest = found.strip_prefix(name)?;
            match rest {
                "" => Some(0),
                rest => rest.strip_prefix('.')?.parse::<u64>().ok(),
            }
        });
        if let Some(number) = number
            && entry.file_type()?.is_file()
        {
            files.push((number, entry.path()));
        }
    }
    files.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let mut opened: Vec<(u64, File)> = Vec::new();
    for (_, path) in files {
        // One that was renamed meanwhile is found once more, or next time.
        let Ok(file) = File::open(path) else {
            continue;
        };
        let inode = file.metadata()?.ino();
        if !opened.iter().any(|(known, _)| *known == inode) {
            opened.push((inode, file));
        }
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::super::file::LogFile;
    use super::super::{Entry, Outcome};
    use super::*;
    use crate::clock::Timestamp;

    fn line(seq: u64) -> String {
        let entry = Entry::new("hello", Outcome::Allowed);
        let record = Record::new(seq, Timestamp::from_unix_ms(0), entry);
        record.text().unwrap()
    }

    fn read(tail: &mut Tail) -> Vec<u64> {
        let mut seqs = Vec::new();
        tail.read(|record| seqs.push(record.seq)).unwrap();
        seqs
    }

    #[test]
    fn nothing_is_read_twice_or_missed_over_rotations() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.jsonl");
        let mut tail = Tail::new(path.clone());
        assert_eq!(tail.read(|_| {}).unwrap_err().kind(), ErrorKind::NotFound);
        let mut file = LogFile::new(path.clone(), 2 * line(10).len() as u64, 9);
        file.open().unwrap();
        assert_eq!(read(&mut tail), [0; 0]);
        let (mut next, mut seen) = (10, 10);
        for round in [1, 0, 3, 7, 1, 2] {
            for _ in 0..round {
                file.append(&line(next)).unwrap();
                next += 1;
            }
            let expected: Vec<_> = (seen..next).collect();
            assert_eq!(read(&mut tail), expected);
            seen = next;
        }
        std::fs::write(directory.path().join("audit.jsonl.bak"), line(99)).unwrap();
        assert_eq!(read(&mut Tail::new(path)), (10..next).collect::<Vec<_>>());
    }

    #[test]
    fn half_a_line_is_waited_for_and_a_broken_one_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let whole = line(1) + "{\"seq\":\n" + &"x".repeat(2 * MAX_LINE_BYTES) + "\n" + &line(2);
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let mut tail = Tail::new(path.clone());
        assert_eq!(read(&mut tail), [1]);
        std::fs::write(&path, whole).unwrap();
        assert_eq!(read(&mut tail), [2]);
        assert!(tail.broken() > 0);
    }
}
