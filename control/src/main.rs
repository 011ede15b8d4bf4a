//! The `skiff` binary.

use std::process::ExitCode;

use skiff_control::cli::{self, Bench, Cli, Command, Config, Exit};
use skiff_control::{bench, config};

fn main() -> ExitCode {
    let cli = match Cli::parse_args(std::env::args_os()) {
        Ok(cli) => cli,
        Err(reply) => return cli::print(&reply),
    };
    if let Some(reply) = cli::ask(&cli) {
        return cli::print(&reply);
    }
    match &cli.command {
        Command::Config(Config::Check { file }) => {
            config::check(file, &mut std::io::stdout(), &mut std::io::stderr())
        }
        Command::Bench(Bench::Forward(args)) => bench::main(args),
        _ => Exit::Usage.into(),
    }
}
