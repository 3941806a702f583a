//! A process whose stdin and stdout are a connection puts them out of reach of whoever would print or read by habit.
//!
//! Which file has the number of stdin is not for safe code to change, but a process that is started anew gets its
//! standard streams from whoever starts it. So the program starts itself once more, in the same process: on
//! stdin it then has a socket that nobody writes to any more, where two descriptors lie, stdin and stdout as they were;
//! and on stdout the same as on stderr.

use std::env;
use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// What stdin and stdout of this process were when it was started. Dropped, they are closed.
#[derive(Debug)]
pub struct StandardStreams {
    /// What was stdin.
    pub input: OwnedFd,
    /// What was stdout.
    pub output: OwnedFd,
}

/// Starts this program anew in this process, with the arguments that it has and one more by which it knows to
/// [`take`] its streams from where they are then. Comes back only if that is not possible.
pub fn set_aside(mark: &str) -> io::Error {
    let started = || -> io::Result<io::Error> {
        let (here, there) = socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let streams = [stdin.as_fd(), stdout.as_fd()];
        let mut room = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut room);
        let has_room = ancillary.push(SendAncillaryMessage::ScmRights(&streams));
        debug_assert!(has_room, "two descriptors fit where room for two is");
        sendmsg(
            &here,
            &[IoSlice::new(&[0])],
            &mut ancillary,
            SendFlags::empty(),
        )?;
        let mut arguments = env::args_os();
        let name = arguments.next();
        let mut command = Command::new(env::current_exe()?);
        Ok(command
            .arg0(name.as_deref().unwrap_or(OsStr::new("rpc-host")))
            .args(arguments)
            .arg(mark)
            .stdin(Stdio::from(there))
            .stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?))
            .exec())
    };
    started().unwrap_or_else(|error| error)
}

/// What [`set_aside`] left on stdin, for a process that was started by it. The second time there is nothing.
///
/// # Errors
/// When there is nothing.
pub fn take() -> io::Result<StandardStreams> {
    let mut room = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut room);
    let mut byte = [0];
    recvmsg(
        io::stdin(),
        &mut [IoSliceMut::new(&mut byte)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
    )?;
    let mut streams = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten();
    match (streams.next(), streams.next()) {
        (Some(input), Some(output)) => Ok(StandardStreams { input, output }),
        _ => Err(io::Error::other("no streams were left here")),
    }
}
