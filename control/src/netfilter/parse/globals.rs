//! The options that belong to no extension.

/// What an option is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    Append,
    Delete,
    Check,
    Insert,
    Replace,
    List,
    ListRules,
    Flush,
    Zero,
    NewChain,
    DeleteChain,
    RenameChain,
    Policy,
    Source,
    Destination,
    Protocol,
    InInterface,
    OutInterface,
    Jump,
    Goto,
    Match,
    Fragment,
    Verbose,
    Numeric,
    Exact,
    Table,
    Counters,
    Wait,
    WaitInterval,
    LineNumbers,
    Ipv4,
    Ipv6,
    Modprobe,
}

use Global::{
    Append, Check, Counters, Delete, DeleteChain, Destination, Exact, Flush, Fragment, Goto, InInterface,
    Insert, Ipv4, Ipv6, Jump, LineNumbers, List, ListRules, Match, Modprobe, NewChain, Numeric, OutInterface,
    Policy, Protocol, RenameChain, Replace, Source, Table, Verbose, Wait, WaitInterval, Zero,
};

/// Letter, long names, meaning, and whether a word follows.
const GLOBALS: &[(Option<char>, &[&str], Global, bool)] = &[
    (Some('A'), &["append"], Append, true),
    (Some('D'), &["delete"], Delete, true),
    (Some('C'), &["check"], Check, true),
    (Some('I'), &["insert"], Insert, true),
    (Some('R'), &["replace"], Replace, true),
    (Some('L'), &["list"], List, false),
    (Some('S'), &["list-rules"], ListRules, false),
    (Some('F'), &["flush"], Flush, false),
    (Some('Z'), &["zero"], Zero, false),
    (Some('N'), &["new-chain"], NewChain, true),
    (Some('X'), &["delete-chain"], DeleteChain, false),
    (Some('E'), &["rename-chain"], RenameChain, true),
    (Some('P'), &["policy"], Policy, true),
    (Some('s'), &["source", "src"], Source, true),
    (Some('d'), &["destination", "dst"], Destination, true),
    (Some('p'), &["protocol", "proto"], Protocol, true),
    (Some('i'), &["in-interface"], InInterface, true),
    (Some('o'), &["out-interface"], OutInterface, true),
    (Some('j'), &["jump"], Jump, true),
    (Some('g'), &["goto"], Goto, true),
    (Some('m'), &["match"], Match, true),
    (Some('f'), &["fragments"], Fragment, false),
    (Some('v'), &["verbose"], Verbose, false),
    (Some('n'), &["numeric"], Numeric, false),
    (Some('x'), &["exact"], Exact, false),
    (Some('t'), &["table"], Table, true),
    (Some('c'), &["set-counters"], Counters, true),
    (Some('w'), &["wait"], Wait, false),
    (Some('W'), &["wait-interval"], WaitInterval, true),
    (None, &["line-numbers"], LineNumbers, false),
    (Some('4'), &["ipv4"], Ipv4, false),
    (Some('6'), &["ipv6"], Ipv6, false),
    (Some('M'), &["modprobe"], Modprobe, true),
];

/// An option by its letter, and whether a word follows.
pub(super) fn by_letter(letter: char) -> Option<(Global, bool)> {
    GLOBALS.iter().find(|global| global.0 == Some(letter)).map(|global| (global.2, global.3))
}

/// Every long name, its meaning, and whether a word follows.
pub(super) fn long_names() -> impl Iterator<Item = (&'static str, Global, bool)> {
    GLOBALS.iter().flat_map(|global| global.1.iter().map(move |name| (*name, global.2, global.3)))
}

impl Global {
    /// The option as messages name it.
    pub(super) fn letter(self) -> String {
        match GLOBALS.iter().find(|global| global.2 == self) {
            Some((Some(letter), ..)) => format!("-{letter}"),
            Some((None, names, ..)) => format!("--{}", names[0]),
            None => String::new(),
        }
    }

    /// True if `!` may stand before it.
    pub(super) fn negatable(self) -> bool {
        matches!(self, Source | Destination | Protocol | InInterface | OutInterface | Fragment)
    }

    /// True if it says what to do.
    pub(super) fn is_command(self) -> bool {
        matches!(
            self,
            Append
                | Delete
                | Check
                | Insert
                | Replace
                | List
                | ListRules
                | Flush
                | Zero
                | NewChain
                | DeleteChain
                | RenameChain
                | Policy
        )
    }
}
