//! `tc class show`

use skiff_dataplane::sched::handle::TcHandle;

use super::super::request::{ClassFilter, Device, Devices, Show};
use super::super::tree::{Classes, HtbClass, Node, Picture, Tree};
use super::stats::Stats;
use super::{Out, finish};
use crate::tc::units;

/// Every class that `filter` takes, each before those below it. As in tc, a parent chooses a discipline, not a class.
pub fn show(filter: &ClassFilter, options: &Show, picture: &Picture, devices: &dyn Devices) -> String {
    let mut outs = Vec::new();
    let all = filter.dev.as_ref().map_or_else(|| devices.all(), |dev| vec![dev.clone()]);
    for dev in &all {
        let Some(tree) = picture.tree(dev.index) else { continue };
        let one = Print { filter, options, tree, dev: filter.dev.is_none().then_some(dev) };
        for node in tree.walk() {
            let of_this =
                |wanted: Option<TcHandle>| wanted.is_none_or(|wanted| wanted.qdisc() == node.handle());
            if of_this(filter.parent) && of_this(filter.qdisc) {
                one.qdisc(node, &mut outs);
            }
        }
    }
    finish(options, outs)
}

struct Print<'a> {
    filter: &'a ClassFilter,
    options: &'a Show,
    tree: &'a Tree,
    dev: Option<&'a Device>,
}

impl<'a> Print<'a> {
    fn qdisc(&self, node: &Node, outs: &mut Vec<Out<'a>>) {
        match node.classes() {
            Classes::None => {}
            Classes::One(child) => {
                if let Some(mut out) = self.head(node, 1, node.handle(), *child) {
                    out.text("\n");
                    if self.options.stats {
                        out.text("\n");
                    }
                    outs.push(out);
                }
            }
            Classes::Bands(bands, used) => {
                for (minor, band) in (1..).zip(&bands[..*used]) {
                    let child = band.grafted;
                    let Some(mut out) = self.head(node, minor, node.handle(), child) else { continue };
                    out.text("\n");
                    if self.options.stats {
                        let below = child.and_then(|child| self.tree.qdisc(TcHandle::new(child, 0)));
                        let cells = below.map_or(&band.own, |below| below.cells());
                        out.stats(&Stats::from(&**cells), None);
                        out.text("\n");
                    }
                    outs.push(out);
                }
            }
            Classes::Htb(_) => {
                for (minor, class) in node.classes().in_order() {
                    let parent =
                        class.parent.map_or(TcHandle::ROOT, |p| TcHandle::new(node.handle().major(), p));
                    let Some(mut out) = self.head(node, minor, parent, class.child) else { continue };
                    out.htb_class(class);
                    outs.push(out);
                }
            }
        }
    }

    /// The beginning of a class's line; none if it is not wanted.
    fn head(&self, node: &Node, minor: u16, parent: TcHandle, child: Option<u16>) -> Option<Out<'a>> {
        let class = TcHandle::new(node.handle().major(), minor);
        if self.filter.classid.is_some_and(|wanted| wanted != class) {
            return None;
        }
        let mut out = Out::new(self.options);
        // With a discipline chosen, its number goes without saying.
        let name = |handle: TcHandle| match self.filter.qdisc {
            Some(_) => TcHandle::new(0, handle.minor()).to_string(),
            None => handle.to_string(),
        };
        let kind = node.spec().kind();
        out.field("class", kind, format!("class {kind} "));
        out.field("handle", name(class), format!("{} ", name(class)));
        if let Some(dev) = self.dev {
            out.field("dev", dev.name.clone(), format!("dev {} ", dev.name));
        }
        match parent {
            TcHandle::ROOT => out.field("root", true, "root "),
            parent => out.field("parent", name(parent), format!("parent {} ", name(parent))),
        }
        if let Some(child) = child {
            out.field("leaf", format!("{child:x}:"), format!("leaf {child:x}: "));
        }
        Some(out)
    }
}

impl Out<'_> {
    fn htb_class(&mut self, class: &HtbClass) {
        let (params, details) = (&class.params, self.options.details);
        if class.is_leaf() {
            self.field("prio", params.prio, format!("prio {} ", params.prio));
            if details {
                self.field("quantum", params.quantum, format!("quantum {} ", params.quantum));
            }
        }
        self.rate("rate", params.rate, "rate ", " ");
        self.overhead(&params.rate_layer);
        self.rate("ceil", params.ceil, "ceil ", " ");
        self.link_layer(&params.rate_layer);
        if details {
            let mpu = units::show_size(params.rate_layer.mpu.into());
            self.size("burst", params.burst, "burst ", &format!("/1 mpu {mpu} "));
            self.size("cburst", params.cburst, "cburst ", &format!("/1 mpu {mpu} "));
            self.json("mpu", params.rate_layer.mpu);
            self.field("level", class.level, format!("level {} ", class.level));
        } else {
            self.size("burst", params.burst, "burst ", " ");
            self.size("cburst", params.cburst, "cburst ", " ");
        }
        self.text("\n");
        if self.options.stats {
            self.stats(&Stats::from(&*class.cells), None);
            self.text("\n");
            let cells = &class.cells;
            let (lended, borrowed) = (cells.lended.get(), cells.borrowed.get());
            let (tokens, ctokens) = (cells.tokens.get(), cells.ctokens.get());
            self.field("lended", lended, format!(" lended: {lended} "));
            self.field("borrowed", borrowed, format!("borrowed: {borrowed} "));
            self.field("giants", 0, "giants: 0\n");
            self.field("tokens", tokens, format!(" tokens: {tokens} "));
            self.field("ctokens", ctokens, format!("ctokens: {ctokens}\n"));
            self.text("\n");
        }
    }
}
