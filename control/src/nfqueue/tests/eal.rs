//! The server over mbufs: what listeners see of real packets, and what becomes of those.

use std::process::{Command, Stdio};

use skiff_dataplane::core::drop_reason::{DropReason, Node};
use skiff_dataplane::core::shared::ToLcore;
use skiff_dataplane::netfilter::hooks::{Fate, Hook, Resume};
use skiff_dataplane::netfilter::queue::{QueueVerdict, Queued, Reinject};
use skiff_dataplane::skb::{Skb, SkbExt, SkbFields};
use skiff_dataplane::time::Instant;
use skiff_pmd::{Eal, EalConfig, Hugepages, PoolConfig};

use super::*;
use crate::testing;

const MAC: [u8; 6] = [2, 0xaa, 10, 0, 0, 2];

/// A UDP datagram from 10.0.0.2 to 10.0.1.LAST behind an Ethernet header. Its checksums are none of the server's.
fn frame(last: u8) -> Vec<u8> {
    let mut frame = [&[2, 0, 0, 0, 0, 1][..], &MAC, &[8, 0]].concat();
    frame.extend([0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2, 10, 0, 1, last]);
    frame.extend([0, 5, 0, 6, 0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}

struct Plant {
    shared: Arc<Shared>,
    pool: Pool,
    server: Option<Server>,
    directory: tempfile::TempDir,
    _eal: Eal,
}

impl Plant {
    fn start() -> Plant {
        let eal = Eal::init(EalConfig {
            program: "test".into(),
            memory_mib: 64,
            hugepages: Hugepages::Off,
            ..EalConfig::default()
        })
        .unwrap();
        let config = PoolConfig { name: "skiff", mbufs: 8191, cache: 0, data_room: 2048, socket: None };
        let pool = Pool::create(&eal, &config).unwrap();
        let shared = testing::idle(2, &["lan0", "wan0"]);
        let directory = tempfile::tempdir().unwrap();
        let server =
            Server::start(&directory.path().join("nfqueue.sock"), Arc::clone(&shared), pool.clone()).unwrap();
        Plant { shared, pool, server: Some(server), directory, _eal: eal }
    }

    fn socket(&self) -> String {
        self.directory.path().join("nfqueue.sock").to_string_lossy().into_owned()
    }

    fn skb(&self, last: u8) -> Skb {
        let bytes = frame(last);
        let mut skb = self.pool.alloc().unwrap();
        skb.append(bytes.len()).unwrap().copy_from_slice(&bytes);
        let fields = SkbFields {
            iif: 2,
            oif: 3,
            mark: 0x77,
            priority: 5,
            network_offset: 14,
            ip_hdr_len: 20,
            ..SkbFields::default()
        };
        *skb.fields_mut() = fields;
        skb
    }

    /// What lcore 1 does with a packet for queue 7.
    fn queue(&self, hook: Hook, last: u8) {
        let queue = self.shared.nf_queue(7).expect("there is a listener");
        queue.waiting.fetch_add(1, Relaxed);
        // As if it had been received.
        self.shared.cells(1).rx.add(1);
        let resume = Resume { hook, priority: 0, place: 3 };
        let at = Instant::from_secs(1000);
        self.shared.send_to_listeners(Queued { skb: self.skb(last), queue, lcore: 1, resume, at }).unwrap();
    }

    fn reinjected(&self) -> Reinject {
        let mut message = None;
        eventually("the packet comes back", || {
            message = self.shared.receive_lcore(1);
            message.is_some()
        });
        match message {
            Some(ToLcore::NfReinject(reinject)) => reinject,
            other => panic!("{other:?}"),
        }
    }

    fn drops(&self, node: Node, reason: DropReason) -> u64 {
        self.shared.listener_cells().drops(node, reason).0
    }
}

#[test]
fn a_packet_goes_to_its_listener_and_back() {
    let mut plant = Plant::start();
    let mut client = Client::connect(plant.socket()).unwrap();
    client.set_timeout(Some(LIMIT)).unwrap();
    client.bind(7..=7, &Settings { names: true, ..packets() }).unwrap();

    plant.queue(Hook::Forward, 9);
    let packet = client.receive().unwrap();
    let want = Packet {
        queue: 7,
        id: 1,
        hook: 2,
        hw_protocol: 0x0800,
        mac: Some(MAC),
        iif: 2,
        oif: 3,
        mark: 0x77,
        priority: 5,
        length: 32,
        timestamp: 1_000_000_000_000,
        iif_name: "lan0".into(),
        oif_name: "wan0".into(),
        payload: frame(9)[14..].to_vec(),
    };
    assert_eq!(packet, want);
    let mut payload = packet.payload;
    payload[19] = 8;
    payload.extend([5; 8]);
    payload[3] = 40;
    client
        .verdict(&Verdict { mark: Some(1), payload: Some(payload.clone()), ..Verdict::accept(7, 1) })
        .unwrap();
    let Reinject { skb, resume, verdict } = plant.reinjected();
    assert_eq!(
        (resume, verdict),
        (Resume { hook: Hook::Forward, priority: 0, place: 3 }, QueueVerdict::Accept)
    );
    assert_eq!((skb.fields().mark, &skb.data()[14..], skb.len()), (1, &payload[..], 54));
    drop(skb);
    plant.shared.cells(1).tx.add(1);

    // Before the route there is no way out, and behind the neighbour's header no source.
    for (hook, mac, oif) in [(Hook::PreRouting, true, 0), (Hook::L2Enqueue, false, 3)] {
        plant.queue(hook, 9);
        let packet = client.receive().unwrap();
        assert_eq!((packet.mac.is_some(), packet.oif, packet.hook), (mac, oif, hook as u8));
    }
    client.batch(&Batch { queue: 7, id: 3, action: Action::Drop, mark: None }).unwrap();
    eventually("both are dropped", || {
        plant.drops(Node::IpRcv, DropReason::NetfilterDrop) == 1
            && plant.drops(Node::DevQueueXmit, DropReason::NetfilterDrop) == 1
    });
    assert_eq!(plant.shared.listener_cells().hook(Hook::PreRouting, Fate::Dropped).get(), 1);

    plant.queue(Hook::LocalIn, 9);
    client.receive().unwrap();
    assert_eq!((plant.shared.ledger().held(), plant.pool.in_use()), (1, 1));
    plant.server.take().unwrap().stop();
    assert_eq!(plant.drops(Node::IpLocalDeliver, DropReason::Shutdown), 1);
    assert_eq!((plant.shared.ledger().held(), plant.pool.in_use()), (0, 0));
}

#[test]
fn an_unsound_payload_and_a_full_lcore_drop() {
    let mut plant = Plant::start();
    let mut client = Client::connect(plant.socket()).unwrap();
    client.set_timeout(Some(LIMIT)).unwrap();
    client.bind(7..=7, &packets()).unwrap();
    plant.queue(Hook::Forward, 1);
    client.receive().unwrap();
    client.verdict(&Verdict { payload: Some(vec![0x65; 40]), ..Verdict::accept(7, 1) }).unwrap();
    assert_eq!(refused(client.receive()).errno, Errno::EINVAL as u32);
    assert_eq!(plant.drops(Node::IpForward, DropReason::NetfilterDrop), 1);

    while plant.shared.send_to_lcore(1, ToLcore::Xmit(plant.skb(0))).is_ok() {}
    plant.queue(Hook::Forward, 2);
    assert_eq!(client.receive().unwrap().id, 2);
    client.verdict(&Verdict::accept(7, 2)).unwrap();
    eventually("it is dropped", || plant.drops(Node::IpForward, DropReason::PuntFull) == 1);
    assert_eq!(plant.shared.nf_queue(7).unwrap().waiting.load(Relaxed), 0);
    plant.server.take().unwrap().stop();
    while plant.shared.receive_lcore(1).is_some() {}
    assert_eq!(plant.pool.in_use(), 0);
}

/// The example in Python prints packets and drops those its rule names.
#[test]
fn the_python_example_listens() {
    let plant = Plant::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/nfqueue.py");
    let mut python = Command::new("python3")
        .args([script, "--socket", &plant.socket(), "--queue", "7", "--drop-to", "10.0.1.66", "--count", "3"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test runs python3");
    eventually("the example has bound its queue", || plant.shared.nf_queue(7).is_some());
    let queue = plant.shared.nf_queue(7).unwrap();
    for last in [9, 66, 10] {
        plant.queue(Hook::Forward, last);
    }
    let accepted = [plant.reinjected(), plant.reinjected()];
    let destinations: Vec<u8> = accepted.iter().map(|reinject| reinject.skb.network()[19]).collect();
    assert_eq!(destinations, [9, 10]);
    assert!(python.wait().unwrap().success());
    assert_eq!(plant.drops(Node::IpForward, DropReason::NetfilterDrop), 1);
    assert_eq!(queue.waiting.load(Relaxed), 0);
    let mut said = String::new();
    python.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "1 FORWARD lan0 -> wan0 10.0.0.2 > 10.0.1.9 UDP, 32 bytes, mark 0x77: accept",
            "2 FORWARD lan0 -> wan0 10.0.0.2 > 10.0.1.66 UDP, 32 bytes, mark 0x77: drop",
            "3 FORWARD lan0 -> wan0 10.0.0.2 > 10.0.1.10 UDP, 32 bytes, mark 0x77: accept",
        ]
    );
}
