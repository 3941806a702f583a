//! How a socket is set up.
//!
//! What the kernel keeps of a connection, on either side, nothing can overtake: a short reply waits behind all of a long
//! one that is there. It would keep megabytes. So there is not much more of it than keeps the line busy.

use std::io;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

/// What may wait to be sent: as much as is written at a time.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT_BYTES: u32 = 64 << 10;
/// A host within this is near.
const NEAR: Duration = Duration::from_micros(500);
/// What a near host may have sent before it was read: what a line of several gigabits a second carries in that time.
const NEAR_WINDOW_BYTES: usize = 256 << 10;

/// Sets up the socket of a connection that took so long to come about, which tells how far the host is. From one that
/// is not near, a window of that size would slow down what is long; it has what the system thinks is right.
pub(crate) fn set_up(tcp: &TcpStream, took: Duration) -> io::Result<()> {
    // A call is small and waits for its answer: never hold it back to fill a packet.
    tcp.set_nodelay(true)?;
    let socket = SockRef::from(tcp);
    #[cfg(any(target_os = "android", target_os = "linux"))]
    without_it(socket.set_tcp_notsent_lowat(UNSENT_BYTES));
    if took < NEAR {
        without_it(socket.set_recv_buffer_size(NEAR_WINDOW_BYTES));
    }
    Ok(())
}

/// A system that has no such option only makes short messages wait longer.
fn without_it(outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "the system keeps more of the connection than it needs");
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_waits_in_the_kernel_is_little_where_the_host_is_near() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut windows = Vec::new();
        for took in [NEAR / 2, NEAR] {
            let tcp = TcpStream::connect(address).await.unwrap();
            set_up(&tcp, took).unwrap();
            let socket = SockRef::from(&tcp);
            assert!(tcp.nodelay().unwrap());
            #[cfg(any(target_os = "android", target_os = "linux"))]
            assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT_BYTES);
            windows.push(socket.recv_buffer_size().unwrap());
        }
        let untouched = TcpStream::connect(address).await.unwrap();
        let of_system = SockRef::from(&untouched).recv_buffer_size().unwrap();
        assert_eq!(windows[1], of_system, "of one that is far");
        // The kernel may give twice as much, for its own part of it, or less where it is told to.
        assert!(windows[0] <= 2 * NEAR_WINDOW_BYTES);
        assert_ne!(windows[0], of_system);
    }
}
