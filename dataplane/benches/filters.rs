//! What filters cost a packet: u32, flower and a mix of shapes, 1, 100 and 10,000 of them, hit and missed.
//! `cargo bench -p skiff-dataplane --bench filters`
//!
//! Cycles are those of the TSC, minimum and median of many runs over packets that match filters in no order.

use std::hint::black_box;
use std::sync::Arc;

use skiff_dataplane::sched::act::police::{Buckets, Meter, Police};
use skiff_dataplane::sched::cls::flow::{Flower, word};
use skiff_dataplane::sched::cls::program::{Cursor, FilterProgram};
use skiff_dataplane::sched::cls::u32::{Key, Node};
use skiff_dataplane::sched::cls::view::View;
use skiff_dataplane::sched::cls::{FilterKind, FilterSpec, compile};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::time::Instant;
use skiff_pmd::rdtsc;

const PACKETS: usize = 1024;
const RUNS: usize = 300;
const ROOT: u32 = 0x8000_0000;

fn main() {
    for count in [1u32, 100, 10_000] {
        for (name, filters) in
            [("u32", u32s(count, 1)), ("u32, 8 shapes", u32s(count, 8)), ("flower", flowers(count))]
        {
            let program = compile(TcHandle::new(1, 0), &filters);
            report(&format!("{count} {name}"), "hit", &program, |i| 0x0a00_0000 + i % count);
            report(&format!("{count} {name}"), "miss", &program, |_| 0x0b00_0000);
        }
    }
    police();
}

fn spec(pref: u16, handle: u32, kind: FilterKind) -> FilterSpec {
    FilterSpec {
        chain: 0,
        pref,
        protocol: 0x0800,
        handle,
        classid: TcHandle::new(1, 1),
        indev: None,
        kind,
        actions: Vec::new(),
        cells: Arc::default(),
    }
}

/// Destination addresses, with so many sets of bits beside that are compared.
fn u32s(count: u32, shapes: u32) -> Vec<FilterSpec> {
    let mut filters = vec![spec(1, ROOT, FilterKind::U32Table { divisor: 1, root: true })];
    for i in 0..count {
        let dst = Key { off: 16, next_header: false, mask: u32::MAX, val: 0x0a00_0000 + i };
        let tos = Key { off: 0, next_header: false, mask: 1 << (16 + i % shapes), val: 0 };
        let node = Node { keys: vec![dst, tos], terminal: true, ..Node::default() };
        filters.push(spec(1 + (i / 0xfff) as u16, ROOT | (1 + i % 0xfff), FilterKind::U32(node)));
    }
    filters
}

fn flowers(count: u32) -> Vec<FilterSpec> {
    let one = |i| {
        let mut flower = Flower::default();
        for (at, mask, val) in
            [(word::DST, u32::MAX, 0x0a00_0000 + i), (word::PROTO, 0xffff_ff00, 0x0800_1100)]
        {
            flower.mask.0[at] = mask;
            flower.key.0[at] = val;
        }
        spec(1, i + 1, FilterKind::Flower(Box::new(flower)))
    };
    (0..count).map(one).collect()
}

fn report(name: &str, what: &str, program: &FilterProgram, dst: impl Fn(u32) -> u32) {
    let frames: Vec<[u8; 64]> =
        (0..PACKETS as u32).map(|i| frame(dst(i.wrapping_mul(0x9e37_79b1)))).collect();
    let cycles = measure(|| {
        for frame in &frames {
            let view = View::of_frame(frame);
            black_box(program.next(0, &mut Cursor::default(), &view).is_some());
        }
    });
    println!("{name:24} {what:5} {:6.1} cycles at least, {:6.1} in the middle", cycles.0, cycles.1);
}

fn police() {
    let police = Police { rate: 12_500_000_000, burst: 1 << 20, ..Police::default() };
    let (meter, buckets) = (Meter::new(&police), Buckets::default());
    let mut now = 0;
    let cycles = measure(|| {
        for _ in 0..PACKETS {
            now += 100;
            black_box(meter.take(&buckets, Instant::from_nanos(now), 1000, 1000));
        }
    });
    println!("{:24} {:5} {:6.1} cycles at least, {:6.1} in the middle", "police", "", cycles.0, cycles.1);
}

/// Cycles a packet: the least and the median.
fn measure(mut work: impl FnMut()) -> (f64, f64) {
    let mut runs: Vec<u64> = (0..RUNS)
        .map(|_| {
            let start = rdtsc();
            work();
            rdtsc() - start
        })
        .collect();
    runs.sort_unstable();
    let of = |cycles: u64| cycles as f64 / PACKETS as f64;
    (of(runs[0]), of(runs[RUNS / 2]))
}

fn frame(dst: u32) -> [u8; 64] {
    let mut frame = [0; 64];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[30..34].copy_from_slice(&dst.to_be_bytes());
    frame
}
