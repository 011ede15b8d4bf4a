//! The options of each kind of discipline, and the statistics only some have.

use skiff_dataplane::sched::cells::{QdiscCells, Special};
use skiff_dataplane::sched::params::{HtbParams, LinkLayer, PrioParams, QdiscSpec, RedParams, TbfParams};
use skiff_dataplane::sched::red::params::idle_table;

use super::super::request::NodeSpec;
use super::super::units;
use super::Out;

/// The version of htb's interface, as the kernel says it.
const HTB_VERSION: &str = "3.17";

impl Out<'_> {
    pub(super) fn options(&mut self, spec: &NodeSpec, cells: &QdiscCells) {
        match spec {
            NodeSpec::Noqueue | NodeSpec::Clsact => {}
            NodeSpec::Ingress => self.text("---------------- "),
            NodeSpec::Sched(spec) => match spec {
                QdiscSpec::Pfifo { limit } | QdiscSpec::PfifoHeadDrop { limit } => {
                    self.field("limit", *limit, format!("limit {limit}p"));
                }
                QdiscSpec::Bfifo { limit } => self.size("limit", u64::from(*limit), "limit ", ""),
                QdiscSpec::PfifoFast { .. } => {
                    self.bands(3, &skiff_dataplane::sched::params::DEFAULT_PRIOMAP);
                }
                QdiscSpec::Prio(PrioParams { bands, priomap, .. }) => self.bands(*bands, priomap),
                QdiscSpec::Tbf(params) => self.tbf(params),
                QdiscSpec::Red(params) => self.red(params),
                QdiscSpec::Htb(params) => self.htb(params, cells),
            },
        }
    }

    fn bands(&mut self, bands: u8, priomap: &[u8; 16]) {
        self.field("bands", bands, format!("bands {bands} priomap"));
        self.json("priomap", priomap.to_vec());
        for band in priomap {
            self.text(format!(" {band}"));
        }
    }

    fn htb(&mut self, params: &HtbParams, cells: &QdiscCells) {
        let direct = match &cells.special {
            Special::Htb(htb) => htb.direct_packets.get(),
            _ => 0,
        };
        let default = match params.default {
            0 => "0".to_owned(),
            minor => format!("{minor:#x}"),
        };
        self.field("r2q", params.r2q, format!("r2q {}", params.r2q));
        self.field("default", default.clone(), format!(" default {default}"));
        self.field("direct_packets_stat", direct, format!(" direct_packets_stat {direct}"));
        if self.options.details {
            self.field("ver", HTB_VERSION, format!(" ver {HTB_VERSION}"));
        }
        self.field("direct_qlen", params.direct_qlen, format!(" direct_qlen {}", params.direct_qlen));
        if params.hysteresis {
            self.field("hysteresis", true, " hysteresis");
        }
    }

    fn tbf(&mut self, params: &TbfParams) {
        let mpu = u64::from(params.rate_layer.mpu);
        self.rate("rate", params.rate, "rate ", " ");
        if self.options.details {
            self.burst_and_cell("burst", params.burst);
            self.size("mpu", mpu, "mpu ", " ");
        } else {
            self.size("burst", params.burst, "burst ", " ");
        }
        if let Some((peak, mtu)) = params.peak {
            self.rate("peakrate", peak, "peakrate ", " ");
            if self.options.details {
                self.burst_and_cell("mtu", mtu);
                self.text(format!("mpu {} ", units::show_size(params.peak_layer.mpu.into())));
            } else {
                self.size("minburst", mtu, "minburst ", " ");
            }
        }
        match latency_us(params) {
            Some(us) if !self.options.raw => self.field("lat", us, format!("lat {} ", units::show_time(us))),
            _ => self.size("limit", params.limit, "limit ", " "),
        }
        self.overhead(&params.rate_layer);
        self.link_layer(&params.rate_layer);
    }

    fn burst_and_cell(&mut self, key: &'static str, bytes: u64) {
        let size = units::show_size(bytes);
        self.field(key, format!("{size}/1"), format!("{key} {size}/1 "));
    }

    pub(super) fn overhead(&mut self, layer: &LinkLayer) {
        if layer.overhead != 0 {
            self.field("overhead", layer.overhead, format!("overhead {} ", layer.overhead));
        }
    }

    pub(super) fn link_layer(&mut self, layer: &LinkLayer) {
        if layer.atm || self.options.details {
            let name = if layer.atm { "atm" } else { "ethernet" };
            self.field("linklayer", name, format!("linklayer {name} "));
        }
    }

    fn red(&mut self, params: &RedParams) {
        self.size("limit", params.limit.into(), "limit ", " ");
        self.size("min", params.min.into(), "min ", " ");
        self.size("max", params.max.into(), "max ", " ");
        self.flag("ecn", params.ecn, "ecn ");
        self.flag("harddrop", params.harddrop, "harddrop ");
        self.flag("adaptive", params.adaptive, "adaptive ");
        self.flag("nodrop", params.nodrop, "nodrop ");
        if params.gentle {
            self.field("gentle", true, "gentle ");
        }
        if self.options.details {
            let probability = units::general(params.max_p as f64 / 2f64.powi(32), 6);
            let (cell_log, _) = idle_table(params.wlog, params.avpkt, params.bandwidth);
            self.field("ewma", params.wlog, format!("ewma {} ", params.wlog));
            let number: f64 = probability.parse().unwrap_or(0.0);
            self.field("probability", number, format!("probability {probability} "));
            self.field("Scell_log", cell_log, format!("Scell_log {cell_log}"));
        }
    }

    /// What a kind counts beside; true if it counts something.
    pub(super) fn special(&mut self, cells: &QdiscCells) -> bool {
        let Special::Red(red) = &cells.special else { return false };
        let marked = red.prob_mark.get() + red.forced_mark.get();
        let early = red.prob_drop.get() + red.forced_drop.get();
        let pdrop = red.pdrop.get();
        self.field("marked", marked, format!("  marked {marked} "));
        self.field("early", early, format!("early {early} "));
        self.field("pdrop", pdrop, format!("pdrop {pdrop} "));
        self.field("other", 0, "other 0 ");
        true
    }
}

/// How long a packet waits in a full queue; none if the limit is less than a burst.
fn latency_us(params: &TbfParams) -> Option<u64> {
    let time = |bytes: u64, rate: u64| bytes as f64 * 1e6 / rate.max(1) as f64;
    let within = |rate, burst| time(params.limit, rate) - time(burst, rate);
    let own = within(params.rate, params.burst);
    let latency = params.peak.map_or(own, |(rate, mtu)| own.max(within(rate, mtu)));
    // What a limit that came of a time lost when it was cut to bytes.
    (latency >= 0.0).then_some((latency + 1e-6) as u64)
}
