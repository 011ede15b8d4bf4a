//! Why a command was not carried out: in tc's words, with tc's exit codes.

use std::fmt::Display;

/// The exit code for words that make no command of a discipline's.
const PARSE: u8 = 1;
/// The exit code of what the kernel would refuse.
const REFUSED: u8 = 2;
/// The exit code for words that make no command of tc's (its `exit(-1)`).
const USAGE: u8 = 255;

/// A command that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcError {
    /// For standard error, with the newline.
    pub text: String,
    /// The exit code: 1 or 255 if the words are wrong, 2 if what they ask for cannot be.
    pub exit: u8,
}

impl TcError {
    /// Words that make no options of a discipline: the line as it is.
    pub fn words(line: impl Display) -> TcError {
        TcError { text: format!("{line}\n"), exit: PARSE }
    }

    /// Words that make no command: the line as it is.
    pub fn usage(line: impl Display) -> TcError {
        TcError { text: format!("{line}\n"), exit: USAGE }
    }

    /// A word that is none of those that may stand here.
    pub fn what_is(word: &str, usage: &str) -> TcError {
        TcError::words(format!("What is \"{word}\"?\n{}", usage.trim_end()))
    }

    /// An option with a value that is none.
    pub fn illegal(option: &str) -> TcError {
        TcError::words(format!("Illegal \"{option}\""))
    }

    /// A value that is none.
    pub fn argument(value: &str, why: &str) -> TcError {
        TcError::usage(format!("Error: argument \"{value}\" is wrong: {why}"))
    }

    /// An option for the second time.
    pub fn duplicate(option: &str, value: &str) -> TcError {
        TcError::usage(format!("Error: duplicate \"{option}\": \"{value}\" is the second value."))
    }

    /// The value after an option is missing.
    pub fn incomplete() -> TcError {
        TcError::usage("Command line is not complete. Try option \"help\"")
    }

    /// No device has this name.
    pub fn no_device(name: &str) -> TcError {
        TcError::words(format!("Cannot find device \"{name}\""))
    }

    /// What the kernel refuses with a reason.
    pub fn refused(reason: impl Display) -> TcError {
        TcError { text: format!("Error: {reason}.\n"), exit: REFUSED }
    }

    /// What the kernel refuses with an error number only.
    pub fn errno(errno: Errno) -> TcError {
        TcError { text: format!("RTNETLINK answers: {}\n", errno.text()), exit: REFUSED }
    }

    /// On one line, without tc's marks: for a configuration's mistakes.
    pub fn plain(&self) -> &str {
        let line = self.text.lines().next().unwrap_or_default();
        line.trim_start_matches("Error: ").trim_start_matches("RTNETLINK answers: ").trim_end_matches('.')
    }
}

/// The kernel's error numbers that come without a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// EEXIST
    Exists,
    /// EINVAL
    Invalid,
    /// ENODEV
    NoDevice,
    /// ENOENT
    NotFound,
    /// ENOSPC
    NoSpace,
    /// EOPNOTSUPP
    NotSupported,
}

impl Errno {
    const fn text(self) -> &'static str {
        match self {
            Errno::Exists => "File exists",
            Errno::Invalid => "Invalid argument",
            Errno::NoDevice => "No such device",
            Errno::NotFound => "No such file or directory",
            Errno::NoSpace => "No space left on device",
            Errno::NotSupported => "Operation not supported",
        }
    }
}
