//! Does with files what it is told, step by step, by WASI's own interface: what no standard library would
//! ask for, too.
//!
//! Descriptors have numbers: first those that were there from the start, then each that was opened.

#![forbid(unsafe_code)]

use wasi::filesystem::preopens::get_directories;
use wasi::filesystem::types::{
    Descriptor, DescriptorFlags, ErrorCode, NewTimestamp, OpenFlags, PathFlags,
    filesystem_error_code,
};
use wasi::io::streams::{OutputStream, StreamError};

rpc_guest::generate!({ world: "file-probe", generate_all });

struct FileProbe;

#[derive(Default)]
struct Held {
    names: Vec<String>,
    open: Vec<Option<Descriptor>>,
}

impl Guest for FileProbe {
    fn run(steps: Vec<String>) -> Vec<String> {
        let mut held = Held::default();
        for (descriptor, name) in get_directories() {
            held.names.push(name);
            held.open.push(Some(descriptor));
        }
        let tell = |step: &String| match held.step(step) {
            Ok(told) => told,
            Err(error) => format!("error: {}", error.name()),
        };
        steps.iter().map(tell).collect()
    }
}

impl Held {
    fn at(&self, number: &str) -> &Descriptor {
        let number: usize = number.parse().expect("the number of a descriptor");
        self.open[number].as_ref().expect("an open descriptor")
    }

    fn step(&mut self, step: &str) -> Result<String, ErrorCode> {
        let words: Vec<&str> = step.split('\t').collect();
        let done = |()| "ok".to_owned();
        Ok(match *words.as_slice() {
            ["directories"] => self.names.join(" "),
            ["open", at, flags, path] => {
                let opened = open(self.at(at), flags, path)?;
                self.open.push(Some(opened));
                format!("ok {}", self.open.len() - 1)
            }
            // Opens and keeps until it is refused.
            ["open-many", at, flags, path] => {
                let mut many = Vec::new();
                loop {
                    match open(self.at(at), flags, path) {
                        Ok(opened) => many.push(opened),
                        Err(error) => break format!("{} {}", many.len(), error.name()),
                    }
                }
            }
            ["close", at] => {
                let number: usize = at.parse().expect("a number");
                drop(self.open[number].take().expect("an open descriptor"));
                "ok".to_owned()
            }
            ["write", at, offset, bytes] => {
                let content = vec![b'x'; number(bytes)];
                format!("ok {}", self.at(at).write(&content, long(offset))?)
            }
            ["text", at, offset, text] => {
                format!("ok {}", self.at(at).write(text.as_bytes(), long(offset))?)
            }
            ["stream", at, offset, bytes] => {
                let stream = match offset {
                    "end" => self.at(at).append_via_stream()?,
                    offset => self.at(at).write_via_stream(long(offset))?,
                };
                stream_all(&stream, number(bytes))?
            }
            ["streams", at] => {
                let mut many = Vec::new();
                loop {
                    match self.at(at).write_via_stream(0) {
                        Ok(stream) => many.push(stream),
                        Err(error) => break format!("{} {}", many.len(), error.name()),
                    }
                }
            }
            ["read", at, offset, bytes] => {
                let read = self.at(at).read(long(bytes), long(offset));
                let (bytes, _) = read?;
                format!("ok {}", String::from_utf8_lossy(&bytes))
            }
            ["read-stream", at, offset] => {
                let stream = self.at(at).read_via_stream(long(offset))?;
                let mut all = Vec::new();
                loop {
                    match stream.blocking_read(1000) {
                        Ok(bytes) => all.extend(bytes),
                        Err(StreamError::Closed) => break,
                        Err(error) => return Err(code(&error)),
                    }
                }
                format!("ok {}", all.len())
            }
            ["size", at, bytes] => self.at(at).set_size(long(bytes)).map(done)?,
            ["flags", at] => {
                let flags = self.at(at).get_flags()?;
                let names = [
                    (DescriptorFlags::READ, 'r'),
                    (DescriptorFlags::WRITE, 'w'),
                    (DescriptorFlags::MUTATE_DIRECTORY, 'm'),
                ];
                let names = names.iter().filter(|(flag, _)| flags.contains(*flag));
                names.map(|(_, name)| *name).collect()
            }
            ["stat", at] => told(&self.at(at).stat()?),
            ["stat-at", at, flags, path] => told(&self.at(at).stat_at(follow(flags), path)?),
            ["touch", at] => self
                .at(at)
                .set_times(NewTimestamp::Now, NewTimestamp::Now)
                .map(done)?,
            ["touch-at", at, flags, path] => {
                let now = NewTimestamp::Now;
                self.at(at)
                    .set_times_at(follow(flags), path, now, now)
                    .map(done)?
            }
            ["sync", at] => self.at(at).sync().map(done)?,
            ["make-directory", at, path] => self.at(at).create_directory_at(path).map(done)?,
            ["remove-directory", at, path] => self.at(at).remove_directory_at(path).map(done)?,
            ["unlink", at, path] => self.at(at).unlink_file_at(path).map(done)?,
            ["rename", at, from, other, to] => {
                self.at(at).rename_at(from, self.at(other), to).map(done)?
            }
            ["link", at, from, to] => {
                let here = self.at(at);
                here.link_at(PathFlags::empty(), from, here, to).map(done)?
            }
            ["symlink", at, target, path] => self.at(at).symlink_at(target, path).map(done)?,
            ["readlink", at, path] => format!("ok {}", self.at(at).readlink_at(path)?),
            ["list", at] => {
                let entries = self.at(at).read_directory()?;
                let mut names = Vec::new();
                while let Some(entry) = entries.read_directory_entry()? {
                    names.push(format!("{}:{}", entry.name, kind(entry.type_)));
                }
                names.sort();
                names.join(" ")
            }
            ["same", at, other] => self.at(at).is_same_object(self.at(other)).to_string(),
            // Until it finds what it looks for, or so often.
            ["race", at, times, path, sought] => {
                let mut outcomes = [0_u32; 3];
                for _ in 0..number(times) {
                    let outcome = race(self.at(at), path);
                    if outcome.as_deref().is_ok_and(|text| text.contains(sought)) {
                        return Ok("found".to_owned());
                    }
                    outcomes[match outcome {
                        Ok(_) => 0,
                        Err(ErrorCode::Loop) => 1,
                        Err(_) => 2,
                    }] += 1;
                }
                format!(
                    "{} opened, {} links, {} otherwise",
                    outcomes[0], outcomes[1], outcomes[2]
                )
            }
            _ => panic!("no such step: {step:?}"),
        })
    }
}

/// Goes in by whatever is there at the moment: reads `canary` in it, and makes a file.
fn race(at: &Descriptor, path: &str) -> Result<String, ErrorCode> {
    let read = open(at, "r", &format!("{path}/canary"))?.read(100, 0)?.0;
    let made = open(at, "cw", &format!("{path}/made"))?;
    made.write(b"x", 0)?;
    let inner = open(at, "d", path)?;
    let again = open(&inner, "r", "canary")?.read(100, 0)?.0;
    // Not at all important whether it is there still.
    let _gone = at.unlink_file_at(&format!("{path}/made"));
    Ok(format!(
        "{}{}",
        String::from_utf8_lossy(&read),
        String::from_utf8_lossy(&again)
    ))
}

fn open(at: &Descriptor, flags: &str, path: &str) -> Result<Descriptor, ErrorCode> {
    let (mut open, mut flag) = (OpenFlags::empty(), DescriptorFlags::empty());
    for one in flags.chars() {
        match one {
            'c' => open |= OpenFlags::CREATE,
            'x' => open |= OpenFlags::EXCLUSIVE,
            't' => open |= OpenFlags::TRUNCATE,
            'd' => open |= OpenFlags::DIRECTORY,
            'r' => flag |= DescriptorFlags::READ,
            'w' => flag |= DescriptorFlags::WRITE,
            'm' => flag |= DescriptorFlags::MUTATE_DIRECTORY,
            's' => flag |= DescriptorFlags::FILE_INTEGRITY_SYNC,
            'f' => {}
            other => panic!("no such flag: {other:?}"),
        }
    }
    at.open_at(follow(flags), path, open, flag)
}

fn follow(flags: &str) -> PathFlags {
    match flags.contains('f') {
        true => PathFlags::SYMLINK_FOLLOW,
        false => PathFlags::empty(),
    }
}

fn stream_all(stream: &OutputStream, bytes: usize) -> Result<String, ErrorCode> {
    let chunk = [b'x'; 4096];
    let mut left = bytes;
    while left > 0 {
        let length = left.min(chunk.len());
        let written = stream.blocking_write_and_flush(&chunk[..length]);
        written.map_err(|error| code(&error))?;
        left -= length;
    }
    Ok(format!("ok {bytes}"))
}

fn code(error: &StreamError) -> ErrorCode {
    match error {
        StreamError::Closed => ErrorCode::Pipe,
        StreamError::LastOperationFailed(error) => {
            filesystem_error_code(error).unwrap_or(ErrorCode::NotRecoverable)
        }
    }
}

fn told(stat: &wasi::filesystem::types::DescriptorStat) -> String {
    format!("{} {}", kind(stat.type_), stat.size)
}

fn kind(kind: wasi::filesystem::types::DescriptorType) -> &'static str {
    use wasi::filesystem::types::DescriptorType;
    match kind {
        DescriptorType::RegularFile => "file",
        DescriptorType::Directory => "directory",
        DescriptorType::SymbolicLink => "link",
        DescriptorType::Fifo => "pipe",
        DescriptorType::Socket => "socket",
        DescriptorType::BlockDevice | DescriptorType::CharacterDevice => "device",
        DescriptorType::Unknown => "unknown",
    }
}

fn long(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn number(text: &str) -> usize {
    text.parse().expect("a number")
}

export!(FileProbe);
