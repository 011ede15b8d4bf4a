//! The words of a command, taken from the front as tc does.

use skiff_dataplane::sched::handle::TcHandle;

use super::error::TcError;
use super::request::Devices;
use super::units;

/// The words that are left, and what they may name.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    words: &'a [&'a str],
    /// The devices there are.
    pub devices: &'a dyn Devices,
}

impl std::fmt::Debug for Words<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.words.fmt(f)
    }
}

impl<'a> Words<'a> {
    /// All of `words`.
    pub fn new(words: &'a [&'a str], devices: &'a dyn Devices) -> Words<'a> {
        Words { words, devices }
    }

    /// The next word, which stays.
    pub fn peek(&self) -> Option<&'a str> {
        self.words.first().copied()
    }

    /// Takes the next word.
    pub fn pop(&mut self) -> Option<&'a str> {
        let word = self.peek();
        self.skip();
        word
    }

    /// Takes the next word, which there must be: the value behind an option.
    ///
    /// # Errors
    /// There is none.
    pub fn value(&mut self) -> Result<&'a str, TcError> {
        self.pop().ok_or_else(TcError::incomplete)
    }

    /// There must be a next word.
    ///
    /// # Errors
    /// There is none.
    pub fn more(&self) -> Result<(), TcError> {
        self.peek().map(|_| ()).ok_or_else(TcError::incomplete)
    }

    /// Passes over the next word.
    pub fn skip(&mut self) {
        self.words = self.words.get(1..).unwrap_or(&[]);
    }

    /// The next word is exactly this.
    pub fn is(&self, name: &str) -> bool {
        self.peek() == Some(name)
    }

    /// The next word abbreviates this.
    pub fn abbreviates(&self, name: &str) -> bool {
        self.peek().is_some_and(|word| matches(word, name))
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

    /// Takes a number in the base its prefix says, or in `base`.
    pub fn u32(&mut self, base: u32) -> Option<u32> {
        let number = units::u32_in(self.peek()?, base)?;
        self.skip();
        Some(number)
    }

    /// Takes the name of a class.
    pub fn classid(&mut self) -> Option<TcHandle> {
        let class = units::classid(self.peek()?)?;
        self.skip();
        Some(class)
    }

    /// How many are left.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// None is left.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// What is left.
    pub fn rest(&self) -> &'a [&'a str] {
        self.words
    }
}

/// True if `word` is `full` or the beginning of it, as tc's `matches()` has it.
pub fn matches(word: &str, full: &str) -> bool {
    !word.is_empty() && full.starts_with(word)
}

/// The first of `table` that `word` abbreviates: where several might, tc's order decides, which is that of the table.
pub fn lookup<T: Copy>(word: &str, table: &[(&str, T)]) -> Option<T> {
    table.iter().find(|(full, _)| matches(word, full)).map(|&(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tc::tests::TwoDevices;

    #[test]
    fn a_word_abbreviates_the_first_that_begins_with_it() {
        let table = [("limit", 1), ("latency", 2), ("link", 3)];
        for (word, value) in [("l", Some(1)), ("la", Some(2)), ("lin", Some(3)), ("limits", None), ("", None)]
        {
            assert_eq!(lookup(word, &table), value, "{word}");
        }
    }

    #[test]
    fn a_missing_value_is_an_incomplete_line() {
        let mut words = Words::new(&["limit"], &TwoDevices);
        assert_eq!(words.pop(), Some("limit"));
        assert_eq!(words.value(), Err(TcError::incomplete()));
    }
}
