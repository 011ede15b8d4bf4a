//! A Prometheus server of the distribution's, scraping inside a namespace.

use std::process::{Child, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::metrics::http_get;
use crate::netns::Netns;
use crate::tempdir::TempDir;

const LISTEN: &str = "127.0.0.1:9090";
const START_LIMIT: Duration = Duration::from_secs(30);

/// A running server. Told to end on drop.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    netns: String,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts a server that scrapes `target` each second and evaluates the rules in these files as often.
    ///
    /// # Panics
    /// If it is not installed, or not ready in time.
    #[track_caller]
    pub fn start(netns: &Netns, target: &str, rules: &[String]) -> Self {
        let dir = TempDir::new();
        let config = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
             rule_files: {rules:?}\n\
             scrape_configs: [{{ job_name: skiff, static_configs: [{{ targets: [\"{target}\"] }}] }}]\n"
        );
        let config = dir.write("prometheus.yml", &config);
        let data = dir.file("data");
        let log = dir.write("log", "");
        let log = std::fs::File::options().append(true).open(log).expect("just written");
        let line = format!(
            "prometheus --config.file={config} --storage.tsdb.path={data} --web.listen-address={LISTEN}"
        );
        let child = netns
            .command(&line)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("prometheus: scripts/install-deps.sh test installs it");
        let server = Prometheus { child, netns: netns.name().to_owned(), _dir: dir };
        crate::eventually("prometheus answers", START_LIMIT, || server.is_ready());
        server
    }

    fn is_ready(&self) -> bool {
        crate::netns::in_netns(&self.netns, || std::net::TcpStream::connect(LISTEN).is_ok())
            && http_get(&self.netns, LISTEN, "/-/ready").0 == 200
    }

    /// The result of an instant query; the server's words if it refuses it.
    ///
    /// # Errors
    /// What the server says.
    #[track_caller]
    pub fn query(&self, expr: &str) -> Result<Vec<Value>, String> {
        let answer = self.api(&format!("query?query={}", percent_encoded(expr)));
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }

    /// Every rule, with its state of health.
    #[track_caller]
    pub fn rules(&self) -> Vec<Value> {
        let answer = self.api("rules");
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
    }

    #[track_caller]
    fn api(&self, what: &str) -> Value {
        let (_, body) = http_get(&self.netns, LISTEN, &format!("/api/v1/{what}"));
        serde_json::from_str(&body).unwrap_or_else(|why| panic!("{what}: {why}: {body}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// As a query of a URL has it (RFC 3986).
fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_encoded() {
        assert_eq!(percent_encoded("rate(a{b=\"c\"}[1m])"), "rate%28a%7Bb%3D%22c%22%7D%5B1m%5D%29");
    }
}
