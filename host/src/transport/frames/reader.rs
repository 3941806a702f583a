//! Bytes → frames.

use std::time::Duration;

use bytes::BufMut;
use rpc_host_protocol::frame::{FLAG_MORE, HEADER_BYTES, Header};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};

use crate::transport::TransportError;

/// Small frames that come together are taken from the stream together, up to this many bytes: one
/// TLS record.
const BUFFER_BYTES: usize = 16 * 1024;
/// As long as frames come one by one, and small, no more is held for them: most connections are silent most
/// of the time.
const RESTING_BUFFER_BYTES: usize = 1024;
/// From this size on, the rest of a payload is read to where it stays, without a stop in the buffer.
const DIRECT_READ_BYTES: usize = 4 * 1024;
/// The rate that a frame has to keep up beyond its fixed time. It only has to tell a bad line from
/// somebody who sends a byte a second to hold a connection.
const MIN_BYTES_PER_SECOND: u32 = 16 * 1024;

/// A header and the payload that followed it, behind what it was to be put behind.
pub type Frame = (Header, Vec<u8>);

/// Takes frames off a stream.
#[derive(Debug)]
pub struct FrameReader<R> {
    stream: R,
    frame_timeout: Duration,
    max_payload_bytes: usize,
    /// Bytes that were read and not looked at begin at `start`.
    buffer: Vec<u8>,
    start: usize,
    /// How many there may be.
    buffer_bytes: usize,
    /// A frame whose payload is longer than what was buffered.
    partial: Option<Partial>,
    /// When the frame that is incomplete now was first seen to be so.
    begun_at: Option<Instant>,
}

#[derive(Debug)]
struct Partial {
    header: Header,
    bytes: Vec<u8>,
    /// How many there are when it is complete.
    end: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that takes payloads of up to `max_payload_bytes`, and gives a frame that has begun
    /// `frame_timeout`, and more if it is large, to arrive.
    pub fn new(stream: R, frame_timeout: Duration, max_payload_bytes: usize) -> Self {
        FrameReader {
            stream,
            frame_timeout,
            max_payload_bytes,
            buffer: Vec::new(),
            start: 0,
            buffer_bytes: RESTING_BUFFER_BYTES,
            partial: None,
            begun_at: None,
        }
    }

    /// Another limit from now on: before a hello it is far lower than after it.
    pub fn set_max_payload_bytes(&mut self, max_payload_bytes: usize) {
        self.max_payload_bytes = max_payload_bytes;
    }

    /// Gives back what it holds for frames that come fast; the next ones that do get it again.
    pub fn rest(&mut self) {
        if !self.has_buffered() {
            self.buffer = Vec::new();
            self.start = 0;
            self.buffer_bytes = RESTING_BUFFER_BYTES;
        }
    }

    /// The next frame; `None` when the peer ended the connection between two frames.
    ///
    /// Dropping the future loses nothing: the next call goes on where it was.
    ///
    /// # Errors
    /// When what came is no frame, came too slowly, or the stream failed.
    pub async fn next(&mut self) -> Result<Option<Frame>, TransportError> {
        self.next_behind(|_| Ok(Vec::new())).await
    }

    /// The same, with its payload behind the bytes that `earlier` gives when the header is there.
    ///
    /// # Errors
    /// Those of [`FrameReader::next`], and those of `earlier`.
    pub async fn next_behind<E: From<TransportError>>(
        &mut self,
        mut earlier: impl FnMut(&Header) -> Result<Vec<u8>, E>,
    ) -> Result<Option<Frame>, E> {
        loop {
            if let Some(frame) = self.next_buffered(&mut earlier)? {
                return Ok(Some(frame));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Whether something has been read that no frame was made of yet.
    pub fn has_buffered(&self) -> bool {
        self.partial.is_some() || self.start < self.buffer.len()
    }

    /// The next frame, if all of it has been read already.
    ///
    /// # Errors
    /// When what came is no frame, and those of `earlier`.
    pub fn next_buffered<E: From<TransportError>>(
        &mut self,
        earlier: impl FnOnce(&Header) -> Result<Vec<u8>, E>,
    ) -> Result<Option<Frame>, E> {
        let mut partial = match self.partial.take() {
            Some(partial) => partial,
            None => match self.begin_frame(earlier)? {
                Some(partial) => partial,
                None => return Ok(None),
            },
        };
        let missing = partial.missing_bytes();
        let buffered = self.buffer.get(self.start..).unwrap_or_default();
        let taken = buffered.get(..missing).unwrap_or(buffered);
        partial.bytes.extend_from_slice(taken);
        self.start += taken.len();
        if partial.missing_bytes() > 0 {
            self.partial = Some(partial);
            return Ok(None);
        }
        self.begun_at = None;
        Ok(Some((partial.header, partial.bytes)))
    }

    /// Reads a header off the buffer, if all of it is there.
    fn begin_frame<E: From<TransportError>>(
        &mut self,
        earlier: impl FnOnce(&Header) -> Result<Vec<u8>, E>,
    ) -> Result<Option<Partial>, E> {
        let buffered = self.buffer.get(self.start..).unwrap_or_default();
        let Some((header, _)) = buffered.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let header = Header::decode(*header).map_err(TransportError::from)?;
        let length_bytes = header.length_bytes as usize;
        if length_bytes > self.max_payload_bytes {
            return Err(TransportError::FrameTooEarly {
                length_bytes: header.length_bytes,
                max_bytes: self.max_payload_bytes,
            }
            .into());
        }
        self.start += HEADER_BYTES;
        let mut bytes = earlier(&header)?;
        bytes.reserve_exact(length_bytes);
        let end = bytes.len() + length_bytes;
        Ok(Some(Partial { header, bytes, end }))
    }

    /// Reads once. False: the peer ended the connection between two frames.
    async fn fill(&mut self) -> Result<bool, TransportError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let deadline = self.deadline();
        let direct = match &mut self.partial {
            Some(partial) => Some((partial.missing_bytes(), &mut partial.bytes))
                .filter(|(n, _)| *n >= DIRECT_READ_BYTES),
            None => None,
        };
        let is_direct = direct.is_some();
        let (room, target) = match direct {
            Some(direct) => direct,
            None => {
                // Of a message with more frames only the end of this one and the next header are read here, so that
                // what follows goes where it stays.
                let room = match &self.partial {
                    Some(partial) if partial.has_more() => partial.missing_bytes() + HEADER_BYTES,
                    _ => self.buffer_bytes.saturating_sub(self.buffer.len()),
                };
                self.buffer.reserve_exact(room);
                (room, &mut self.buffer)
            }
        };
        let mut target = target.limit(room);
        let read = self.stream.read_buf(&mut target);
        let count = match deadline {
            None => read.await?,
            Some(deadline) => timeout_at(deadline, read)
                .await
                .map_err(|_elapsed| TransportError::FrameTooSlow)??,
        };
        if !is_direct && count == room {
            // There may be more of them.
            self.buffer_bytes = BUFFER_BYTES;
        }
        match (count, deadline) {
            (0, None) => Ok(false),
            (0, Some(_)) => Err(TransportError::Truncated),
            _ => Ok(true),
        }
    }

    /// When the frame that has begun has to be complete; `None` between two frames.
    fn deadline(&mut self) -> Option<Instant> {
        let length_bytes = match &self.partial {
            Some(partial) => partial.header.length_bytes,
            None if self.buffer.is_empty() => return None,
            None => 0,
        };
        let allowance = Duration::from_secs(1) * length_bytes / MIN_BYTES_PER_SECOND;
        let begun_at = *self.begun_at.get_or_insert_with(Instant::now);
        Some(begun_at + self.frame_timeout + allowance)
    }

    #[cfg(test)]
    pub(super) fn held_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// The stream, for what there is to do with it after the last frame.
    pub fn into_inner(self) -> R {
        self.stream
    }
}

impl Partial {
    fn has_more(&self) -> bool {
        self.header.flags & FLAG_MORE != 0
    }

    fn missing_bytes(&self) -> usize {
        self.end.saturating_sub(self.bytes.len())
    }
}
