//! Queueing disciplines and their classes.

use std::sync::Arc;

use skiff_dataplane::sched::cells::{QdiscCells, RedCells, Special};
use skiff_dataplane::sched::handle::TcHandle;

use super::duration;
use super::page::{Family, Page, families};
use crate::tc::{Classes, HtbClass, Node, NodeSpec, Tree};

families! {
    CLASS_INFO: gauge "skiff_class_info" ["port", "qdisc", "class", "parent", "leaf"] =
        "Class identity; value is always 1.";
    RATE: gauge "skiff_class_rate_bytes" ["port", "class"] = "Configured rate in bytes per second.";
    CEIL: gauge "skiff_class_ceil_bytes" ["port", "class"] = "Configured ceiling in bytes per second.";
    PACKETS: counter "skiff_class_packets_total" ["port", "class"] = "Packets dequeued from the class.";
    BYTES: counter "skiff_class_bytes_total" ["port", "class"] = "Bytes dequeued from the class.";
    DROPS: counter "skiff_class_drops_total" ["port", "class", "reason"] =
        "Packets dropped by the class or its leaf: queue full (tail), by red early, forced, or its limit.";
    MARKS: counter "skiff_class_ecn_marks_total" ["port", "class"] = "Packets ECN-marked by a RED leaf.";
    OVERLIMITS: counter "skiff_class_overlimits_total" ["port", "class"] = "Times the class had to wait for tokens.";
    LENDS: counter "skiff_class_lends_total" ["port", "class"] = "Packets sent within the class's own rate.";
    BORROWS: counter "skiff_class_borrows_total" ["port", "class"] = "Packets sent with tokens borrowed from a parent.";
    BACKLOG_BYTES: gauge "skiff_class_backlog_bytes" ["port", "class"] = "Bytes queued.";
    BACKLOG_PACKETS: gauge "skiff_class_backlog_packets" ["port", "class"] = "Packets queued.";
    SOJOURN: histogram "skiff_class_sojourn_seconds" ["port", "class"] = "Time a packet spent queued, sampled.";
    AVERAGE: gauge "skiff_class_queue_average_bytes" ["port", "class"] = "RED average queue size.";

    QDISC_PACKETS: counter "skiff_qdisc_packets_total" ["port", "qdisc", "kind"] = "Packets that left the discipline.";
    QDISC_BYTES: counter "skiff_qdisc_bytes_total" ["port", "qdisc", "kind"] = "Bytes that left the discipline.";
    QDISC_DROPS: counter "skiff_qdisc_drops_total" ["port", "qdisc", "kind"] =
        "Packets dropped in the discipline and below.";
    QDISC_OVERLIMITS: counter "skiff_qdisc_overlimits_total" ["port", "qdisc", "kind"] =
        "Times something was over a rate or a threshold.";
    QDISC_REQUEUES: counter "skiff_qdisc_requeues_total" ["port", "qdisc", "kind"] =
        "Packets the driver gave back.";
    QDISC_BACKLOG_BYTES: gauge "skiff_qdisc_backlog_bytes" ["port", "qdisc", "kind"] =
        "Bytes in the discipline and below.";
    QDISC_BACKLOG_PACKETS: gauge "skiff_qdisc_backlog_packets" ["port", "qdisc", "kind"] =
        "Packets in the discipline and below.";

    DIRECT: counter "skiff_htb_direct_packets_total" ["port", "qdisc"] = "Packets sent unshaped.";
    EVENTS: counter "skiff_htb_events_total" ["port", "qdisc"] = "Times a class was looked at because its tokens had come.";
    EVENT_LAG: histogram "skiff_htb_event_lag_seconds" ["port", "qdisc"] = "How much later than its tokens.";
    PROB_DROP: counter "skiff_red_prob_drop_total" ["port", "qdisc"] = "Packets dropped between the thresholds.";
    PROB_MARK: counter "skiff_red_prob_mark_total" ["port", "qdisc"] = "Packets marked between the thresholds.";
    FORCED_DROP: counter "skiff_red_forced_drop_total" ["port", "qdisc"] = "Packets dropped above the upper threshold.";
    FORCED_MARK: counter "skiff_red_forced_mark_total" ["port", "qdisc"] = "Packets marked above the upper threshold.";
    PDROP: counter "skiff_red_pdrop_total" ["port", "qdisc"] = "Packets refused by the full queue.";
    RED_AVERAGE: gauge "skiff_red_avg_bytes" ["port", "qdisc"] = "Average queue size.";
    RED_MAX_P: gauge "skiff_red_max_p" ["port", "qdisc"] = "Largest probability of a mark or drop.";
    RED_BACKLOG: gauge "skiff_red_backlog_bytes" ["port", "qdisc"] = "Bytes queued.";
}

pub(super) fn collect(page: &mut Page, trees: &[(String, Arc<Tree>)]) {
    for (port, tree) in trees {
        for node in tree.walk() {
            if matches!(node.spec(), NodeSpec::Sched(_)) {
                qdisc(page, port, node);
                classes(page, port, tree, node);
            }
        }
    }
}

fn qdisc(page: &mut Page, port: &str, node: &Node) {
    let (handle, cells) = (node.handle().to_string(), node.cells());
    let labels = [port, handle.as_str(), node.spec().kind()];
    page.add(&QDISC_PACKETS, labels, cells.packets.get());
    page.add(&QDISC_BYTES, labels, cells.bytes.get());
    page.add(&QDISC_DROPS, labels, cells.drops.get());
    page.add(&QDISC_OVERLIMITS, labels, cells.overlimits.get());
    page.add(&QDISC_REQUEUES, labels, cells.requeues.get());
    page.set(&QDISC_BACKLOG_BYTES, labels, cells.backlog.get() as f64);
    page.set(&QDISC_BACKLOG_PACKETS, labels, cells.qlen.get() as f64);
    let labels = [port, handle.as_str()];
    match &cells.special {
        Special::None => {}
        Special::Htb(htb) => {
            page.add(&DIRECT, labels, htb.direct_packets.get());
            page.add(&EVENTS, labels, htb.events.get());
            duration(page, &EVENT_LAG, labels, &htb.event_lag);
        }
        Special::Red(red) => {
            page.add(&PROB_DROP, labels, red.prob_drop.get());
            page.add(&PROB_MARK, labels, red.prob_mark.get());
            page.add(&FORCED_DROP, labels, red.forced_drop.get());
            page.add(&FORCED_MARK, labels, red.forced_mark.get());
            page.add(&PDROP, labels, red.pdrop.get());
            page.set(&RED_AVERAGE, labels, red.average.get() as f64);
            page.set(&RED_MAX_P, labels, red.max_p.get() as f64 / 2f64.powi(32));
            page.set(&RED_BACKLOG, labels, cells.backlog.get() as f64);
        }
    }
}

fn classes(page: &mut Page, port: &str, tree: &Tree, node: &Node) {
    let name = |minor: u16| TcHandle::new(node.handle().major(), minor);
    let grafted = |child: Option<u16>| child.and_then(|child| tree.qdisc(TcHandle::new(child, 0)));
    match node.classes() {
        Classes::None | Classes::One(_) => {}
        Classes::Bands(bands, used) => {
            for (minor, band) in (1..).zip(&bands[..*used]) {
                let leaf = grafted(band.grafted);
                let class = Class { page, port, node, class: name(minor), leaf };
                class.band(leaf.map_or(&band.own, |leaf| leaf.cells()));
            }
        }
        Classes::Htb(classes) => {
            for (minor, htb) in classes {
                let leaf = grafted(htb.child);
                Class { page, port, node, class: name(*minor), leaf }.htb(htb);
            }
        }
    }
}

struct Class<'a> {
    page: &'a mut Page,
    port: &'a str,
    node: &'a Node,
    class: TcHandle,
    leaf: Option<&'a Node>,
}

impl Class<'_> {
    fn band(mut self, cells: &QdiscCells) {
        self.info(self.node.handle());
        self.counter(&PACKETS, cells.packets.get());
        self.counter(&BYTES, cells.bytes.get());
        self.counter(&OVERLIMITS, cells.overlimits.get());
        self.gauge(&BACKLOG_BYTES, cells.backlog.get());
        self.gauge(&BACKLOG_PACKETS, cells.qlen.get());
        self.drops(cells.drops.get());
    }

    fn htb(mut self, htb: &HtbClass) {
        let parent = htb.parent.map_or(self.node.handle(), |minor| TcHandle::new(self.class.major(), minor));
        let cells = &htb.cells;
        self.info(parent);
        self.gauge(&RATE, htb.params.rate);
        self.gauge(&CEIL, htb.params.ceil);
        self.counter(&PACKETS, cells.packets.get());
        self.counter(&BYTES, cells.bytes.get());
        self.counter(&OVERLIMITS, cells.overlimits.get());
        self.counter(&LENDS, cells.lended.get());
        self.counter(&BORROWS, cells.borrowed.get());
        self.gauge(&BACKLOG_BYTES, cells.backlog.get());
        self.gauge(&BACKLOG_PACKETS, cells.qlen.get());
        duration(self.page, &SOJOURN, [self.port, &self.class.to_string()], &cells.sojourn);
        self.drops(cells.drops.get());
    }

    fn info(&mut self, parent: TcHandle) {
        let (qdisc, class) = (self.node.handle().to_string(), self.class.to_string());
        let leaf = self.leaf.map(|leaf| leaf.handle().to_string()).unwrap_or_default();
        self.page.set(&CLASS_INFO, [self.port, &qdisc, &class, &parent.to_string(), &leaf], 1.0);
    }

    fn counter(&mut self, family: &Family<2>, value: u64) {
        self.page.add(family, [self.port, &self.class.to_string()], value);
    }

    fn gauge(&mut self, family: &Family<2>, value: u64) {
        self.page.set(family, [self.port, &self.class.to_string()], value as f64);
    }

    /// By reason, as far as the discipline below knows it: what red did not drop found its queue full.
    fn drops(&mut self, all: u64) {
        let red: Option<&RedCells> = self.leaf.and_then(|leaf| match &leaf.cells().special {
            Special::Red(red) => Some(&**red),
            _ => None,
        });
        let Some(red) = red else { return self.dropped("tail", all) };
        let (early, forced, limit) = (red.prob_drop.get(), red.forced_drop.get(), red.pdrop.get());
        let (marks, average) = (red.prob_mark.get() + red.forced_mark.get(), red.average.get());
        self.dropped("tail", all.saturating_sub(early + forced + limit));
        self.dropped("red_early", early);
        self.dropped("red_forced", forced);
        self.dropped("limit", limit);
        self.counter(&MARKS, marks);
        self.gauge(&AVERAGE, average);
    }

    fn dropped(&mut self, reason: &str, packets: u64) {
        self.page.add(&DROPS, [self.port, &self.class.to_string(), reason], packets);
    }
}
