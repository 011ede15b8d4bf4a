//! Filters and actions in the journey: at the hooks of `clsact`, and in disciplines.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Ip, Out, R1, R2, R3, Rig, dev, frames, mac};
use skiff_dataplane::core::drop_reason::{DropReason, Node};
use skiff_dataplane::core::shared::ToLcore;
use skiff_dataplane::device::vlan::VlanProto;
use skiff_dataplane::netfilter::hooks::{Hook, HookEntry};
use skiff_dataplane::sched::act::gact::Gact;
use skiff_dataplane::sched::act::pedit::{Header, Key as Edit, Pedit};
use skiff_dataplane::sched::act::police::Police;
use skiff_dataplane::sched::act::skbedit::Skbedit;
use skiff_dataplane::sched::act::vlan::VlanAct;
use skiff_dataplane::sched::act::{Action, ActionKind, ActionSpec, Control, Mirred, csum};
use skiff_dataplane::sched::build::build;
use skiff_dataplane::sched::cells::QdiscCells;
use skiff_dataplane::sched::cls::hook::{ClsactCells, MOST_TURNS, TcHook};
use skiff_dataplane::sched::cls::u32::{Key, Node as U32};
use skiff_dataplane::sched::cls::{ETH_P_ALL, FilterKind, FilterSpec, MAX_RECLASSIFY, compile};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::op::{QdiscOp, TreeOp};
use skiff_dataplane::sched::params::{DEFAULT_PRIOMAP, PrioParams, QdiscSpec};
use skiff_dataplane::time::Instant;

fn action(kind: ActionKind, control: Control) -> Arc<Action> {
    let spec = ActionSpec { kind, control, cookie: Vec::new() };
    Arc::new(Action::new(spec, 1, Instant::ZERO))
}

fn decide(control: Control) -> Arc<Action> {
    action(ActionKind::Gact(Gact::default()), control)
}

fn mirred(port: usize, ingress: bool, redirect: bool) -> Arc<Action> {
    let control = if redirect { Control::Stolen } else { Control::Pipe };
    action(ActionKind::Mirred(Mirred { dev: dev(port), ingress, redirect }), control)
}

/// Every packet meets these.
fn all(pref: u16, chain: u32, actions: &[Arc<Action>]) -> FilterSpec {
    FilterSpec {
        chain,
        pref,
        protocol: ETH_P_ALL,
        handle: 1,
        classid: TcHandle::UNSPEC,
        indev: None,
        kind: FilterKind::Matchall,
        actions: actions.to_vec(),
        cells: Arc::default(),
    }
}

/// IPv4 packets of one protocol do.
fn of_protocol(pref: u16, protocol: u8, actions: &[Arc<Action>]) -> Vec<FilterSpec> {
    let key = Key { off: 8, next_header: false, mask: 0x00ff_0000, val: u32::from(protocol) << 16 };
    let node = U32 { keys: vec![key], terminal: true, ..U32::default() };
    let root = 0x8000_0000;
    let table = FilterSpec {
        handle: root,
        kind: FilterKind::U32Table { divisor: 1, root: true },
        protocol: 0x0800,
        ..all(pref, 0, &[])
    };
    let filter = FilterSpec { handle: root | 0x800, kind: FilterKind::U32(node), ..all(pref, 0, actions) };
    vec![table, FilterSpec { protocol: 0x0800, ..filter }]
}

/// Puts filters on one side of a port.
fn clsact(rig: &mut Rig, port: usize, ingress: bool, filters: &[FilterSpec]) -> Arc<ClsactCells> {
    let cells = Arc::new(ClsactCells::default());
    let program = Arc::new(compile(TcHandle::INGRESS, filters));
    let function = Arc::new(TcHook::new(program, ingress, Arc::clone(&cells)));
    rig.hooks.register(function.hook(), HookEntry { priority: 0, dev: Some(dev(port)), function });
    rig.configure(|_, _| {});
    cells
}

fn udp(len: usize) -> Ip {
    Ip::udp("10.1.0.2", "10.2.0.2", (5000, 53), len)
}

fn forward(rig: &mut Rig) -> Out {
    rig.send(R1, udp(40).to_port(R1))
}

#[test]
fn a_drop_has_the_name_of_its_side() {
    let mut rig = Rig::new();
    let drop = decide(Control::Shot);
    let seen = clsact(&mut rig, R1, true, &of_protocol(1, 17, &[Arc::clone(&drop)]));
    let out = forward(&mut rig);
    out.drop_of(Node::NetifReceive, DropReason::TcIngress).silent();
    // The rest goes on; packets count from the IP header on here, as they do in the kernel.
    rig.send(R1, Ip::icmp("10.1.0.2", "10.2.0.2", 8, 0, &[0; 20]).to_port(R1)).no_drops().only(R2);
    assert_eq!(seen.counts(), (68 + 44, 2, 1));
    let counts = drop.cells.counts();
    assert_eq!((counts.bytes, counts.packets, counts.drops, counts.overlimits), (68, 1, 1, 0));
    // The worker's clock counts cycles.
    assert!(counts.first_used == counts.last_used && counts.last_used.abs_diff(rig.now.as_nanos()) < 10_000);

    let sent = clsact(&mut rig, R3, false, &[all(1, 0, &[drop])]);
    let out = rig.send(R2, Ip::udp("10.2.0.2", "10.3.0.2", (1, 2), 10).to_port(R2));
    out.drop_of(Node::DevQueueXmit, DropReason::TcEgress).silent();
    assert_eq!(sent.counts(), (52, 1, 1));
}

#[test]
fn a_redirect_sends_the_frame_as_it_is() {
    let mut rig = Rig::new();
    clsact(&mut rig, R1, true, &[all(1, 0, &[mirred(R3, false, true)])]);
    let frame = udp(40).to_port(R1);
    let out = rig.send(R1, frame.clone());
    out.no_drops();
    assert_eq!((out.sent(), &out.wire[R3]), (1, &vec![frame]));
}

#[test]
fn a_redirect_to_ingress_is_received_there() {
    let mut rig = Rig::new();
    clsact(&mut rig, R3, true, &[all(1, 0, &[mirred(R1, true, true)])]);
    // For the router's address on r1, which it answers by r1.
    let out = rig.send(R3, Ip::echo("10.1.0.2", "10.1.0.1", 4).to_mac(mac::router(R1)));
    out.no_drops();
    assert_eq!((out.sent(), out.wire[R1].len()), (1, 1));
}

#[test]
fn a_mirror_leaves_the_packet_its_way() {
    let mut rig = Rig::new();
    let mirror = mirred(R3, false, false);
    clsact(&mut rig, R1, true, &of_protocol(1, 17, &[Arc::clone(&mirror)]));
    clsact(&mut rig, R2, false, &[all(1, 0, &[mirror])]);
    let frame = udp(40).to_port(R1);
    let out = rig.send(R1, frame.clone());
    out.no_drops();
    assert_eq!((out.wire[R2].len(), out.wire[R3].len()), (1, 2));
    // On its way in as it came, on its way out as it leaves.
    assert_eq!((&out.wire[R3][0], &out.wire[R3][1]), (&frame, &out.wire[R2][0]));
}

#[test]
fn packets_do_not_go_round_for_ever() {
    let mut rig = Rig::new();
    clsact(&mut rig, R2, false, &[all(1, 0, &[mirred(R2, false, true)])]);
    forward(&mut rig).drop_of(Node::DevQueueXmit, DropReason::QdiscDrop).silent();
    assert_eq!(
        rig.shared.cells(0).hook(Hook::L2Enqueue, skiff_dataplane::netfilter::hooks::Fate::Stolen).get(),
        MOST_TURNS as u64 + 1
    );
}

#[test]
fn chains_and_a_fresh_start() {
    let mut rig = Rig::new();
    let again = decide(Control::Reclassify);
    let filters = [
        all(1, 0, &[decide(Control::Goto(7))]),
        all(1, 7, &[decide(Control::Continue)]),
        all(2, 7, std::slice::from_ref(&again)),
    ];
    clsact(&mut rig, R1, true, &filters);
    forward(&mut rig).drop_of(Node::NetifReceive, DropReason::TcReclassifyLoop).silent();
    // Every second turn leads through the chain.
    assert_eq!(again.cells.counts().packets, u64::from(MAX_RECLASSIFY / 2));

    let mut nowhere = vec![all(1, 0, &[decide(Control::Goto(9))])];
    nowhere.push(all(2, 0, &[decide(Control::Shot)]));
    rig.hooks = Default::default();
    clsact(&mut rig, R1, true, &nowhere);
    forward(&mut rig).no_drops().only(R2);
}

#[test]
fn changed_bytes_get_their_checksums() {
    let mut rig = Rig::new();
    let edits = vec![
        Edit { header: Header::Ip4, add: false, off: 16, keep: 0, val: common::ip("10.2.0.2"), at: None },
        Edit { header: Header::Udp, add: false, off: 0, keep: 0xffff_0000, val: 5353, at: None },
        Edit { header: Header::Ip4, add: true, off: 8, keep: 0x00ff_ffff, val: 0xff00_0000, at: None },
        Edit { header: Header::Eth, add: false, off: 0, keep: 0, val: 0x0200_0000, at: None },
    ];
    let edit = action(ActionKind::Pedit(Pedit { keys: edits, extended: true }), Control::Pipe);
    let sums = action(ActionKind::Csum(csum::IP4H | csum::UDP), Control::Ok);
    clsact(&mut rig, R1, true, &[all(1, 0, &[edit, sums])]);
    let packet = Ip::udp("10.1.0.2", "10.99.0.9", (5000, 53), 41);
    for cut in [vec![], vec![14], vec![14, 20, 30, 43]] {
        let frame = frames::Frame::cut(&packet.to_port(R1), &cut);
        let out = rig.send(R1, frame);
        out.no_drops();
        let want = Ip::udp("10.1.0.2", "10.2.0.2", (5000, 5353), 41).ttl(62).bytes();
        assert_eq!(out.wire[R2][0][14..], want, "{cut:?}");
    }
}

#[test]
fn tags_come_and_go() {
    let mut rig = Rig::new();
    let push = |id| VlanAct::Push { proto: VlanProto::Dot1q, id, prio: Some(3) };
    let modify = VlanAct::Modify { proto: VlanProto::Dot1ad, id: 9, prio: None };
    let acts = |acts: &[VlanAct]| -> Vec<Arc<Action>> {
        acts.iter().map(|act| action(ActionKind::Vlan(*act), Control::Pipe)).collect()
    };
    let plain = forward(&mut rig).wire[R2][0].clone();
    for (list, tags) in [
        (vec![push(5)], "81006005"),
        (vec![push(5), push(6)], "8100600681006005"),
        (vec![push(5), modify], "88a86009"),
        (vec![push(5), push(6), VlanAct::Pop], "81006005"),
        (vec![VlanAct::Pop, push(1), VlanAct::Pop, VlanAct::Pop], ""),
    ] {
        rig.hooks = Default::default();
        clsact(&mut rig, R2, false, &[all(1, 0, &acts(&list))]);
        let out = forward(&mut rig);
        let got: String = out.wire[R2][0][12..out.wire[R2][0].len() - plain.len() + 12]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(got, tags);
        assert_eq!(out.wire[R2][0][out.wire[R2][0].len() - plain.len() + 12..], plain[12..]);
    }
    // On the way in a tag stands beside the data, and goes back into it with the packet.
    rig.hooks = Default::default();
    let mut way_in = acts(&[push(5), push(6)]);
    way_in.push(mirred(R3, false, true));
    clsact(&mut rig, R1, true, &[all(1, 0, &way_in)]);
    let out = forward(&mut rig);
    assert_eq!(out.wire[R3][0][12..22], [0x81, 0, 0x60, 6, 0x81, 0, 0x60, 5, 8, 0]);
}

#[test]
fn the_filters_see_tags_and_priorities() {
    let mut rig = Rig::new();
    let edit = Skbedit { priority: Some(0x1_0003), mark: Some((0xff, 0x0f)), ..Skbedit::default() };
    let marks = [
        all(1, 0, &[action(ActionKind::Skbedit(edit), Control::Continue)]),
        FilterSpec {
            handle: 0xf,
            kind: FilterKind::Fw { mask: 0xff },
            ..all(2, 0, &[decide(Control::Shot)])
        },
    ];
    clsact(&mut rig, R2, false, &marks);
    forward(&mut rig).drop_of(Node::DevQueueXmit, DropReason::TcEgress);

    rig.hooks = Default::default();
    let tagged = FilterSpec { protocol: 0x8100, ..all(1, 0, &[decide(Control::Shot)]) };
    clsact(&mut rig, R1, true, &[tagged]);
    forward(&mut rig).no_drops();
    let mut frame = udp(40).to_port(R1);
    frame.splice(12..12, [0x81, 0, 0, 7]);
    rig.send(R1, frame).drop_of(Node::NetifReceive, DropReason::TcIngress);
}

/// Packets that passed a policer, of so many, one every `gap`.
fn policed(rig: &mut Rig, police: Police, len: usize, gap: Duration, packets: usize) -> (usize, u64) {
    rig.hooks = Default::default();
    let police = action(ActionKind::Police(police), Control::Shot);
    clsact(rig, R1, true, &[all(1, 0, &[Arc::clone(&police)])]);
    let frame = udp(len).to_port(R1);
    let mut passed = 0;
    for _ in 0..packets {
        passed += rig.send(R1, frame.clone()).wire[R2].len();
        rig.after(gap);
    }
    (passed, police.cells.counts().overlimits)
}

#[test]
fn a_policer_keeps_its_rate() {
    let mut rig = Rig::new();
    // 80 Mbit/s and 16 KiB, packets of 1000 bytes from the IP header on at 160 Mbit/s for 0.2 s.
    let police = Police { rate: 10_000_000, burst: 16 << 10, ..Police::default() };
    let (passed, over) = policed(&mut rig, police, 972, Duration::from_micros(50), 4000);
    assert_eq!((passed, passed as u64 + over), (2000 + 15, 4000));
    // 2000 packets a second and 400 at once, at 10000 a second for 0.4 s.
    let police = Police { pkts_rate: 2000, pkts_burst: 400, ..Police::default() };
    let (passed, over) = policed(&mut rig, police, 10, Duration::from_micros(100), 4000);
    assert_eq!((passed, passed as u64 + over), (800 + 399, 4000));
}

#[test]
fn a_policer_measures_whole_frames_against_its_mtu() {
    let mut rig = Rig::new();
    let police = Police { mtu: 1042, ..Police::default() };
    // 14 + 20 + 8 + 1001 bytes, and one less.
    assert_eq!(policed(&mut rig, police, 1001, Duration::ZERO, 10), (0, 10));
    assert_eq!(policed(&mut rig, police, 1000, Duration::ZERO, 3), (3, 0));
}

#[test]
fn filters_of_a_discipline_choose_copy_and_drop() {
    let mut rig = Rig::new();
    let spec = QdiscSpec::Prio(PrioParams { bands: 3, priomap: DEFAULT_PRIOMAP, limit: 1000 });
    let cells = Arc::new(QdiscCells::for_spec(&spec));
    let tree = build(TcHandle::new(1, 0), &spec, Arc::clone(&cells));
    let mut filters = of_protocol(1, 17, &[mirred(R3, false, false)]);
    filters[1].classid = TcHandle::new(1, 1);
    filters.extend([all(2, 0, &[decide(Control::Shot)])]);
    let program = Arc::new(compile(TcHandle::new(1, 0), &filters));
    let ops = vec![
        TreeOp::Root(Some(tree)),
        TreeOp::At(Vec::new(), QdiscOp::Filters(TcHandle::new(1, 0), Some(program))),
    ];
    rig.tell(ToLcore::ChangeTree(dev(R2), ops)).no_drops();
    rig.configure(|devices, _| {
        devices.iter_mut().filter(|d| d.ifindex == dev(R2)).for_each(|d| d.qdisc_owner = 0)
    });
    let out = forward(&mut rig);
    out.no_drops();
    assert_eq!((out.wire[R2].len(), out.wire[R3].len()), (1, 1));
    assert_eq!(out.wire[R2], out.wire[R3]);
    let out = rig.send(R1, Ip::icmp("10.1.0.2", "10.2.0.2", 8, 0, &[0; 20]).to_port(R1));
    out.drop_of(Node::QdiscEnqueue, DropReason::QdiscDrop).silent();
    assert_eq!((cells.packets.get(), cells.drops.get()), (1, 1));
}
