//! A UNIX socket's file: made with care for who may be using it, removed at the end.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};

use super::ServeError;

/// Read and write for the owner and the group, nothing for others: who may connect may reconfigure the router.
const MODE: u32 = 0o660;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// The file of a bound socket, which goes when this does.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode of the file: only our own is removed.
    identity: (u64, u64),
}

impl SocketFile {
    /// Binds a listening socket of type `kind` to `path`.
    ///
    /// # Errors
    /// [`ServeError`]: somebody else's socket is there, or it cannot be made.
    pub(crate) fn bind(path: &Path, kind: SockType) -> Result<(SocketFile, UnixListener), ServeError> {
        let socket_error = |error| ServeError::Socket { path: path.to_owned(), error };
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(socket_error)?;
        }
        remove_stale(path, kind)?;
        // The file gets its name only when its mode is right, and never takes a name from somebody else's socket.
        let temporary = temporary_path(path);
        let made = bind_private(&temporary, kind).and_then(|listener| {
            fs::hard_link(&temporary, path)?;
            let metadata = fs::symlink_metadata(path)?;
            Ok((listener, (metadata.dev(), metadata.ino())))
        });
        let _ = fs::remove_file(&temporary);
        let (listener, identity) = made.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => ServeError::InUse(path.to_owned()),
            _ => socket_error(error),
        })?;
        Ok((SocketFile { path: path.to_owned(), identity }, listener))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.identity);
        if ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind_private(path: &Path, kind: SockType) -> io::Result<UnixListener> {
    // Left behind by a process of the same number that died between two lines of this function.
    let _ = fs::remove_file(path);
    let socket = new_socket(kind)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    let listener = UnixListener::from(socket);
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn new_socket(kind: SockType) -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None)?)
}

/// In the same directory, so that the name can be moved; short, as socket paths are limited to 107 bytes.
fn temporary_path(path: &Path) -> PathBuf {
    path.with_file_name(format!(".{}", std::process::id()))
}

/// Removes a socket nobody answers on.
fn remove_stale(path: &Path, kind: SockType) -> Result<(), ServeError> {
    let socket_error = |error| ServeError::Socket { path: path.to_owned(), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(socket_error(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(ServeError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    let answer = new_socket(kind).and_then(|socket| Ok(connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?));
    match answer {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(socket_error)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(socket_error(error)),
        Ok(_) => Err(ServeError::InUse(path.to_owned())),
    }
}
