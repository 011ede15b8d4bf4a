//! Tests of the table: the rules of its module page, one by one, and all at once under threads.

use std::collections::HashMap;
use std::thread;

use proptest::prelude::*;

use super::*;

const DEV: IfIndex = IfIndex(3);
const OURS: MacAddr = MacAddr([0x02, 0x11, 0x22, 0x33, 0x44, 0x55]);

fn mac(n: u32) -> MacAddr {
    let [a, b, c, d] = n.to_be_bytes();
    MacAddr([2, 0xbb, a, b, c, d])
}

#[test]
fn the_header_is_ready_when_the_state_is_valid() {
    let (table, mut writer) = NeighTable::with_writer(8);
    let id = writer.insert(DEV, 0x0a00_0001).unwrap();
    assert_eq!(table.entry(id).header(), None);
    writer.set_link_addr(id, mac(7), OURS);
    for state in Nud::ALL {
        writer.set_state(id, state);
        let header = table.entry(id).header();
        assert_eq!(header.is_some(), state.is_valid(), "{state}");
        if let Some(header) = header {
            assert_eq!(header[..6], mac(7).0);
            assert_eq!(header[6..12], OURS.0);
            assert_eq!(header[12..], [0x08, 0x00]);
        }
    }
    assert_eq!(table.entry(id).mac(), mac(7));
    assert_eq!(table.entry(id).key(), (DEV, 0x0a00_0001));
}

#[test]
fn one_address_on_two_devices_is_two_neighbours() {
    let (table, mut writer) = NeighTable::with_writer(8);
    let a = writer.insert(IfIndex(1), 9).unwrap();
    let b = writer.insert(IfIndex(2), 9).unwrap();
    assert_ne!(a, b);
    assert_eq!(table.lookup(IfIndex(1), 9), Some(a));
    assert_eq!(table.lookup(IfIndex(2), 9), Some(b));
    assert_eq!(table.lookup(IfIndex(3), 9), None);
    assert_eq!(writer.insert(IfIndex(1), 9), Ok(a));
}

#[test]
fn a_stale_use_is_reported_once() {
    let (table, mut writer) = NeighTable::with_writer(1);
    let id = writer.insert(DEV, 1).unwrap();
    let entry = table.entry(id);
    assert!(!entry.needs_confirm());
    for _ in 0..2 {
        writer.set_state(id, Nud::Stale);
        assert!(entry.needs_confirm());
        assert!(!entry.needs_confirm());
        entry.unreport();
        assert!(entry.needs_confirm());
        assert!(!entry.needs_confirm());
    }
}

#[test]
fn an_id_returns_only_after_its_grace_period() {
    let (table, mut writer) = NeighTable::with_writer(1);
    writer.set_epoch(5);
    let id = writer.insert(DEV, 1).unwrap();
    assert_eq!(writer.insert(DEV, 2), Err(TableFull));
    writer.set_link_addr(id, mac(1), OURS);
    writer.set_state(id, Nud::Permanent);
    writer.hold(id);
    writer.remove(id);
    writer.remove(id);
    assert_eq!(table.lookup(DEV, 1), None);
    assert_eq!(table.entry(id).header(), None);
    assert_eq!(writer.insert(DEV, 2), Err(TableFull));
    writer.reclaim_until(4);
    assert_eq!(writer.insert(DEV, 2), Err(TableFull));
    writer.reclaim_until(5);
    assert_eq!(writer.insert(DEV, 2), Ok(id));
    assert!(!writer.is_held(id));
    assert_eq!(writer.insert(DEV, 3), Err(TableFull));
}

proptest! {
    #[test]
    fn the_table_is_a_map(ops in proptest::collection::vec((any::<bool>(), 0u32..40), 1..400)) {
        let (table, mut writer) = NeighTable::with_writer(16);
        let mut model = HashMap::new();
        for (insert, ip) in ops {
            if insert {
                match writer.insert(DEV, ip) {
                    Ok(id) => prop_assert_eq!(*model.entry(ip).or_insert(id), id),
                    Err(TableFull) => prop_assert_eq!(model.len(), 16),
                }
            } else if let Some(id) = model.remove(&ip) {
                writer.remove(id);
                writer.reclaim_until(0);
            }
            for ip in 0..40 {
                prop_assert_eq!(table.lookup(DEV, ip), model.get(&ip).copied());
            }
        }
        for (_, id) in model.drain() {
            writer.remove(id);
        }
        // No tombstone stands before an empty slot: without entries there is none at all.
        prop_assert!(table.slots.iter().all(|slot| slot.load(Ordering::Relaxed) == EMPTY));
    }
}

/// Readers run through the table while the writer inserts, changes and removes. The MAC of a neighbour always
/// carries its address, so a header of another key, or half of one, is seen at once. Keys that stay must never miss.
#[test]
fn readers_see_the_old_or_the_new_never_another() {
    const BURSTS: u64 = 3_000;
    let (table, mut writer) = NeighTable::with_writer(128);
    (0..KEYS).filter(|&ip| stays(ip)).for_each(|ip| publish(&mut writer, ip, 0));
    let epoch = AtomicU64::new(1);
    let passed: [AtomicU64; 2] = Default::default();
    let mut reused = 0;
    thread::scope(|scope| {
        let readers = passed.each_ref().map(|passed| {
            let (table, epoch) = (&table, &epoch);
            scope.spawn(move || {
                for _ in 0..BURSTS {
                    let seen = epoch.load(Ordering::SeqCst);
                    read_burst(table);
                    passed.store(seen, Ordering::SeqCst);
                }
                passed.store(u64::MAX, Ordering::SeqCst);
            })
        });
        let mut round = 0u32;
        while !readers.iter().all(|reader| reader.is_finished()) {
            round += 1;
            let now = epoch.load(Ordering::SeqCst);
            writer.set_epoch(now);
            for ip in 0..KEYS {
                match table.lookup(DEV, ip) {
                    Some(id) if !stays(ip) && (round + ip).is_multiple_of(3) => writer.remove(id),
                    None if writer.free.is_empty() => {}
                    _ => publish(&mut writer, ip, round as u16),
                }
            }
            epoch.store(now + 1, Ordering::SeqCst);
            // A reader that finished a burst begun in epoch n + 1 holds no id removed in epoch n.
            let passed = passed.iter().map(|p| p.load(Ordering::SeqCst)).min().unwrap_or(0);
            let waiting = writer.retired.len();
            writer.reclaim_until(passed.saturating_sub(1));
            reused += waiting - writer.retired.len();
        }
    });
    assert!(reused > 100, "only {reused} ids came back: the test did not test");
}

const KEYS: u32 = 64;

fn stays(ip: u32) -> bool {
    ip.is_multiple_of(4)
}

fn publish(writer: &mut NeighWriter, ip: u32, version: u16) {
    let Ok(id) = writer.insert(DEV, ip) else { return };
    let ([w, x, y, z], [a, b]) = (ip.to_be_bytes(), version.to_be_bytes());
    writer.set_link_addr(id, MacAddr([w, x, y, z, a, b]), OURS);
    writer.set_state(id, Nud::Reachable);
}

/// As an lcore does: all lookups of a burst, then all headers.
fn read_burst(table: &NeighTable) {
    let found: Vec<_> = (0..KEYS).map(|ip| (ip, table.lookup(DEV, ip))).collect();
    thread::yield_now();
    for (ip, id) in found {
        let header = id.and_then(|id| table.entry(id).header());
        assert!(!stays(ip) || header.is_some(), "a neighbour that was never removed was missed");
        if let Some(header) = header {
            assert_eq!(header[..4], ip.to_be_bytes());
            assert_eq!(header[6..12], OURS.0);
        }
    }
}
