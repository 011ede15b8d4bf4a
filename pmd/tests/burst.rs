//! Bursts and rings.

mod common;

use common::{burst, eal, ids, pkt, pool};
use skiff_pmd::{BURST, Burst, Error, Ring};

#[test]
fn push_and_pop_are_last_in_first_out() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let mut full = burst(&pool, 0..32);
    assert!(full.is_full());
    let refused = full.push(pkt(&pool, &[99])).unwrap_err();
    assert_eq!(refused.data(), [99]);
    assert_eq!(full.pop().unwrap().data(), [31]);
    assert_eq!(full.len(), 31);
    full.free_all();
    assert!(full.is_empty() && full.pop().is_none());
    drop(refused);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn extract_keeps_the_order_on_both_sides() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let masks = [0, 1, 0x8000_0000, 0x5555_5555, 0xf0f0_f00f, 0x7fff_ffff, u32::MAX - 1, u32::MAX];
    for mask in masks {
        for len in [0u8, 1, 7, 31, 32] {
            for taken in [0u8, 5, 30, 32] {
                let mut from = burst(&pool, 0..len);
                let mut into = burst(&pool, (0..taken).map(|id| 100 + id));
                let room = BURST - usize::from(taken);
                let chosen: Vec<u8> = (0..len).filter(|id| mask >> id & 1 == 1).take(room).collect();
                let kept: Vec<u8> = (0..len).filter(|id| !chosen.contains(id)).collect();
                let moved = from.extract(mask, &mut into);
                assert_eq!(moved, chosen.len(), "{mask:x} {len} {taken}");
                assert_eq!(ids(&from), kept, "{mask:x} {len} {taken}");
                assert_eq!(ids(&into)[usize::from(taken)..], chosen, "{mask:x} {len} {taken}");
            }
        }
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn append_and_take_first_move_what_fits() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let mut a = burst(&pool, 0..20);
    let mut b = burst(&pool, 20..40);
    assert_eq!(a.append(&mut b), 12);
    assert_eq!((ids(&a), ids(&b)), ((0..32).collect(), (32..40).collect()));
    let mut c = Burst::new();
    assert_eq!(a.take_first(3, &mut c), 3);
    assert_eq!((ids(&c), ids(&a)), ((0..3).collect::<Vec<_>>(), (3..32).collect::<Vec<_>>()));
    assert_eq!(b.take_first(usize::MAX, &mut c), 8);
    assert!(b.is_empty());
    drop((a, b, c));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn drain_frees_what_is_not_taken() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let mut all = burst(&pool, 0..10);
    let mut drain = all.drain();
    let first = drain.next().unwrap();
    assert_eq!((first.data()[0], drain.len()), (0, 9));
    drop(drain);
    assert!(all.is_empty());
    assert_eq!(pool.in_use(), 1);
    // A forgotten drain leaks packets, and nothing worse.
    let mut leaked = burst(&pool, 0..2);
    std::mem::forget(leaked.drain());
    assert!(leaked.is_empty());
    assert_eq!(pool.in_use(), 3);
}

#[test]
fn bulk_allocation_is_all_or_nothing() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let mut burst = Burst::new();
    assert!(pool.alloc_bulk(20, &mut burst));
    assert!(!pool.alloc_bulk(13, &mut burst), "no room");
    assert!(pool.alloc_bulk(12, &mut burst));
    assert!(pool.alloc_bulk(0, &mut burst));
    assert_eq!((burst.len(), pool.in_use()), (32, 32));
    assert!(burst.iter().all(|pkt| pkt.is_empty_and_fresh()));
    let _hoard: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    burst.pop();
    assert!(!pool.alloc_bulk(2, &mut Burst::new()), "one left");
    assert_eq!(pool.available(), 1);
}

trait Fresh {
    fn is_empty_and_fresh(&self) -> bool;
}

impl Fresh for skiff_pmd::Pkt {
    fn is_empty_and_fresh(&self) -> bool {
        (self.len(), self.nb_segs(), self.headroom()) == (0, 1, 128)
    }
}

#[test]
fn mixed_bursts_are_freed_to_their_pools() {
    let eal = eal(&[]);
    let a = pool(&eal);
    let b = common::pool_of(&eal, "b", 255, 128);
    let mut mixed = Burst::new();
    for id in 0..8 {
        mixed.push(pkt(&a, &[id])).unwrap();
        mixed.push(pkt(&b, &[id])).unwrap();
        mixed.push(common::chained(&b, &[&[id], b"tail"])).unwrap();
    }
    assert_eq!((a.in_use(), b.in_use()), (8, 24));
    mixed.free_all();
    assert_eq!((a.in_use(), b.in_use()), (0, 0));
}

#[test]
fn ring_keeps_order_and_frees_leftovers() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let ring = Ring::create(&eal, "ring", 40).unwrap();
    let mut first = burst(&pool, 0..32);
    let mut second = burst(&pool, 32..64);
    assert_eq!((ring.enqueue_burst(&mut first), ring.enqueue_burst(&mut second)), (32, 8));
    assert_eq!((ring.count(), ring.free_count()), (40, 0));
    assert_eq!(ids(&second), (40..64).collect::<Vec<_>>());
    let mut got = burst(&pool, 100..102);
    assert_eq!(ring.dequeue_burst(&mut got), 30);
    assert_eq!(ids(&got)[2..], (0..30).collect::<Vec<_>>());
    drop((first, second, got));
    assert_eq!(pool.in_use(), 10);
    drop(ring);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn ring_carries_packets_between_threads() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let ring = Ring::create(&eal, "ring", 256).unwrap();
    const TOTAL: usize = 20_000;
    let sum: u64 = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _lcore = skiff_pmd::register_thread().unwrap();
            let mut sent = 0;
            while sent < TOTAL {
                let mut burst = Burst::new();
                if pool.alloc_bulk(32.min(TOTAL - sent), &mut burst) {
                    for pkt in &mut burst {
                        *pkt.meta_mut::<u32>() = sent as u32;
                        sent += 1;
                    }
                }
                while !burst.is_empty() {
                    if ring.enqueue_burst(&mut burst) == 0 {
                        std::thread::yield_now();
                    }
                }
            }
        });
        let (mut got, mut sum) = (0, 0);
        let mut burst = Burst::new();
        while got < TOTAL {
            if ring.dequeue_burst(&mut burst) == 0 {
                std::thread::yield_now();
            }
            for pkt in &burst {
                assert_eq!(*pkt.meta::<u32>() as usize, got, "one producer, so in order");
                sum += u64::from(*pkt.meta::<u32>());
                got += 1;
            }
            burst.free_all();
        }
        sum
    });
    assert_eq!(sum, (0..TOTAL as u64).sum());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn impossible_rings_are_refused_by_name() {
    let eal = eal(&[]);
    let _first = Ring::create(&eal, "twice", 8).unwrap();
    let why = Ring::create(&eal, "twice", 8).unwrap_err();
    assert!(why.to_string().starts_with("ring twice: File exists"), "{why}");
    for size in [0, 1 << 30, u32::MAX - 1, u32::MAX] {
        assert!(matches!(Ring::create(&eal, "absurd", size), Err(Error::Ring { .. })), "{size}");
    }
}
