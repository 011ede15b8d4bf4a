//! The words of a command, read one after another as tc does.

use crate::tc::error::TcError;
use crate::tc::request::Devices;
use crate::tc::units;
use crate::tc::words::matches;
use skiff_dataplane::sched::handle::TcHandle;

/// The words that are left, and what they may name.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    words: &'a [String],
    /// The devices there are.
    pub devices: &'a dyn Devices,
}

impl std::fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.words.fmt(f)
    }
}

impl<'a> Words<'a> {
    /// All words of a command.
    pub fn new(words: &'a [String], devices: &'a dyn Devices) -> Words<'a> {
        Words { words, devices }
    }

    /// The next word, which stays.
    pub fn peek(&self) -> Option<&'a str> {
        self.words.first().map(String::as_str)
    }

    /// The next word is exactly this.
    pub fn is(&self, name: &str) -> bool {
        self.peek() == Some(name)
    }

    /// The next word abbreviates this.
    pub fn abbreviates(&self, name: &str) -> bool {
        self.peek().is_some_and(|word| matches(word, name))
    }

    /// Passes over the next word.
    pub fn skip(&mut self) {
        self.words = self.words.get(1..).unwrap_or(&[]);
    }

    /// Takes the next word if it is exactly this.
    pub fn take(&mut self, name: &str) -> bool {
        let is = self.is(name);
        if is {
            self.skip();
        }
        is
    }

    /// Takes the next word if it abbreviates this.
    pub fn take_abbreviation(&mut self, name: &str) -> bool {
        let is = self.abbreviates(name);
        if is {
            self.skip();
        }
        is
    }

    /// Takes the next word, which there must be (`NEXT_ARG`).
    pub fn arg(&mut self) -> Result<&'a str, TcError> {
        let word = self.peek().ok_or_else(TcError::incomplete)?;
        self.skip();
        Ok(word)
    }

    /// There must be a next word.
    pub fn more(&self) -> Result<(), TcError> {
        self.peek().map(|_| ()).ok_or_else(TcError::incomplete)
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// None is left.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// A number in the base its prefix says, or in `base`.
    pub fn u32(&mut self, base: u32) -> Option<u32> {
        let number = units::u32_in(self.peek()?, base)?;
        self.skip();
        Some(number)
    }

    /// A class.
    pub fn classid(&mut self) -> Option<TcHandle> {
        let class = units::classid(self.peek()?)?;
        self.skip();
        Some(class)
    }
}
