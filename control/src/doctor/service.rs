//! The router itself: its configuration, whether it runs, and whether its port is free.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use super::Finding;
use crate::client::{Client, ClientError};
use crate::config::{self, Config};

/// How long a router that is well may take for its metrics.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn checks(file: &Path, socket: &Path) -> Vec<Finding> {
    let (config, finding) = configuration(file);
    let (runs, daemon) = daemon(socket);
    let listen = config.and_then(|config| config.metrics).map(|metrics| metrics.listen.value);
    [Some(finding), Some(daemon), listen.filter(|_| !runs).map(port)].into_iter().flatten().collect()
}

fn configuration(file: &Path) -> (Option<Config>, Finding) {
    let shown = file.display();
    if !file.exists() {
        let advice = "-c names another; /usr/share/doc/skiff/examples has some to begin with";
        return (None, Finding::warn("config", format!("no {shown}"), advice));
    }
    let checked = config::load(file)
        .and_then(|config| config.checked_memory_plan().map(|_| config).map_err(|e| vec![e]));
    match checked {
        Ok(config) if config.interfaces.is_empty() => {
            let advice = "add [interface.NAME] sections; skiff.toml(5)";
            (Some(config), Finding::warn("config", format!("{shown} has no interfaces yet"), advice))
        }
        Ok(config) => {
            let found = format!("{shown}: {} interfaces", config.interfaces.len());
            (Some(config), Finding::ok("config", found))
        }
        Err(mistakes) => {
            let first = mistakes.first().map(ToString::to_string).unwrap_or_default();
            let advice = format!("skiff config check {shown} (mistakes: {})", mistakes.len());
            (None, Finding::fail("config", first, advice))
        }
    }
}

/// Whether one runs, and what is to be said about it.
fn daemon(socket: &Path) -> (bool, Finding) {
    let client = Client::new(socket).within(PATIENCE);
    match client.healthy().and_then(|_| client.metrics()) {
        Ok(metrics) => {
            let version = version(&metrics).unwrap_or("unknown");
            let ours = env!("CARGO_PKG_VERSION");
            let finding = if version == ours {
                Finding::ok("daemon", format!("version {version} forwards"))
            } else {
                let found = format!("version {version} runs, and this command is {ours}");
                Finding::warn("daemon", found, "systemctl restart skiff")
            };
            (true, finding)
        }
        Err(ClientError::Unreachable { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => {
            let advice = "use sudo, or join the group that may (adduser USER skiff)";
            (true, Finding::warn("daemon", format!("{}: permission denied", socket.display()), advice))
        }
        Err(ClientError::Unreachable { .. }) => {
            let found = format!("nobody answers on {}", socket.display());
            (false, Finding::warn("daemon", found, "systemctl start skiff, or skiff run -c FILE"))
        }
        Err(error @ ClientError::BadAnswer { .. }) => {
            (true, Finding::fail("daemon", error.to_string(), "journalctl -u skiff says more"))
        }
    }
}

/// The version in the metrics.
fn version(metrics: &str) -> Option<&str> {
    let line = metrics.lines().find(|line| line.starts_with("skiff_build_info{"))?;
    line.split_once("version=\"")?.1.split('"').next()
}

/// Whether the address of the metrics is free for a router that is to be started.
fn port(listen: SocketAddr) -> Finding {
    match TcpListener::bind(listen) {
        Ok(_) => Finding::ok("metrics", format!("{listen} is free")),
        Err(error) => {
            let why = if error.kind() == io::ErrorKind::AddrInUse {
                "in use".to_owned()
            } else {
                error.to_string()
            };
            Finding::fail("metrics", format!("{listen} is {why}"), "[metrics] listen = \"...\" names another")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn the_version_is_read_from_the_metrics() {
        let page = "# HELP skiff_build_info x\nskiff_build_info{dpdk=\"22.11\",version=\"0.1.0\"} 1\n";
        assert_eq!(version(page), Some("0.1.0"));
        assert_eq!(version("skiff_up 1\n"), None);
    }

    #[test]
    fn a_file_with_a_mistake_fails_and_says_where() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("skiff.toml");
        std::fs::write(&file, "[system]\nlcorse = \"1\"\n").unwrap();
        let (_, finding) = configuration(&file);
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.found.contains(":2:1") && finding.advice.contains("mistakes: 1"), "{finding:?}");
    }

    #[test]
    fn a_port_in_use_is_found_unless_the_router_has_it() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(port(address).level, Level::Fail);
        drop(taken);
        assert_eq!(port(address).level, Level::Ok);
    }

    #[test]
    fn without_a_daemon_and_a_file_both_are_said() {
        let dir = tempfile::tempdir().unwrap();
        let levels: Vec<_> = checks(&dir.path().join("none.toml"), &dir.path().join("none.sock"))
            .into_iter()
            .map(|finding| (finding.what, finding.level))
            .collect();
        assert_eq!(levels, [("config", Level::Warn), ("daemon", Level::Warn)]);
    }
}
