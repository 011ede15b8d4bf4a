#![no_main]
//! Classic BPF: programs of any instructions over packets of any bytes, in one segment and in two, never do harm.
//!
//! The first byte says how many instructions of 8 bytes follow, the rest is the packet.

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use skiff_pmd::bpf::{Filter, Insn};
use skiff_pmd::{Eal, EalConfig, Hugepages, Pkt, Pool, PoolConfig};

/// EAL has to outlive the pool, so it comes last.
static POOL: LazyLock<(Pool, Eal)> = LazyLock::new(|| {
    let config = EalConfig {
        program: "fuzz".into(),
        memory_mib: 64,
        hugepages: Hugepages::Off,
        ..EalConfig::default()
    };
    let eal = Eal::init(config).expect("EAL starts without hugepages");
    let config = PoolConfig { name: "fuzz", mbufs: 63, cache: 0, data_room: 2048, socket: None };
    (Pool::create(&eal, &config).expect("a small pool"), eal)
});

fn packet(bytes: &[u8]) -> Option<Pkt> {
    let mut packet = POOL.0.alloc()?;
    packet.append(bytes.len())?.copy_from_slice(bytes);
    Some(packet)
}

fuzz_target!(|data: &[u8]| {
    let Some((count, rest)) = data.split_first() else { return };
    let (program, bytes) = rest.split_at((usize::from(*count) * 8).min(rest.len()));
    let insns: Vec<Insn> = program
        .chunks_exact(8)
        .map(|insn| Insn {
            code: u16::from_le_bytes([insn[0], insn[1]]),
            jt: insn[2],
            jf: insn[3],
            k: u32::from_le_bytes([insn[4], insn[5], insn[6], insn[7]]),
        })
        .collect();
    let Ok(filter) = Filter::new(&insns) else { return };
    let bytes = &bytes[..bytes.len().min(1500)];
    let Some(whole) = packet(bytes) else { return };
    let wanted = filter.wants(&whole);
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    let (Some(mut cut), Some(tail)) = (packet(head), packet(tail)) else { return };
    if cut.chain(tail).is_ok() {
        assert_eq!(filter.wants(&cut), wanted, "segments make no difference");
    }
    cut.set_vlan_tag(0x88a8, 7);
    let _ = filter.wants(&cut);
});
