//! Any text is an answer for `tc -batch`, and what failed has changed nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use skiff_control::tc::{Call, Device, Devices, Picture, run};
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::time::Instant;

struct One;

impl Devices for One {
    fn find(&self, name: &str) -> Option<Device> {
        let dev = Device { index: IfIndex(1), name: "d0".to_owned(), mtu: 1500, speed: Some(125_000_000) };
        (name == "d0").then_some(dev)
    }

    fn all(&self) -> Vec<Device> {
        self.find("d0").into_iter().collect()
    }
}

fuzz_target!(|text: &str| {
    let mut picture = Picture::default();
    let call = |args: &[&str], input: &str| Call {
        args: args.iter().map(|&word| word.to_owned()).collect(),
        input: input.to_owned(),
    };
    let (reply, changes) = run(&call(&["-batch", "-"], text), &mut picture, &One, Instant::ZERO);
    assert!(reply.exit == 0 || changes.ops.is_empty() && picture.trees().next().is_none());
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let _ = run(&call(&words, ""), &mut picture, &One, Instant::ZERO);
    }
    for show in ["qdisc", "class"] {
        for options in ["-s", "-j"] {
            let (reply, _) = run(&call(&[options, "-d", show, "show"], ""), &mut picture, &One, Instant::ZERO);
            assert_eq!(reply.exit, 0);
        }
    }
});
