use proptest::prelude::*;

use super::*;

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::Drop),
        Just(Action::Accept),
        Just(Action::Repeat),
        any::<u16>().prop_map(Action::Queue),
    ]
}

fn mode() -> impl Strategy<Value = CopyMode> {
    prop_oneof![Just(CopyMode::None), Just(CopyMode::Meta), Just(CopyMode::Packet)]
}

fn bind() -> impl Strategy<Value = Bind> {
    let settings = (mode(), any::<u32>(), any::<u32>(), any::<bool>(), any::<bool>()).prop_map(
        |(copy_mode, copy_range, maxlen, fail_open, names)| Settings {
            copy_mode,
            copy_range,
            maxlen,
            fail_open,
            names,
        },
    );
    (any::<u16>(), any::<u16>(), settings).prop_map(|(a, b, settings)| Bind {
        first: a.min(b),
        last: a.max(b),
        settings,
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let head = (any::<u16>(), any::<u32>(), 0..8u8, any::<u16>(), any::<Option<[u8; 6]>>());
    let fields = (any::<u16>(), any::<u16>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>());
    let tail = (".{0,20}", ".{0,20}", prop::collection::vec(any::<u8>(), 0..2000));
    (head, fields, tail).prop_map(|(h, f, t)| Packet {
        queue: h.0,
        id: h.1,
        hook: h.2,
        hw_protocol: h.3,
        mac: h.4,
        iif: f.0,
        oif: f.1,
        mark: f.2,
        priority: f.3,
        length: f.4,
        timestamp: f.5,
        iif_name: t.0,
        oif_name: t.1,
        payload: t.2,
    })
}

fn stats() -> impl Strategy<Value = QueueStats> {
    let small = (any::<u16>(), mode(), any::<bool>(), any::<u32>(), any::<u32>());
    let large = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>());
    (small, large).prop_map(|(s, l)| QueueStats {
        queue: s.0,
        copy_mode: s.1,
        fail_open: s.2,
        peer: s.3,
        waiting: s.4,
        copy_range: l.0,
        maxlen: l.1,
        id_sequence: l.2,
        dropped: l.3,
        user_dropped: l.4,
    })
}

fn frame() -> impl Strategy<Value = Frame> {
    let range = (any::<u16>(), any::<u16>()).prop_map(|(a, b)| (a.min(b), a.max(b)));
    let verdict = || {
        (
            any::<u16>(),
            any::<u32>(),
            action(),
            any::<Option<u32>>(),
            prop::option::of(prop::collection::vec(any::<u8>(), 0..2000)),
        )
    };
    prop_oneof![
        (any::<u8>(), any::<u8>()).prop_map(|(a, b)| Frame::Hello(a, b)),
        (any::<u8>(), any::<u32>()).prop_map(|(a, b)| Frame::Welcome(a, b)),
        bind().prop_map(Frame::Bind),
        bind().prop_map(Frame::Config),
        range.clone().prop_map(|(a, b)| Frame::Unbind(a, b)),
        range.prop_map(|(a, b)| Frame::GetStats(a, b)),
        any::<u8>().prop_map(Frame::Done),
        (any::<u32>(), any::<u8>(), any::<bool>(), any::<u16>(), any::<u32>(), ".{0,80}").prop_map(
            |(errno, answers, fatal, queue, id, text)| Frame::Error(Refusal {
                errno,
                answers,
                fatal,
                queue,
                id,
                text
            })
        ),
        packet().prop_map(Frame::Packet),
        verdict().prop_map(|(queue, id, action, mark, payload)| Frame::Verdict(Verdict {
            queue,
            id,
            action,
            mark,
            payload
        })),
        verdict().prop_map(|(queue, id, action, mark, _)| Frame::Batch(Batch { queue, id, action, mark })),
        prop::collection::vec(stats(), 0..20).prop_map(Frame::Stats),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(frame in frame()) {
        let bytes = frame.encode();
        prop_assert_eq!(kind_of(&bytes), frame.kind());
        prop_assert_eq!(Frame::decode(&bytes), Ok(frame));
    }

    #[test]
    fn garbage_is_refused_or_reads_as_what_it_would_be_written_as(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(frame) = Frame::decode(&bytes) {
            prop_assert_eq!(Frame::decode(&frame.encode()), Ok(frame));
        }
    }

    #[test]
    fn a_broken_frame_does_not_panic(frame in frame(), at: prop::sample::Index, bit in 0..8u8, cut: prop::sample::Index) {
        let mut bytes = frame.encode();
        let i = at.index(bytes.len());
        bytes[i] ^= 1u8 << bit;
        let _ = Frame::decode(&bytes);
        let n = cut.index(bytes.len());
        bytes[i] ^= 1u8 << bit;
        bytes.truncate(n);
        prop_assert!(Frame::decode(&bytes).is_err(), "a frame says its own length");
    }
}

/// The layout is a promise to listeners in other languages.
#[test]
fn the_bytes_of_a_bind_and_a_verdict() {
    let settings = Settings { copy_mode: CopyMode::Packet, fail_open: true, ..Settings::default() };
    let bind = Frame::Bind(Bind { first: 7, last: 9, settings }).encode();
    let want = [
        b"SKNQ".as_slice(),
        &[1, 3, 0, 0, 28, 0, 0, 0],
        &[7, 0, 9, 0, 2, 1, 0, 0, 0xff, 0xff, 0, 0, 0, 4, 0, 0],
    ];
    assert_eq!(bind, want.concat());
    let verdict =
        Verdict { queue: 7, id: 0x0102, action: Action::Queue(5), mark: Some(9), payload: Some(vec![0x45]) };
    let want = [
        b"SKNQ".as_slice(),
        &[1, 9, 0, 0, 29, 0, 0, 0],
        &[7, 0, 3, 3, 2, 1, 0, 0, 9, 0, 0, 0, 5, 0, 0, 0, 0x45],
    ];
    assert_eq!(Frame::Verdict(verdict).encode(), want.concat());
}

#[test]
fn what_is_wrong_is_named() {
    let good = Frame::Bind(Bind { first: 1, last: 2, settings: Settings::default() }).encode();
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Frame::decode(&bytes).unwrap_err().to_string()
    };
    assert_eq!(with(0, b'X'), "magic 0x514e4b58 is not 0x514e4b53");
    assert_eq!(with(4, 2), "version 2 is not 1");
    assert_eq!(with(5, 99), "there is no frame of type 99");
    assert_eq!(with(8, 27), "length 27 in a frame of 28 bytes");
    assert_eq!(with(14, 0), "last queue, below the first, cannot be 0");
    assert_eq!(with(16, 3), "copy mode cannot be 3");
    assert_eq!(with(17, 4), "BIND flags cannot be 4");
    assert_eq!(with(18, 1), "BIND reserved cannot be 1");
    assert_eq!(Frame::decode(&good[..5]).unwrap_err().to_string(), "header is cut short");
    assert_eq!(Frame::decode(&vec![0; MAX_FRAME + 1]), Err(FrameError::TooLong));
    let mut short = good[..20].to_vec();
    short[8] = 20;
    assert_eq!(Frame::decode(&short), Err(FrameError::Short("BIND")));
    let mut long = good;
    long.push(0);
    long[8] = 29;
    assert_eq!(Frame::decode(&long), Err(FrameError::Trailing("BIND")));
}

/// The largest packet there can be, and a full page of numbers, fit a frame.
#[test]
fn the_longest_frames_fit() {
    let name = "x".repeat(300);
    let packet =
        Packet { payload: vec![7; 0xffff], iif_name: name.clone(), oif_name: name, ..Packet::default() };
    let bytes = Frame::Packet(packet).encode();
    let Ok(Frame::Packet(packet)) = Frame::decode(&bytes) else { panic!("not read") };
    assert_eq!((packet.payload.len(), packet.iif_name.len()), (0xffff, 255));
    let stats = Frame::Stats(vec![QueueStats::default(); MAX_STATS]);
    assert_eq!(Frame::decode(&stats.encode()), Ok(stats));
}
