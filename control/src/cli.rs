//! The command line of the one binary, and what its exit codes mean.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::api::{Reply, Show};
use crate::bench::Case;
use crate::bind::Bind;
use crate::client::{Client, ClientError};
use crate::complete;
use crate::doctor::{self, Doctor};
use crate::netfilter::{Call, Program};
use crate::observe::capture::Capture;
use crate::observe::trace_cli::Trace;
use crate::tc;
use crate::top::Top;

/// Where the daemon's socket is unless `--socket` or `SKIFF_SOCKET` names another.
pub const DEFAULT_SOCKET: &str = "/run/skiff/skiff.sock";

/// A software router on poll-mode drivers.
#[derive(Clone, Debug, Parser)]
#[command(name = "skiff", version, disable_help_subcommand = true, subcommand_required = true)]
pub struct Cli {
    /// The daemon's socket
    #[arg(long, global = true, value_name = "PATH", env = "SKIFF_SOCKET", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the router in the foreground
    ///
    /// Besides --socket there is a socket for the listeners of NFQUEUE rules in the same directory: nfqueue.sock if
    /// --socket is named skiff.sock, NAME.nfqueue.sock if it is any other NAME.sock.
    Run(Run),
    /// Look at configuration files
    #[command(subcommand)]
    Config(Config),
    /// Show and change links, addresses, routes and neighbours, in iproute2's language
    #[command(disable_help_flag = true)]
    Ip {
        /// The words after `ip`, as iproute2 takes them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Show and change queueing disciplines and classes, in the language of tc(8)
    #[command(disable_help_flag = true)]
    Tc {
        /// The words after `tc`, as it takes them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Show and change packet filter rules, in iptables' language
    #[command(name = "iptables", disable_help_flag = true)]
    Iptables {
        /// The words after `iptables`, as it takes them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Print all rules as iptables-save does
    #[command(name = "iptables-save", disable_help_flag = true)]
    IptablesSave {
        /// The words after `iptables-save`, as it takes them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Load rules from a file or standard input
    #[command(name = "iptables-restore", disable_help_flag = true)]
    IptablesRestore {
        /// The words after `iptables-restore`, as it takes them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Show and change sets of addresses and ports, in ipset's language
    #[command(name = "ipset", disable_help_flag = true)]
    Ipset {
        /// The words after `ipset`, as it takes them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
        args: Vec<String>,
    },
    /// Show dropped packets by reason
    Drops(ShowArgs),
    /// Show worker lcores and how busy they are
    Lcore(ShowArgs),
    /// Show memory and packet buffers
    Mem(ShowArgs),
    /// Show the IP, ICMP, UDP and TCP counters under the kernel's names, as nstat(8) prints them
    Nstat(Nstat),
    /// Show the functions at the hooks, in order, and what became of packets there
    Hooks(ShowArgs),
    /// Show queues with listeners, in the lines of /proc/net/netfilter/nfnetlink_queue
    ///
    /// Columns: queue_number peer_portid (the listener's process) queue_total copy_mode copy_range queue_dropped
    /// user_dropped id_sequence 1
    Nfqueue(ShowArgs),
    /// VLANs: their identifiers and the devices they lie on
    #[command(subcommand)]
    Vlan(Vlan),
    /// Bonds: their members and what they do
    #[command(subcommand)]
    Bond(Bond),
    /// Show packets that come in, go out or are freed, or write them down for Wireshark and tcpdump
    Capture(Capture),
    /// Show all metrics in the Prometheus text format
    Metrics,
    /// Ask whether the router forwards packets: exit code 0 if it does, 1 if not, 5 if it is not running
    Healthcheck,
    /// Show the journey of single packets through every stage, with the verdict of each
    Trace(Trace),
    /// Show what the router does right now: rates, lcores, interfaces, drops and classes
    Top(Top),
    /// Measure this machine
    #[command(subcommand)]
    Bench(Bench),
    /// Show a router between two hosts made for it; without root, one that forwards generated packets
    Demo(Demo),
    /// Show NICs; take them from the kernel for the router, and give them back
    Bind(Bind),
    /// Look over this machine, the configuration and the router, and say what to do about what is amiss
    Doctor(Doctor),
    /// Write what a package installs beside the program
    #[command(subcommand, hide = true)]
    Generate(Generate),
    /// Print what may stand at the cursor, for the shells' completion scripts
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words of the line after `skiff`, up to the cursor.
        #[arg(last = true, value_name = "WORDS")]
        words: Vec<String>,
    },
}

/// `skiff run`
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The configuration file
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Arguments for DPDK's EAL, after `--`
    #[arg(last = true, value_name = "EAL ARGS")]
    pub eal: Vec<String>,
}

/// `skiff config`
#[derive(Clone, Debug, Subcommand)]
pub enum Config {
    /// Find every mistake in a file, without a daemon
    Check {
        /// The configuration file
        file: PathBuf,
    },
}

/// `skiff generate`
#[derive(Clone, Debug, Subcommand)]
pub enum Generate {
    /// Manual pages, skiff.1 and one a command
    Man {
        /// The directory they go to
        dir: PathBuf,
    },
    /// Completion scripts: bash/skiff, zsh/_skiff, fish/skiff.fish
    Completions {
        /// The directory they go to
        dir: PathBuf,
    },
}

/// `skiff vlan`
#[derive(Clone, Debug, Subcommand)]
pub enum Vlan {
    /// Show VLAN devices, in the lines of /proc/net/vlan/config
    Show(ShowArgs),
}

/// `skiff bond`
#[derive(Clone, Debug, Subcommand)]
pub enum Bond {
    /// Show a bond, or all of them, in the lines of /proc/net/bonding
    Show {
        /// Its name
        name: Option<String>,
        /// JSON
        #[arg(short, long)]
        json: bool,
    },
}

/// What every show takes.
#[derive(Clone, Copy, Debug, Args)]
pub struct ShowArgs {
    /// JSON
    #[arg(short, long)]
    pub json: bool,
}

/// `skiff nstat`. Values are always those since the start of the router: there is no history file, so what nstat(8)
/// does without one needs no option, and those about it are taken and change nothing.
#[derive(Clone, Copy, Debug, Args)]
pub struct Nstat {
    /// Absolute values, which they always are
    #[arg(short = 'a', long = "ignore")]
    pub absolute: bool,
    /// Leave the history alone, of which there is none
    #[arg(short = 's', long)]
    pub noupdate: bool,
    /// Counters that are zero, too
    #[arg(short, long)]
    pub zeros: bool,
    /// JSON
    #[arg(short, long)]
    pub json: bool,
}

/// `skiff bench`
#[derive(Clone, Debug, Subcommand)]
pub enum Bench {
    /// IPv4 forwarding on one lcore: cycles a packet beyond the generator
    Forward(BenchForward),
    /// A million routes loaded and changed at random while one lcore forwards; fails if a packet is lost
    Routes(BenchRoutes),
    /// What rule sets cost a forwarded packet.
    Rules(BenchRules),
    /// What trees of queueing disciplines cost a forwarded packet, and how evenly ten thousand classes are served
    Htb(BenchHtb),
    /// What scraping the metrics costs an lcore at full load; fails if a packet is lost
    Scrape(BenchScrape),
}

/// `skiff bench scrape`
#[derive(Clone, Debug, Args)]
pub struct BenchScrape {
    /// Seconds, half of them under scrapes
    #[arg(long, default_value_t = 10.0, value_name = "N")]
    pub seconds: f64,
    /// CPU of the lcore
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<u16>,
    /// JSON
    #[arg(short, long)]
    pub json: bool,
}

/// `skiff bench htb`
#[derive(Clone, Debug, Args)]
pub struct BenchHtb {
    /// Rounds of forwarding with and without, 40 ms each
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// Only trees with this in their names
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub tree: String,
    /// Instead offer far too much to 10,000 classes of 1 Mbit/s and see what each gets
    #[arg(long)]
    pub fair: bool,
    /// Seconds of that
    #[arg(long, default_value_t = 10.0, value_name = "N", requires = "fair")]
    pub seconds: f64,
    /// CPU to run on
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<u16>,
    /// JSON
    #[arg(short, long)]
    pub json: bool,
}

/// `skiff bench rules`
#[derive(Clone, Debug, clap::Args)]
pub struct BenchRules {
    /// Rounds of forwarding with and without, 40 ms each.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// Instead replace rule sets 100 times a second while an lcore forwards; fails if a packet is lost
    #[arg(long)]
    pub swap: bool,
    /// Seconds of swapping, for each size of rule sets
    #[arg(long, default_value_t = 3.0, value_name = "N", requires = "swap")]
    pub seconds: f64,
    /// CPU to run on.
    #[arg(long)]
    pub cpu: Option<u16>,
    /// Print JSON.
    #[arg(short, long)]
    pub json: bool,
}

/// `skiff bench routes`
#[derive(Clone, Debug, Args)]
pub struct BenchRoutes {
    /// Changes to make
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub updates: usize,
    /// CPU of the lcore that forwards
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<u16>,
    /// JSON
    #[arg(short, long)]
    pub json: bool,
}

/// `skiff bench forward`
#[derive(Clone, Debug, Args)]
pub struct BenchForward {
    /// The workload; all of them if not given
    #[arg(long, value_enum, value_name = "CASE")]
    pub case: Option<Case>,
    /// Seconds of measuring a case, generator and forwarding in turn
    #[arg(long, default_value_t = 3.0, value_name = "N")]
    pub seconds: f64,
    /// Time each stage too
    #[arg(long)]
    pub stages: bool,
    /// CPU to run on
    #[arg(long, value_name = "CPU")]
    pub cpu: Option<u16>,
    /// Keep the packets of the case in this capture file
    #[arg(long, value_name = "FILE", requires = "case")]
    pub pcap: Option<PathBuf>,
    /// JSON, one line a case
    #[arg(short, long)]
    pub json: bool,
}

/// `skiff demo`
#[derive(Clone, Copy, Debug, Args)]
pub struct Demo {
    /// Seconds of traffic, each way
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub seconds: u32,
    /// Keep everything running until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Generated packets instead of hosts, as without root
    #[arg(long)]
    pub no_hosts: bool,
}

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Refused or failed.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// The configuration has mistakes.
    ConfigInvalid = 3,
    /// Nobody answers on the socket.
    Unreachable = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}

impl Cli {
    /// Parses the arguments, the program's name first. `Err` is what to print and the exit code: help and the version
    /// are on standard output with exit code 0, mistakes one line on standard error with exit code 2.
    ///
    /// # Errors
    /// As said: help, the version, or a mistake.
    pub fn parse_args(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Cli, Reply> {
        Cli::try_parse_from(args).map_err(|error| {
            if error.use_stderr() {
                Reply::failed(Exit::Usage as u8, one_line(&error))
            } else {
                Reply::ok(error.to_string())
            }
        })
    }
}

/// clap explains over several lines: the first says what is wrong, the rest how it would be right.
fn one_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut why = lines.next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    if matches!(error.kind(), clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand) {
        why = "a command is required".to_owned();
    }
    // What is missing stands in lines of its own, up to the usage.
    for line in
        lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"))
    {
        why.push(' ');
        why.push_str(line);
    }
    format!("skiff: usage: {why} (try \"skiff --help\")\n")
}

/// The line for standard error, `skiff: WHAT: WHY`.
pub fn error_line(what: impl Display, why: impl Display) -> String {
    format!("skiff: {what}: {why}\n")
}

/// Carries out a command the daemon answers; `None` if the command is none of those.
pub fn ask(cli: &Cli) -> Option<Reply> {
    let client = Client::new(&cli.socket);
    let answer = match &cli.command {
        Command::Ip { args } => client.ip(args),
        Command::Tc { args } => return Some(tc(&client, args)),
        Command::Iptables { args } => return Some(netfilter(&client, Program::Iptables, args)),
        Command::IptablesSave { args } => return Some(netfilter(&client, Program::IptablesSave, args)),
        Command::IptablesRestore { args } => return Some(netfilter(&client, Program::IptablesRestore, args)),
        Command::Ipset { args } => return Some(netfilter(&client, Program::Ipset, args)),
        Command::Drops(show) => client.show(Show::Drops, show.json),
        Command::Lcore(show) => client.show(Show::Lcores, show.json),
        Command::Mem(show) => client.show(Show::Mem, show.json),
        Command::Nstat(nstat) => client.show(Show::Nstat { zeros: nstat.zeros }, nstat.json),
        Command::Hooks(show) => client.show(Show::Hooks, show.json),
        Command::Nfqueue(show) => client.show(Show::Nfqueue, show.json),
        Command::Vlan(Vlan::Show(show)) => client.show(Show::Vlans, show.json),
        Command::Bond(Bond::Show { name, json }) => client.bond(name.as_deref(), *json),
        Command::Metrics => client.metrics().map(Reply::ok),
        Command::Healthcheck => client.healthy(),
        Command::Doctor(args) => return Some(doctor::run(args, &cli.socket)),
        Command::Complete { words } => return Some(Reply::ok(complete::lines(words))),
        Command::Run(_)
        | Command::Config(_)
        | Command::Capture(_)
        | Command::Trace(_)
        | Command::Top(_)
        | Command::Bench(_)
        | Command::Demo(_)
        | Command::Bind(_)
        | Command::Generate(_) => return None,
    };
    Some(answer.unwrap_or_else(no_answer))
}

fn no_answer(error: ClientError) -> Reply {
    Reply::failed(error.exit(), format!("skiff: {error}\n"))
}

/// Runs a program of netfilter's; the text it reads is read here, where the user's files are.
fn netfilter(client: &Client, program: Program, args: &[String]) -> Reply {
    let mut call = Call { args: args.to_vec(), input: String::new(), input_name: "stdin".to_owned() };
    let read = match program.input(args) {
        None => Ok(String::new()),
        Some(None) => io::read_to_string(io::stdin()),
        Some(Some(file)) => {
            call.input_name.clone_from(&args[file]);
            std::fs::read_to_string(&args[file])
        }
    };
    match read {
        Ok(text) => call.input = text,
        Err(error) => return Reply::failed(Exit::Failed as u8, error_line(&call.input_name, error)),
    }
    client.netfilter(program, &call).unwrap_or_else(no_answer)
}

/// Runs `tc`; a batch is read here, where the user's files are.
fn tc(client: &Client, args: &[String]) -> Reply {
    let mut call = tc::Call { args: args.to_vec(), input: String::new() };
    if let Some(file) = tc::input(args).map(|at| args[at].as_str()) {
        let read = if file == "-" { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(file) };
        match read {
            Ok(text) => call.input = text,
            Err(error) => {
                let why = error.to_string();
                let why = why.split(" (os error").next().unwrap_or_default();
                let line = format!("Cannot open file \"{file}\" for reading: {why}\n");
                return Reply::failed(Exit::Failed as u8, line);
            }
        }
    }
    client.tc(&call).unwrap_or_else(no_answer)
}

/// Prints a reply and gives its exit code. A reader that left early (`skiff ... | head`) is no failure.
pub fn print(reply: &Reply) -> std::process::ExitCode {
    let _ = io::stderr().write_all(reply.stderr.as_bytes());
    let written = io::stdout().write_all(reply.stdout.as_bytes()).and_then(|()| io::stdout().flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed.into(),
        _ => reply.exit.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Cli, Reply> {
        Cli::parse_args(std::iter::once("skiff").chain(line.split_whitespace()))
    }

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn ip_takes_its_words_as_they_are() {
        for line in
            ["ip -j -s link show", "ip --help", "ip", "ip route add default via 10.0.0.1", "ip -6 -- -h"]
        {
            let cli = parse(line).unwrap_or_else(|reply| panic!("{line}: {}", reply.stderr));
            let Command::Ip { args } = cli.command else { panic!("{line}: not ip") };
            assert_eq!(args.join(" "), line.trim_start_matches("ip").trim_start(), "{line}");
        }
        let cli = parse("--socket /tmp/s ip a").unwrap();
        assert_eq!(cli.socket, PathBuf::from("/tmp/s"));
    }

    #[test]
    fn tc_takes_its_words_as_they_are_and_reads_batches_here() {
        let cli = parse("tc -s -d class show dev wan0").unwrap();
        let Command::Tc { args } = cli.command else { panic!("not tc") };
        assert_eq!(args.join(" "), "-s -d class show dev wan0");
        let reply = ask(&parse("--socket /tmp/none/s tc -b /tmp/none/batch").unwrap()).unwrap();
        let expected = "Cannot open file \"/tmp/none/batch\" for reading: No such file or directory\n";
        assert_eq!((reply.exit, reply.stderr.as_str()), (1, expected));
        let reply = ask(&parse("--socket /tmp/none/s tc qdisc").unwrap()).unwrap();
        assert_eq!(reply.exit, 5);
    }

    #[test]
    fn run_hands_the_rest_to_eal() {
        let Command::Run(run) = parse("run -c f.toml --socket /tmp/s -- --no-huge -m 64").unwrap().command
        else {
            panic!("not run")
        };
        assert_eq!(run.config, PathBuf::from("f.toml"));
        assert_eq!(run.eal, ["--no-huge", "-m", "64"]);
        assert!(matches!(parse("config check x").unwrap().command, Command::Config(Config::Check { .. })));
        assert!(matches!(parse("drops -j").unwrap().command, Command::Drops(ShowArgs { json: true })));
        let Command::Nstat(nstat) = parse("nstat -azsj").unwrap().command else { panic!("not nstat") };
        assert!(nstat.zeros && nstat.json);
    }

    #[test]
    fn mistakes_are_one_line_and_exit_2() {
        for (line, word) in [
            ("", "command"),
            ("nope", "nope"),
            ("run", "--config"),
            ("drops -x", "-x"),
            ("config", "command"),
        ] {
            let reply = parse(line).unwrap_err();
            assert_eq!(reply.exit, 2, "{line}");
            assert_eq!(reply.stderr.lines().count(), 1, "{}", reply.stderr);
            assert!(
                reply.stderr.starts_with("skiff: usage: ") && reply.stderr.contains(word),
                "{}",
                reply.stderr
            );
        }
        let version = parse("--version").unwrap_err();
        assert_eq!((version.exit, version.stdout), (0, format!("skiff {}\n", env!("CARGO_PKG_VERSION"))));
    }

    #[test]
    fn without_a_daemon_the_answer_is_exit_5() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("none");
        let reply = ask(&parse(&format!("--socket {} drops", socket.display())).unwrap()).unwrap();
        let expected = format!(
            "skiff: {}: no such file or directory: is \"skiff run\" running? (--socket names another)\n",
            socket.display()
        );
        assert_eq!((reply.exit, reply.stderr), (5, expected));
    }
}
