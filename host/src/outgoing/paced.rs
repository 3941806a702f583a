//! A connection that may not stand still.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream on which something has to pass, either way, as long as somebody waits for it.
pub(super) struct Paced<S> {
    stream: S,
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    /// Somebody has waited since the timer was set.
    is_waited_for: bool,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S, patience: Duration) -> Self {
        Paced {
            stream,
            patience,
            timer: Box::pin(sleep(patience)),
            is_waited_for: false,
        }
    }

    fn set_timer(&mut self) {
        // Past the end of time there is no deadline to miss.
        if let Some(end) = Instant::now().checked_add(self.patience) {
            self.timer.as_mut().reset(end);
        }
    }

    /// Nothing passes now.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if !self.is_waited_for {
            self.set_timer();
            self.is_waited_for = true;
        }
        ready!(self.timer.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Something was written. Whoever waits to read may wait as long again.
    fn has_written(&mut self, context: &mut Context<'_>) {
        if self.is_waited_for {
            self.set_timer();
            // The timer knows whom to wake only when it is asked.
            let _not_yet = self.timer.as_mut().poll(context);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(context, buffer) {
            Poll::Pending => self.wait(context),
            read => {
                // It is waited for anew when somebody asks for more: a guest may take its time.
                self.is_waited_for = false;
                read
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Pending => self.wait(context),
            written => {
                self.has_written(context);
                written
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_flush(context) {
            Poll::Pending => self.wait(context),
            flushed => flushed,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_shutdown(context) {
            Poll::Pending => self.wait(context),
            shut => shut,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn bytes_that_trickle_keep_a_connection_and_silence_ends_it() {
        let (near, mut far) = duplex(64);
        let mut near = Paced::new(near, PATIENCE);
        for _ in 0..5 {
            let trickle = async {
                sleep(PATIENCE - Duration::from_secs(1)).await;
                far.write_all(b"x").await.unwrap();
            };
            let (read, ()) = tokio::join!(near.read_u8(), trickle);
            assert_eq!(read.unwrap(), b'x');
        }
        let began = Instant::now();
        let silence = near.read_u8().await.unwrap_err();
        assert_eq!(silence.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nobody_waits_does_not_count() {
        let (near, mut far) = duplex(64);
        let mut near = Paced::new(near, PATIENCE);
        far.write_all(b"x").await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), b'x');
        sleep(10 * PATIENCE).await;
        let answer = async {
            sleep(PATIENCE / 2).await;
            far.write_all(b"y").await.unwrap();
        };
        let (read, ()) = tokio::join!(near.read_u8(), answer);
        assert_eq!(read.unwrap(), b'y');
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up_and_one_that_takes_some_is_not() {
        let (near, mut far) = duplex(4);
        let mut near = Paced::new(near, PATIENCE);
        let reading = async {
            for _ in 0..8 {
                sleep(PATIENCE / 2).await;
                far.read_u8().await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(near.write_all(b"twelve bytes"), reading);
        written.unwrap();
        let stuck = near.write_all(b"more").await.unwrap_err();
        assert_eq!(stuck.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_writes_may_wait_for_an_answer_as_long_as_ever() {
        let (near, mut far) = duplex(64);
        let (mut reading, mut writing) = tokio::io::split(Paced::new(near, PATIENCE));
        let upload = async {
            for _ in 0..4 {
                sleep(PATIENCE - Duration::from_secs(1)).await;
                writing.write_all(b"part").await.unwrap();
            }
            sleep(PATIENCE - Duration::from_secs(1)).await;
            far.write_all(b"!").await.unwrap();
        };
        let (answer, ()) = tokio::join!(reading.read_u8(), upload);
        assert_eq!(answer.unwrap(), b'!');
        let began = Instant::now();
        assert!(reading.read_u8().await.is_err());
        assert_eq!(began.elapsed(), PATIENCE);
    }
}
