//! Any text is answered, and what is printed reads back to the same.

use proptest::prelude::*;

use super::*;

/// Pieces of rules, most of which fit together now and then.
const PIECES: &[&str] = &[
    "-s 10.0.0.0/8",
    "! -d 10.0.0.5/255.0.255.0",
    "-i eth+",
    "! -o lan0",
    "-p tcp",
    "-p udp",
    "-p icmp",
    "! -p 41",
    "-f",
    "--dport 22",
    "! --sport 1024:",
    "--syn",
    "--tcp-flags ALL SYN,ACK",
    "--icmp-type 3/4",
    "-m multiport --dports 1,2:3",
    "-m mark --mark 1/3",
    "-m comment --comment \"a 'b\"",
    "-m limit --limit 7/min",
    "-m limit --limit-burst 9",
    "-m hashlimit --hashlimit-above 3000/hour --hashlimit-mode srcip --hashlimit-name h",
    "-m hashlimit --hashlimit-upto 777kb/s --hashlimit-burst 3mb --hashlimit-name h",
    "-m addrtype ! --dst-type LOCAL,MULTICAST",
    "-m iprange --src-range 1.1.1.1-2.2.2.2",
    "-m mac ! --mac-source 0:1:2:3:4:5",
    "-m set --match-set web src",
    "-m length --length 5:",
    "-m ttl ! --ttl 3",
    "-m dscp --dscp-class AF31",
    "-m tos --tos 8/9",
    "-m statistic --mode random --probability 0.3",
    "-m statistic --mode nth --every 3 --packet 1",
    "-m pkttype --pkt-type mcast",
    "-m rpfilter --loose",
    "-m time --timestart 8:00 --weekdays Sa --datestart 2030",
    "-m u32 --u32 0>>22&0x3c@4=1,2:3&&4=5",
    "-m ecn --ecn-ip-ect 1",
    "-m tcpmss --mss 5",
    "!",
    "--",
    "-j LOG --log-prefix \"x y\" --log-level debug",
    "-j NFLOG --nflog-group 3",
    "-j NFQUEUE --queue-balance 1:5",
    "-j MARK --or-mark 6",
    "-j CLASSIFY --set-class 1:a",
    "-j DSCP --set-dscp 3",
    "-j TOS --and-tos 3",
    "-j TTL --ttl-inc 1",
    "-j ECN --ecn-ip-ect 1",
    "-j uc",
    "-g uc",
    "-j REJECT",
    "-j DROP",
    "-j TCPMSS --clamp-mss-to-pmtu",
    "-c 1 2",
];

fn lines() -> impl Strategy<Value = String> {
    let rule = prop::collection::vec(prop::sample::select(PIECES), 0..5).prop_map(|pieces| pieces.join(" "));
    let chain = prop::sample::select(&["FORWARD", "INPUT", "uc"][..]);
    let line = (chain, rule).prop_map(|(chain, rule)| format!("-A {chain} {rule}\n"));
    prop::collection::vec(line, 0..6).prop_map(|lines| lines.concat())
}

/// Takes out the lines that are mistakes until none is left.
fn valid(text: &str) -> Ruleset {
    let mut lines: Vec<&str> = text.lines().collect();
    loop {
        match ruleset(&lines.join("\n"), sets("create web hash:ip").unwrap()) {
            Ok(ruleset) => return ruleset,
            Err(errors) => {
                let bad: Vec<u32> = errors.iter().map(|error| error.line.expect("a line")).collect();
                let mut number = 0;
                lines.retain(|_| {
                    number += 1;
                    !bad.contains(&number)
                });
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_printed_reads_back(lines in lines(), table in prop::sample::select(&["filter", "mangle", "raw"][..])) {
        let first = valid(&format!("*{table}\n:uc - [3:4]\n{lines}COMMIT\n"));
        let printed = save(&first, None, true, "");
        let again = ruleset(&printed, first.sets.clone());
        prop_assert_eq!(again.as_ref(), Ok(&first), "{}", printed);
        prop_assert_eq!(save(&first, None, true, ""), printed);
    }

    #[test]
    fn any_text_is_answered(text in any::<String>(), pieces in prop::collection::vec(prop::sample::select(PIECES), 0..9)) {
        let _ = ruleset(&text, Vec::new());
        let _ = ruleset(&format!("*filter\n{text}\n-A INPUT {text} {}\n:{text}\nCOMMIT", pieces.join(" ")), Vec::new());
        let _ = sets(&format!("create a hash:net\nadd a {text}\n{text}"));
    }
}
