//! The router of the demo: `skiff run` in a directory of its own, and questions to it.

use std::fs::{self, DirBuilder};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use super::job::{Job, command, typed};
use super::rates::Sample;
use super::screen::Screen;
use super::stop::Stop;
use crate::api::{Reply, Show};
use crate::client::Client;

/// How long the router may take to start.
const START: Duration = Duration::from_secs(30);

/// A directory that is removed with what is in it on drop.
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn new() -> Result<TempDir> {
        let path = std::env::temp_dir().join(format!("skiff-demo-{}", std::process::id()));
        // Ours alone, and not one somebody else has put there.
        DirBuilder::new().mode(0o700).create(&path).with_context(|| path.display().to_string())?;
        Ok(TempDir(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running router.
pub(super) struct Router {
    job: Job,
    client: Client,
    /// `skiff --socket PATH`, as one types it.
    pub(super) cli: String,
    started: Instant,
}

impl Router {
    /// Starts `skiff run` with this configuration and waits until it is ready; `prefix` are words before the command.
    pub(super) fn start(
        prefix: &[String],
        config: &Path,
        dir: &TempDir,
        screen: &mut Screen,
        stop: &Stop,
    ) -> Result<Router> {
        let exe = std::env::current_exe().context("where is this program?")?;
        let socket = dir.path().join("skiff.sock").to_string_lossy().into_owned();
        let file = config.to_string_lossy().into_owned();
        let arguments = ["--socket", &socket, "run", "-c", &file].map(str::to_owned);
        let words = |program: String| [prefix, &[program], &arguments].concat();

        let name = std::env::args().next().unwrap_or_else(|| "skiff".to_owned());
        screen.command(&typed(&words(name.clone())));
        let started = Instant::now();
        let mut job = Job::start("the router", command(&words(exe.to_string_lossy().into_owned())))?;
        job.wait_for("skiff: ready", START, stop)?;
        screen.line(format!(
            "skiff: ready                    (after {:.2} s)",
            started.elapsed().as_secs_f64()
        ));
        Ok(Router { job, client: Client::new(&socket), cli: format!("{name} --socket {socket}"), started })
    }

    /// Reads its counters.
    pub(super) fn sample(&mut self) -> Result<Sample> {
        let sample = self.read_counters();
        // A router that is gone says more about why than the connection that failed.
        if sample.is_err() && !self.job.is_running() {
            bail!("the router ended: {}", self.job.last_words());
        }
        sample
    }

    fn read_counters(&self) -> Result<Sample> {
        let links = answer(self.client.ip(&["-j", "-s", "link"].map(str::to_owned))?)?;
        let drops = answer(self.client.show(Show::Drops, true)?)?;
        let lcores = answer(self.client.show(Show::Lcores, true)?)?;
        Sample::parse(self.started.elapsed(), &links, &drops, &lcores)
    }

    /// Shows a command and what it prints.
    pub(super) fn show(&self, words: &str, screen: &mut Screen) -> Result<()> {
        screen.command(&format!("{} {words}", self.cli));
        let reply = match words {
            "drops" => self.client.show(Show::Drops, false)?,
            "lcore" => self.client.show(Show::Lcores, false)?,
            "mem" => self.client.show(Show::Mem, false)?,
            _ => self.client.ip(&words.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>())?,
        };
        screen.line(answer(reply)?);
        Ok(())
    }

    /// Stops it with SIGTERM and shows its last words.
    ///
    /// # Errors
    /// If it did not end as it should, or packets are not accounted for.
    pub(super) fn stop(mut self, screen: &mut Screen) -> Result<()> {
        if !self.job.is_running() {
            bail!("the router ended by itself: {}", self.job.last_words());
        }
        screen.command(&format!("kill -TERM {}", self.job.id()));
        let (lines, status) = self.job.terminate();
        lines.iter().for_each(|line| screen.line(line));
        match status {
            Some(status) if status.success() => {}
            Some(status) => bail!("the router ended with {status}"),
            None => bail!("the router did not stop and was killed"),
        }
        let last =
            lines.iter().find_map(|line| Account::parse(line)).context("the router gave no account")?;
        last.check()
    }
}

fn answer(reply: Reply) -> Result<String> {
    if reply.exit == 0 { Ok(reply.stdout) } else { Err(anyhow!(reply.stderr.trim_end().to_owned())) }
}

/// The router's last line: `skiff: stopped: rx R + created C = tx T + dropped D + delivered L + held H; pools full`, or how many buffers are
/// missing.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    /// Packets in: received and made.
    came: i64,
    /// Packets out: sent, dropped, delivered, held.
    went: i64,
    /// Every buffer is back in its pool.
    full: bool,
}

impl Account {
    fn parse(line: &str) -> Option<Account> {
        let numbers =
            line.strip_prefix("skiff: stopped: ")?.split(|c: char| !(c.is_ascii_digit() || c == '-'));
        let numbers: Vec<i64> = numbers.filter_map(|word| word.parse().ok()).collect();
        let [rx, created, tx, dropped, delivered, held, ..] = numbers[..] else { return None };
        let full = line.ends_with("pools full");
        Some(Account { came: rx + created, went: tx + dropped + delivered + held, full })
    }

    fn check(&self) -> Result<()> {
        if self.came != self.went {
            bail!("the router's account does not balance: {} packets came, {} went", self.came, self.went);
        }
        if !self.full {
            bail!("packet buffers did not come back");
        }
        Ok(())
    }
}

/// The metrics page over HTTP.
pub(super) fn scrape(address: SocketAddr) -> Result<String> {
    let limit = Duration::from_secs(5);
    let mut stream =
        TcpStream::connect_timeout(&address, limit).with_context(|| format!("http://{address}/metrics"))?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: skiff\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    match page.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        _ => bail!("http://{address}/metrics: {}", page.lines().next().unwrap_or("no answer")),
    }
}

/// The lines of a metrics page that begin with one of these.
pub(super) fn pick<'p>(page: &'p str, names: &[&str]) -> Vec<&'p str> {
    page.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_balances_or_is_an_error() {
        let line = "skiff: stopped: rx 10 + created 3 = tx 9 + dropped 2 + delivered 1 + held 1; pools full";
        assert_eq!(Account::parse(line), Some(Account { came: 13, went: 13, full: true }));
        assert!(Account::parse(line).unwrap().check().is_ok());
        assert!(Account::parse(&line.replace("rx 10", "rx 11")).unwrap().check().is_err());
        assert!(
            Account::parse(&line.replace("pools full", "2 of 5120 mbufs missing")).unwrap().check().is_err()
        );
        assert_eq!(Account::parse("skiff: ready"), None);
        assert_eq!(Account::parse("skiff: stopped: rx 1"), None);
        let negative = line.replace("held 1", "held -1");
        assert_eq!(Account::parse(&negative).unwrap().went, 11);
    }

    #[test]
    fn lines_of_a_page_are_picked_by_name() {
        let page = "# HELP a_total x\na_total{x=\"1\"} 1\nb 2\na_total{x=\"2\"} 3\n";
        assert_eq!(pick(page, &["a_total"]), ["a_total{x=\"1\"} 1", "a_total{x=\"2\"} 3"]);
    }
}
