//! The lines of `tc -batch`: words, comments, continuation lines.

/// A command of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'t> {
    /// The number of its last line, from 1, which is what tc reports.
    pub number: usize,
    /// Where it begins in the text, bytes.
    pub start: usize,
    /// Its words, without quotes.
    pub words: Vec<&'t str>,
}

/// The commands in `text`. A `#` begins a comment; a `\` at a line's end continues it on the next; words are separated by
/// blanks, and those in single or double quotes are one.
pub fn lines(text: &str) -> Vec<Line<'_>> {
    let mut found = Vec::new();
    let mut open: Option<Line<'_>> = None;
    let mut start = 0;
    for (number, whole) in (1..).zip(text.split_inclusive('\n')) {
        let line = whole.strip_suffix('\n').unwrap_or(whole);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let line = line.find('#').map_or(line, |comment| &line[..comment]);
        let (line, continues) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        let indent = line.len() - line.trim_start().len();
        let command = open.get_or_insert_with(|| Line { number, start: start + indent, words: Vec::new() });
        command.number = number;
        split(line, &mut command.words);
        start += whole.len();
        if !continues {
            found.extend(open.take().filter(|line| !line.words.is_empty()));
        }
    }
    found.extend(open.filter(|line| !line.words.is_empty()));
    found
}

fn split<'t>(mut line: &'t str, words: &mut Vec<&'t str>) {
    loop {
        line = line.trim_start_matches([' ', '\t', '\r']);
        let Some(first) = line.chars().next() else { return };
        if first == '"' || first == '\'' {
            let inside = &line[1..];
            let end = inside.find(first).unwrap_or(inside.len());
            words.push(&inside[..end]);
            line = inside.get(end + 1..).unwrap_or_default();
        } else {
            let end = line.find([' ', '\t', '\r']).unwrap_or(line.len());
            words.push(&line[..end]);
            line = &line[end..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_continuations_and_quotes() {
        let text = "# comment\nqdisc add \\\n dev d0\n\n  class \"a b\"\t'c' # trailing\r\nlast \\";
        let found = lines(text);
        let words: Vec<_> = found.iter().map(|line| (line.number, line.words.join("|"))).collect();
        let expected = [(3, "qdisc|add|dev|d0"), (5, "class|a b|c"), (6, "last")];
        assert_eq!(words, expected.map(|(number, words)| (number, words.to_owned())));
        assert!(text[found[1].start..].starts_with("class"));
        assert!(lines("").is_empty() && lines("\n\n#x\n").is_empty());
    }
}
