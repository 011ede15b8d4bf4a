//! `skiff generate`: what packagers install beside the program. Needs no router.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::cli::{Cli, Exit, Generate, error_line};
use crate::complete;

/// Writes what is asked for, and says nothing unless that fails.
pub fn main(what: &Generate) -> ExitCode {
    let (dir, written) = match what {
        Generate::Man { dir } => (dir, man(dir)),
        Generate::Completions { dir } => (dir, completions(dir)),
    };
    match written {
        Ok(()) => Exit::Ok.into(),
        Err(error) => {
            eprint!("{}", error_line(dir.display(), error));
            Exit::Failed.into()
        }
    }
}

/// A page for the program and one for each command, `skiff-config-check.1`.
fn man(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    clap_mangen::generate_to(Cli::command(), dir)
}

fn completions(dir: &Path) -> io::Result<()> {
    for (name, script) in complete::SCRIPTS {
        let path = dir.join(name);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, script)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_page() {
        let dir = tempfile::tempdir().unwrap();
        man(dir.path()).unwrap();
        let page = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert!(page("skiff.1").contains("skiff\\-run(1)"), "{}", page("skiff.1"));
        for name in ["skiff-run.1", "skiff-config-check.1", "skiff-tc.1", "skiff-demo.1"] {
            assert!(page(name).contains(".SH SYNOPSIS"), "{name}");
        }
        // What is no user's business has none.
        assert!(!dir.path().join("skiff-generate.1").exists());
        assert!(!dir.path().join("skiff-__complete.1").exists());
    }

    #[test]
    fn every_shell_has_its_script() {
        let dir = tempfile::tempdir().unwrap();
        completions(dir.path()).unwrap();
        for name in ["bash/skiff", "zsh/_skiff", "fish/skiff.fish"] {
            assert!(fs::read_to_string(dir.path().join(name)).unwrap().contains("__complete"), "{name}");
        }
    }
}
