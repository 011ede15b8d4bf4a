//! The words of a command, taken from the front.

use super::error::TcError;

/// The words that are left.
#[derive(Clone, Copy, Debug)]
pub struct Words<'a>(&'a [&'a str]);

impl<'a> Words<'a> {
    /// All of `words`.
    pub fn new(words: &'a [&'a str]) -> Words<'a> {
        Words(words)
    }

    /// The next word, which stays.
    pub fn peek(&self) -> Option<&'a str> {
        self.0.first().copied()
    }

    /// The value behind an option.
    ///
    /// # Errors
    /// There is none.
    pub fn value(&mut self) -> Result<&'a str, TcError> {
        self.next().ok_or_else(TcError::incomplete)
    }

    /// What is left.
    pub fn rest(&self) -> &'a [&'a str] {
        self.0
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }
}

/// True if `word` is `full` or the beginning of it.
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
        let mut words = Words::new(&["limit"]);
        assert_eq!(words.next(), Some("limit"));
        assert_eq!(words.value(), Err(TcError::incomplete()));
    }
}
