//! A connection between a command and a node: frames, and descriptors behind them.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

use vmm_sys_util::sock_ctrl_msg::ScmSocket;

/// Passes descriptors, one byte for each.
///
/// # Errors
/// The connection's.
pub fn send_descriptors(stream: &UnixStream, descriptors: &[RawFd]) -> io::Result<()> {
    for &descriptor in descriptors {
        stream.send_with_fd(&[0_u8][..], descriptor).map_err(from_errno)?;
    }
    Ok(())
}

/// Takes `N` descriptors that were passed. They are not for whatever this process becomes.
///
/// # Errors
/// The connection's; `UnexpectedEof` where a descriptor should be and is not.
pub fn receive_descriptors<const N: usize>(stream: &UnixStream) -> io::Result<[File; N]> {
    let mut files = Vec::with_capacity(N);
    for _ in 0..N {
        let (_, file) = stream.recv_with_fd(&mut [0_u8]).map_err(from_errno)?;
        let file = file.ok_or(io::ErrorKind::UnexpectedEof)?;
        close_on_exec(&file)?;
        files.push(file);
    }
    Ok(files.try_into().expect("as many were pushed as the array has"))
}

fn close_on_exec(file: &File) -> io::Result<()> {
    // SAFETY: takes integers; the descriptor is open.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFD, libc::FD_CLOEXEC) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Process and user at the other end, as they were when it connected (`SO_PEERCRED`, unix(7)).
///
/// # Errors
/// Linux's.
pub fn peer(stream: &UnixStream) -> io::Result<libc::ucred> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut bytes = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `bytes` bytes into the local.
    let got = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut bytes,
        )
    };
    if got == 0 { Ok(peer) } else { Err(io::Error::last_os_error()) }
}

fn from_errno(error: vmm_sys_util::errno::Error) -> io::Error {
    io::Error::from_raw_os_error(error.errno())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::{peer, receive_descriptors, send_descriptors};

    #[test]
    fn descriptors_arrive_in_order() {
        let (here, there) = UnixStream::pair().unwrap();
        let mut files = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        for (i, file) in files.iter_mut().enumerate() {
            file.write_all(&[i as u8]).unwrap();
            file.rewind().unwrap();
        }
        send_descriptors(&here, &files.each_ref().map(|file| file.as_raw_fd())).unwrap();
        for (i, mut file) in receive_descriptors::<2>(&there).unwrap().into_iter().enumerate() {
            let mut byte = [9];
            file.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [i as u8]);
        }
        assert_eq!(peer(&here).unwrap().pid as u32, std::process::id());
        drop(here);
        assert!(receive_descriptors::<1>(&there).is_err());
    }
}
