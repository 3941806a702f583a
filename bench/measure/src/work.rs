//! What is asked of a server.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use bytes::Bytes;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// The sum of two numbers.
    Add,
    /// So many bytes, which come back.
    Bytes(usize),
    /// So many records, which come back.
    Records(usize),
    /// A text of so many bytes, which comes back.
    Text(usize),
}

/// Two numbers under their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// One.
    pub x: i32,
    /// The other.
    pub y: i32,
}

/// What is sent; what comes back has to be equal to it, but for a sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Two numbers to be added.
    Add(i64, i64),
    /// Bytes.
    Bytes(Bytes),
    /// Records.
    Records(Vec<Record>),
    /// A text.
    Text(String),
}

impl Work {
    /// What is sent. Bytes look random to whatever would compress them; a text is of several scripts.
    pub fn request(self) -> Request {
        match self {
            Work::Add => Request::Add(2, 3),
            Work::Bytes(length) => Request::Bytes(noise(length).into()),
            Work::Records(count) => {
                let records = (0..).take(count).map(|number: i32| Record {
                    x: number,
                    y: number.wrapping_mul(7919).wrapping_sub(1_000_000),
                });
                Request::Records(records.collect())
            }
            Work::Text(length) => {
                let mut text = "words, слова, λόγοι, 語 ".repeat(length / 32 + 1);
                let end = (0..=length.min(text.len())).rev();
                let end = end.into_iter().find(|end| text.is_char_boundary(*end));
                text.truncate(end.unwrap_or_default());
                text.push_str(&".".repeat(length.saturating_sub(text.len())));
                Request::Text(text)
            }
        }
    }
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Add => f.write_str("add"),
            Work::Bytes(length) => write!(f, "bytes:{length}"),
            Work::Records(count) => write!(f, "records:{count}"),
            Work::Text(length) => write!(f, "text:{length}"),
        }
    }
}

impl FromStr for Work {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, size) = text.split_once(':').unwrap_or((text, "0"));
        let size = size.parse().with_context(|| format!("`{text}`"))?;
        Ok(match kind {
            "add" => Work::Add,
            "bytes" => Work::Bytes(size),
            "records" => Work::Records(size),
            "text" => Work::Text(size),
            _ => bail!("there is no work `{text}`"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_read_as_it_is_written() {
        for work in [
            Work::Add,
            Work::Bytes(1024),
            Work::Records(1000),
            Work::Text(64),
        ] {
            assert_eq!(work.to_string().parse::<Work>().unwrap(), work);
        }
        assert!("sub".parse::<Work>().is_err());
        assert!("bytes:many".parse::<Work>().is_err());
    }

    #[test]
    fn requests_are_as_long_as_they_say() {
        let Request::Bytes(bytes) = Work::Bytes(1001).request() else {
            panic!("not bytes");
        };
        assert_eq!(bytes.len(), 1001);
        for length in [0, 1, 33, 1000, 1024] {
            let Request::Text(text) = Work::Text(length).request() else {
                panic!("no text");
            };
            assert_eq!(text.len(), length);
        }
        let Request::Records(records) = Work::Records(1000).request() else {
            panic!("no records");
        };
        assert_eq!(records.len(), 1000);
    }
}
