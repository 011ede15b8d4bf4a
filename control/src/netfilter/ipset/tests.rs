use super::*;

/// Runs commands one after the other; the last one's outcome, and what `save` prints then.
fn session(lines: &[&str]) -> (Result<String, String>, String) {
    let mut rules = crate::netfilter::ruleset("", Vec::new()).unwrap();
    let mut last = Ok(String::new());
    for line in lines {
        let args = line.split_whitespace().map(str::to_owned).collect();
        last = match run(&Call { args, input: String::new(), input_name: String::new() }, &rules) {
            Ok(outcome) => {
                if let Some((changed, _)) = outcome.ruleset {
                    rules = changed;
                }
                Ok(outcome.stdout)
            }
            Err(error) => Err(format!("{} {error}", error.exit)),
        };
    }
    let saved = Sets::of(&rules.sets).print(None, |_| table::Form::Save).unwrap();
    (last, saved)
}

fn members(kind: &str, adds: &[&str]) -> Vec<String> {
    let create = format!("create s {kind}");
    let adds: Vec<String> = adds.iter().map(|element| format!("add s {element}")).collect();
    let lines: Vec<&str> = std::iter::once(create.as_str()).chain(adds.iter().map(String::as_str)).collect();
    let (last, saved) = session(&lines);
    last.unwrap_or_else(|error| panic!("{lines:?}: {error}"));
    saved.lines().skip(1).map(|line| line.strip_prefix("add s ").unwrap().to_owned()).collect()
}

#[test]
fn elements_are_printed_as_ipset_prints_them() {
    let range = ["10.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3"];
    assert_eq!(members("hash:ip", &["10.0.0.0/30"]), range);
    assert_eq!(members("hash:ip", &["10.0.0.0-10.0.0.3"]), range);
    let nets = ["10.0.0.0/8", "10.1.0.5/16 nomatch", "10.9.9.9"];
    assert_eq!(members("hash:net", &nets), ["10.0.0.0/8", "10.1.0.0/16 nomatch", "10.9.9.9"]);
    assert_eq!(
        members("hash:net", &["10.0.0.1-10.0.0.6"]),
        ["10.0.0.1", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6"]
    );
    let pairs =
        ["10.0.0.1,80", "10.0.0.1,udp:53", "10.0.0.1,icmp:ping", "10.0.0.1,icmp:3/4", "10.0.0.1,gre:0"];
    let printed = [
        "10.0.0.1,icmp:fragmentation-needed",
        "10.0.0.1,icmp:echo-request",
        "10.0.0.1,tcp:80",
        "10.0.0.1,udp:53",
        "10.0.0.1,gre:0",
    ];
    assert_eq!(members("hash:ip,port", &pairs), printed);
    assert_eq!(
        members("hash:net,port", &["10.0.0.9/24,tcp:80-81"]),
        ["10.0.0.0/24,tcp:80", "10.0.0.0/24,tcp:81"]
    );
    assert_eq!(
        members("bitmap:port range 0-1023", &["ssh", "100-101", "tcp:99"]),
        ["22", "99", "100", "101"]
    );
}

#[test]
fn sets_are_refused_as_ipset_refuses_them() {
    let with = |last: &str| {
        session(&[
            "create a hash:ip maxelem 2",
            "create n hash:net",
            "create p bitmap:port range 1-9",
            "add a 10.0.0.1",
            last,
        ])
        .0
    };
    for line in [
        "create a hash:ip",
        "create b hash:foo",
        "create b",
        "create b bitmap:port",
        "create b hash:ip family inet6",
        "create b hash:ip timeout 5",
        "add a 10.0.0.1",
        "add a 0.0.0.0",
        "add a 10.0.0.0/29",
        "add a 1.1.1.1,80",
        "add n 0.0.0.0/0",
        "add p 10",
        "add p 0",
        "del a 10.0.0.9",
        "add x 1.1.1.1",
        "destroy x",
        "test a 10.0.0.2",
        "add a 10.0.0.300",
        "foo",
        "",
        "rename a n",
        "swap a n",
        "add n example.org",
        "list x",
    ] {
        assert!(with(line).is_err(), "{line}");
    }
    for line in
        ["create a hash:ip -exist", "add -exist a 10.0.0.1", "del -exist a 10.0.0.9", "test a 10.0.0.1"]
    {
        assert!(with(line).is_ok(), "{line}: {:?}", with(line));
    }
}

#[test]
fn the_smallest_network_decides() {
    let test = |address: &str| {
        session(&[
            "create n hash:net",
            "add n 10.0.0.0/8",
            "add n 10.1.0.0/16 nomatch",
            &format!("test n {address}"),
        ])
        .0
    };
    assert_eq!(test("10.2.3.4"), Ok("10.2.3.4 is in set n.\n".to_owned()));
    assert_eq!(test("10.1.3.4"), Err("1 10.1.3.4 is NOT in set n.".to_owned()));
    assert!(test("11.0.0.1").is_err());
}

#[test]
fn sets_are_listed_and_saved() {
    let (list, saved) =
        session(&["create a hash:ip", "add a 10.0.0.1", "create e bitmap:port range 0-1023", "list"]);
    assert_eq!(
        list.unwrap(),
        "Name: a\nType: hash:ip\nHeader: family inet hashsize 1024 maxelem 65536\nReferences: 0\n\
         Number of entries: 1\nMembers:\n10.0.0.1\n\n\
         Name: e\nType: bitmap:port\nHeader: range 0-1023\nReferences: 0\nNumber of entries: 0\nMembers:\n"
    );
    assert_eq!(
        saved,
        "create a hash:ip family inet hashsize 1024 maxelem 65536\nadd a 10.0.0.1\ncreate e bitmap:port range 0-1023\n"
    );
    let read = sets(&saved).unwrap();
    assert_eq!(Sets::of(&read).print(None, |_| table::Form::Save).unwrap(), saved);
    let errors = sets("create a hash:ip\nadd b 1.1.1.1\n\nfoo\n").unwrap_err();
    assert_eq!(errors.iter().map(|error| error.line).collect::<Vec<_>>(), [Some(2), Some(4)]);
}
