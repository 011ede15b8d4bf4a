//! The words of `ip`, `tc`, `iptables` and `ipset`: what may stand behind those already there.

use super::words::*;
use super::{Names, Offer};

/// Whether the words behind `command` are a language of their own.
pub(super) fn knows(command: &str) -> bool {
    matches!(command, "ip" | "tc" | "iptables" | "iptables-save" | "iptables-restore" | "ipset")
}

/// What may follow `words`, which stand behind `command`.
pub(super) fn offer(command: &str, words: &[&str], names: &dyn Names) -> Offer {
    match command {
        "ip" => ip(words, names),
        "tc" => tc(words, names),
        "iptables" => iptables(words, names),
        "iptables-save" => tables_or(words, Offer::of(["-t", "-c", "--table", "--counters"])),
        "iptables-restore" => {
            tables_or(words, Offer::files().and(Offer::of(["-n", "--noflush", "-t", "--test"])))
        }
        "ipset" => ipset(words, names),
        _ => Offer::default(),
    }
}

fn tc(words: &[&str], names: &dyn Names) -> Offer {
    let options = words.iter().take_while(|word| word.starts_with('-')).count();
    if words[..options].last().is_some_and(|word| "-batch".starts_with(word) && word.len() > 1) {
        return Offer::files();
    }
    let Some((object, words)) = words[options..].split_first() else {
        return Offer::of(TC_OBJECTS).and(Offer::of(TC_OPTIONS));
    };
    let Some((verb, words)) = words.split_first() else { return Offer::of(TC_VERBS) };
    let shows = abbreviates(verb, "show") || abbreviates(verb, "list");
    let device = after(words, "dev").unwrap_or_default();
    match words.last().copied() {
        Some("dev") => return Offer::of(names.devices()),
        Some("classid" | "flowid") => return explained(names.classes(device)),
        Some("parent" | "qdisc") => {
            return explained(names.handles(device)).and(explained(names.classes(device)));
        }
        Some("handle") if abbreviates(object, "qdisc") => return explained(names.handles(device)),
        _ => {}
    }
    let (places, kinds): (&[&str], &[&str]) = match *object {
        word if abbreviates(word, "qdisc") => (&QDISC_PLACES, if shows { &[] } else { &QDISCS }),
        word if abbreviates(word, "class") => (&CLASS_PLACES, if shows { &[] } else { &["htb"] }),
        word if abbreviates(word, "filter") => (&FILTER_WORDS, &[]),
        _ => return Offer::default(),
    };
    match words.iter().position(|word| kinds.contains(word)) {
        Some(at) => unused(&words[at + 1..], parameters(words[at], abbreviates(object, "class"))),
        None => unused(words, places).and(unused(words, kinds)),
    }
}

fn parameters(kind: &str, of_class: bool) -> &'static [&'static str] {
    match kind {
        "htb" if of_class => &HTB_CLASS,
        "htb" => &HTB,
        "red" => &RED,
        "tbf" => &TBF,
        "prio" => &PRIO,
        "pfifo" | "bfifo" | "pfifo_head_drop" => &["limit"],
        _ => &[],
    }
}

fn ip(words: &[&str], names: &dyn Names) -> Offer {
    let options = words.iter().take_while(|word| word.starts_with('-')).count();
    let Some((object, words)) = words[options..].split_first() else {
        return Offer::of(IP_OBJECTS).and(Offer::of(IP_OPTIONS));
    };
    let link = abbreviates(object, "link");
    let Some((verb, words)) = words.split_first() else {
        return if link { Offer::of(LINK_VERBS) } else { Offer::of(IP_VERBS) };
    };
    let devices = || Offer::of(names.devices());
    match words.last().copied() {
        Some("dev" | "master" | "link" | "iif" | "oif") => return devices(),
        Some("type") => return Offer::of(["vlan", "bond"]),
        _ => {}
    }
    let parts: &[&str] = match *verb {
        verb if link && abbreviates(verb, "show") => &LINK_SHOW,
        verb if link && abbreviates(verb, "set") => &LINK_SET,
        verb if link && abbreviates(verb, "add") => &LINK_ADD,
        _ if link => &["dev"],
        _ if abbreviates(object, "route") => &ROUTE,
        _ if abbreviates(object, "address") => &ADDRESS,
        _ if abbreviates(object, "neighbour") || abbreviates(object, "neighbor") => &NEIGHBOUR,
        _ => &["dev"],
    };
    // The first word of a link's command may be its device, without "dev".
    let first =
        if link && words.is_empty() && !abbreviates(verb, "add") { devices() } else { Offer::default() };
    first.and(unused(words, parts))
}

fn iptables(words: &[&str], names: &dyn Names) -> Offer {
    let table = after(words, "-t").or_else(|| after(words, "--table")).unwrap_or("filter");
    match words.last().copied() {
        Some("-t" | "--table") => Offer::of(TABLES),
        Some("-i" | "-o" | "--in-interface" | "--out-interface") => Offer::of(names.devices()),
        Some("-j" | "--jump") => Offer::of(TARGETS).and(Offer::of(names.chains(table))),
        Some("--match-set") => Offer::of(names.sets()),
        Some(option) if CHAIN_OPTIONS.contains(&option) => Offer::of(names.chains(table)),
        _ => Offer::of(IPTABLES),
    }
}

fn tables_or(words: &[&str], others: Offer) -> Offer {
    if matches!(words.last(), Some(&("-t" | "--table"))) { Offer::of(TABLES) } else { others }
}

fn ipset(words: &[&str], names: &dyn Names) -> Offer {
    match words {
        [] => Offer::of(IPSET),
        ["add" | "del" | "test" | "destroy" | "list" | "save" | "flush" | "rename" | "swap", ..] => {
            Offer::of(names.sets())
        }
        _ => Offer::default(),
    }
}

/// Whether `word` is a beginning of `full`, as iproute2 takes words.
fn abbreviates(word: &str, full: &str) -> bool {
    !word.is_empty() && full.starts_with(word)
}

/// The value behind `key`.
fn after<'w>(words: &[&'w str], key: &str) -> Option<&'w str> {
    words.windows(2).find(|pair| pair[0] == key).map(|pair| pair[1])
}

fn explained(words: Vec<(String, String)>) -> Offer {
    Offer { words, files: false }
}

/// The `parts` that are not there yet; none where a value is due, which is behind a part that takes one.
fn unused(words: &[&str], parts: &[&'static str]) -> Offer {
    if words.last().is_some_and(|last| parts.contains(last) && takes_value(last)) {
        return Offer::default();
    }
    Offer::of(parts.iter().copied().filter(|part| !words.contains(part)))
}

fn takes_value(part: &str) -> bool {
    const KINDS: [&str; 12] = [
        "default",
        "blackhole",
        "unreachable",
        "prohibit",
        "nexthop",
        "nomaster",
        "u32",
        "flower",
        "fw",
        "basic",
        "matchall",
        "proxy",
    ];
    !FLAGS.contains(&part) && !QDISCS.contains(&part) && (part == "default" || !KINDS.contains(&part))
}
