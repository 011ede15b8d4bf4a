//! What `show` prints: tc 6.1's text, byte for byte, or its JSON.
//!
//! A line is written once, as fields: each has a name in JSON and a form in text, either of which may be missing. JSON has
//! rates in bytes a second and sizes in bytes, as plain numbers. Classes have the JSON of later versions of tc: 6.1 has none.

mod class;
mod kinds;
mod qdisc;
mod stats;

pub use class::show as classes;
pub use qdisc::show as qdiscs;

use serde_json::Value;

use super::request::Show;
use super::units;
use crate::ip::json::Json;

type Members = Vec<(&'static str, Json)>;

/// Something that is printed: both forms at once, of which one is used.
struct Out<'a> {
    options: &'a Show,
    text: String,
    object: Members,
    /// Fields go into this member.
    member: Option<Members>,
}

impl<'a> Out<'a> {
    fn new(options: &'a Show) -> Out<'a> {
        Out { options, text: String::new(), object: Vec::new(), member: None }
    }

    /// Text that has no place in JSON.
    fn text(&mut self, text: impl AsRef<str>) {
        if !self.options.json {
            self.text.push_str(text.as_ref());
        }
    }

    /// A field of JSON that has no place in the text.
    fn json(&mut self, key: &'static str, value: impl Into<Value>) {
        if self.options.json {
            self.member.as_mut().unwrap_or(&mut self.object).push((key, Json::Value(value.into())));
        }
    }

    /// A field that both have.
    fn field(&mut self, key: &'static str, value: impl Into<Value>, text: impl AsRef<str>) {
        self.text(text);
        self.json(key, value);
    }

    /// A size, `before` and `after` around it.
    fn size(&mut self, key: &'static str, bytes: u64, before: &str, after: &str) {
        self.field(key, bytes, format!("{before}{}{after}", units::show_size(bytes)));
    }

    /// A rate, likewise.
    fn rate(&mut self, key: &'static str, bytes: u64, before: &str, after: &str) {
        self.field(key, bytes, format!("{before}{}{after}", units::show_rate(bytes, self.options.iec)));
    }

    /// A word that is there or not.
    fn flag(&mut self, key: &'static str, on: bool, text: &str) {
        if on {
            self.text(text);
        }
        self.json(key, on);
    }

    /// The end of a line, for which there is another sign if all shall be on one.
    fn newline(&mut self) {
        self.text(if self.options.oneline { "\\" } else { "\n" });
    }

    /// The fields that `fill` adds are an object of their own.
    fn member(&mut self, key: &'static str, fill: impl FnOnce(&mut Self)) {
        self.member = Some(Vec::new());
        fill(self);
        if let Some(member) = self.member.take().filter(|_| self.options.json) {
            self.object.push((key, Json::Obj(member)));
        }
    }
}

/// All of them together.
fn finish(options: &Show, outs: Vec<Out<'_>>) -> String {
    if options.json {
        return Json::Arr(outs.into_iter().map(|out| Json::Obj(out.object)).collect())
            .document(options.pretty);
    }
    outs.into_iter().map(|out| out.text).collect()
}
