//! Splitting a line of rules into words, as iptables-restore does: blanks part them, `"` quotes, and inside quotes `\`
//! escapes the next character. An apostrophe is a character like any other.

use crate::config::Fault;

/// The words of `line`.
///
/// # Errors
/// A quote that is not closed, or a quote in the middle of a word: iptables-restore would end the word there.
pub(super) fn split(line: &str) -> Result<Vec<String>, Fault> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        match chars.peek() {
            None => return Ok(words),
            Some('"') => {
                chars.next();
                words.push(quoted(&mut chars)?);
                if chars.peek().is_some_and(|c| !c.is_ascii_whitespace()) {
                    return Err("a word goes on after its closing quote".into());
                }
            }
            Some(_) => words.push(plain(&mut chars)?),
        }
    }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn quoted(chars: &mut Chars<'_>) -> Result<String, Fault> {
    let mut word = String::new();
    loop {
        match chars.next() {
            Some('"') => return Ok(word),
            Some('\\') => word.extend(chars.next()),
            Some(c) => word.push(c),
            None => return Err("a quote is not closed".into()),
        }
    }
}

fn plain(chars: &mut Chars<'_>) -> Result<String, Fault> {
    let mut word = String::new();
    while let Some(c) = chars.next_if(|c| !c.is_ascii_whitespace()) {
        if c == '"' {
            return Err(Fault::from("a quote in the middle of a word").help("quote the whole word"));
        }
        word.push(c);
    }
    Ok(word)
}

/// `text` as `iptables-save` writes a string: in quotes unless it is made of letters, digits, `_` and `-` alone.
pub(super) fn quote_saved(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '\'') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_escapes() {
        assert_eq!(split("-A  INPUT\t-j x \n").unwrap(), ["-A", "INPUT", "-j", "x"]);
        assert_eq!(split(r#"a "b \"c\" \\d" ''"#).unwrap(), ["a", r#"b "c" \d"#, "''"]);
        assert_eq!(split(r#""""#).unwrap(), [""]);
        assert!(split("\"a").is_err() && split("a\"b\"").is_err() && split("\"a\"b").is_err());
    }

    #[test]
    fn what_is_saved_reads_back() {
        for text in ["foo", "", "a b", "it's", r#"\"#, "a\"b", "-x", "ä"] {
            assert_eq!(split(&quote_saved(text)).unwrap(), [text]);
        }
        assert_eq!(quote_saved("-x_9"), "-x_9");
        assert_eq!(quote_saved("it's"), r#""it\'s""#);
    }
}
