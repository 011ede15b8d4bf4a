//! Bodies of frames, read.

use super::{
    Action, Batch, Bind, CopyMode, FAIL_OPEN, Frame, FrameError, HAS_MAC, HAS_MARK, HAS_PAYLOAD, MAX_STATS,
    NAMES, Packet, QueueStats, Refusal, STATS_LEN, Settings, Verdict, kind,
};
use crate::wire::Reader;

pub(super) fn body(kind: u8, mut r: Reader<'_>) -> Result<Frame, FrameError> {
    let (name, frame) = match kind {
        kind::HELLO => ("HELLO", hello(&mut r)),
        kind::WELCOME => ("WELCOME", welcome(&mut r)),
        kind::BIND => ("BIND", bind(&mut r).map(|b| b.map(Frame::Bind))),
        kind::CONFIG => ("CONFIG", bind(&mut r).map(|b| b.map(Frame::Config))),
        kind::UNBIND => ("UNBIND", range(&mut r).map(|q| q.map(|(a, b)| Frame::Unbind(a, b)))),
        kind::DONE => ("DONE", done(&mut r)),
        kind::ERROR => ("ERROR", error(&mut r)),
        kind::PACKET => ("PACKET", packet(&mut r)),
        kind::VERDICT => ("VERDICT", verdict(&mut r)),
        kind::BATCH => ("BATCH", batch(&mut r)),
        kind::GET_STATS => ("GET_STATS", range(&mut r).map(|q| q.map(|(a, b)| Frame::GetStats(a, b)))),
        kind::STATS => ("STATS", all_stats(&mut r)),
        other => return Err(FrameError::Type(other)),
    };
    let frame = frame.ok_or(FrameError::Short(name))??;
    if r.rest().is_empty() { Ok(frame) } else { Err(FrameError::Trailing(name)) }
}

/// `None` for a body that is too short, `Some(Err)` for one that is wrong.
type Read<T> = Option<Result<T, FrameError>>;

/// Lets `?` be used where a value may be wrong.
macro_rules! sound {
    ($check:expr) => {
        match $check {
            Ok(value) => value,
            Err(error) => return Some(Err(error)),
        }
    };
}

pub(super) fn zero(field: &'static str, value: impl Into<u64>) -> Result<(), FrameError> {
    known_bits(field, value, 0)
}

fn known_bits(field: &'static str, value: impl Into<u64>, known: u64) -> Result<(), FrameError> {
    let value = value.into();
    if value & !known == 0 { Ok(()) } else { Err(FrameError::Value { field, value }) }
}

fn text(field: &'static str, bytes: &[u8]) -> Result<String, FrameError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| FrameError::Text(field))
}

fn hello(r: &mut Reader<'_>) -> Read<Frame> {
    let (lowest, highest, reserved) = (r.u8()?, r.u8()?, r.u16()?);
    sound!(zero("HELLO reserved", reserved));
    Some(Ok(Frame::Hello(lowest, highest)))
}

fn welcome(r: &mut Reader<'_>) -> Read<Frame> {
    let (version, a, b, longest) = (r.u8()?, r.u8()?, r.u16()?, r.u32()?);
    sound!(zero("WELCOME reserved", u16::from(a) | b));
    Some(Ok(Frame::Welcome(version, longest)))
}

fn range(r: &mut Reader<'_>) -> Read<(u16, u16)> {
    let (first, last) = (r.u16()?, r.u16()?);
    if last < first {
        return Some(Err(FrameError::Value { field: "last queue, below the first,", value: last.into() }));
    }
    Some(Ok((first, last)))
}

fn copy_mode(value: u8) -> Result<CopyMode, FrameError> {
    match value {
        0 => Ok(CopyMode::None),
        1 => Ok(CopyMode::Meta),
        2 => Ok(CopyMode::Packet),
        _ => Err(FrameError::Value { field: "copy mode", value: value.into() }),
    }
}

fn bind(r: &mut Reader<'_>) -> Read<Bind> {
    let (first, last) = sound!(range(r)?);
    let (mode, flags, reserved) = (r.u8()?, r.u8()?, r.u16()?);
    let (copy_range, maxlen) = (r.u32()?, r.u32()?);
    let copy_mode = sound!(copy_mode(mode));
    sound!(known_bits("BIND flags", flags, (FAIL_OPEN | NAMES).into()));
    sound!(zero("BIND reserved", reserved));
    let (fail_open, names) = (flags & FAIL_OPEN != 0, flags & NAMES != 0);
    let settings = Settings { copy_mode, copy_range, maxlen, fail_open, names };
    Some(Ok(Bind { first, last, settings }))
}

fn done(r: &mut Reader<'_>) -> Read<Frame> {
    let (kind, a, b) = (r.u8()?, r.u8()?, r.u16()?);
    sound!(zero("DONE reserved", u16::from(a) | b));
    Some(Ok(Frame::Done(kind)))
}

fn error(r: &mut Reader<'_>) -> Read<Frame> {
    let (errno, answers, fatal, queue, id) = (r.u32()?, r.u8()?, r.u8()?, r.u16()?, r.u32()?);
    sound!(known_bits("ERROR fatal", fatal, 1));
    let text = sound!(text("ERROR text", r.rest()));
    Some(Ok(Frame::Error(Refusal { errno, answers, fatal: fatal == 1, queue, id, text })))
}

fn packet(r: &mut Reader<'_>) -> Read<Frame> {
    let (queue, hook, flags, id, hw_protocol) = (r.u16()?, r.u8()?, r.u8()?, r.u32()?, r.u16()?);
    let (mac, iif, oif, mark, priority) = (r.mac()?, r.u16()?, r.u16()?, r.u32()?, r.u32()?);
    let (length, timestamp) = (r.u32()?, r.u64()?);
    let (iif_len, oif_len, reserved) = (r.u8()?, r.u8()?, r.u16()?);
    sound!(known_bits("PACKET flags", flags, HAS_MAC.into()));
    sound!(zero("PACKET reserved", reserved));
    let iif_name = sound!(text("PACKET iif name", r.bytes(iif_len.into())?));
    let oif_name = sound!(text("PACKET oif name", r.bytes(oif_len.into())?));
    let mac = (flags & HAS_MAC != 0).then_some(mac);
    let payload = r.rest().to_vec();
    Some(Ok(Frame::Packet(Packet {
        queue,
        id,
        hook,
        hw_protocol,
        mac,
        iif,
        oif,
        mark,
        priority,
        length,
        timestamp,
        iif_name,
        oif_name,
        payload,
    })))
}

fn verdict(r: &mut Reader<'_>) -> Read<Frame> {
    let (batch, flags) = sound!(verdict_head(r)?);
    sound!(known_bits("VERDICT flags", flags, (HAS_MARK | HAS_PAYLOAD).into()));
    let Batch { queue, id, action, mark } = batch;
    let payload = (flags & HAS_PAYLOAD != 0).then(|| r.rest().to_vec());
    Some(Ok(Frame::Verdict(Verdict { queue, id, action, mark, payload })))
}

fn batch(r: &mut Reader<'_>) -> Read<Frame> {
    let (batch, flags) = sound!(verdict_head(r)?);
    sound!(known_bits("BATCH flags", flags, HAS_MARK.into()));
    Some(Ok(Frame::Batch(batch)))
}

fn verdict_head(r: &mut Reader<'_>) -> Read<(Batch, u8)> {
    let (queue, number, flags, id) = (r.u16()?, r.u8()?, r.u8()?, r.u32()?);
    let (mark, to, reserved) = (r.u32()?, r.u16()?, r.u16()?);
    sound!(zero("VERDICT reserved", reserved));
    let Some(action) = Action::from_number(number, to) else {
        return Some(Err(FrameError::Value { field: "verdict", value: number.into() }));
    };
    let mark = (flags & HAS_MARK != 0).then_some(mark);
    Some(Ok((Batch { queue, id, action, mark }, flags)))
}

fn all_stats(r: &mut Reader<'_>) -> Read<Frame> {
    let mut all = Vec::with_capacity((r.0.len() / STATS_LEN).min(MAX_STATS));
    while !r.0.is_empty() {
        all.push(sound!(stats(r)?));
    }
    Some(Ok(Frame::Stats(all)))
}

fn stats(r: &mut Reader<'_>) -> Read<QueueStats> {
    let (queue, mode, flags, peer, waiting) = (r.u16()?, r.u8()?, r.u8()?, r.u32()?, r.u32()?);
    let (copy_range, maxlen, id_sequence) = (r.u32()?, r.u32()?, r.u32()?);
    let (dropped, user_dropped) = (r.u64()?, r.u64()?);
    let copy_mode = sound!(copy_mode(mode));
    sound!(known_bits("STATS flags", flags, FAIL_OPEN.into()));
    let fail_open = flags & FAIL_OPEN != 0;
    Some(Ok(QueueStats {
        queue,
        copy_mode,
        fail_open,
        peer,
        waiting,
        copy_range,
        maxlen,
        id_sequence,
        dropped,
        user_dropped,
    }))
}
