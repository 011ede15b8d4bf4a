//! The compiled filters find what a reading of the list one by one finds.

use proptest::prelude::*;

use super::super::flow::word;
use super::super::u32::{Key, Offset, VarOffset};
use super::*;

/// Every filter that takes a packet, in order, when each says `continue`: the list read as tc-u32(8) and the kernel
/// describe it, without tables.
fn one_by_one(filters: &[FilterSpec], view: &View<'_>, qdisc: TcHandle) -> Vec<(u16, u32)> {
    let mut found = Vec::new();
    let mut prefs: Vec<u16> = filters.iter().map(|f| f.pref).collect();
    prefs.sort_unstable();
    prefs.dedup();
    for pref in prefs {
        let mut ours: Vec<&FilterSpec> = filters
            .iter()
            .filter(|f| f.pref == pref && (f.protocol == ETH_P_ALL || f.protocol == view.protocol))
            .collect();
        match ours.first().map(|f| &f.kind) {
            Some(FilterKind::U32(_) | FilterKind::U32Table { .. }) => {
                let root = ours.iter().find(|f| matches!(f.kind, FilterKind::U32Table { root: true, .. }));
                let Some(root) = root else { continue };
                let _ = descend(filters, view, u32::table_of(root.handle), 0, (0, 0), 0, &mut |f| {
                    found.push((f.pref, f.handle));
                });
            }
            Some(FilterKind::Flower(_)) => {
                ours.sort_by_key(|f| match &f.kind {
                    FilterKind::Flower(flower) => flower.age,
                    _ => 0,
                });
                let flow = FlowKey::dissect(view);
                let hit = ours.iter().find(|f| matches!(&f.kind, FilterKind::Flower(x) if x.matches(&flow)));
                found.extend(hit.map(|f| (f.pref, f.handle)));
            }
            _ => {
                for f in ours {
                    let class = TcHandle(view.mark);
                    let hit = match &f.kind {
                        FilterKind::Fw { mask } => view.mark & mask == f.handle,
                        FilterKind::FwClass => {
                            view.mark != 0 && (class.major() == 0 || class.major() == qdisc.major())
                        }
                        FilterKind::Basic(tree) => tree.as_ref().is_none_or(|t| t.matches(view)),
                        _ => true,
                    };
                    if hit && f.indev.is_none_or(|dev| dev == view.iif) {
                        found.push((f.pref, f.handle));
                    }
                }
            }
        }
    }
    found
}

/// One bucket of a table and all below it. An error ends the preference.
fn descend(
    all: &[FilterSpec],
    view: &View<'_>,
    table: u32,
    bucket: u32,
    (off, next): (isize, isize),
    depth: usize,
    take: &mut impl FnMut(&FilterSpec),
) -> Result<isize, ()> {
    let mut next = next;
    let here = |f: &&FilterSpec| u32::table_of(f.handle) == table && u32::bucket_of(f.handle) == bucket;
    let mut nodes: Vec<&FilterSpec> =
        all.iter().filter(|f| matches!(f.kind, FilterKind::U32(_))).filter(here).collect();
    nodes.sort_by_key(|f| u32::node_of(f.handle));
    for f in nodes {
        let FilterKind::U32(node) = &f.kind else { continue };
        if let Some((val, mask)) = node.mark
            && view.mark & mask != val
        {
            continue;
        }
        let mut holds = true;
        for key in &node.keys {
            let at = off + key.off as isize + if key.next_header { next } else { 0 };
            if (view.word(at).ok_or(())? ^ key.val) & key.mask != 0 {
                holds = false;
                break;
            }
        }
        if !holds {
            continue;
        }
        if node.link != 0 {
            if depth >= u32::MAX_DEPTH {
                return Err(());
            }
            let divisor = all
                .iter()
                .find_map(|t| match t.kind {
                    FilterKind::U32Table { divisor, .. } if t.handle == node.link => Some(divisor),
                    _ => None,
                })
                .unwrap_or(1);
            let mut bucket = 0;
            if divisor > 1 {
                let word = view.word(off + node.hash_off as isize).ok_or(())?;
                bucket = u32::fold(word, node.hash_mask) & (divisor - 1);
            }
            let mut off2 = off;
            let Offset { plus, var, eat } = node.offset;
            if plus.is_some() || var.is_some() {
                next = plus.unwrap_or(0) as isize + 3;
                if let Some(var) = var {
                    let at = off + isize::from(var.at);
                    let word = [view.octet(at).ok_or(())?, view.octet(at + 1).ok_or(())?];
                    next += ((u16::from_be_bytes(word) & var.mask) >> var.shift) as isize;
                }
                next &= !3;
            }
            if eat {
                off2 += next;
                next = 0;
            }
            if off2 < view.behind as isize {
                next = descend(all, view, node.link, bucket, (off2, next), depth + 1, take)?;
            }
        }
        if node.terminal && f.indev.is_none_or(|dev| dev == view.iif) {
            take(f);
        }
    }
    Ok(next)
}

/// Every filter the program finds, with `continue` after each.
fn compiled(program: &FilterProgram, filters: &[FilterSpec], view: &View<'_>) -> Vec<(u16, u32)> {
    let mut cursor = Cursor::default();
    let mut found = Vec::new();
    while let Some(matched) = program.next(0, &mut cursor, view) {
        let of = |f: &&FilterSpec| Arc::ptr_eq(&f.cells, &matched.leaf.cells);
        found.extend(filters.iter().find(of).map(|f| (f.pref, f.handle)));
    }
    found
}

fn spec(pref: u16, handle: u32, protocol: u16, kind: FilterKind) -> FilterSpec {
    FilterSpec {
        chain: 0,
        pref,
        protocol,
        handle,
        classid: TcHandle(handle),
        indev: None,
        kind,
        actions: Vec::new(),
        cells: Arc::default(),
    }
}

/// A word few packets differ in, so that filters do match.
fn key() -> impl Strategy<Value = Key> {
    let off = prop_oneof![6 => (0..8i32).prop_map(|o| o * 4), 1 => Just(-16), 1 => Just(-4), 1 => Just(400)];
    let mask = prop_oneof![Just(0u32), Just(1), Just(0x0101_0000), Just(0x0100_0001)];
    (off, mask, any::<u32>(), prop::bool::weighted(0.2)).prop_map(|(off, mask, val, next_header)| Key {
        off,
        next_header,
        mask,
        val: val & mask & 0x0101_0101,
    })
}

fn node() -> impl Strategy<Value = Node> {
    let offset = prop_oneof![
        3 => Just(Offset::default()),
        1 => (0..24u16, any::<bool>()).prop_map(|(plus, eat)| Offset { plus: Some(plus), var: None, eat }),
        1 => (0..10i16, 0..6u8, any::<bool>()).prop_map(|(at, shift, eat)| Offset {
            plus: None,
            var: Some(VarOffset { at: at * 2, mask: 0x0f01, shift }),
            eat,
        }),
    ];
    let mark = prop_oneof![3 => Just(None), 1 => (0..2u32).prop_map(|m| Some((m, 1)))];
    let link =
        prop_oneof![4 => Just(0u32), 1 => Just(0x0010_0000), 1 => Just(0x0020_0000), 1 => Just(0x0990_0000)];
    (prop::collection::vec(key(), 0..4), any::<bool>(), link, offset, mark).prop_map(
        |(keys, terminal, link, offset, mark)| Node {
            keys,
            terminal,
            link,
            hash_mask: 0x0301_0000,
            hash_off: 4,
            offset,
            mark,
        },
    )
}

fn protocol() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0x0800u16), Just(ETH_P_ALL), Just(0x0806), Just(0x8100)]
}

/// The filters of one preference.
fn preference(pref: u16) -> impl Strategy<Value = Vec<FilterSpec>> {
    let u32s = (protocol(), prop::collection::vec((node(), 0..6u32, any::<bool>()), 1..8)).prop_map(
        move |(protocol, nodes)| {
            let root = 0x8000_0000 + (u32::from(pref) << 20);
            let table = |handle, divisor, root| {
                FilterKind::U32Table { divisor, root }.into_spec(pref, handle, protocol)
            };
            let mut specs = vec![table(root, 1, true)];
            for (i, (node, place, indev)) in nodes.into_iter().enumerate() {
                let table = match place {
                    0 => 0x0020_0000,
                    n @ 1..=2 => 0x0010_0000 | n << 12,
                    _ => root,
                };
                // Numbers are unique in all preferences, and their order is not that of creation.
                let number = (u32::from(pref) * 40 + i as u32 * 7 % 40) & 0xfff;
                let mut f = spec(pref, table | number, protocol, FilterKind::U32(node));
                f.indev = (indev && i % 3 == 0).then_some(IfIndex(2));
                specs.push(f);
            }
            specs
        },
    );
    let flower = (protocol(), prop::collection::vec((0..4usize, any::<u32>(), 0..3u16), 1..6)).prop_map(
        move |(protocol, keys)| {
            let mut specs: Vec<FilterSpec> = Vec::new();
            for (i, (which, value, range)) in keys.into_iter().enumerate() {
                let (at, mask) = [(word::SRC, 0x0101_0000), (word::PORTS, 0x0001_0001), (word::PROTO, 0xffff_0000), (word::DST_MAC, 1)]
                    [which];
                let mut flower = Flower { age: which as u64 ^ 2, ..Flower::default() };
                flower.mask.0[at] = mask;
                flower.key.0[at] = value & mask & 0x0101_0101;
                if range == 0 {
                    flower.age += 8;
                    flower.dst_ports = Some((0, 0x80));
                }
                let same = |f: &FilterSpec| matches!(&f.kind, FilterKind::Flower(x) if x.key == flower.key && x.same_mask(&flower));
                if !specs.iter().any(same) {
                    specs.push(spec(pref, i as u32 + 1, protocol, FilterKind::Flower(Box::new(flower))));
                }
            }
            specs
        },
    );
    let fw = prop::collection::btree_set(0..4u32, 1..4).prop_map(move |marks| {
        marks.into_iter().map(|m| spec(pref, m, ETH_P_ALL, FilterKind::Fw { mask: 3 })).collect()
    });
    let others = (
        protocol(),
        prop_oneof![Just(FilterKind::Matchall), Just(FilterKind::FwClass), Just(FilterKind::Basic(None))],
    )
        .prop_map(move |(protocol, kind)| vec![spec(pref, 1, protocol, kind)]);
    prop_oneof![6 => u32s, 3 => flower, 1 => fw, 1 => others]
}

impl FilterKind {
    fn into_spec(self, pref: u16, handle: u32, protocol: u16) -> FilterSpec {
        spec(pref, handle, protocol, self)
    }
}

fn filters() -> impl Strategy<Value = Vec<FilterSpec>> {
    (1..6usize).prop_flat_map(|n| {
        let prefs: Vec<_> = (1..=n as u16).map(|pref| preference(pref).boxed()).collect();
        prefs.prop_map(|prefs| {
            let table = |handle, divisor| {
                FilterKind::U32Table { divisor, root: false }.into_spec(99, handle, ETH_P_ALL)
            };
            prefs.into_iter().flatten().chain([table(0x0010_0000, 4), table(0x0020_0000, 1)]).collect()
        })
    })
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let ethertype =
        prop_oneof![3 => Just(vec![8u8, 0]), 1 => Just(vec![8, 6]), 1 => Just(vec![0x81, 0, 0, 1, 8, 0])];
    let byte = prop_oneof![Just(0u8), Just(1u8)];
    (prop::collection::vec(byte.clone(), 12), ethertype, prop::collection::vec(byte, 0..64), any::<bool>())
        .prop_map(|(mut frame, ethertype, mut payload, ip)| {
            if ip && payload.len() > 20 {
                payload[0] = 0x45;
                payload[9] = 17;
            }
            frame.extend(ethertype);
            frame.extend(payload);
            frame
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn compiled_filters_find_what_reading_one_by_one_finds(
        filters in filters(),
        frames in prop::collection::vec((frame(), 0..4u32, 1..4u16), 1..12),
    ) {
        let qdisc = TcHandle::new(1, 0);
        let program = compile(qdisc, &filters);
        for (frame, mark, iif) in &frames {
            let view = View { mark: *mark, iif: IfIndex(*iif), ..View::of_frame(frame) };
            prop_assert_eq!(compiled(&program, &filters, &view), one_by_one(&filters, &view, qdisc));
        }
    }
}

#[test]
fn thousands_of_filters_share_a_table() {
    let mut filters = Vec::new();
    for i in 0..10_000u32 {
        let keys = vec![
            Key { off: 16, next_header: false, mask: u32::MAX, val: 0x0a00_0000 + i },
            Key { off: 8, next_header: false, mask: 0x00ff_0000, val: 0x0011_0000 },
        ];
        let node = Node { keys, terminal: true, ..Node::default() };
        let pref = 49152 - i as u16;
        let root = (0x800 + i % 0x7ff) << 20;
        filters.push(spec(pref, root, 0x0800, FilterKind::U32Table { divisor: 1, root: true }));
        filters.push(spec(pref, root | 0x800, 0x0800, FilterKind::U32(node)));
    }
    let program = compile(TcHandle::new(1, 0), &filters);
    assert_eq!(program.chains[0].groups.len(), 1);
    let mut frame = vec![0u8; 60];
    frame[12] = 8;
    frame[23] = 17;
    frame[30..34].copy_from_slice(&(0x0a00_0000u32 + 7777).to_be_bytes());
    let matched = program.next(0, &mut Cursor::default(), &View::of_frame(&frame)).unwrap();
    assert!(Arc::ptr_eq(&matched.leaf.cells, &filters[2 * 7777 + 1].cells));
}
