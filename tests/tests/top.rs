//! `skiff top` on a router at work.

use skiff_tests::{B_ADDR, Lab};

#[test]
fn a_batch_shows_what_goes_on() {
    let lab = Lab::new();
    let skiff = lab.start("");
    skiff.ctl("tc qdisc add dev wan root handle 1: htb default 10");
    skiff.ctl("tc class add dev wan parent 1: classid 1:10 htb rate 8mbit ceil 16mbit");
    let text = std::thread::scope(|scope| {
        let top = scope.spawn(|| skiff.ctl("top --batch -n 2 -d 1"));
        while !top.is_finished() {
            lab.a.try_run(&format!("ping -c 50 -i 0.01 -W 1 {B_ADDR}"));
        }
        top.join().expect("it ends")
    });
    println!("{text}");
    let row = |first: &str| {
        let lines: Vec<&str> = text.lines().filter(|line| line.starts_with(first)).collect();
        assert_eq!(lines.len(), 2, "{first}, once each time: {text}");
        lines[1].split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(text.starts_with("skiff ") && text.contains("  up 00:0"), "{text}");
    assert_eq!(row("LCORE")[2], "BUSY%");
    let lan = row("lan ");
    let rate: f64 = lan[1].parse().expect("pings a second");
    assert!(rate > 0.0, "{text}");
    let class = row("wan  1:10");
    assert_eq!(class[2..4], ["8.00M", "16.0M"]);
    assert_ne!(class[5], "0", "{text}");

    let screen = skiff.try_ctl("top");
    assert_eq!(screen.err, "skiff: top: standard output is no terminal (try --batch)\n");
    assert_eq!(screen.code, 1);
    skiff.stop_cleanly();
}
