//! JSON as iproute2 writes it: members in a fixed order, no blanks, or its own indented form with `-pretty`.

use std::fmt::Write as _;

use serde_json::Value;

/// A value whose members keep the order they were put in.
pub(crate) enum Json {
    Null,
    True,
    Num(u64),
    /// A number with two digits behind the point.
    Hundredths(u64),
    Str(String),
    Arr(Vec<Json>),
    Obj(Vec<(&'static str, Json)>),
    /// One that was made elsewhere.
    Value(Value),
}

impl Json {
    pub(crate) fn str(text: impl ToString) -> Json {
        Json::Str(text.to_string())
    }

    pub(crate) fn num(number: impl Into<u64>) -> Json {
        Json::Num(number.into())
    }

    pub(crate) fn strings<T: ToString>(items: impl IntoIterator<Item = T>) -> Json {
        Json::Arr(items.into_iter().map(Json::str).collect())
    }

    /// The whole document: the value and a newline.
    pub(crate) fn document(&self, pretty: bool) -> String {
        let mut out = String::new();
        self.write(&mut out, pretty.then_some(0));
        out.push('\n');
        out
    }

    /// `depth` is the nesting depth in the indented form, `None` in the dense one.
    fn write(&self, out: &mut String, depth: Option<usize>) {
        match self {
            Json::Null => out.push_str("null"),
            Json::True => out.push_str("true"),
            Json::Num(n) => out.push_str(&n.to_string()),
            Json::Hundredths(n) => out.push_str(&format!("{}.{:02}", n / 100, n % 100)),
            Json::Str(s) => write_string(s, out),
            Json::Arr(items) => write_array(items, out, depth),
            Json::Obj(members) => write_object(members, out, depth),
            Json::Value(value) => write_value(value, out, depth),
        }
    }
}

fn write_array(items: &[Json], out: &mut String, depth: Option<usize>) {
    out.push('[');
    if depth.is_some() {
        out.push(' ');
    }
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        item.write(out, depth.map(|d| d + 1));
    }
    if depth.is_some() && !items.is_empty() {
        out.push(' ');
    }
    out.push(']');
}

fn write_object<K: AsRef<str>>(members: &[(K, Json)], out: &mut String, depth: Option<usize>) {
    out.push('{');
    for (i, (name, value)) in members.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        new_line(out, depth.map(|d| d + 1));
        write_string(name.as_ref(), out);
        out.push_str(if depth.is_some() { ": " } else { ":" });
        value.write(out, depth.map(|d| d + 1));
    }
    if !members.is_empty() {
        new_line(out, depth);
    }
    out.push('}');
}

fn write_value(value: &Value, out: &mut String, depth: Option<usize>) {
    let made = |value: &Value| Json::Value(value.clone());
    match value {
        Value::String(text) => write_string(text, out),
        Value::Array(items) => write_array(&items.iter().map(made).collect::<Vec<_>>(), out, depth),
        Value::Object(members) => {
            let members: Vec<(&String, Json)> =
                members.iter().map(|(name, value)| (name, made(value))).collect();
            write_object(&members, out, depth);
        }
        plain => out.push_str(&plain.to_string()),
    }
}

fn new_line(out: &mut String, depth: Option<usize>) {
    if let Some(depth) = depth {
        out.push('\n');
        out.extend(std::iter::repeat_n("    ", depth));
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => write!(out, "\\u{:04x}", c as u32).expect("writing to a String cannot fail"),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_indented_forms() {
        let value = Json::Arr(vec![
            Json::Obj(vec![("a", Json::num(1u32)), ("flags", Json::strings(["x", "y"]))]),
            Json::Obj(vec![("none", Json::Arr(Vec::new())), ("q", Json::str("\"\\\u{1}"))]),
        ]);
        assert_eq!(
            value.document(false),
            "[{\"a\":1,\"flags\":[\"x\",\"y\"]},{\"none\":[],\"q\":\"\\\"\\\\\\u0001\"}]\n"
        );
        let pretty = "[ {\n        \"a\": 1,\n        \"flags\": [ \"x\",\"y\" ]\n    },{\n        \"none\": [ ],\n        \
                      \"q\": \"\\\"\\\\\\u0001\"\n    } ]\n";
        assert_eq!(value.document(true), pretty);
    }
}
