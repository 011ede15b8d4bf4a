//! What goes wrong.

use std::fmt;

/// A command that was not understood, or is refused: what tc writes to its standard error, and its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcError {
    /// 1 for a command tc does not understand, 2 for one the kernel refuses; 255 is tc's -1.
    pub exit: u8,
    /// The lines, without the last line's end.
    pub text: String,
}

impl TcError {
    /// A word tc does not understand.
    pub fn usage(text: impl Into<String>) -> TcError {
        TcError { exit: 1, text: text.into() }
    }

    /// What the kernel refuses and explains.
    pub fn refused(text: impl fmt::Display) -> TcError {
        TcError { exit: 2, text: format!("Error: {text}.\nWe have an error talking to the kernel") }
    }

    /// What the kernel refuses with no more than an error number's text.
    pub fn errno(text: &str) -> TcError {
        TcError {
            exit: 2,
            text: format!("RTNETLINK answers: {text}\nWe have an error talking to the kernel"),
        }
    }

    /// The same with a line in front.
    pub fn then(self, line: &str) -> TcError {
        let text = if self.text.is_empty() { line.into() } else { format!("{}\n{line}", self.text) };
        TcError { text, ..self }
    }
}

impl fmt::Display for TcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for TcError {}
