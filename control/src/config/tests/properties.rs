//! Whatever the text, the parser answers: it neither panics nor contradicts itself.

use proptest::prelude::*;

use super::*;

/// Pieces of configurations, right and wrong, whose sequences reach deeper than random bytes do.
const PIECES: &[&str] = &[
    "[system]",
    "[interface.lan0]",
    "[interface.\"a b\"]",
    "[interface.v]",
    "[[route]]",
    "[route]",
    "[[neighbour]]",
    "[sysctl]",
    "[netfilter]",
    "[traffic-control]",
    "[metrics]",
    "[api]",
    "\n",
    "\n",
    "\n",
    "\n",
    "lcores = ",
    "memory = ",
    "device = ",
    "addresses = ",
    "mtu = ",
    "mac = ",
    "to = ",
    "via = ",
    "dev = ",
    "nexthops = ",
    "type = ",
    "rules = ",
    "commands = ",
    "vlan = ",
    "bond = ",
    "net.ipv4.ip_forward = ",
    "'net/ipv4/conf/lan0/rp_filter' = ",
    "listen = ",
    "'auto'",
    "'1-3,9'",
    "'0-1023'",
    "'256M'",
    "'99999999T'",
    "'vdev:net_null0'",
    "'pci:00:04.0'",
    "'netdev:é'",
    "['10.0.0.1/24']",
    "['10.0.0.255/24', 1]",
    "'10.0.0.2'",
    "'default'",
    "'0.0.0.0/0'",
    "'::/0'",
    "1500",
    "-1",
    "true",
    "1e9",
    "1979-05-27",
    "[{ via = '10.0.0.2', weight = 3 }]",
    "[{}]",
    "{ parent = 'v', id = 1 }",
    "{ members = ['lan0', 'lan0'], miimon = 0, mode = '802.3ad' }",
    "'lan0'",
    "'''\n*filter\n-A x\n'''",
    "\"\"\"\nqdisc\\n\"\"\"",
    "# é\r\n",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\"",
    "\\",
];

/// What must hold of every answer.
fn assert_sane(text: &str) {
    let lines = text.split('\n').count();
    match parse("r.toml", text) {
        Ok(config) => {
            config.eal_devices();
            config.memory_plan_for(1);
        }
        Err(found) => {
            assert!(!found.is_empty());
            for one in found {
                assert!(
                    (1..=lines).contains(&(one.line as usize)) && one.col >= 1,
                    "{one} is outside of the file"
                );
                assert!(!one.to_string().contains('\n'), "{one:?} is more than a line");
            }
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        assert_sane(&text);
    }

    #[test]
    fn any_pieces_are_answered(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
        assert_sane(&pieces.concat());
    }

    #[test]
    fn any_value_of_any_key_is_answered(key in prop::sample::select(PIECES), value in any::<String>()) {
        let text = toml_string(&value);
        assert_sane(&format!("[interface.a]\n{key}{text}\n"));
        assert_sane(&format!("[system]\n{key}{text}\n[[route]]\n{key}{text}\n[sysctl]\n{text} = 1\n"));
        assert_sane(&format!("[interface.{text}]\ndevice = {text}\naddresses = [{text}]\nmac = {text}\n"));
        assert_sane(&format!("[netfilter]\nrules = {text}\n[traffic-control]\ncommands = {text}\n"));
    }
}

/// A basic TOML string of any text.
fn toml_string(text: &str) -> String {
    let escaped: String = text.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
    format!("\"{escaped}\"")
}

#[test]
fn long_files_are_answered() {
    let ports: String = (0..2000).map(|n| format!("[interface.p{n}]\ndevice = 'vdev:net_null'\n")).collect();
    let strays =
        (0..2000).map(|n| format!("[[route]]\nto = '10.{}.{}.0/24'\ndev = 'q{n}'\n", n / 256, n % 256));
    let found = parse("r", &format!("{ports}{}", strays.collect::<String>())).unwrap_err();
    assert_eq!(found.len(), 2000, "one for each route");
    assert_eq!(good(&ports).eal_devices()[1999].name, "net_null_1999");
}

#[test]
fn deep_and_wide_nonsense_is_answered() {
    const MANY: usize = 50_000;
    assert_sane(&"[".repeat(MANY));
    assert_sane(&format!("a = {}", "[".repeat(MANY)));
    assert_sane(&format!("a = {}", "{a=".repeat(MANY)));
    assert_sane(&format!("{} = 1", "a.".repeat(MANY)));
    assert_sane(&format!("[sysctl]\n{}b = 1", "a.".repeat(70)));
    assert_sane(&format!("{} = 1", "a".repeat(MANY)));
}
