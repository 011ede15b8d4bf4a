//! Packets of one and of several segments.

mod common;

use common::{MBUFS, bytes, chained, eal, pkt, pool, pool_of};
use skiff_pmd::{META_SIZE, PRIV_SIZE, RxFlags};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, PartialEq, Debug)]
#[repr(C)]
struct Meta([u32; META_SIZE / 4]);

#[test]
fn fresh_packet_is_empty_with_headroom() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let pkt = pool.alloc().unwrap();
    assert_eq!((pkt.len(), pkt.nb_segs(), pkt.headroom(), pkt.tailroom()), (0, 1, 128, 2048));
    assert_eq!((pkt.port(), pkt.rss_hash(), pkt.packet_type()), (u16::MAX, None, 0));
    assert_eq!(pkt.rx_flags(), RxFlags::empty());
}

#[test]
fn grows_and_shrinks_at_both_ends() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let mut pkt = pkt(&pool, b"payload");
    pkt.prepend(4).unwrap().copy_from_slice(b"head");
    assert_eq!(pkt.data(), b"headpayload");
    assert!(pkt.prepend(125).is_none());
    assert!(pkt.append(2048 - 7 + 1).is_none());
    assert_eq!(pkt.len(), 11);
    assert!(pkt.adj(6));
    assert_eq!(pkt.data(), b"yload");
    assert!(!pkt.adj(6));
    pkt.truncate(9);
    assert_eq!(pkt.data(), b"yload");
    pkt.truncate(2);
    assert_eq!((pkt.data(), pkt.len()), (&b"yl"[..], 2));
    assert!(pkt.adj(2));
    assert_eq!((pkt.len(), pkt.data().len()), (0, 0));
    assert_eq!(pkt.prepend(128 + 4 - 4 + 4).unwrap().len(), 132);
}

#[test]
fn adj_frees_segments_it_empties() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    for cut in 0..=9 {
        let mut pkt = chained(&pool, &[b"abc", b"def", b"ghi"]);
        assert!(pkt.adj(cut), "{cut}");
        assert_eq!(bytes(&pkt), b"abcdefghi"[cut..], "{cut}");
        assert_eq!(pool.in_use(), u32::from(pkt.nb_segs()));
        assert!(!pkt.adj(10 - cut));
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn truncate_frees_the_tail() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    for len in 0..=10 {
        let mut pkt = chained(&pool, &[b"abc", b"def", b"ghi"]);
        pkt.truncate(len);
        assert_eq!(bytes(&pkt), b"abcdefghi"[..len.min(9)], "{len}");
        assert_eq!(pool.in_use(), u32::from(pkt.nb_segs()));
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn append_grows_the_last_segment() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let mut pkt = chained(&pool, &[b"abc", b"def"]);
    pkt.append(2).unwrap().copy_from_slice(b"xy");
    assert_eq!(bytes(&pkt), b"abcdefxy");
    assert_eq!(pkt.data(), b"abc");
    assert_eq!(pkt.tailroom(), 2048 - 5);
}

#[test]
fn pull_makes_the_front_contiguous() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    for n in 0..=9 {
        let mut pkt = chained(&pool, &[b"abc", b"def", b"ghi"]);
        assert!(pkt.pull(n), "{n}");
        assert!(pkt.data().len() >= n);
        assert_eq!(bytes(&pkt), b"abcdefghi", "{n}");
        assert_eq!(pool.in_use(), u32::from(pkt.nb_segs()));
        assert!(!pkt.pull(10));
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn pull_uses_the_headroom_when_the_tail_is_full() {
    let eal = eal(&[]);
    let pool = pool_of(&eal, "small", 63, 64);
    let full: Vec<u8> = (0..64).collect();
    let more: Vec<u8> = (64..128).collect();
    let mut pkt = chained(&pool, &[&full, &more, &full, &full]);
    assert!(pkt.pull(100));
    assert_eq!(pkt.data(), [&full[..], &more[..36]].concat());
    assert_eq!(pkt.headroom(), 128 + 64 - 100);
    assert_eq!(bytes(&pkt), [&full[..], &more, &full, &full].concat());
    assert!(pkt.pull(192), "the whole buffer");
    assert!(!pkt.pull(193), "more than the buffer");
    assert_eq!(pkt.headroom(), 0);
    assert_eq!(bytes(&pkt), [&full[..], &more, &full, &full].concat());
}

#[test]
fn copy_out_crosses_segments() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let pkt = chained(&pool, &[b"abc", b"", b"def", b"ghi"]);
    for offset in 0..=10 {
        for len in 0..=10 {
            let mut buf = vec![0; len];
            let fits = offset + len <= 9;
            assert_eq!(pkt.copy_out(offset, &mut buf), fits, "{offset} {len}");
            if fits {
                assert_eq!(buf, b"abcdefghi"[offset..offset + len]);
            }
        }
    }
    assert!(!pkt.copy_out(usize::MAX, &mut [0]));
}

#[test]
fn chain_refuses_what_overflows() {
    let eal = eal(&[]);
    let pool = pool_of(&eal, "many", 70_000, 0);
    let mut head = pool.alloc().unwrap();
    for _ in 1..u16::MAX {
        // At the front, because finding the end of a long chain takes its length.
        let mut next = pool.alloc().unwrap();
        next.chain(head).unwrap();
        head = next;
    }
    assert_eq!(head.nb_segs(), u16::MAX);
    let tail = head.chain(pool.alloc().unwrap()).unwrap_err();
    assert_eq!((tail.nb_segs(), head.nb_segs()), (1, u16::MAX));
    drop((head, tail));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn metadata_and_private_area_are_apart_and_stay() {
    let eal = eal(&["net_ring0"]);
    let pool = pool(&eal);
    let (_port, mut rx, mut tx) = common::open(&eal, 0, &pool);
    let meta = Meta([1, 2, 3, 4, 5, 6, 0xffff_ffff]);
    let mut sent = pkt(&pool, b"x");
    *sent.meta_mut() = meta;
    *sent.private_mut() = [0xa5u8; PRIV_SIZE];
    sent.set_port(9);
    assert!(sent.adj(1) && sent.append(1).is_some());
    let mut burst = skiff_pmd::Burst::new();
    burst.push(sent).unwrap();
    assert_eq!(tx.tx_burst(&mut burst), 1);
    assert_eq!(rx.rx_burst(&mut burst), 1);
    let got = burst.pop().unwrap();
    assert_eq!(got.meta::<Meta>(), &meta);
    assert_eq!(got.private::<[u8; PRIV_SIZE]>(), &[0xa5; PRIV_SIZE]);
    assert_eq!(got.len(), 1);
}

#[test]
fn copy_is_deep_and_complete() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let small = pool_of(&eal, "small", 63, 4);
    let mut from = chained(&pool, &[b"abcdef", b"ghi"]);
    *from.meta_mut() = Meta([7; 7]);
    *from.private_mut() = [3u64; PRIV_SIZE / 8];
    from.set_port(5);
    let mut copy = small.copy(&from).unwrap();
    assert_eq!(bytes(&copy), b"abcdefghi");
    assert_eq!((copy.meta::<Meta>(), copy.port()), (&Meta([7; 7]), 5));
    assert_eq!(copy.private::<[u64; PRIV_SIZE / 8]>(), &[3; 8]);
    copy.data_mut()[0] = b'X';
    assert_eq!(bytes(&from), b"abcdefghi");
    let held: Vec<_> = std::iter::from_fn(|| small.alloc()).collect();
    assert!(small.copy(&from).is_none());
    drop((held, copy));
    assert_eq!((small.in_use(), pool.in_use()), (0, 2));
}

#[test]
fn tx_vlan_is_asked_for_and_forgotten() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let mut pkt = pkt(&pool, b"x");
    pkt.set_tx_vlan(0xa064);
    assert_eq!(pkt.vlan_tci(), 0xa064);
    assert_eq!(pkt.rx_flags(), RxFlags::empty());
    pkt.clear_offloads();
    assert_eq!(bytes(&pkt), b"x");
}

#[test]
fn pool_gives_out_exactly_its_capacity() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    assert_eq!((pool.capacity(), pool.available(), pool.name()), (MBUFS, MBUFS, "pool"));
    let all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(all.len(), MBUFS as usize);
    assert_eq!((pool.available(), pool.in_use()), (0, MBUFS));
    let mut distinct: Vec<_> = all.iter().map(|pkt| pkt.data().as_ptr()).collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), all.len());
    drop(all);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn packets_freed_on_other_threads_come_home() {
    let eal = eal(&[]);
    let pool = pool(&eal);
    let lcores: Vec<u32> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3)
            .map(|worker| {
                let pool = &pool;
                scope.spawn(move || {
                    let _lcore = (worker != 0).then(|| skiff_pmd::register_thread().unwrap());
                    for _ in 0..2000 {
                        let held: Vec<_> = (0..50).filter_map(|_| pool.alloc()).collect();
                        drop(held);
                    }
                    skiff_pmd::current_lcore_id().unwrap_or(u32::MAX)
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).collect()
    });
    assert_eq!(lcores[0], u32::MAX, "never registered");
    assert!(lcores[1] != 0 && lcores[2] != 0, "lcore 0 is the main thread's");
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn impossible_pools_are_refused_by_name() {
    let eal = eal(&[]);
    let make = |name, mbufs, data_room| {
        let cfg = skiff_pmd::PoolConfig { name, mbufs, cache: 64, data_room, socket: None };
        skiff_pmd::Pool::create(&eal, &cfg).map_err(|why| why.to_string())
    };
    let _first = make("twice", 63, 2048).unwrap();
    assert!(make("twice", 63, 2048).unwrap_err().starts_with("pool twice: File exists"));
    assert!(make("huge", u32::MAX / 64, 2048).unwrap_err().starts_with("pool huge: "));
    assert!(make("wide", 63, u16::MAX).unwrap_err().contains("data room of 65535 bytes"));
    assert!(make("nul\0", 63, 64).unwrap_err().contains("NUL"));
}
