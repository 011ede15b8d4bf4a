//! What is shown, read again, makes the same tree.

use proptest::prelude::*;

use super::*;

/// A line that `show` printed, as a command. What only the kernel can say stays out.
fn command(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let (object, kind, name) = (words[0], words[1], words[2]);
    let mut place = Vec::new();
    let mut options = Vec::new();
    let mut rest = words[3..].iter().copied();
    while let Some(word) = rest.next() {
        match word {
            "root" => place.push("root".to_owned()),
            "dev" | "parent" => place.push(format!("{word} {}", rest.next().unwrap())),
            "refcnt" | "direct_packets_stat" | "level" | "leaf" | "ver" => drop(rest.next()),
            "----------------" => {}
            // A number without a unit in the language of classes, and once is enough.
            "mpu" if object == "class" => {
                options.push(format!("mpu {}", rest.next().unwrap().trim_end_matches('b')));
            }
            "limit" => options.push(format!("limit {}", rest.next().unwrap().trim_end_matches('p'))),
            word => options.push(word.to_owned()),
        }
    }
    let (place, options) = (place.join(" "), options.join(" "));
    match (object, kind) {
        ("class", kind) => format!("class add {place} classid {name} {kind} {options}"),
        (_, "ingress" | "clsact") => format!("qdisc add {} {kind}", place.replace("parent ffff:fff1", "")),
        // Its bands are fixed.
        (_, "pfifo_fast") => format!("qdisc add {place} handle {name} pfifo_fast"),
        (_, kind) => format!("qdisc add {place} handle {name} {kind} {options}"),
    }
}

/// Commands that make a picture like this one: each class when its discipline is there, and before what is below it.
fn commands(lab: &mut Lab) -> String {
    let (qdiscs, classes) = (lab.ok("-d qdisc show"), lab.ok("-d class show"));
    let mut text = String::new();
    for qdisc in qdiscs.lines().filter(|line| !line.starts_with("qdisc noqueue 0:")) {
        text.push_str(&format!("{}\n", command(qdisc)));
        let (dev, major) = (word_after(qdisc, "dev"), qdisc.split_whitespace().nth(2).unwrap());
        let own = classes.lines().filter(|line| line.starts_with(&format!("class htb {major}")));
        for class in own.filter(|line| word_after(line, "dev") == dev) {
            text.push_str(&format!("{}\n", command(class)));
        }
    }
    text
}

fn word_after<'t>(line: &'t str, word: &str) -> &'t str {
    line.split_whitespace().skip_while(|w| *w != word).nth(1).unwrap_or_default()
}

/// Disciplines with parameters that print exactly: red shows neither its mean packet nor its burst.
fn kind() -> impl Strategy<Value = String> {
    prop_oneof![
        (1..5000u32).prop_map(|limit| format!("pfifo limit {limit}")),
        (1..1000u32).prop_map(|limit| format!("bfifo limit {limit}")),
        (1..5000u32).prop_map(|limit| format!("pfifo_head_drop limit {limit}")),
        Just("pfifo_fast".to_owned()),
        (3..=16u32).prop_map(|bands| format!("prio bands {bands}")),
        (1..100u32, 2..1000u32, 1..999u32, 0..200u32).prop_map(|(rate, burst, lat, mpu)| format!(
            "tbf rate {}mbit burst {burst} latency {lat}ms mpu {mpu}",
            rate * 8
        )),
        (0..300u32, 1..50u32, any::<bool>()).prop_map(|(default, r2q, hysteresis)| format!(
            "htb default {default:x} r2q {r2q}{}",
            if hysteresis { " hysteresis" } else { "" }
        )),
    ]
}

fn class() -> impl Strategy<Value = String> {
    let layer = prop_oneof![Just(""), Just("linklayer atm"), Just("linklayer ethernet")];
    (1..1000u32, 1..1000u32, 1..1000u32, 0..8u32, 1..60000u32, 0..200u32, 0..99u32, layer).prop_map(
        |(rate, ceil, burst, prio, quantum, mpu, overhead, layer)| {
            format!(
                "rate {rate}kbit ceil {ceil}mbit burst {burst} cburst {burst} prio {prio} quantum {quantum} mpu {mpu} \
                 overhead {overhead} {layer}"
            )
        },
    )
}

fn line() -> impl Strategy<Value = String> {
    let dev = prop_oneof![Just("d0"), Just("d1")];
    let verb = prop_oneof![4 => Just("add"), 1 => Just("replace"), 1 => Just("change")];
    let place = prop_oneof![
        1 => Just("root".to_owned()),
        4 => (1..5u32, 1..6u32).prop_map(|(major, minor)| format!("parent {major}:{minor}")),
    ];
    let handle =
        prop_oneof![4 => (1..9u32).prop_map(|major| format!("handle {major}:")), 1 => Just(String::new())];
    let above = (1..5u32, 0..6u32).prop_map(|(major, minor)| (major, minor));
    prop_oneof![
        6 => (dev.clone(), verb.clone(), place.clone(), handle, kind())
            .prop_map(|(dev, verb, place, handle, kind)| format!("qdisc {verb} dev {dev} {place} {handle} {kind}")),
        8 => (dev.clone(), verb, above, 1..6u32, class()).prop_map(|(dev, verb, (major, parent), minor, class)| {
            format!("class {verb} dev {dev} parent {major}:{parent} classid {major}:{minor} htb {class}")
        }),
        1 => (dev.clone(), place).prop_map(|(dev, place)| format!("qdisc del dev {dev} {place}")),
        1 => (dev.clone(), 1..5u32, 1..6u32)
            .prop_map(|(dev, major, minor)| format!("class del dev {dev} classid {major}:{minor}")),
        1 => (dev, prop_oneof![Just("ingress"), Just("clsact")]).prop_map(|(dev, kind)| format!("qdisc add dev {dev} {kind}")),
    ]
}

proptest! {
    #[test]
    fn shown_trees_are_trees_again(lines in prop::collection::vec(line(), 1..60)) {
        let mut lab = Lab::default();
        lines.iter().for_each(|line| drop(lab.tc(line)));
        let text = commands(&mut lab);
        let mut again = Lab::default();
        let reply = again.batch("-b -", &text);
        prop_assert_eq!(reply.exit, 0, "{}\n{}", reply.stderr, text);
        for show in ["-d qdisc show", "-d class show", "-j -d qdisc show", "-j -d class show"] {
            prop_assert_eq!(again.ok(show), lab.ok(show), "{}", text);
        }
    }

    #[test]
    fn a_failed_batch_changes_nothing(lines in prop::collection::vec(line(), 1..40), at in 0usize..40) {
        let mut lab = Lab::default();
        lines.iter().take(at).for_each(|line| drop(lab.tc(line)));
        let before = (lab.ok("-d qdisc show"), lab.ok("-d class show"));
        lab.ops.clear();
        let text = lines.iter().skip(at).cloned().chain(["foo".to_owned()]).collect::<Vec<_>>().join("\n");
        prop_assert_eq!(lab.batch("-b -", &text).exit, 1);
        prop_assert!(lab.ops.is_empty());
        prop_assert_eq!((lab.ok("-d qdisc show"), lab.ok("-d class show")), before);
    }

    #[test]
    fn any_words_are_answered(line in "([a-z0-9:%./-]{0,8} ){0,12}") {
        let mut lab = Lab::default();
        for front in ["", "qdisc add dev d0 root ", "class add dev d0 ", "qdisc add dev d0 root htb ", "qdisc show "] {
            let reply = lab.tc(&format!("{front}{line}"));
            prop_assert!(reply.exit == 0 || !reply.stderr.is_empty());
        }
    }
}
