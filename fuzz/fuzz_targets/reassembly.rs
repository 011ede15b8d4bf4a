#![no_main]
//! Reassembly: memory keeps its limit, whole datagrams have no gaps, and every fragment comes back exactly once.

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use skiff_dataplane::ipv4::ip_frag::{DefragUser, FragKey, FragLimits, FragMemory, FragTable, Fragment, Verdict};
use skiff_dataplane::time::Instant;

const COST: usize = 512;

fuzz_target!(|data: &[u8]| {
    let Some((&[limit, max_dist], script)) = data.split_first_chunk() else { return };
    let (memory, limit) = (FragMemory::default(), usize::from(limit) * 256);
    let mut table = FragTable::<usize>::default();
    let mut now = Instant::from_secs(1);
    let mut seen = vec![false; script.len() / 6];
    let mut back = |carrier: usize| assert!(!std::mem::replace(&mut seen[carrier], true), "{carrier} came twice");
    // A datagram, TOS, time passed, flags and offset, length.
    for (serial, &[id, tos, millis, high, low, len]) in script.as_chunks::<6>().0.iter().enumerate() {
        now = now + Duration::from_millis(u64::from(millis) * 50);
        let key = FragKey {
            src: u32::from(id & 3),
            dst: 1,
            id: u16::from(id >> 2 & 3),
            protocol: 17,
            user: DefragUser::LocalDeliver,
            vif: 0,
        };
        let len = if len == 255 { 65515 } else { u16::from(len) };
        let fragment = Fragment::new(u16::from_be_bytes([high, low]), 20 + (id >> 4) * 2, len, tos);
        let limits = FragLimits {
            memory: &memory,
            high_thresh: limit,
            timeout: Duration::from_secs(30),
            max_dist: u32::from(max_dist),
        };
        let inserted = table.insert(key, fragment, serial, COST, now, &limits);
        assert!(memory.bytes() <= limit);
        inserted.too_far.into_iter().for_each(&mut back);
        match inserted.verdict {
            Verdict::Queued => {}
            Verdict::Complete(datagram) => {
                let mut at = 0;
                for piece in datagram.pieces {
                    assert_eq!(piece.fragment.offset(), at);
                    at += piece.fragment.len();
                    back(piece.carrier);
                }
                assert!(at == datagram.len && at <= 65515);
            }
            Verdict::Duplicate(carrier) | Verdict::NoMemory(carrier) => back(carrier),
            Verdict::Discarded(_, carriers) => carriers.into_iter().for_each(&mut back),
        }
        while let Some(gone) = table.expire(now, &memory) {
            gone.carriers.into_iter().for_each(&mut back);
        }
        assert!(table.next_deadline() > now);
    }
    while let Some(gone) = table.pop(&memory) {
        gone.carriers.into_iter().for_each(&mut back);
    }
    assert_eq!((memory.bytes(), memory.queues(), table.sources()), (0, 0, 0));
    assert!(seen.into_iter().all(|came| came), "a fragment was lost");
});
