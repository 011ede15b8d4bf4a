//! Disciplines from their parameters.

use std::sync::Arc;

use super::cells::QdiscCells;
use super::fifo::{FifoLimit, FifoQdisc};
use super::handle::TcHandle;
use super::htb::Htb;
use super::packet::SchedPkt;
use super::params::QdiscSpec;
use super::pfifo_fast::PfifoFast;
use super::prio::Prio;
use super::qdisc::Qdisc;
use super::red::Red;
use super::tbf::Tbf;

/// A discipline named `handle`, with what its kind puts below it. Its statistics are those of
/// [`QdiscCells::for_spec`].
pub fn build<P: SchedPkt>(handle: TcHandle, spec: &QdiscSpec, cells: Arc<QdiscCells>) -> Box<dyn Qdisc<P>> {
    match spec {
        QdiscSpec::Pfifo { limit } => Box::new(FifoQdisc::new(FifoLimit::Packets(*limit), cells)),
        QdiscSpec::Bfifo { limit } => Box::new(FifoQdisc::new(FifoLimit::Bytes(*limit), cells)),
        QdiscSpec::PfifoHeadDrop { limit } => Box::new(FifoQdisc::new(FifoLimit::HeadDrop(*limit), cells)),
        QdiscSpec::PfifoFast { limit } => Box::new(PfifoFast::new(*limit, cells)),
        QdiscSpec::Prio(params) => Box::new(Prio::new(handle, params, cells)),
        QdiscSpec::Tbf(params) => Box::new(Tbf::new(params, cells)),
        QdiscSpec::Red(params) => Box::new(Red::new(params, cells)),
        QdiscSpec::Htb(params) => Box::new(Htb::new(handle, *params, cells)),
    }
}
