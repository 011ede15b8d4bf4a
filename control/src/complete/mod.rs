//! What the TAB key offers: the shells' scripts hand the words of a line to `skiff __complete`, which prints what may
//! stand where the cursor is.
//!
//! Commands and options come from the command line's own definition, the words of `ip`, `tc` and the tools of netfilter
//! from [`language`]. Names of devices, classes and chains are asked of the running router; without one there are none,
//! and nothing is said about it: a prompt is no place for messages.

mod command;
mod language;
mod live;
mod words;

use std::path::PathBuf;

use clap::CommandFactory as _;

use crate::cli::{Cli, DEFAULT_SOCKET};
use live::Live;

/// The scripts that ask, one a shell: where they go below a directory, and what they say.
pub const SCRIPTS: [(&str, &str); 3] = [
    ("bash/skiff", include_str!("shells/skiff.bash")),
    ("zsh/_skiff", include_str!("shells/_skiff")),
    ("fish/skiff.fish", include_str!("shells/skiff.fish")),
];

/// The line that stands for "a file's name", which shells complete themselves.
const FILES: &str = ":files";

/// What may stand at the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Offer {
    /// Words, each with what it means or nothing.
    words: Vec<(String, String)>,
    /// Files as well.
    files: bool,
}

impl Offer {
    fn of<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Offer {
        Offer { words: words.into_iter().map(|word| (word.into(), String::new())).collect(), files: false }
    }

    fn files() -> Offer {
        Offer { files: true, ..Offer::default() }
    }

    fn and(mut self, other: Offer) -> Offer {
        self.words.extend(other.words);
        self.files |= other.files;
        self
    }
}

/// What the router can be asked for. An empty answer stands for no router as well.
trait Names {
    /// Its devices.
    fn devices(&self) -> Vec<String>;
    /// The classes of a device, as `1:10`, with their kind and rate.
    fn classes(&self, device: &str) -> Vec<(String, String)>;
    /// The handles of a device's disciplines, as `1:`.
    fn handles(&self, device: &str) -> Vec<(String, String)>;
    /// The chains of a table of rules.
    fn chains(&self, table: &str) -> Vec<String>;
    /// The sets of addresses.
    fn sets(&self) -> Vec<String>;
}

/// The lines for a shell: what may stand in the place of the last of `words`, which are those after `skiff`. A word and,
/// behind a tab, what it means; `:files` stands for names of files.
pub fn lines(words: &[String]) -> String {
    let live = Live::new(socket(words));
    render(offer(words, &live), words.last().map_or("", String::as_str))
}

fn offer(words: &[String], names: &dyn Names) -> Offer {
    let mut cli = Cli::command();
    cli.build();
    let (done, partial) = match words.split_last() {
        Some((last, done)) => (done, last.as_str()),
        None => (words, ""),
    };
    command::offer(&cli, done, partial, names)
}

/// Those that begin as the word at the cursor does, in order.
fn render(offer: Offer, partial: &str) -> String {
    let mut out = String::new();
    if offer.files {
        out.push_str(FILES);
        out.push('\n');
    }
    let mut seen = std::collections::HashSet::new();
    for (word, help) in offer.words {
        if word.starts_with(partial) && seen.insert(word.clone()) {
            out.push_str(&word);
            if !help.is_empty() {
                out.push('\t');
                out.push_str(&help);
            }
            out.push('\n');
        }
    }
    out
}

/// The socket the line names, else the environment's, else the usual one.
fn socket(words: &[String]) -> PathBuf {
    let named = words.iter().enumerate().find_map(|(at, word)| match word.strip_prefix("--socket") {
        Some("") => words.get(at + 1).cloned(),
        Some(rest) => rest.strip_prefix('=').map(str::to_owned),
        None => None,
    });
    match named {
        Some(path) => path.into(),
        None => std::env::var_os("SKIFF_SOCKET").map_or_else(|| DEFAULT_SOCKET.into(), PathBuf::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A router with two devices, a tree and a chain.
    struct Router;

    impl Names for Router {
        fn devices(&self) -> Vec<String> {
            vec!["lan0".into(), "wan0".into()]
        }

        fn classes(&self, device: &str) -> Vec<(String, String)> {
            let of_wan = [("1:1", "htb 100Mbit"), ("1:10", "htb 30Mbit"), ("1:20", "htb 70Mbit")];
            let of_wan = of_wan.map(|(id, help)| (id.to_owned(), help.to_owned()));
            if device == "wan0" { of_wan.into() } else { Vec::new() }
        }

        fn handles(&self, device: &str) -> Vec<(String, String)> {
            if device == "wan0" { vec![("1:".into(), "htb".into())] } else { Vec::new() }
        }

        fn chains(&self, table: &str) -> Vec<String> {
            if table == "filter" { vec!["FORWARD".into(), "guests".into()] } else { vec!["OUTPUT".into()] }
        }

        fn sets(&self) -> Vec<String> {
            vec!["banned".into()]
        }
    }

    /// What is offered for `line`; a blank at its end begins a new word.
    fn offered(line: &str) -> Vec<String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let partial = words.last().cloned().unwrap_or_default();
        let lines = render(offer(&words, &Router), &partial);
        lines.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
    }

    #[test]
    fn commands_and_their_options() {
        assert_eq!(offered("tc"), ["tc"]);
        assert!(offered("").contains(&"iptables-save".to_owned()));
        assert!(!offered("").iter().any(|word| word.starts_with("__") || word == "generate"));
        assert_eq!(offered("config ch"), ["check"]);
        assert_eq!(offered("config check "), [FILES]);
        assert_eq!(offered("run --con"), ["--config"]);
        assert_eq!(offered("run -c "), [FILES]);
        assert_eq!(offered("--socket /x drops --js"), ["--json"]);
        assert!(offered("bench forward --case ").len() > 1);
        assert!(offered("bench forward --case=").iter().all(|word| word.starts_with("--case=")));
        assert_eq!(offered("bond show "), ["lan0", "wan0"]);
    }

    #[test]
    fn devices_and_classes_in_tc() {
        assert_eq!(offered("tc class show dev "), ["lan0", "wan0"]);
        assert_eq!(offered("tc class change dev wan0 classid "), ["1:1", "1:10", "1:20"]);
        assert_eq!(offered("tc class change dev wan0 classid 1:1"), ["1:1", "1:10"]);
        assert!(offered("tc class change dev lan0 classid ").is_empty());
        assert_eq!(offered("tc -s class show dev wan0 parent 1:"), ["1:", "1:1", "1:10", "1:20"]);
        assert_eq!(offered("tc qdisc del dev wan0 handle "), ["1:"]);
        assert_eq!(offered("tc cl"), ["class"]);
        assert_eq!(offered("tc qdisc re"), ["replace"]);
        assert_eq!(offered("tc class add dev wan0 classid 1:30 htb rate 1mbit c"), ["ceil", "cburst"]);
        assert!(offered("tc class add dev wan0 classid 1:30 htb rate ").is_empty());
        assert_eq!(offered("tc -batch "), [FILES]);
        assert!(
            offered("tc filter add dev wan0 protocol ip u32 match ip dport 1 0xffff flowid ")
                .contains(&"1:10".to_owned())
        );
    }

    #[test]
    fn devices_in_ip() {
        assert_eq!(offered("ip link show "), ["lan0", "wan0", "dev", "up", "type", "master"]);
        assert_eq!(offered("ip link set w"), ["wan0"]);
        assert_eq!(offered("ip -s link show l"), ["lan0"]);
        assert_eq!(offered("ip route add default via 10.0.0.1 dev "), ["lan0", "wan0"]);
        assert_eq!(offered("ip li"), ["link"]);
        assert_eq!(offered("ip addr d"), ["del"]);
    }

    #[test]
    fn chains_tables_and_sets() {
        assert_eq!(offered("iptables -A "), ["FORWARD", "guests"]);
        assert_eq!(offered("iptables -t nat -A "), ["OUTPUT"]);
        assert_eq!(offered("iptables -t na"), ["nat"]);
        assert_eq!(offered("iptables -A FORWARD -i "), ["lan0", "wan0"]);
        assert!(offered("iptables -A FORWARD -j ").contains(&"guests".to_owned()));
        assert_eq!(offered("iptables-restore ")[0], FILES);
        assert_eq!(offered("ipset list "), ["banned"]);
    }

    #[test]
    fn the_socket_of_the_line() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(socket(&words("--socket /a/b tc ")), PathBuf::from("/a/b"));
        assert_eq!(socket(&words("tc --socket=/c ")), PathBuf::from("/c"));
    }

    #[test]
    fn any_words_are_fine() {
        for line in ["--socket", "-", "--", "run -- ", "tc class change dev", "nope x", "ip", "bench --case="]
        {
            let _ = offered(line);
            let _ = offered(&format!("{line} "));
        }
        assert_eq!(
            render(offer(&[], &Router), "tc"),
            "tc\tShow and change queueing disciplines and classes, in the language of tc(8)\n"
        );
    }
}
