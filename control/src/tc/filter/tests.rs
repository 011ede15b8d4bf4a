//! Commands, and what tc shows afterwards. The texts are those of tc 6.1 on Linux 6.18, as far as that has the kind.

use proptest::prelude::*;

use super::print::{self, Place};
use super::table::{Cx, FilterTable};
use super::{FilterCommand, INGRESS, Verb, parse};
use crate::tc::action::table::{ActionTable, Outcome};
use crate::tc::error::TcError;
use crate::tc::request::{Device, Devices, Show};
use crate::tc::words::Words;
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::time::Instant;

/// lo, cls0, cls1.
pub struct Three;

impl Devices for Three {
    fn find(&self, name: &str) -> Option<Device> {
        self.all().into_iter().find(|dev| dev.name == name)
    }

    fn all(&self) -> Vec<Device> {
        let dev = |(index, name): (u16, &str)| Device {
            index: IfIndex(index),
            name: name.to_owned(),
            mtu: 1500,
            speed: None,
        };
        [(1, "lo"), (2, "cls0"), (3, "cls1")].map(dev).into()
    }
}

/// The filters of `ingress` of cls1, and the actions.
#[derive(Default)]
pub struct Lab {
    table: FilterTable,
    actions: ActionTable,
    now: u64,
}

pub fn command(line: &str) -> Result<FilterCommand, TcError> {
    let words = split(line);
    parse(Words::new(&words, &Three))
}

/// Words, of which those in quotes are one.
fn split(line: &str) -> Vec<&str> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(i, part)| match i % 2 {
        0 => part.split_whitespace().collect(),
        _ => vec![part],
    });
    words.collect()
}

impl Lab {
    fn now(&self) -> Instant {
        Instant::from_secs(1000 + self.now)
    }

    pub fn tc(&mut self, line: &str) -> Result<(), TcError> {
        let command = command(line)?;
        let now = self.now();
        let mut cx = Cx { actions: &mut self.actions, devices: &Three, now };
        self.table.apply(&command, &mut cx)?;
        // What was accepted can always be compiled.
        let _ = self.table.compile(INGRESS, &self.actions);
        Ok(())
    }

    #[track_caller]
    pub fn ok(&mut self, lines: &[&str]) -> &mut Lab {
        for line in lines {
            self.tc(line).unwrap_or_else(|err| panic!("{line}: {err}"));
        }
        self
    }

    #[track_caller]
    pub fn refuses(&mut self, line: &str, exit: u8, text: &str) {
        let err = self.tc(line).expect_err(line);
        assert_eq!((err.exit, err.text.as_str()), (exit, text), "{line}");
    }

    pub fn show_with(&self, line: &str, show: Show) -> String {
        let command = command(line).unwrap();
        let place = Place { dev: IfIndex(3), parent: INGRESS };
        if command.verb == Verb::Get {
            return match self.table.get(&command, &self.actions, self.now()) {
                Ok(row) => print::print(place, &row, &command, show, &Three),
                Err(err) => err.text,
            };
        }
        let rows = self.table.rows(&command, &self.actions, self.now());
        let rows: Vec<_> = rows.into_iter().map(|row| (place, row)).collect();
        print::show(&rows, &command, show, &Three)
    }

    pub fn show(&self, line: &str) -> String {
        self.show_with(line, Show::default())
    }

    fn act(&mut self, line: &str) -> Result<String, TcError> {
        let words = split(line);
        let command = crate::tc::action::parse(Words::new(&words, &Three))?;
        let now = self.now();
        let show = Show::default();
        Ok(match self.actions.apply(&command, now)? {
            Outcome::List(rows) => crate::tc::action::print::list(&rows, show, &Three),
            Outcome::Get(rows) => crate::tc::action::print::get(&rows, show, &Three),
            Outcome::Changed | Outcome::Nothing => String::new(),
        })
    }
}

const KERNEL: &str = "\nWe have an error talking to the kernel";

#[test]
fn u32_tables_and_nodes_are_numbered_and_listed_as_by_the_kernel() {
    let mut lab = Lab::default();
    lab.ok(&[
        "add dev cls1 ingress protocol ip u32 match u32 0 0",
        "add dev cls1 ingress protocol ip u32 match u32 0 0 flowid 1:1",
        "add dev cls1 ingress protocol ip prio 5 u32 match u32 0 0 flowid 1:1",
    ]);
    let error = |text: &str| format!("Error: {text}.{KERNEL}");
    lab.refuses(
        "add dev cls1 ingress protocol ip prio 5 handle 800::900 u32 match u32 1 1 flowid 1:1",
        2,
        &error("cls_u32: Handle specified hash table address mismatch"),
    );
    lab.ok(&["add dev cls1 ingress protocol ip prio 5 handle 802::900 u32 match u32 1 1 flowid 1:1"]);
    let again = "add dev cls1 ingress protocol ip prio 5 handle 802::900 u32 match u32 1 1 flowid 1:1";
    lab.refuses(again, 2, &error("Filter already exists"));
    lab.ok(&["replace dev cls1 ingress protocol ip prio 5 handle 802::900 u32 match u32 2 2 flowid 1:3"]);
    let need = error("Need both RTM_NEWTFILTER and NLM_F_CREATE to create a new filter");
    for line in [
        "change dev cls1 ingress protocol ip prio 5 handle 802::901 u32 match u32 2 2 flowid 1:3",
        "change dev cls1 ingress protocol ip prio 77 handle 802::901 u32 match u32 2 2 flowid 1:3",
    ] {
        lab.refuses(line, 2, &need);
    }
    lab.ok(&[
        "add dev cls1 ingress protocol ip prio 6 handle 1: u32 divisor 256",
        "add dev cls1 ingress protocol ip prio 6 u32 ht 1:3: match u32 0 0 flowid 1:7",
        "add dev cls1 ingress protocol ip prio 6 u32 link 1: hashkey mask 0x000000ff at 12 match ip src 1.2.3.0/24",
        "add dev cls1 ingress protocol ip prio 6 u32 link 1: offset at 0 mask 0f00 shift 6 plus 4 eat match ip src 1.2.4.0/24",
        "add dev cls1 ingress protocol ip prio 6 u32 ht 1:9: match tcp dst 80 0xffff flowid 1:7",
    ]);
    for (line, text) in [
        (
            "add dev cls1 ingress protocol arp prio 5 u32 match u32 0 0 flowid 1:1",
            "Protocol mismatch for filter with specified priority",
        ),
        ("add dev cls1 ingress protocol ip prio 5 fw", "Specified filter kind does not match existing one"),
        ("add dev cls1 ingress protocol ip prio 6 handle 1: u32 divisor 256", "Filter already exists"),
        (
            "add dev cls1 ingress protocol ip prio 6 u32 ht 7:3: match u32 0 0 flowid 1:7",
            "cls_u32: Specified hash table not found",
        ),
        (
            "add dev cls1 ingress protocol ip prio 6 u32 link 7: match u32 0 0",
            "cls_u32: Link hash table not found",
        ),
        ("del dev cls1 ingress protocol ip prio 6 handle 1: u32", "cls_u32: Can not delete in-use filter"),
        ("del dev cls1 ingress protocol ip prio 6 handle 9: u32", "Specified filter handle not found"),
        (
            "del dev cls1 ingress protocol ip prio 60 handle 1: u32",
            "Filter with specified priority/protocol not found",
        ),
        ("del dev cls1 ingress protocol ip prio 60", "Filter with specified priority/protocol not found"),
        (
            "del dev cls1 ingress protocol ip handle 1: u32",
            "Cannot flush filters with protocol, handle or kind set",
        ),
        ("add dev cls1 ingress protocol ip prio 7 nosuch", "TC classifier not found"),
        ("add dev cls1 ingress protocol ip", "Filter kind and protocol must be specified"),
        (
            "change dev cls1 ingress protocol ip prio 5 handle 802: u32 divisor 4",
            "cls_u32: Key node id cannot be zero",
        ),
        ("add dev cls1 ingress protocol ip prio 5 u32 match u32 1 1 indev nix", "Network device not found"),
    ] {
        lab.refuses(line, 2, &error(text));
    }
    let shown = "\
filter protocol ip pref 5 u32 chain 0 
filter protocol ip pref 5 u32 chain 0 fh 802: ht divisor 1 
filter protocol ip pref 5 u32 chain 0 fh 802::800 order 2048 key ht 802 bkt 0 *flowid 1:1 not_in_hw 
  match 00000000/00000000 at 0
filter protocol ip pref 5 u32 chain 0 fh 802::900 order 2304 key ht 802 bkt 0 *flowid 1:3 not_in_hw 
  match 00000001/00000001 at 0
filter protocol ip pref 6 u32 chain 0 
filter protocol ip pref 6 u32 chain 0 fh 1: ht divisor 256 
filter protocol ip pref 6 u32 chain 0 fh 1:3:800 order 2048 key ht 1 bkt 3 *flowid 1:7 not_in_hw 
  match 00000000/00000000 at 0
filter protocol ip pref 6 u32 chain 0 fh 1:9:800 order 2048 key ht 1 bkt 9 *flowid 1:7 not_in_hw 
  match 00000050/0000ffff at nexthdr+0
filter protocol ip pref 6 u32 chain 0 fh 803: ht divisor 1 
filter protocol ip pref 6 u32 chain 0 fh 803::800 order 2048 key ht 803 bkt 0 link 1: not_in_hw 
  match 01020300/ffffff00 at 12
    hash mask 000000ff at 12 
filter protocol ip pref 6 u32 chain 0 fh 803::801 order 2049 key ht 803 bkt 0 link 1: not_in_hw 
  match 01020400/ffffff00 at 12
    offset 0f00>>6 at 0 plus 4  eat 
filter protocol ip pref 49151 u32 chain 0 
filter protocol ip pref 49151 u32 chain 0 fh 801: ht divisor 1 
filter protocol ip pref 49151 u32 chain 0 fh 801::800 order 2048 key ht 801 bkt 0 *flowid 1:1 not_in_hw 
  match 00000000/00000000 at 0
filter protocol ip pref 49152 u32 chain 0 
filter protocol ip pref 49152 u32 chain 0 fh 800: ht divisor 1 
filter protocol ip pref 49152 u32 chain 0 fh 800::800 order 2048 key ht 800 bkt 0 not_in_hw 
  match 00000000/00000000 at 0
";
    assert_eq!(lab.show("show dev cls1 ingress"), shown);
    assert_eq!(
        lab.show("get dev cls1 ingress protocol ip prio 6 handle 1:3:800 u32"),
        "filter ingress protocol ip pref 6 u32 chain 0 fh 1:3:800 order 2048 key ht 1 bkt 3 *flowid 1:7 not_in_hw \n  match 00000000/00000000 at 0\n"
    );
    let json = Show { json: true, ..Show::default() };
    assert_eq!(
        lab.show_with("show dev cls1 ingress prio 6 protocol ip", json),
        concat!(
            r#"[{"kind":"u32","chain":0},{"kind":"u32","chain":0,"options":{"fh":"1:","ht_divisor":256}},"#,
            r#"{"kind":"u32","chain":0,"options":{"fh":"1:3:800","order":2048,"key_ht":"1","bkt":"3","flowid":"1:7","not_in_hw":true,"match":{"value":"0","mask":"0","offmask":"","off":0}}},"#,
            r#"{"kind":"u32","chain":0,"options":{"fh":"1:9:800","order":2048,"key_ht":"1","bkt":"9","flowid":"1:7","not_in_hw":true,"match":{"value":"50","mask":"ffff","offmask":"nexthdr+","off":0}}},"#,
            r#"{"kind":"u32","chain":0,"options":{"fh":"803:","ht_divisor":1}},"#,
            r#"{"kind":"u32","chain":0,"options":{"fh":"803::800","order":2048,"key_ht":"803","bkt":"0","link":"1:","not_in_hw":true,"match":{"value":"1020300","mask":"ffffff00","offmask":"","off":12},"hash_mask":"ff","hash_off":12}},"#,
            r#"{"kind":"u32","chain":0,"options":{"fh":"803::801","order":2049,"key_ht":"803","bkt":"0","link":"1:","not_in_hw":true,"match":{"value":"1020400","mask":"ffffff00","offmask":"","off":12},"offset_mask":"f00","offset_shift":6,"offset_off":0,"plus":4,"eat":true}}]"#,
            "\n"
        )
    );
    let pretty = Show { pretty: true, ..Show::default() };
    let text = lab.show_with("show dev cls1 ingress prio 6 protocol ip", pretty);
    assert!(text.contains("not_in_hw \n  match IP src 1.2.3.0/24\n    hash mask"), "{text}");
    lab.ok(&["del dev cls1 ingress"]);
    assert_eq!(lab.show("show dev cls1 ingress"), "");
}

#[test]
fn selectors_become_the_kernels_words() {
    let mut lab = Lab::default();
    lab.ok(&[
        "add dev cls1 ingress protocol ip prio 5 u32 order 5 match u32 1 1 flowid 1:3",
        "add dev cls1 ingress protocol ip prio 5 u32 divisor 4",
        "add dev cls1 ingress protocol ip prio 5 handle 7: u32 divisor 256",
        "add dev cls1 ingress protocol ip prio 5 u32 ht 7: sample ip src 1.2.3.4 match ip src 1.2.3.4 flowid 1:3",
        "add dev cls1 ingress protocol ip prio 5 u32 ht 7: sample u32 0x5600 0xff00 at 0 divisor 16 match ip src 1.2.3.4 flowid 1:3",
        "add dev cls1 ingress protocol ip prio 5 u32 match u32 1 1 skip_hw",
        "add dev cls1 ingress protocol ip prio 5 u32 match u32 1 1 skip_sw",
        "add dev cls1 ingress protocol ip prio 5 u32 match u32 1 1 indev lo",
        "add dev cls1 ingress protocol ip prio 5 u32 match ip src 1.2.3.4/24 match ip dst 1.1.1.1 match tcp dst 80 0xffff match ip sport 0x50 0xffff match ip tos 0x10 0xff match u8 6 0xff at 9 match icmp type 8 0xff match ip df action mirred egress redirect dev lo",
    ]);
    let shown = "\
filter u32 chain 0 
filter u32 chain 0 fh 7: ht divisor 256 
filter u32 chain 0 fh 7:4:800 order 2048 key ht 7 bkt 4 *flowid 1:3 not_in_hw 
  match 01020304/ffffffff at 12
filter u32 chain 0 fh 7:6:800 order 2048 key ht 7 bkt 6 *flowid 1:3 not_in_hw 
  match 01020304/ffffffff at 12
filter u32 chain 0 fh 801: ht divisor 4 
filter u32 chain 0 fh 800: ht divisor 1 
filter u32 chain 0 fh 800::5 order 5 key ht 800 bkt 0 *flowid 1:3 not_in_hw 
  match 00000001/00000001 at 0
filter u32 chain 0 fh 800::800 order 2048 key ht 800 bkt 0 skip_hw not_in_hw 
  match 00000001/00000001 at 0
filter u32 chain 0 fh 800::801 order 2049 key ht 800 bkt 0 skip_sw not_in_hw 
  match 00000001/00000001 at 0
filter u32 chain 0 fh 800::802 order 2050 key ht 800 bkt 0 not_in_hw 
  match 00000001/00000001 at 0
  input dev lo

filter u32 chain 0 fh 800::803 order 2051 key ht 800 bkt 0 terminal flowid not_in_hw 
  match 01020300/ffffff00 at 12
  match 01010101/ffffffff at 16
  match 08000050/ff00ffff at nexthdr+0
  match 00500000/ffff0000 at 20
  match 00100000/00ff0000 at 0
  match 00060000/00ff0000 at 8
  match 00004000/00004000 at 4
\taction order 1: mirred (Egress Redirect to device lo) stolen
\tindex 1 ref 1 bind 1

";
    assert_eq!(lab.show("show dev cls1 ingress prio 5 protocol ip"), shown);
}

#[test]
fn words_that_are_wrong_are_answered_as_by_tc() {
    let mut lab = Lab::default();
    for (line, exit, text) in [
        ("foo", 255, "Command \"foo\" is unknown, try \"tc filter help\"."),
        ("add dev", 255, "Command line is not complete. Try option \"help\""),
        ("add dev cls1 dev cls0", 255, "Error: duplicate \"dev\": \"cls0\" is the second value."),
        (
            "add dev cls1 prio 99999 protocol ip",
            255,
            "Error: argument \"99999\" is wrong: invalid priority value",
        ),
        ("add dev cls1 protocol foo", 255, "Error: argument \"foo\" is wrong: invalid protocol"),
        ("add dev cls1 ingress protocol ip handle 3", 255, "Must specify filter type when using \"handle\""),
        ("add dev nix ingress protocol ip u32", 1, "Cannot find device \"nix\""),
        ("add dev cls1 ingress protocol ip u32 match foo", 1, "Illegal \"match\""),
        (
            "add dev cls1 ingress protocol ip u32 match ip",
            255,
            "Command line is not complete. Try option \"help\"",
        ),
        (
            "add dev cls1 ingress protocol ip u32 match ip dport 3 0xffff flowid",
            255,
            "Command line is not complete. Try option \"help\"",
        ),
        ("add dev cls1 ingress protocol ip u32 match ip dport 3 0xffff flowid x:y", 1, "Illegal \"classid\""),
        (
            "add dev cls1 ingress protocol ip u32 match u32 0 0 action",
            255,
            "Command line is not complete. Try option \"help\"",
        ),
        (
            "add dev cls1 ingress protocol ip u32 match u32 0 0 action mirred foo",
            1,
            "mirred option not supported foo\nbad action parsing\nparse_action: bad value (2:mirred)!\nIllegal \"action\"",
        ),
        (
            "add dev cls1 ingress protocol ip u32 match u32 0 0 action mirred egress foo",
            255,
            "Command line is not complete. Try option \"help\"",
        ),
        (
            "add dev cls1 ingress protocol ip u32 match u32 0 0 action mirred egress redirect dev nix",
            1,
            "Cannot find device \"nix\"\nbad action parsing\nparse_action: bad value (5:mirred)!\nIllegal \"action\"",
        ),
        (
            "add dev cls1 ingress protocol ip u32 match u32 0 0 action police",
            255,
            "Command line is not complete. Try option \"help\"",
        ),
        (
            "add dev cls1 ingress protocol ip u32 match u32 0 0 action police rate 1mbit",
            1,
            "'burst' requires 'rate'.\nbad action parsing\nparse_action: bad value (3:police)!\nIllegal \"action\"",
        ),
        ("add dev cls1 ingress protocol ip prio 5 u32 match u32 1 1 at 3 flowid 1:3", 1, "Illegal \"match\""),
        (
            "add dev cls1 ingress protocol ip prio 5 handle 800::10 u32 order 5 match u32 1 1 flowid 1:3",
            1,
            "\"order\" contradicts \"handle\"",
        ),
        ("add dev cls1 ingress protocol ip prio 5 u32 divisor 3", 1, "Illegal \"divisor\""),
        ("add dev cls1 ingress protocol ip handle 3 u32 match u32 1 1", 1, "Illegal filter ID"),
        (
            "add dev cls1 ingress protocol ip prio 7 nosuch foo",
            1,
            "Unknown filter \"nosuch\", hence option \"foo\" is unparsable",
        ),
        ("get dev cls1", 255, "Must specify filter protocol"),
        ("show dev cls1 foo", 255, " What is \"foo\"? Try \"tc filter help\""),
    ] {
        lab.refuses(line, exit, text);
    }
    let err = command("add dev cls1 ingress protocol ip u32 match u32 0 0 action foo").unwrap_err();
    assert_eq!((err.exit, err.text.lines().next()), (255, Some("Bad action type foo")));
    let err = command("add dev cls1 ingress protocol ip u32 foo").unwrap_err();
    assert_eq!((err.exit, err.text.lines().next()), (1, Some("What is \"foo\"?")));
}

#[test]
fn actions_are_shared_by_number() {
    let mut lab = Lab::default();
    lab.ok(&["add dev cls1 ingress protocol ip prio 1 u32 match u32 0 0 action mirred egress mirror dev lo"]);
    lab.act("add action mirred egress mirror dev lo index 7").unwrap();
    let exists = lab.act("add action mirred egress mirror dev lo index 7").unwrap_err();
    assert_eq!((exists.exit, exists.text), (255, format!("RTNETLINK answers: File exists{KERNEL}")));
    lab.act("replace action mirred egress mirror dev cls0 index 7").unwrap();
    let list = "total acts 2

\taction order 0: mirred (Egress Mirror to device lo) pipe
\tindex 1 ref 1 bind 1
\tnot_in_hw
\tused_hw_stats disabled

\taction order 1: mirred (Egress Mirror to device cls0) pipe
\tindex 7 ref 1 bind 0
\tnot_in_hw
\tused_hw_stats disabled
";
    assert_eq!(lab.act("ls action mirred").unwrap(), list);
    assert_eq!(
        lab.act("get action mirred index 7").unwrap(),
        "total acts 0

\taction order 1: mirred (Egress Mirror to device cls0) pipe
\tindex 7 ref 1 bind 0
\tnot_in_hw
\tused_hw_stats disabled
"
    );
    let gone = lab.act("get action mirred index 9").unwrap_err();
    assert_eq!(gone.exit, 255);
    assert!(gone.text.starts_with("Error: TC action with specified index not found.\nWe have"), "{gone}");
    lab.ok(&["add dev cls1 ingress protocol ip prio 30 u32 match u32 0 0 action mirred index 7"]);
    lab.refuses(
        "add dev cls1 ingress protocol ip prio 31 u32 match u32 0 0 action mirred index 77",
        2,
        &format!("Error: act_mirred: Unknown mirred option.{KERNEL}"),
    );
    assert_eq!(
        lab.show("show dev cls1 ingress prio 30 protocol ip"),
        "filter u32 chain 0 
filter u32 chain 0 fh 801: ht divisor 1 
filter u32 chain 0 fh 801::800 order 2048 key ht 801 bkt 0 terminal flowid not_in_hw 
  match 00000000/00000000 at 0
\taction order 1: mirred (Egress Mirror to device cls0) pipe
\tindex 7 ref 2 bind 1
\tused_hw_stats disabled

"
    );
    assert!(lab.act("del action mirred index 7").is_err());
    let busy = lab.act("flush action mirred").unwrap_err();
    assert_eq!(busy.text, "RTNETLINK answers: Operation not permitted\nWe have an error flushing");
    lab.ok(&["del dev cls1 ingress prio 30 protocol ip"]);
    lab.act("del action mirred index 7").unwrap();
    assert_eq!(lab.act("ls action gact").unwrap(), "total acts 0\n");
    lab.ok(&["del dev cls1 ingress"]);
    assert_eq!(lab.act("ls action mirred").unwrap(), "total acts 0\n");
}

#[test]
fn statistics_and_times_are_shown() {
    let mut lab = Lab::default();
    lab.ok(&[
        "add dev cls1 ingress protocol ip prio 9 u32 match u32 0 0 action mirred egress mirror dev cls1",
    ]);
    lab.now = 7;
    let stats = Show { stats: true, ..Show::default() };
    assert_eq!(
        lab.show_with("show dev cls1 ingress", stats),
        "filter protocol ip pref 9 u32 chain 0 
filter protocol ip pref 9 u32 chain 0 fh 800: ht divisor 1 
filter protocol ip pref 9 u32 chain 0 fh 800::800 order 2048 key ht 800 bkt 0 terminal flowid not_in_hw 
  match 00000000/00000000 at 0
\taction order 1: mirred (Egress Mirror to device cls1) pipe
\tindex 1 ref 1 bind 1 installed 7 sec used 7 sec
\tAction statistics:
\tSent 0 bytes 0 pkt (dropped 0, overlimits 0 requeues 0) 
\tbacklog 0b 0p requeues 0

"
    );
    let json = Show { json: true, ..stats };
    assert_eq!(
        lab.show_with("show dev cls1 ingress", json),
        concat!(
            r#"[{"protocol":"ip","pref":9,"kind":"u32","chain":0},{"protocol":"ip","pref":9,"kind":"u32","chain":0,"options":{"fh":"800:","ht_divisor":1}},"#,
            r#"{"protocol":"ip","pref":9,"kind":"u32","chain":0,"options":{"fh":"800::800","order":2048,"key_ht":"800","bkt":"0","not_in_hw":true,"match":{"value":"0","mask":"0","offmask":"","off":0},"#,
            r#""actions":[{"order":1,"kind":"mirred","mirred_action":"mirror","direction":"egress","to_dev":"cls1","control_action":{"type":"pipe"},"index":1,"ref":1,"bind":1,"installed":7,"last_used":7,"#,
            r#""stats":{"bytes":0,"packets":0,"drops":0,"overlimits":0,"requeues":0,"backlog":0,"qlen":0}}]}}]"#,
            "\n"
        )
    );
}

#[test]
fn fw_and_matchall() {
    let mut lab = Lab::default();
    lab.ok(&[
        "add dev cls1 ingress protocol ip prio 2 handle 5 fw flowid 1:10",
        "add dev cls1 ingress protocol ip prio 2 handle 6 fw classid 1:11 action drop",
        "add dev cls1 ingress protocol ip prio 3 handle 0x10/0xf0 fw classid 1:12",
        "add dev cls1 ingress protocol all prio 4 matchall action police rate 80mbit burst 16k conform-exceed drop/ok",
        "add dev cls1 ingress protocol all prio 5 matchall classid 1:4 action police pkts_rate 2000 pkts_burst 400 mtu 1042 drop",
        "add dev cls1 ingress protocol ip prio 6 fw",
    ]);
    lab.refuses(
        "add dev cls1 ingress protocol ip prio 2 handle 7/3 fw flowid 1:1",
        2,
        &format!("RTNETLINK answers: Invalid argument{KERNEL}"),
    );
    lab.refuses(
        "add dev cls1 ingress protocol all prio 4 matchall",
        2,
        &format!("RTNETLINK answers: Invalid argument{KERNEL}"),
    );
    lab.refuses(
        "add dev cls1 ingress protocol all prio 4 matchall flowid 1:1",
        2,
        &format!("RTNETLINK answers: File exists{KERNEL}"),
    );
    assert_eq!(
        lab.show("show dev cls1 ingress"),
        "filter protocol ip pref 2 fw chain 0 
filter protocol ip pref 2 fw chain 0 handle 0x5 classid 1:10 
filter protocol ip pref 2 fw chain 0 handle 0x6 classid 1:11 

\taction order 1: gact action drop
\t random type none pass val 0
\t index 1 ref 1 bind 1

filter protocol ip pref 3 fw chain 0 
filter protocol ip pref 3 fw chain 0 handle 0x10/0xf0 classid 1:12 
filter protocol all pref 4 matchall chain 0 
filter protocol all pref 4 matchall chain 0 handle 0x1 
  not_in_hw
\taction order 1:  police 0x1 rate 80Mbit burst 16Kb mtu 2Kb action drop overhead 0b 
\tref 1 bind 1 

filter protocol all pref 5 matchall chain 0 
filter protocol all pref 5 matchall chain 0 handle 0x1 flowid 1:4 
  not_in_hw
\taction order 1:  police 0x2 rate 0bit burst 0b mtu 1042b pkts_rate 2000 pkts_burst 400 action drop overhead 0b 
\tref 1 bind 1 

filter protocol ip pref 6 fw chain 0 
"
    );
}

#[test]
fn flower_keys_are_printed_as_by_tc() {
    let mut lab = Lab::default();
    lab.ok(&[
        "add dev cls1 ingress protocol ip prio 3 flower ip_proto tcp dst_ip 10.0.0.1/24 src_ip 192.0.2.7 dst_port 80 src_port 1024-2047 tcp_flags 0x2/0x12 ip_tos 16/0xfc ip_ttl 64 classid 1:10",
        "add dev cls1 ingress protocol 802.1q prio 4 flower vlan_id 100 vlan_prio 5 vlan_ethtype ip dst_mac 02:00:00:00:00:01/40 ip_proto udp dst_port 53/0xff00 action drop",
        "add dev cls1 ingress protocol arp prio 5 flower arp_op request arp_tip 10.0.0.0/8 arp_sha 02:00:00:00:00:09 indev lo skip_hw",
        "add dev cls1 ingress protocol ip prio 6 flower ip_proto icmp type 8 code 0/1 ip_flags nofrag action continue",
        "add dev cls1 ingress protocol ipv6 prio 7 handle 9 flower src_ip 2001:db8::/32 ip_proto 33",
        "add dev cls1 ingress protocol all prio 8 flower",
    ]);
    let refuse = |lab: &mut Lab, line: &str, text: &str| lab.refuses(line, 1, text);
    refuse(
        &mut lab,
        "add dev cls1 ingress protocol arp prio 9 flower ip_proto tcp",
        "Illegal \"eth_type\" for ip proto\nIllegal \"ip_proto\"",
    );
    refuse(
        &mut lab,
        "add dev cls1 ingress protocol ip prio 9 flower dst_port 80",
        "\nIllegal \"dst_port\"".trim_start(),
    );
    refuse(
        &mut lab,
        "add dev cls1 ingress protocol ip prio 9 flower ct_state +trk",
        "\"ct_state\" is not supported",
    );
    refuse(
        &mut lab,
        "add dev cls1 ingress protocol ip prio 9 flower vlan_id 3",
        "Can't set \"vlan_id\" if ethertype isn't 802.1Q or 802.1AD and num_of_vlans is 0",
    );
    lab.refuses(
        "add dev cls1 ingress protocol ipv6 prio 7 flower src_ip 2001:db8::/32 ip_proto 33",
        2,
        &format!("RTNETLINK answers: File exists{KERNEL}"),
    );
    assert_eq!(
        lab.show("show dev cls1 ingress"),
        "filter protocol ip pref 3 flower chain 0 
filter protocol ip pref 3 flower chain 0 handle 0x1 classid 1:10 
  eth_type ipv4
  ip_proto tcp
  ip_tos 16/0xfc
  ip_ttl 64
  dst_ip 10.0.0.1/24
  src_ip 192.0.2.7
  dst_port 80
  src_port 1024-2047
  tcp_flags 0x2/12
  not_in_hw
filter protocol 802.1Q pref 4 flower chain 0 
filter protocol 802.1Q pref 4 flower chain 0 handle 0x1 
  vlan_id 100
  vlan_prio 5
  vlan_ethtype ip
  dst_mac 02:00:00:00:00:01/40
  eth_type ipv4
  ip_proto udp
  dst_port 53/0xff00
  not_in_hw
\taction order 1: gact action drop
\t random type none pass val 0
\t index 1 ref 1 bind 1

filter protocol arp pref 5 flower chain 0 
filter protocol arp pref 5 flower chain 0 handle 0x1 
  indev lo
  eth_type arp
  arp_tip 10.0.0.0/8
  arp_op request
  arp_sha 02:00:00:00:00:09
  skip_hw
  not_in_hw
filter protocol ip pref 6 flower chain 0 
filter protocol ip pref 6 flower chain 0 handle 0x1 
  eth_type ipv4
  ip_proto icmp
  icmp_type 8
  icmp_code 0/1
  ip_flags nofrag
  not_in_hw
\taction order 1: gact action continue
\t random type none pass val 0
\t index 2 ref 1 bind 1

filter protocol ipv6 pref 7 flower chain 0 
filter protocol ipv6 pref 7 flower chain 0 handle 0x9 
  eth_type ipv6
  ip_proto 33
  src_ip 2001:db8::/32
  not_in_hw
filter protocol all pref 8 flower chain 0 
filter protocol all pref 8 flower chain 0 handle 0x1 
  not_in_hw
"
    );
}

#[test]
fn basic_expressions_are_read_and_printed() {
    let mut lab = Lab::default();
    lab.ok(&[
        "add dev cls1 ingress protocol ip prio 1 basic match 'meta(priority eq 1) and not (cmp(u16 at 2 layer 1 mask 0xff gt 5) or u32(u8 6 0xff at 9))' classid 1:3",
        "add dev cls1 ingress protocol ip prio 1 basic match meta(dev eq \"lo\") flowid 1:4",
        "add dev cls1 ingress protocol ip prio 2 basic match 'nbyte(\"ab\\x01\" at 14 layer link) OR meta(nf_mark shift 4 mask 0xf lt 3)' action ok",
    ]);
    for bad in [
        "'meta(priority'",
        "'meta(nosuch eq 1)'",
        "'foo(1)'",
        "'meta(priority eq 1) and'",
        "'cmp(u9 at 1 eq 1)'",
        "'(meta(priority eq 1)'",
        "'meta(dev eq \"x\")'",
    ] {
        let err = lab
            .tc(&format!("add dev cls1 ingress protocol ip prio 1 basic match {bad} flowid 1:1"))
            .unwrap_err();
        assert!(err.exit == 1 && err.text.ends_with("Illegal \"ematch\""), "{bad}: {err}");
    }
    assert_eq!(
        lab.show("show dev cls1 ingress"),
        "filter protocol ip pref 1 basic chain 0 
filter protocol ip pref 1 basic chain 0 handle 0x2 flowid 1:4 
  meta(dev eq lo)

filter protocol ip pref 1 basic chain 0 handle 0x1 flowid 1:3 
  meta(priority eq 1)
  AND NOT (
    cmp(u16 at 2 layer 1 mask 0xff gt 5)
    OR u32(00060000/00ff0000 at 8)
  ) 
filter protocol ip pref 2 basic chain 0 
filter protocol ip pref 2 basic chain 0 handle 0x1 
  nbyte(61 62 01 \"ab.\" at 14 layer 0)
  OR meta(nf_mark shift 4 mask 0x0000000f lt 3)

\taction order 1: gact action pass
\t random type none pass val 0
\t index 1 ref 1 bind 1

"
    );
}

#[test]
fn the_other_actions_are_printed_as_by_tc() {
    let mut lab = Lab::default();
    lab.ok(&["add dev cls1 ingress protocol ip prio 1 matchall \
        action skbedit priority 1:10 mark 7/0xff ptype host \
        action pedit ex munge ip ttl decrement munge eth src set 02:00:00:00:00:01 munge tcp dport set 80 pipe \
        action csum ip4h and tcp pipe index 4 \
        action vlan push id 5 priority 3 \
        action vlan pop continue cookie 0a0b \
        action goto chain 7"]);
    assert_eq!(
        lab.show("show dev cls1 ingress"),
        "filter protocol ip pref 1 matchall chain 0 
filter protocol ip pref 1 matchall chain 0 handle 0x1 
  not_in_hw
\taction order 1: skbedit  priority 1:10 mark 7/0xff ptype host pipe
\t index 1 ref 1 bind 1

\taction order 2:  pedit action pipe keys 4
 \t index 1 ref 1 bind 1
\t key #0  at ipv4+8: add ff000000 mask 00ffffff
\t key #1  at eth+4: val 00000200 mask ffff0000
\t key #2  at eth+8: val 00000001 mask 00000000
\t key #3  at tcp+0: val 00000050 mask ffff0000

\taction order 3: csum (iph, tcp) action pipe
\tindex 4 ref 1 bind 1

\taction order 4: vlan  push id 5 protocol 802.1Q priority 3 pipe
\t index 1 ref 1 bind 1

\taction order 5: vlan  pop continue
\t index 2 ref 1 bind 1
\tcookie 0a0b

\taction order 6: gact action goto chain 7
\t random type none pass val 0
\t index 1 ref 1 bind 1

"
    );
}

/// Words of the language, and some that are none.
fn word() -> impl Strategy<Value = String> {
    const WORDS: &str = "u32 fw matchall flower basic match ip ip6 tcp udp icmp ether src dst sport dport protocol tos nofrag \
        df ihl 1.2.3.4/24 10.0.0.1 2001:db8::1/64 02:00:00:00:00:01 0x10 0xffff 80 7 1 0 256 -4 at nexthdr+0 nexthdr+ offset \
        mask shift plus eat hashkey link ht 1: 800: 1:2:3 800::801 sample divisor order indev lo mark flowid classid 1:10 root \
        action drop ok pass pipe continue reclassify goto chain jump police rate 80mbit burst 16k mtu 1042 conform-exceed \
        drop/ok pkts_rate pkts_burst peakrate index mirred egress ingress mirror redirect dev skbedit priority ptype host \
        queue_mapping pedit ex munge set add decrement ttl retain csum ip4h and vlan push pop modify id cookie 0a0b random \
        determ netrand ip_proto dst_ip src_ip dst_port src_port 80-90 tcp_flags 2/12 type code arp_op request arp_tip \
        vlan_id vlan_ethtype ip_flags frag/nofirstfrag meta(priority eq 1) not (cmp(u8 at 3 gt 5)) nbyte(\"a\\x01\" at 1) or \
        u32(u16 1 1 at 2) skip_hw skip_sw help ";
    let words: Vec<&str> = WORDS.split_whitespace().collect();
    prop_oneof![
        20 => prop::sample::select(words).prop_map(str::to_owned),
        1 => "[ -~]{0,6}",
    ]
}

fn line() -> impl Strategy<Value = String> {
    let verb = prop_oneof![4 => Just("add"), 1 => Just("replace"), 1 => Just("change"), 1 => Just("del")];
    let kind = prop_oneof![
        3 => Just("u32 match"),
        2 => Just("flower"),
        1 => Just("matchall action"),
        1 => Just("fw"),
        1 => Just("basic match"),
        1 => Just("")
    ];
    (verb, 0..4u16, kind, prop::collection::vec(word(), 0..14)).prop_map(|(verb, pref, kind, words)| {
        let pref = if pref == 0 { String::new() } else { format!("pref {pref}") };
        format!("{verb} dev cls1 ingress protocol ip {pref} {kind} {}", words.join(" "))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]
    #[test]
    fn no_words_break_it(lines in prop::collection::vec(line(), 1..12), acts in prop::collection::vec(word(), 0..9)) {
        let mut lab = Lab::default();
        let _ = lab.act(&format!("add action {}", acts.join(" ")));
        for line in &lines {
            let _ = lab.tc(line);
        }
        for json in [false, true] {
            let text = lab.show_with("show", Show { json, stats: true, details: true, pretty: true, ..Show::default() });
            if json {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
            }
        }
        // What is gone takes its actions along; those made by themselves stay, unused.
        lab.table.clear(&mut lab.actions);
        for kind in ["gact", "police", "mirred", "skbedit", "pedit", "csum", "vlan"] {
            let list = lab.act(&format!("ls action {kind}")).unwrap();
            let mut binds = list.split(" bind ").skip(1);
            prop_assert!(binds.all(|rest| rest.starts_with('0')), "{list}");
        }
    }
}
