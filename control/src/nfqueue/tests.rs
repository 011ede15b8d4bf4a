//! The server over real sockets, with a data plane of plain memory; and over mbufs, in [`eal`].

mod eal;

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use nfqueue::frame::{MAX_FRAME, VERSION};
use nfqueue::{Action, Batch, Client, ClientError, CopyMode, Frame, Packet, Refusal, Settings, Verdict};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use skiff_dataplane::netfilter::queue::NfQueue;

use super::plane::{End, Plane};
use super::*;

const LIMIT: Duration = Duration::from_secs(20);

#[track_caller]
fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !ready() {
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A packet of plain memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fake {
    tag: u32,
    mark: u32,
    payload: Vec<u8>,
}

/// What happens to packets.
#[derive(Default)]
struct World {
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
    queues: Mutex<BTreeMap<u16, Arc<NfQueue>>>,
    arrivals: Mutex<VecDeque<(Arc<NfQueue>, Fake)>>,
    reinjected: Mutex<Vec<(Fake, Action)>>,
    freed: Mutex<Vec<(u32, End)>>,
    capacity: AtomicUsize,
}

impl World {
    /// What an lcore does, whatever the queue's length.
    fn queue(&self, num: u16, tag: u32, len: usize) -> Arc<NfQueue> {
        let queue = Arc::clone(&self.queues.lock().unwrap()[&num]);
        self.queue_to(&queue, tag, len);
        queue
    }

    fn queue_to(&self, queue: &Arc<NfQueue>, tag: u32, len: usize) {
        queue.waiting.fetch_add(1, Relaxed);
        let packet = Fake { tag, mark: 0, payload: vec![tag as u8; len] };
        self.arrivals.lock().unwrap().push_back((Arc::clone(queue), packet));
        (self.wake.get().unwrap())();
    }

    fn reinjected(&self, n: usize) -> Vec<(Fake, Action)> {
        eventually("packets go on", || self.reinjected.lock().unwrap().len() >= n);
        std::mem::take(&mut *self.reinjected.lock().unwrap())
    }

    fn freed(&self, n: usize) -> Vec<(u32, End)> {
        eventually("packets are freed", || self.freed.lock().unwrap().len() >= n);
        std::mem::take(&mut *self.freed.lock().unwrap())
    }
}

impl Plane for Arc<World> {
    type Held = Fake;

    fn wake_by(&self, wake: Box<dyn Fn() + Send + Sync>) {
        assert!(self.wake.set(wake).is_ok());
    }

    fn may_sleep(&self) -> bool {
        self.arrivals.lock().unwrap().is_empty()
    }

    fn capacity(&self) -> usize {
        self.capacity.load(Relaxed)
    }

    fn publish(&mut self, queues: BTreeMap<u16, Arc<NfQueue>>) {
        *self.queues.lock().unwrap() = queues;
    }

    fn arrived(&mut self) -> Option<(Arc<NfQueue>, Fake)> {
        self.arrivals.lock().unwrap().pop_front()
    }

    fn describe(&self, held: &Fake, settings: &Settings) -> Packet {
        let range = (settings.copy_range as usize).min(held.payload.len());
        Packet { mark: held.tag, payload: held.payload[..range].to_vec(), ..Packet::default() }
    }

    fn set_mark(&mut self, held: &mut Fake, mark: u32) {
        held.mark = mark;
    }

    fn replace(&mut self, held: &mut Fake, payload: &[u8]) -> bool {
        held.payload = payload.to_vec();
        !payload.is_empty()
    }

    fn reinject(&mut self, held: Fake, action: Action) {
        self.reinjected.lock().unwrap().push((held, action));
    }

    fn free(&mut self, held: Fake, end: End) {
        self.freed.lock().unwrap().push((held.tag, end));
    }
}

struct Bench {
    world: Arc<World>,
    server: Option<Server>,
    directory: tempfile::TempDir,
}

impl Bench {
    fn start() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let world = Arc::new(World { capacity: AtomicUsize::new(100_000), ..World::default() });
        let server = Server::over(&directory.path().join("nfqueue.sock"), Arc::clone(&world)).unwrap();
        Bench { world, server: Some(server), directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("nfqueue.sock")
    }

    fn client(&self) -> Client {
        let client = Client::connect(self.path()).unwrap();
        client.set_timeout(Some(LIMIT)).unwrap();
        client
    }

    /// A listener of queue `num` that gets whole packets.
    fn listener(&self, num: u16) -> Client {
        let mut client = self.client();
        client.bind(num..=num, &packets()).unwrap();
        client
    }

    /// A socket that says what it likes.
    fn raw(&self) -> UnixStream {
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::empty(), None).unwrap();
        connect(fd.as_raw_fd(), &UnixAddr::new(&self.path()).unwrap()).unwrap();
        let stream = UnixStream::from(fd);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }
}

fn packets() -> Settings {
    Settings { copy_mode: CopyMode::Packet, ..Settings::default() }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>) -> Refusal {
    match result {
        Err(ClientError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Reads a frame; `None` at the end of the connection.
fn read(stream: &mut UnixStream) -> Option<Frame> {
    let mut buffer = vec![0; MAX_FRAME + 1];
    match stream.read(&mut buffer) {
        Ok(0) => None,
        Ok(n) => Some(Frame::decode(&buffer[..n]).unwrap()),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn the_socket_is_beside_the_apis() {
    for (api, ours) in [
        ("/run/skiff/skiff.sock", "/run/skiff/nfqueue.sock"),
        ("/tmp/a.sock", "/tmp/a.nfqueue.sock"),
        ("b", "b.nfqueue.sock"),
    ] {
        assert_eq!(socket_beside(Path::new(api)), Path::new(ours));
    }
}

#[test]
fn packets_are_numbered_shown_and_go_where_the_verdict_says() {
    let bench = Bench::start();
    let mut client = bench.listener(7);
    let queue = bench.world.queue(7, 100, 50);
    for (i, action) in
        [Action::Accept, Action::Repeat, Action::Queue(9), Action::Drop].into_iter().enumerate()
    {
        let id = i as u32 + 1;
        let packet = client.receive().unwrap();
        assert_eq!((packet.queue, packet.id, packet.mark, packet.payload.len()), (7, id, 99 + id, 50));
        let mark = (i == 1).then_some(0xabc);
        let payload = (i == 2).then(|| vec![1, 2, 3]);
        client.verdict(&Verdict { queue: 7, id, action, mark, payload }).unwrap();
        bench.world.queue(7, 100 + id, 50);
    }
    let gone = bench.world.reinjected(3);
    let fake = |tag: u32, mark, payload| Fake { tag, mark, payload };
    assert_eq!(
        gone,
        [
            (fake(100, 0, vec![100; 50]), Action::Accept),
            (fake(101, 0xabc, vec![101; 50]), Action::Repeat),
            (fake(102, 0, vec![1, 2, 3]), Action::Queue(9)),
        ]
    );
    assert_eq!(bench.world.freed(1), [(103, End::Dropped)]);
    assert_eq!(client.receive().unwrap().id, 5);
    assert_eq!((queue.waiting.load(Relaxed), queue.queued.load(Relaxed)), (1, 5));
}

#[test]
fn verdicts_come_in_any_order_and_for_many_at_once() {
    let bench = Bench::start();
    let mut client = bench.listener(7);
    let tags = || -> Vec<u32> { bench.world.reinjected(1).into_iter().map(|(fake, _)| fake.tag).collect() };
    for tag in 1..=6 {
        bench.world.queue(7, tag, 1);
        client.receive().unwrap();
    }
    client.verdict(&Verdict::accept(7, 4)).unwrap();
    assert_eq!(tags(), [4]);
    client.batch(&Batch { queue: 7, id: 5, action: Action::Accept, mark: Some(3) }).unwrap();
    let batch = bench.world.reinjected(4);
    assert!(batch.iter().all(|(fake, _)| fake.mark == 3));
    assert_eq!(batch.iter().map(|(fake, _)| fake.tag).collect::<Vec<_>>(), [1, 2, 3, 5]);
    client.batch(&Batch { queue: 7, id: 5, action: Action::Accept, mark: None }).unwrap();
    assert_eq!(refused(client.receive()).errno, Errno::ENOENT as u32);
    // Beyond the last: all there are.
    client.batch(&Batch { queue: 7, id: 60, action: Action::Drop, mark: None }).unwrap();
    assert_eq!(bench.world.freed(1), [(6, End::Dropped)]);
}

#[test]
fn numbers_wrap_after_32_bits() {
    let bench = Bench::start();
    let mut client = bench.listener(7);
    bench.world.queues.lock().unwrap()[&7].queued.store(u64::from(u32::MAX) - 1, Relaxed);
    let mut ids = vec![];
    for tag in 1..=3 {
        bench.world.queue(7, tag, 1);
        ids.push(client.receive().unwrap().id);
    }
    assert_eq!(ids, [u32::MAX, 0, 1]);
    client.verdict(&Verdict::accept(7, 0)).unwrap();
    assert_eq!(bench.world.reinjected(1)[0].0.tag, 2);
    client.batch(&Batch { queue: 7, id: 1, action: Action::Accept, mark: None }).unwrap();
    assert_eq!(bench.world.reinjected(2).len(), 2);
}

#[test]
fn a_queue_has_one_listener() {
    let bench = Bench::start();
    let mut first = bench.listener(7);
    let mut second = bench.client();
    let why = refused(second.bind(5..=9, &packets()));
    assert_eq!((why.errno, why.queue, why.fatal), (Errno::EBUSY as u32, 7, false));
    assert_eq!(why.text, "queue 7 has a listener");
    // None of the five was bound, and the connection is as good as before.
    second.bind(5..=6, &packets()).unwrap();
    assert_eq!(second.stats().unwrap().iter().map(|s| s.queue).collect::<Vec<_>>(), [5, 6, 7]);

    // Neither may decide about, change or leave what is the other's.
    bench.world.queue(7, 1, 1);
    let packet = first.receive().unwrap();
    second.verdict(&Verdict::accept(7, packet.id)).unwrap();
    assert_eq!(refused(second.receive()).text, "queue 7 is not bound by this connection");
    assert_eq!(refused(second.configure(6..=7, &packets())).queue, 7);
    assert_eq!(refused(second.unbind(5..=7)).queue, 7);
    assert_eq!(bench.world.queues.lock().unwrap().len(), 3);
    first.verdict(&Verdict::accept(7, packet.id)).unwrap();
    assert_eq!(bench.world.reinjected(1).len(), 1);
    first.verdict(&Verdict::accept(7, packet.id)).unwrap();
    assert_eq!(refused(first.receive()).text, "no packet 1 waits in queue 7");
}

#[test]
fn the_death_of_a_listener_drops_what_waited_for_it() {
    let bench = Bench::start();
    let mut other = bench.listener(8);
    let mut client = bench.listener(7);
    let queue = bench.world.queue(7, 1, 1);
    bench.world.queue(7, 2, 1);
    client.receive().unwrap();
    eventually("both are numbered", || queue.queued.load(Relaxed) == 2);
    drop(client);
    assert_eq!(bench.world.freed(2), [(1, End::Dropped), (2, End::Dropped)]);
    assert_eq!(queue.waiting.load(Relaxed), 0);
    // A packet that was on its way meets nobody, also when somebody else listens by now.
    let mut heir = bench.listener(7);
    bench.world.queue_to(&queue, 3, 1);
    assert_eq!((bench.world.freed(1), queue.waiting.load(Relaxed)), (vec![(3, End::Dropped)], 0));
    bench.world.queue(7, 4, 1);
    assert_eq!(heir.receive().unwrap().id, 1);
    bench.world.queue(8, 5, 1);
    assert_eq!(other.receive().unwrap().mark, 5);
}

#[test]
fn unbind_drops_what_waits_and_nothing_else() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.bind(7..=8, &packets()).unwrap();
    for (num, tag) in [(7, 1), (8, 2)] {
        bench.world.queue(num, tag, 1);
        client.receive().unwrap();
    }
    client.unbind(7..=7).unwrap();
    assert_eq!(bench.world.freed(1), [(1, End::Dropped)]);
    client.verdict(&Verdict::accept(8, 1)).unwrap();
    assert_eq!(bench.world.reinjected(1)[0].0.tag, 2);
    client.bind(7..=7, &packets()).unwrap();
}

#[test]
fn settings_hold_from_the_next_packet_on() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.bind(7..=7, &Settings { copy_mode: CopyMode::None, ..packets() }).unwrap();
    let queue = bench.world.queue(7, 1, 10);
    assert_eq!(bench.world.freed(1), [(1, End::Dropped)]);
    let settings = Settings { copy_range: 4, maxlen: 9, fail_open: true, ..packets() };
    client.configure(7..=7, &settings).unwrap();
    bench.world.queue(7, 2, 10);
    assert_eq!(client.receive().unwrap().payload, [2; 4]);
    assert_eq!((queue.maxlen.load(Relaxed), queue.fail_open.load(Relaxed)), (9, true));
    // 0 stands for all there is, and there is no more than that.
    for range in [0, u32::MAX] {
        client.configure(7..=7, &Settings { copy_range: range, ..packets() }).unwrap();
        assert_eq!(queue.copy_range.load(Relaxed), 0xffff);
    }
    let stats = client.stats().unwrap();
    assert_eq!((stats[0].waiting, stats[0].maxlen, stats[0].id_sequence), (1, 1024, 1));
    assert_eq!(stats[0].peer, std::process::id());
}

#[test]
fn a_payload_that_is_no_packet_drops_it_and_is_refused() {
    let bench = Bench::start();
    let mut client = bench.listener(7);
    bench.world.queue(7, 1, 10);
    client.receive().unwrap();
    client.verdict(&Verdict { payload: Some(vec![]), ..Verdict::accept(7, 1) }).unwrap();
    let why = refused(client.receive());
    assert_eq!((why.errno, why.queue, why.id, why.fatal), (Errno::EINVAL as u32, 7, 1, false));
    assert_eq!(bench.world.freed(1), [(1, End::Dropped)]);
}

#[test]
fn a_listener_that_does_not_read_loses_packets_and_others_do_not() {
    let bench = Bench::start();
    let client = bench.listener(7);
    let mut other = bench.listener(8);
    // More than any socket holds.
    let mut tag = 0;
    let queue = Arc::clone(&bench.world.queues.lock().unwrap()[&7]);
    eventually("the socket is full", || {
        (0..100).for_each(|_| {
            tag += 1;
            bench.world.queue(7, tag, 60_000);
        });
        queue.user_dropped.load(Relaxed) > 0
    });
    eventually("all have arrived", || bench.world.arrivals.lock().unwrap().is_empty());
    bench.world.queue(8, 1, 1);
    assert_eq!(other.receive().unwrap().payload.len(), 1);
    let lost = bench.world.freed.lock().unwrap().len() as u64;
    assert_eq!(lost, queue.user_dropped.load(Relaxed));
    assert_eq!(u64::from(queue.waiting.load(Relaxed)) + lost, u64::from(tag));

    queue.fail_open.store(true, Relaxed);
    bench.world.queue(7, 0, 60_000);
    assert_eq!(
        bench.world.reinjected(1)[0],
        (Fake { payload: vec![0; 60_000], ..Fake::default() }, Action::Accept)
    );
    assert_eq!(queue.failed_open.load(Relaxed), 1);
    drop(client);
    bench.world.freed(tag as usize);
    assert_eq!(queue.waiting.load(Relaxed), 0);
}

/// Answers wait for a listener that reads late; they do not pile up without end.
#[test]
fn answers_wait_but_not_for_ever() {
    let bench = Bench::start();
    let mut raw = bench.raw();
    raw.write_all(&Frame::Hello(1, 1).encode()).unwrap();
    assert_eq!(read(&mut raw), Some(Frame::Welcome(VERSION, MAX_FRAME as u32)));
    raw.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let ask = Frame::GetStats(0, u16::MAX).encode();
    let cut_off = (0..2_000_000).any(|_| raw.write_all(&ask).is_err());
    assert!(cut_off, "the router keeps all answers");
    bench.listener(7);
}

#[test]
fn what_waits_in_all_queues_is_bounded() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.bind(7..=8, &packets()).unwrap();
    bench.world.capacity.store(2, Relaxed);
    bench.world.queue(7, 1, 1);
    bench.world.queue(8, 2, 1);
    let queue = bench.world.queue(8, 3, 1);
    assert_eq!(bench.world.freed(1), [(3, End::Dropped)]);
    assert_eq!((queue.dropped.load(Relaxed), queue.waiting.load(Relaxed)), (1, 1));
    client.receive().unwrap();
    client.verdict(&Verdict::accept(7, 1)).unwrap();
    bench.world.reinjected(1);
    bench.world.queue(8, 4, 1);
    assert_eq!((client.receive().unwrap().mark, client.receive().unwrap().mark), (2, 4));
}

#[test]
fn a_bad_frame_ends_its_connection_and_no_other() {
    let bench = Bench::start();
    let mut good = bench.listener(7);
    let hello = Frame::Hello(1, 1).encode();
    let mut wrong_magic = hello.clone();
    wrong_magic[0] = b'X';
    let bind_first = Frame::Unbind(1, 2).encode();
    let cases: [(&[&[u8]], &str); 7] = [
        (&[b"x"], "header is cut short"),
        (&[&wrong_magic], "magic 0x514e4b58 is not 0x514e4b53"),
        (&[&Frame::Hello(2, 9).encode()], "versions 2 to 9 are not spoken here: 1 is"),
        (&[&bind_first], "the first frame must be HELLO"),
        (&[&hello, &hello], "a frame of type 1 is not for the router"),
        (&[&hello, &Frame::Packet(Packet::default()).encode()], "a frame of type 8 is not for the router"),
        (&[&hello, &vec![0; MAX_FRAME + 500]], "frame longer than 66560 bytes"),
    ];
    for (frames, why) in cases {
        let mut raw = bench.raw();
        frames.iter().for_each(|frame| assert_eq!(raw.write(frame).unwrap(), frame.len()));
        if frames.len() > 1 {
            assert_eq!(read(&mut raw), Some(Frame::Welcome(VERSION, MAX_FRAME as u32)));
        }
        let Some(Frame::Error(error)) = read(&mut raw) else { panic!("{why}: no error") };
        assert_eq!((error.errno, error.fatal, error.text.as_str()), (Errno::EPROTO as u32, true, why));
        assert_eq!(read(&mut raw), None, "{why}: closed");
    }
    bench.world.queue(7, 1, 1);
    assert_eq!(good.receive().unwrap().mark, 1);
}

#[test]
fn all_queues_can_be_bound_and_listed() {
    let bench = Bench::start();
    let mut client = bench.client();
    client.bind(0..=u16::MAX, &packets()).unwrap();
    let stats = client.stats().unwrap();
    assert_eq!(stats.len(), 65536);
    assert!(stats.iter().enumerate().all(|(i, s)| usize::from(s.queue) == i));
}

#[test]
fn the_end_frees_what_waits() {
    let mut bench = Bench::start();
    let mut client = bench.listener(7);
    let queue = bench.world.queue(7, 1, 1);
    client.receive().unwrap();
    let server = bench.server.take().unwrap();
    server.stop();
    assert_eq!(bench.world.freed(1), [(1, End::Shutdown)]);
    assert_eq!((queue.waiting.load(Relaxed), bench.world.queues.lock().unwrap().len()), (0, 0));
    assert!(matches!(client.receive(), Err(ClientError::Closed)));
    assert!(!bench.path().exists(), "the socket is gone");
}

#[test]
fn two_servers_do_not_share_a_socket() {
    let bench = Bench::start();
    let again = Server::over(&bench.path(), Arc::new(World::default()));
    assert!(matches!(again, Err(ServeError::InUse(_))));
    bench.listener(7);
}
