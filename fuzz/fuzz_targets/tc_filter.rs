#![no_main]
//! The languages of tc's filters and actions: filters or mistakes, never a panic; what is accepted can be shown, and
//! compiled for packets.

use libfuzzer_sys::fuzz_target;
use skiff_control::tc::action::print::Show;
use skiff_control::tc::action::table::ActionTable;
use skiff_control::tc::filter::print::{Place, show};
use skiff_control::tc::filter::table::{Cx, FilterTable};
use skiff_control::tc::filter::words::{Devices, Words};
use skiff_control::tc::{action, filter};
use skiff_dataplane::net::IfIndex;
use skiff_dataplane::sched::cls::program::Cursor;
use skiff_dataplane::sched::cls::view::View;
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::time::Instant;

struct One;

impl Devices for One {
    fn index(&self, name: &str) -> Option<IfIndex> {
        (name == "d").then_some(IfIndex(2))
    }

    fn name(&self, _: IfIndex) -> Option<String> {
        Some("d".into())
    }
}

fuzz_target!(|text: &str| {
    let (mut table, mut actions) = (FilterTable::default(), ActionTable::default());
    for line in text.lines() {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let words = Words::new(&words, &One);
        let now = Instant::ZERO;
        if let Ok(command) = action::parse(words) {
            let _ = actions.apply(&command, now);
        }
        if let Ok(command) = filter::parse(words) {
            let _ = table.apply(&command, &mut Cx { actions: &mut actions, devices: &One, now });
        }
    }
    let asked = filter::parse(Words::new(&["show".to_owned()], &One)).expect("it shows all");
    let place = Place { dev: IfIndex(2), parent: filter::INGRESS };
    let rows =
        table.rows(&asked, &actions, Instant::ZERO).into_iter().map(|row| (place, row)).collect::<Vec<_>>();
    for json in [false, true] {
        let _ = show(&rows, &asked, Show { json, stats: true, details: true, pretty: true }, &One);
    }
    let program = table.compile(TcHandle::new(1, 0), &actions);
    let mut cursor = Cursor::default();
    while program.next(0, &mut cursor, &View::of_frame(text.as_bytes())).is_some() {}
});
