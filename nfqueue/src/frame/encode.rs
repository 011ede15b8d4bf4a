//! Bodies of frames, written.

use super::{
    Action, Bind, FAIL_OPEN, Frame, HAS_MAC, HAS_MARK, HAS_PAYLOAD, MAX_NAME, MAX_STATS, NAMES, Packet,
    QueueStats,
};
use crate::wire::Writer;

pub(super) fn body(frame: &Frame, w: &mut Writer<'_>) {
    match frame {
        Frame::Hello(lowest, highest) => {
            w.u8(*lowest).u8(*highest).u16(0);
        }
        Frame::Welcome(version, longest) => {
            w.u8(*version).bytes(&[0; 3]).u32(*longest);
        }
        Frame::Bind(bind) | Frame::Config(bind) => write_bind(bind, w),
        Frame::Unbind(first, last) | Frame::GetStats(first, last) => {
            w.u16(*first).u16(*last);
        }
        Frame::Done(kind) => {
            w.u8(*kind).bytes(&[0; 3]);
        }
        Frame::Error(e) => {
            w.u32(e.errno).u8(e.answers).u8(e.fatal.into()).u16(e.queue).u32(e.id).bytes(e.text.as_bytes());
        }
        Frame::Packet(packet) => write_packet(packet, w),
        Frame::Verdict(v) => {
            let payload = if v.payload.is_some() { HAS_PAYLOAD } else { 0 };
            write_verdict((v.queue, v.id, v.action, v.mark), payload, w);
            w.bytes(v.payload.as_deref().unwrap_or_default());
        }
        Frame::Batch(b) => write_verdict((b.queue, b.id, b.action, b.mark), 0, w),
        Frame::Stats(all) => all.iter().take(MAX_STATS).for_each(|stats| write_stats(stats, w)),
    }
}

fn write_bind(bind: &Bind, w: &mut Writer<'_>) {
    let s = &bind.settings;
    let flags = if s.fail_open { FAIL_OPEN } else { 0 } | if s.names { NAMES } else { 0 };
    w.u16(bind.first).u16(bind.last).u8(s.copy_mode as u8).u8(flags).u16(0).u32(s.copy_range).u32(s.maxlen);
}

fn write_packet(p: &Packet, w: &mut Writer<'_>) {
    let flags = if p.mac.is_some() { HAS_MAC } else { 0 };
    w.u16(p.queue).u8(p.hook).u8(flags).u32(p.id).u16(p.hw_protocol).bytes(&p.mac.unwrap_or_default());
    w.u16(p.iif).u16(p.oif).u32(p.mark).u32(p.priority).u32(p.length).u64(p.timestamp);
    let (iif, oif) = (cut(&p.iif_name), cut(&p.oif_name));
    w.u8(iif.len() as u8).u8(oif.len() as u8).u16(0).bytes(iif).bytes(oif).bytes(&p.payload);
}

fn cut(name: &str) -> &[u8] {
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name.as_bytes()[..end]
}

fn write_verdict(verdict: (u16, u32, Action, Option<u32>), flags: u8, w: &mut Writer<'_>) {
    let (queue, id, action, mark) = verdict;
    let (number, to) = action.number();
    let flags = flags | if mark.is_some() { HAS_MARK } else { 0 };
    w.u16(queue).u8(number).u8(flags).u32(id).u32(mark.unwrap_or(0)).u16(to).u16(0);
}

fn write_stats(s: &QueueStats, w: &mut Writer<'_>) {
    let flags = if s.fail_open { FAIL_OPEN } else { 0 };
    w.u16(s.queue).u8(s.copy_mode as u8).u8(flags).u32(s.peer).u32(s.waiting).u32(s.copy_range);
    w.u32(s.maxlen).u32(s.id_sequence).u64(s.dropped).u64(s.user_dropped);
}
