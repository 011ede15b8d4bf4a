use proptest::prelude::*;

use super::*;

/// Two ports, to stand above the snippet under test: `lan0` 10.0.0.1/24 and `wan0` 10.0.1.1/24, seven lines.
const PORTS: &str = "\
[interface.lan0]
device = \"vdev:net_null0\"
addresses = [\"10.0.0.1/24\"]
[interface.wan0]
device = \"vdev:net_null1\"
addresses = [\"10.0.1.1/24\"]
# line 7
";

/// The mistakes of a text, as they are printed.
fn mistakes(text: &str) -> Vec<String> {
    match parse("r", text) {
        Ok(_) => Vec::new(),
        Err(found) => found.iter().map(ToString::to_string).collect(),
    }
}

/// Checks a table of texts, each with exactly the mistakes it must yield.
fn assert_mistakes(above: &str, table: &[(&str, &[&str])]) {
    for (text, expected) in table {
        assert_eq!(mistakes(&format!("{above}{text}")), *expected, "in:\n{text}");
    }
}

fn good(text: &str) -> Config {
    parse("r", text).unwrap_or_else(|found| panic!("{found:#?}\nin:\n{text}"))
}
