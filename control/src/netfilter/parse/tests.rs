use super::*;

fn parse_line(line: &str) -> Result<Request, String> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    parse(&words).map_err(|fault| fault.message)
}

#[test]
fn letters_stand_together() {
    let Request { command, listing, .. } = parse_line("-nvL INPUT 3 --line-numbers").unwrap();
    assert_eq!(command, Command::List(Some("INPUT".to_owned()), Some(3), false));
    assert_eq!(listing, Listing { verbose: true, numeric: true, exact: false, line_numbers: true });
    assert_eq!(parse_line("-tmangle -L").unwrap().table, parse_line("--table mangle --list").unwrap().table);
    assert_eq!(parse_line("-Z -L INPUT").unwrap().command, parse_line("-L INPUT -Z").unwrap().command);
    assert_eq!(parse_line("-w 5 -F").unwrap().command, Command::Flush(None));
}

#[test]
fn options_may_be_cut_short_while_unique() {
    for (short, long) in [
        ("-A INPUT -p tcp --dpo 5", "-A INPUT -p tcp --destination-port 5"),
        ("-A INPUT -m multiport -p tcp --dport 5", "-A INPUT -p tcp -m multiport --dports 5"),
        ("--app INPUT --proto tcp --dport=5", "-A INPUT -p tcp --dport 5"),
    ] {
        assert_eq!(parse_line(short), parse_line(long), "{short}");
    }
    let error = parse_line("-A INPUT -m limit --lim 5/s").unwrap_err();
    assert_eq!(error, "option \"--lim\" may be \"--limit\" or \"--limit-burst\"");
}

#[test]
fn cutting_keeps_characters_whole() {
    assert_eq!((cut("aä", 2), cut("aä", 3), cut("abc", 9)), ("a", "aä", "abc"));
}
