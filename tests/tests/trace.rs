//! `skiff trace`: the journeys of a forwarded, a filtered and a shaped packet, line by line.

use serde_json::Value;
use skiff_tests::{A_ADDR, B_ADDR, Lab, Skiff};

/// Runs `skiff trace ARGS` while A pings `to`, and returns what it printed.
#[track_caller]
fn trace_pings(lab: &Lab, skiff: &Skiff, args: &str, to: &str) -> String {
    trace_pings_after(lab, skiff, args, to, || ())
}

/// The same; `prepare` is called before every ping.
#[track_caller]
fn trace_pings_after(lab: &Lab, skiff: &Skiff, args: &str, to: &str, prepare: impl Fn()) -> String {
    std::thread::scope(|scope| {
        let trace = scope.spawn(|| skiff.ctl(&format!("trace {args}")));
        while !trace.is_finished() {
            prepare();
            lab.a.try_run(&format!("ping -c 1 -W 1 {to}"));
        }
        trace.join().expect("the trace ends")
    })
}

/// The text without times and identifications. Times never go back within a packet.
#[track_caller]
fn masked(text: &str) -> Vec<String> {
    let mut last = 0;
    let mask = |line: &str| {
        let Some((time, rest)) = line.split_once(" ns  ") else {
            last = 0;
            return line.to_owned();
        };
        let time: u64 = time.trim().parse().expect("a time");
        assert!(time >= last, "time goes on: {text}");
        last = time;
        let words: Vec<&str> = rest.split_whitespace().collect();
        let hidden = |at: usize| at > 0 && (words[at - 1] == "id" || words[at - 1] == "after");
        let shown = words.iter().enumerate().map(|(at, word)| if hidden(at) { "N" } else { word });
        shown.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(mask).collect()
}

const PINGS: &str = "-i lan icmp[icmptype] == icmp-echo";
const RECEIVED: [&str; 5] = [
    "packet 1",
    "poll lan: port 0, queue 0, lcore 0, 98 bytes",
    "netif_receive_skb_list lan: host, protocol ip",
    "ip_list_rcv 10.0.0.2 > 10.0.1.2 icmp ttl 64 tos 0x0 id N length 84 DF",
    "ip_rcv_finish 10.0.1.0/24 dev wan mtu 1500: forward",
];

fn after_received(rest: &[&str]) -> Vec<String> {
    RECEIVED.iter().chain(rest).map(|line| (*line).to_owned()).collect()
}

#[test]
fn forwarded_filtered_and_shaped() {
    let lab = Lab::new();
    let skiff = lab.start("");
    // B is not known yet: the packet waits while it is asked for, and goes on.
    let [b0, b1, b2, b3, b4, b5] = lab.b.mac("eth0");
    let mac = format!("{b0:02x}:{b1:02x}:{b2:02x}:{b3:02x}:{b4:02x}:{b5:02x}");
    let to_b = format!("dev_queue_xmit wan: to {mac}");
    let sent = "hard_start_xmit wan: port 1, queue 0, 98 bytes";
    let on = ["ip_forward ttl 64 -> 63, priority 0", "ip_output length 84, mtu 1500"];
    let waits = "neigh_resolve_output 10.0.1.2 dev wan: waits for an answer";
    let forget = || _ = skiff.try_ctl(&format!("ip neigh del {B_ADDR} dev wan"));
    let text = trace_pings_after(&lab, &skiff, PINGS, B_ADDR, forget);
    assert_eq!(masked(&text), after_received(&[on[0], on[1], waits, &to_b, sent]), "{text}");

    skiff.ctl(&format!("ip neigh replace {B_ADDR} lladdr {mac} dev wan nud permanent"));
    let known = format!("neigh_resolve_output 10.0.1.2 dev wan lladdr {mac} PERMANENT");
    let text = trace_pings(&lab, &skiff, PINGS, B_ADDR);
    println!("{text}");
    assert_eq!(masked(&text), after_received(&[on[0], on[1], &known, &to_b, sent]), "{text}");

    skiff.ctl("iptables -A FORWARD -s 10.0.0.66/32 -j DROP");
    skiff.ctl(&format!("iptables -A FORWARD -s {A_ADDR}/32 -p icmp -j DROP"));
    let text = trace_pings(&lab, &skiff, PINGS, B_ADDR);
    println!("{text}");
    let rest = [
        on[0],
        "rule filter FORWARD rule 2: -s 10.0.0.2/32 -p icmp -j DROP",
        "FORWARD filter: drop",
        "drop netfilter_drop in ip_forward",
    ];
    assert_eq!(masked(&text), after_received(&rest), "{text}");
    skiff.ctl("iptables -F FORWARD");

    for line in [
        "qdisc add dev wan root handle 1: htb default 10",
        "class add dev wan parent 1: classid 1:10 htb rate 30mbit",
        "class add dev wan parent 1: classid 1:20 htb rate 50mbit",
        "filter add dev wan parent 1: protocol ip prio 5 u32 match ip protocol 1 0xff flowid 1:20",
    ] {
        skiff.ctl(&format!("tc {line}"));
    }
    // The lcore takes up the tree in its own time.
    skiff_tests::eventually("the tree to be there", std::time::Duration::from_secs(20), || {
        lab.a.try_run(&format!("ping -c 1 -W 1 {B_ADDR}")).code == 0
    });
    let text = trace_pings(&lab, &skiff, PINGS, B_ADDR);
    println!("{text}");
    let rest = [
        on[0],
        // The table has no rule left, but it is there.
        "rule filter FORWARD policy",
        "FORWARD filter: accept",
        on[1],
        &known,
        &to_b,
        "filter pref 5 protocol ip handle 800::800: classid 1:20",
        "class 1:20",
        "qdisc_enqueue wan: queued, backlog 98b 1p",
        "qdisc_run wan: sent after N ns",
        sent,
    ];
    assert_eq!(masked(&text), after_received(&rest), "{text}");
    skiff.stop_cleanly();
}

#[test]
fn as_json_and_refused() {
    let lab = Lab::new();
    let skiff = lab.start("");
    let text = trace_pings(&lab, &skiff, "-n 2 -j icmp", "10.0.0.1");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let of = |packet: u64| lines.iter().filter(move |line| line["packet"] == packet).collect::<Vec<_>>();
    assert_eq!(lines.iter().filter(|line| line["end"] == true).count(), 2);
    let first = of(1);
    assert_eq!(
        (&first[0]["step"], &first[0]["dev"], &first[0]["length"]),
        (&"poll".into(), &"lan".into(), &98.into())
    );
    let reply = first.iter().find(|line| line["step"] == "reply").expect("the router answers");
    assert_eq!(reply["made"], "icmp echo-reply code 0");
    assert_eq!(first.last().expect("an end")["step"], "hard_start_xmit");
    assert_eq!(of(2).last().expect("an end")["end"], true);

    let nowhere = skiff.try_ctl("trace -i nowhere");
    assert_eq!((nowhere.code, nowhere.err.as_str()), (1, "skiff: trace: nowhere: no such interface\n"));
    let bad = skiff.try_ctl("trace tcp prot 80");
    assert_eq!(bad.code, 2, "{}", bad.err);
    assert!(bad.err.starts_with("skiff: trace: ") && bad.err.lines().count() == 1, "{}", bad.err);

    // One at a time; who goes makes room for the next.
    let mut waiting = std::process::Command::new(skiff_tests::skiff_binary());
    waiting.args(["--socket", &skiff.socket(), "trace", "udp port 9"]).stdout(std::process::Stdio::piped());
    let mut waiting = waiting.spawn().expect("skiff starts");
    let soon = std::time::Duration::from_secs(10);
    let refusal = || skiff.try_ctl("trace -i nowhere").err;
    skiff_tests::eventually("the other trace to run", soon, || {
        refusal() == "skiff: trace: another trace is running\n"
    });
    waiting.kill().expect("our own child");
    waiting.wait().expect("our own child");
    skiff_tests::eventually("the trace to be free", soon, || {
        refusal() == "skiff: trace: nowhere: no such interface\n"
    });
    skiff.stop_cleanly();
}
