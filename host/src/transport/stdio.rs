//! A connection over two streams that somebody else opened: what this process was given as stdin and stdout.
//!
//! They may be pipes, sockets or files. Whoever gave them may hold them as well, so what belongs to both, such as
//! whether a read waits, is left as it was wherever that can be: a pipe is opened once more for this
//! process alone.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, join};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// The two as one stream.
///
/// # Errors
/// When the system does not let them be read from and written to.
pub fn duplex(
    input: OwnedFd,
    output: OwnedFd,
) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    let output = Output(Some(output_of(output)?));
    Ok(join(input_of(input)?, output))
}

type Input = Box<dyn AsyncRead + Send + Unpin>;

fn input_of(input: OwnedFd) -> io::Result<Input> {
    let file = File::from(input);
    let kind = file.metadata()?.file_type();
    Ok(if kind.is_fifo() {
        let own = reopened(&file, OpenOptions::new().read(true));
        Box::new(pipe::Receiver::from_file(own.unwrap_or(file))?)
    } else if kind.is_socket() {
        Box::new(socket(file)?)
    } else {
        Box::new(tokio::fs::File::from_std(file))
    })
}

fn output_of(output: OwnedFd) -> io::Result<Box<dyn AsyncWrite + Send + Unpin>> {
    let file = File::from(output);
    let kind = file.metadata()?.file_type();
    Ok(if kind.is_fifo() {
        let own = reopened(&file, OpenOptions::new().write(true));
        Box::new(pipe::Sender::from_file(own.unwrap_or(file))?)
    } else if kind.is_socket() {
        Box::new(socket(file)?)
    } else {
        Box::new(tokio::fs::File::from_std(file))
    })
}

/// The same pipe, but not the same opening of it. Where that is forbidden, as to a user who did not make it, the
/// one that is shared has to do.
fn reopened(file: &File, how: &mut OpenOptions) -> Option<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    // Else the opening itself would wait for somebody at the other end.
    how.custom_flags(libc::O_NONBLOCK).open(path).ok()
}

fn socket(file: File) -> io::Result<UnixStream> {
    // Whatever its family is: only the calls are used that all sockets know.
    let socket = StdUnixStream::from(OwnedFd::from(file));
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

/// What is written to until it is shut down; it is closed then, as a pipe has no other way to say that no more will come.
struct Output(Option<Box<dyn AsyncWrite + Send + Unpin>>);

impl Output {
    fn poll<T>(
        &mut self,
        poll: impl FnOnce(Pin<&mut (dyn AsyncWrite + Send + Unpin)>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.0 {
            Some(open) => poll(Pin::new(&mut **open)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(|open| open.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll(|open| open.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.as_ref().is_some_and(|open| open.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|open| open.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.0.is_some() {
            let flushed = ready!(self.poll(|open| open.poll_flush(context)));
            let ended = ready!(self.poll(|open| open.poll_shutdown(context)));
            self.0 = None;
            return Poll::Ready(flushed.and(ended));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Writes `there`, reads it back here through `cat`, whichever sort of stream is between.
    async fn there_and_back(input: OwnedFd, output: OwnedFd) {
        let mut stream = duplex(input, output).unwrap();
        stream.write_all(b"there and back").await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(stream.write_all(b"more").await.is_err());
        let mut back = Vec::new();
        stream.read_to_end(&mut back).await.unwrap();
        assert_eq!(back, b"there and back");
    }

    #[tokio::test]
    async fn pipes_sockets_and_files_are_all_the_same() {
        let mut cat = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (cat.stdin.take().unwrap(), cat.stdout.take().unwrap());
        there_and_back(stdout.into(), stdin.into()).await;
        assert!(cat.wait().unwrap().success());

        let (here, there) = StdUnixStream::pair().unwrap();
        let both = OwnedFd::from(there.try_clone().unwrap());
        let mut cat = Command::new("cat")
            .stdin(OwnedFd::from(there))
            .stdout(both)
            .spawn()
            .unwrap();
        let same = here.try_clone().unwrap();
        there_and_back(here.into(), same.into()).await;
        assert!(cat.wait().unwrap().success());

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let write = File::create(&path).unwrap();
        let read = File::open(&path).unwrap();
        there_and_back(read.into(), write.into()).await;
    }

    #[tokio::test]
    async fn a_pipe_that_others_hold_waits_for_them_as_before() {
        let (read, mut write) = io::pipe().unwrap();
        let mut theirs = read.try_clone().unwrap();
        let nowhere = File::options().write(true).open("/dev/null").unwrap();
        let _ours = duplex(read.into(), nowhere.into()).unwrap();
        let reading = std::thread::spawn(move || {
            let mut byte = [0];
            theirs.read_exact(&mut byte).map(|()| byte)
        });
        // It is in its read by then, or will be: either way it gets the byte and not an error.
        std::thread::yield_now();
        write.write_all(b"x").unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), *b"x");
    }
}
