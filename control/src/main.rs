//! The `skiff` binary.

use std::process::ExitCode;

use skiff_control::cli::{self, Bench, Cli, Command, Config, Exit};
use skiff_control::client::Client;
use skiff_control::observe::{capture, trace_cli};
use skiff_control::{bench, bind, config, daemon, demo, generate, top};

fn main() -> ExitCode {
    let cli = match Cli::parse_args(std::env::args_os()) {
        Ok(cli) => cli,
        Err(reply) => return cli::print(&reply),
    };
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("SKIFF_LOG"))
        .with_writer(std::io::stderr)
        .init();
    if let Some(reply) = cli::ask(&cli) {
        return cli::print(&reply);
    }
    match &cli.command {
        Command::Run(run) => daemon::run(run, &cli.socket),
        Command::Config(Config::Check { file }) => {
            config::check(file, &mut std::io::stdout(), &mut std::io::stderr())
        }
        Command::Bench(Bench::Forward(args)) => bench::main(args),
        Command::Bench(Bench::Routes(args)) => bench::routes(args),
        Command::Bench(Bench::Rules(args)) => bench::rules(args),
        Command::Bench(Bench::Htb(args)) => bench::htb(args),
        Command::Bench(Bench::Scrape(args)) => bench::scrape(args),
        Command::Capture(args) => capture::main(&cli.socket, args),
        Command::Demo(args) => demo::main(args),
        Command::Bind(args) => bind::main(args),
        Command::Generate(what) => generate::main(what),
        Command::Top(args) => top::main(args, &Client::new(&cli.socket)),
        Command::Trace(args) => trace_cli::main(args, &Client::new(&cli.socket)),
        // The daemon answers these; see above.
        Command::Ip { .. }
        | Command::Tc { .. }
        | Command::Iptables { .. }
        | Command::IptablesSave { .. }
        | Command::IptablesRestore { .. }
        | Command::Ipset { .. }
        | Command::Drops(_)
        | Command::Lcore(_)
        | Command::Mem(_)
        | Command::Nstat(_)
        | Command::Hooks(_)
        | Command::Nfqueue(_)
        | Command::Vlan(_)
        | Command::Bond(_)
        | Command::Metrics
        | Command::Healthcheck
        | Command::Doctor(_)
        | Command::Complete { .. } => Exit::Unreachable.into(),
    }
}
