#![no_main]
//! Filters over arbitrary frames: no panic, an end to every search, and the same answer twice.

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use skiff_dataplane::sched::cls::ematch::{Layer, Match, Tree};
use skiff_dataplane::sched::cls::flow::{FlowKey, Flower};
use skiff_dataplane::sched::cls::program::Cursor;
use skiff_dataplane::sched::cls::u32::{Key, Node, Offset, VarOffset};
use skiff_dataplane::sched::cls::view::View;
use skiff_dataplane::sched::cls::{ETH_P_ALL, FilterKind, FilterSpec, compile};
use skiff_dataplane::sched::handle::TcHandle;

/// The frame, after what its first bytes make of the filters.
fn filters(bytes: &[u8]) -> (Vec<FilterSpec>, &[u8]) {
    let (head, frame) = bytes.split_at(bytes.len().min(16));
    let at = |i: usize| head.get(i).copied().unwrap_or(0);
    let spec = |pref, handle, kind| FilterSpec {
        chain: 0,
        pref,
        protocol: ETH_P_ALL,
        handle,
        classid: TcHandle::UNSPEC,
        indev: None,
        kind,
        actions: Vec::new(),
        cells: Arc::default(),
    };
    let key = |i: usize| Key {
        off: i32::from(at(i) as i8) * 4,
        next_header: at(i) & 1 == 1,
        mask: 1 << (at(i + 1) & 31),
        val: 0,
    };
    let node = |i: usize, link| Node {
        keys: vec![key(i), key(i + 1)],
        terminal: true,
        link,
        hash_mask: 0xff,
        hash_off: i32::from(at(i + 2)),
        offset: Offset {
            plus: Some(u16::from(at(i))),
            var: Some(VarOffset { at: i16::from(at(i + 1)), mask: 0xffff, shift: at(i + 2) }),
            eat: at(i) & 2 == 2,
        },
        mark: None,
    };
    let mut flower = Flower::default();
    for i in 0..4 {
        flower.mask.0[usize::from(at(8 + i)) % flower.mask.0.len()] = 1 << (at(9 + i) & 31);
    }
    let nbyte = Match::Nbyte { needle: vec![at(12)], off: u16::from(at(13)), layer: Layer::Transport };
    let all = vec![
        spec(1, 0x8000_0000, FilterKind::U32Table { divisor: 1, root: true }),
        spec(1, 0x0010_0000, FilterKind::U32Table { divisor: 16, root: false }),
        spec(1, 0x8000_0801, FilterKind::U32(node(0, 0x0010_0000))),
        spec(1, 0x8000_0802, FilterKind::U32(node(3, 0))),
        spec(1, 0x0010_0001 | u32::from(at(4) & 15) << 12, FilterKind::U32(node(4, 0x0010_0000))),
        spec(2, 1, FilterKind::Flower(Box::new(flower))),
        spec(3, 1, FilterKind::Basic(Some(Tree::Leaf(nbyte)))),
    ];
    (all, frame)
}

fuzz_target!(|bytes: &[u8]| {
    let (specs, frame) = filters(bytes);
    let view = View::of_frame(frame);
    assert_eq!(FlowKey::dissect(&view), FlowKey::dissect(&view));
    let program = compile(TcHandle::new(1, 0), &specs);
    let search = || {
        let (mut cursor, mut found) = (Cursor::default(), 0u32);
        while program.next(0, &mut cursor, &view).is_some() {
            found += 1;
            assert!(found < 10_000, "no end");
        }
        found
    };
    assert_eq!(search(), search());
});
