//! `tc qdisc show`

use skiff_dataplane::sched::cells::QdiscCells;
use skiff_dataplane::sched::handle::TcHandle;

use super::super::request::{Device, Devices, NodeSpec, QdiscFilter, Show};
use super::super::tree::{Node, Picture};
use super::stats::Stats;
use super::{Out, finish};

/// References to a discipline at the root: the device's, and that of its one queue.
const ROOT_REFERENCES: u32 = 2;

/// Every discipline that `filter` takes, each before those below it.
pub fn show(filter: &QdiscFilter, options: &Show, picture: &Picture, devices: &dyn Devices) -> String {
    let mut outs = Vec::new();
    let all = filter.dev.as_ref().map_or_else(|| devices.all(), |dev| vec![dev.clone()]);
    let wanted = |handle: TcHandle, parent: TcHandle| {
        filter.handle.is_none_or(|wanted| wanted == handle)
            && filter.parent.is_none_or(|wanted| wanted == parent)
    };
    for dev in &all {
        let name = filter.dev.is_none().then_some(dev);
        let tree = picture.tree(dev.index);
        if tree.is_none_or(|tree| tree.root().is_none()) && wanted(TcHandle::UNSPEC, TcHandle::ROOT) {
            let none = Head { handle: TcHandle::UNSPEC, parent: TcHandle::ROOT, dev: name };
            outs.push(one(options, none, &NodeSpec::Noqueue, &QdiscCells::default(), None));
        }
        for node in tree.map(|tree| tree.walk()).unwrap_or_default() {
            if wanted(node.handle(), node.parent()) {
                outs.push(node_out(options, node, name));
            }
        }
    }
    finish(options, outs)
}

struct Head<'a> {
    handle: TcHandle,
    parent: TcHandle,
    dev: Option<&'a Device>,
}

fn node_out<'a>(options: &'a Show, node: &Node, dev: Option<&Device>) -> Out<'a> {
    let rate = node.estimate().map(|estimate| estimate.rate());
    let head = Head { handle: node.handle(), parent: node.parent(), dev };
    one(options, head, node.spec(), node.cells(), rate)
}

fn one<'a>(
    options: &'a Show,
    head: Head<'_>,
    spec: &NodeSpec,
    cells: &QdiscCells,
    rate: Option<(u64, u64)>,
) -> Out<'a> {
    let mut out = Out::new(options);
    let handle = format!("{:x}:", head.handle.major());
    out.field("kind", spec.kind(), format!("qdisc {}", spec.kind()));
    out.field("handle", handle.clone(), format!(" {handle}"));
    out.text(if options.raw { format!("[{:08x}] ", head.handle.0) } else { " ".to_owned() });
    if let Some(dev) = head.dev {
        out.field("dev", dev.name.clone(), format!("dev {} ", dev.name));
    }
    match head.parent {
        TcHandle::ROOT => {
            out.field("root", true, "root ");
            out.field("refcnt", ROOT_REFERENCES, format!("refcnt {ROOT_REFERENCES} "));
        }
        parent => out.field("parent", parent.to_string(), format!("parent {parent} ")),
    }
    out.member("options", |out| out.options(spec, cells));
    out.newline();
    if options.stats {
        out.stats(&Stats::from(cells), rate);
        out.newline();
        if out.special(cells) {
            out.newline();
        }
    }
    out
}
