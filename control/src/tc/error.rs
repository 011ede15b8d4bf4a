//! Why a command was not carried out: in tc's words, with tc's exit codes.

use std::fmt::{self, Display};

/// The exit code for words that make no command of a discipline's.
const PARSE: u8 = 1;
/// The exit code of what the kernel would refuse.
const REFUSED: u8 = 2;
/// The exit code for words that make no command of tc's (its `exit(-1)`).
const USAGE: u8 = 255;

/// What tc says when the kernel refuses a filter or an action.
const TALKING: &str = "We have an error talking to the kernel";

/// A command that was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcError {
    /// For standard error, without the last line's end.
    pub text: String,
    /// The exit code: 1 or 255 if the words are wrong, 2 if what they ask for cannot be.
    pub exit: u8,
}

impl TcError {
    /// Words that make no options of a discipline: the line as it is.
    pub fn words(line: impl Display) -> TcError {
        TcError { text: line.to_string(), exit: PARSE }
    }

    /// Words that make no command: the line as it is.
    pub fn usage(line: impl Display) -> TcError {
        TcError { text: line.to_string(), exit: USAGE }
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
        TcError { text: format!("Error: {reason}."), exit: REFUSED }
    }

    /// What the kernel refuses with an error number only.
    pub fn errno(errno: Errno) -> TcError {
        TcError { text: format!("RTNETLINK answers: {}", errno.text()), exit: REFUSED }
    }

    /// The same of filters and actions, about which tc says more.
    pub fn filter_refused(reason: impl Display) -> TcError {
        TcError::refused(reason).then(TALKING)
    }

    /// The same of filters and actions.
    pub fn filter_errno(errno: Errno) -> TcError {
        TcError::errno(errno).then(TALKING)
    }

    /// The same with a line behind it.
    pub fn then(self, line: &str) -> TcError {
        let text = if self.text.is_empty() { line.to_owned() } else { format!("{}\n{line}", self.text) };
        TcError { text, ..self }
    }

    /// All of it for standard error.
    pub fn printed(&self) -> String {
        let end = if self.text.is_empty() || self.text.ends_with('\n') { "" } else { "\n" };
        format!("{}{end}", self.text)
    }

    /// On one line, without tc's marks: for a configuration's mistakes.
    pub fn plain(&self) -> &str {
        let line = self.text.lines().next().unwrap_or_default();
        line.trim_start_matches("Error: ").trim_start_matches("RTNETLINK answers: ").trim_end_matches('.')
    }
}

impl Display for TcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
    /// ENOMEM
    NoMemory,
    /// ENOSPC
    NoSpace,
    /// EOPNOTSUPP
    NotSupported,
    /// ERANGE
    OutOfRange,
}

impl Errno {
    const fn text(self) -> &'static str {
        match self {
            Errno::Exists => "File exists",
            Errno::Invalid => "Invalid argument",
            Errno::NoDevice => "No such device",
            Errno::NotFound => "No such file or directory",
            Errno::NoMemory => "Cannot allocate memory",
            Errno::NoSpace => "No space left on device",
            Errno::NotSupported => "Operation not supported",
            Errno::OutOfRange => "Numerical result out of range",
        }
    }
}
