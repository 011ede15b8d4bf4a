//! Why a rule, a text or a command was not taken.

use std::fmt;

use crate::config::Fault;

/// Exit code of a command the tables refuse, as iptables has it.
pub const REFUSED: u8 = 1;
/// Exit code of a command that cannot be understood.
pub const USAGE: u8 = 2;

/// One mistake: what is wrong, where it stands if it stands in a text, and the exit code it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong and what to try.
    pub fault: Fault,
    /// Line of the text, from 1; `None` for a command.
    pub line: Option<u32>,
    /// [`REFUSED`] or [`USAGE`].
    pub exit: u8,
}

impl Error {
    /// Something that cannot be understood.
    pub fn usage(fault: impl Into<Fault>) -> Error {
        Error { fault: fault.into(), line: None, exit: USAGE }
    }

    /// Something understood that the tables do not take.
    pub fn refused(fault: impl Into<Fault>) -> Error {
        Error { fault: fault.into(), line: None, exit: REFUSED }
    }

    /// The same mistake, on `line` of a text unless it knows its line already; line 0 is none.
    #[must_use]
    pub fn at(mut self, line: u32) -> Error {
        if line > 0 {
            self.line.get_or_insert(line);
        }
        self
    }

    /// The line for standard error, `skiff: WHERE: WHY` and a newline: `text` names the text the line belongs to,
    /// and `what` the command if it stands in none.
    pub fn report(&self, text: &str, what: &str) -> String {
        match self.line {
            Some(line) => format!("skiff: {text}:{line}: {self}\n"),
            None => format!("skiff: {what}: {self}\n"),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::usage(fault)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault.help {
            Some(help) => write!(f, "{}, {help}", self.fault.message),
            None => f.write_str(&self.fault.message),
        }
    }
}

impl std::error::Error for Error {}

/// A text quoted for a message: on one line and of bounded length.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}
