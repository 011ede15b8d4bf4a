//! What `skiff bind` asks of the machine: files of sysfs and proc, modules, addresses.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The machine. Paths begin with `/`.
pub(super) trait Kernel {
    /// The text of a file.
    fn read(&self, path: &str) -> io::Result<String>;
    /// Writes to a file that is there, in one call: sysfs takes a write as a command.
    fn write(&self, path: &str, text: &str) -> io::Result<()>;
    /// Makes or replaces an ordinary file.
    fn store(&self, path: &str, text: &str) -> io::Result<()>;
    /// Removes an ordinary file.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// What a symbolic link points to, as it is written.
    fn link(&self, path: &str) -> Option<PathBuf>;
    /// The names in a directory, sorted; none if it is not there.
    fn list(&self, path: &str) -> Vec<String>;
    /// Whether something is there.
    fn exists(&self, path: &str) -> bool;
    /// Loads a module.
    fn modprobe(&self, module: &str) -> Result<(), String>;
    /// Addresses and the interfaces that have them.
    fn addresses(&self) -> Vec<(String, IpAddr)>;
    /// The value of `SSH_CONNECTION`, by which a shell knows that it was reached by SSH.
    fn ssh_connection(&self) -> Option<String>;

    /// The last part of what a symbolic link points to: the driver of a device, the number of a group.
    fn link_name(&self, path: &str) -> Option<String> {
        Some(self.link(path)?.file_name()?.to_str()?.to_owned())
    }

    /// The first line of a file, without blanks at its ends; `None` if it cannot be read or is empty.
    fn word(&self, path: &str) -> Option<String> {
        let text = self.read(path).ok()?;
        text.lines().next().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned)
    }
}

/// The machine this runs on, its files below `root`.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    root: PathBuf,
}

impl Machine {
    pub(super) fn new(root: impl Into<PathBuf>) -> Self {
        Machine { root: root.into() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Kernel for Machine {
    fn read(&self, path: &str) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.at(path))?).into_owned())
    }

    fn write(&self, path: &str, text: &str) -> io::Result<()> {
        use std::io::Write as _;
        fs::OpenOptions::new().write(true).truncate(true).open(self.at(path))?.write_all(text.as_bytes())
    }

    fn store(&self, path: &str, text: &str) -> io::Result<()> {
        let path = self.at(path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        // Whoever reads it meets the old one or the new one, never a part.
        let new = path.with_extension("new");
        fs::write(&new, text)?;
        fs::rename(&new, &path)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.at(path))
    }

    fn link(&self, path: &str) -> Option<PathBuf> {
        fs::read_link(self.at(path)).ok()
    }

    fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    fn exists(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    fn modprobe(&self, module: &str) -> Result<(), String> {
        // Where administrators' programs are may not be on the path of whoever calls this.
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("modprobe")
            .arg(module)
            .env("PATH", format!("{path}:/usr/sbin:/sbin"))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("cannot run modprobe: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.lines().next().unwrap_or("modprobe failed").trim();
        Err(why.trim_start_matches("modprobe: ").trim_start_matches("FATAL: ").to_owned())
    }

    fn addresses(&self) -> Vec<(String, IpAddr)> {
        let all = nix::ifaddrs::getifaddrs().into_iter().flatten();
        all.filter_map(|entry| {
            let storage = entry.address?;
            let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
            let address = v4.or_else(|| storage.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))?;
            Some((entry.interface_name, address))
        })
        .collect()
    }

    fn ssh_connection(&self) -> Option<String> {
        std::env::var("SSH_CONNECTION").ok()
    }
}

/// A process that has one of `files` open: its number and its name.
///
/// Only those whose open files the caller may see: all of them for root.
pub(super) fn user_of(kernel: &dyn Kernel, files: &[String]) -> Option<(u32, String)> {
    let processes = kernel.list("/proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
    processes
        .filter(|process| {
            let directory = format!("/proc/{process}/fd");
            kernel.list(&directory).iter().any(|fd| {
                let open = kernel.link(&format!("{directory}/{fd}"));
                open.is_some_and(|open| files.iter().any(|file| open == Path::new(file)))
            })
        })
        .map(|process| {
            let name = kernel.word(&format!("/proc/{process}/comm"));
            (process, name.unwrap_or_default())
        })
        .next()
}
