//! Text or JSON, written from one description as tc's printers do.

use std::fmt::{Display, Write};

/// What is being written.
#[derive(Debug)]
pub struct Out {
    json: bool,
    text: String,
    /// Something stands before the next member, for each open bracket.
    begun: Vec<bool>,
}

impl Out {
    /// Nothing yet.
    pub fn new(json: bool) -> Out {
        Out { json, text: String::new(), begun: vec![false] }
    }

    /// All of it.
    pub fn finish(self) -> String {
        self.text
    }

    /// Only in text.
    pub fn raw(&mut self, text: impl Display) {
        if !self.json {
            let _ = write!(self.text, "{text}");
        }
    }

    /// The end of a line of text.
    pub fn nl(&mut self) {
        self.raw("\n");
    }

    fn key(&mut self, key: &str) {
        if let Some(begun) = self.begun.last_mut() {
            if *begun {
                self.text.push(',');
            }
            *begun = true;
        }
        if !key.is_empty() {
            self.string(key);
            self.text.push(':');
        }
    }

    fn string(&mut self, value: &str) {
        self.text.push_str(&serde_json::Value::from(value).to_string());
    }

    /// A string: `before`, it and `after`, or a member.
    pub fn str(&mut self, key: &str, before: &str, value: impl Display, after: &str) {
        if self.json {
            return self.json_str(key, &value.to_string());
        }
        self.raw(format_args!("{before}{value}{after}"));
    }

    /// A number.
    pub fn num(&mut self, key: &str, before: &str, value: impl Display, after: &str) {
        self.shown(key, value.to_string(), format_args!("{before}{value}{after}"));
    }

    /// A number with its own form in text.
    pub fn shown(&mut self, key: &str, value: impl Display, text: impl Display) {
        match self.json {
            true => self.json_num(key, value),
            false => self.raw(text),
        }
    }

    /// A hexadecimal number, which is a string in JSON.
    pub fn hex(&mut self, key: &str, value: u32, text: impl Display) {
        match self.json {
            true => self.json_str(key, &format!("{value:x}")),
            false => self.raw(text),
        }
    }

    /// The same with its prefix.
    pub fn hex0x(&mut self, key: &str, value: u32, text: impl Display) {
        match self.json {
            true => self.json_str(key, &format!("{value:#x}")),
            false => self.raw(text),
        }
    }

    /// Something that is so.
    pub fn flag(&mut self, key: &str, text: &str) {
        self.shown(key, true, text);
    }

    /// Only in JSON.
    pub fn json_str(&mut self, key: &str, value: &str) {
        if self.json {
            self.key(key);
            self.string(value);
        }
    }

    /// Only in JSON.
    pub fn json_num(&mut self, key: &str, value: impl Display) {
        if self.json {
            self.key(key);
            let _ = write!(self.text, "{value}");
        }
    }

    /// Begins an object; without a name, one of an array.
    pub fn open(&mut self, key: &str) {
        self.bracket(key, '{');
    }

    /// Begins an array.
    pub fn open_array(&mut self, key: &str) {
        self.bracket(key, '[');
    }

    fn bracket(&mut self, key: &str, bracket: char) {
        if self.json {
            self.key(key);
            self.text.push(bracket);
            self.begun.push(false);
        }
    }

    /// Ends an object.
    pub fn close(&mut self) {
        self.unbracket('}');
    }

    /// Ends an array.
    pub fn close_array(&mut self) {
        self.unbracket(']');
    }

    fn unbracket(&mut self, bracket: char) {
        if self.json {
            self.text.push(bracket);
            self.begun.pop();
        }
    }
}
