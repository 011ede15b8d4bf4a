//! The little language of `-m u32`: `LOCATION=VALUES` joined by `&&`.

use skiff_dataplane::netfilter::ip_tables::rule::{Range, U32Op, U32Test};

use super::values::number;
use crate::config::Fault;
use crate::netfilter::error::quote;

/// The kernel has room for this many tests, operations and values.
const MOST: usize = 10;

/// Parses the whole text.
pub(super) fn parse(text: &str) -> Result<Vec<U32Test>, Fault> {
    let mut cursor = Cursor { text, at: 0 };
    let mut tests = Vec::new();
    loop {
        if tests.len() == MOST {
            return Err(cursor.fault(&format!("more than {MOST} tests")));
        }
        let location = location(&mut cursor)?;
        let values = values(&mut cursor)?;
        tests.push(U32Test { location, values });
        if cursor.end() {
            return Ok(tests);
        }
        if !cursor.eat("&&") {
            return Err(cursor.fault("\",\" or \"&&\" is expected"));
        }
    }
}

fn location(cursor: &mut Cursor<'_>) -> Result<Vec<(U32Op, u32)>, Fault> {
    let mut location = vec![(U32Op::And, cursor.number()?)];
    loop {
        if cursor.eat("=") {
            return Ok(location);
        }
        let op = [("<<", U32Op::LeftShift), (">>", U32Op::RightShift), ("&", U32Op::And), ("@", U32Op::At)]
            .into_iter()
            .find(|(word, _)| cursor.eat(word))
            .map(|(_, op)| op);
        let Some(op) = op else { return Err(cursor.fault("an operator or \"=\" is expected")) };
        if location.len() == MOST {
            return Err(cursor.fault(&format!("more than {MOST} numbers in a location")));
        }
        location.push((op, cursor.number()?));
    }
}

fn values(cursor: &mut Cursor<'_>) -> Result<Vec<Range<u32>>, Fault> {
    let mut values = Vec::new();
    loop {
        if values.len() == MOST {
            return Err(cursor.fault(&format!("more than {MOST} values")));
        }
        let min = cursor.number()?;
        let max = if cursor.eat(":") { cursor.number()? } else { min };
        values.push(Range { min, max });
        if !cursor.eat(",") {
            return Ok(values);
        }
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl Cursor<'_> {
    fn rest(&mut self) -> &str {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        &self.text[self.at..]
    }

    fn end(&mut self) -> bool {
        self.rest().is_empty()
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn number(&mut self) -> Result<u32, Fault> {
        let rest = self.rest();
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        match number(&rest[..length], u64::from(u32::MAX)).and_then(|n| u32::try_from(n).ok()) {
            Some(number) => {
                self.at += length;
                Ok(number)
            }
            None => Err(self.fault("a number is expected")),
        }
    }

    fn fault(&mut self, why: &str) -> Fault {
        let rest = quote(self.rest());
        format!("--u32 at character {}, {rest}: {why}", self.at + 1).into()
    }
}
