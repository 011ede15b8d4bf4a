//! Filters and actions in the picture: where they are attached, and what the data plane gets of them.
//!
//! Tables of filters belong to a discipline, a class, or a side of `clsact`. They end with it: each remembers the
//! statistics of its owner, which another one of the same name does not share.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skiff_dataplane::net::IfIndex;
use skiff_dataplane::netfilter::hooks::{Hook, HookEntry};
use skiff_dataplane::sched::cells::{ClassCells, QdiscCells};
use skiff_dataplane::sched::cls::hook::{ClsactCells, TcHook};
use skiff_dataplane::sched::handle::TcHandle;
use skiff_dataplane::sched::op::{QdiscOp, TreeOp};
use skiff_dataplane::sched::params::QdiscSpec;
use skiff_dataplane::time::Instant;

use super::action::table::{ActionTable, Outcome};
use super::action::{self, ActionCommand, print as action_print};
use super::error::{Errno, TcError};
use super::filter::table::{Cx, FilterTable};
use super::filter::{self, EGRESS, FilterCommand, INGRESS, Verb, print};
use super::request::{Devices, NodeSpec, Show};
use super::tree::{Node, Ops, Picture, Tree};
use super::words::Words;

/// Where filters are: a device, and the name of a discipline, of a class, or of a side of `clsact`.
type Place = (IfIndex, TcHandle);

/// Priority of filters among the functions of their hook: before all that operators register.
const HOOK_PRIORITY: i32 = i32::MIN;

/// All filters and actions.
#[derive(Clone, Debug, Default)]
pub struct Filters {
    tables: BTreeMap<Place, Attached>,
    actions: Arc<ActionTable>,
    /// Counters of `ingress` and `clsact`.
    sides: BTreeMap<IfIndex, (Owner, Arc<ClsactCells>)>,
}

#[derive(Clone, Debug)]
struct Attached {
    owner: Owner,
    table: Arc<FilterTable>,
}

/// Whose filters they are.
#[derive(Clone, Debug)]
enum Owner {
    Qdisc(Arc<QdiscCells>),
    Class(Arc<ClassCells>),
}

impl Owner {
    fn is(&self, other: &Owner) -> bool {
        match (self, other) {
            (Owner::Qdisc(a), Owner::Qdisc(b)) => Arc::ptr_eq(a, b),
            (Owner::Class(a), Owner::Class(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// What has to be compiled when the commands are done.
#[derive(Clone, Debug, Default)]
pub struct Dirty(BTreeSet<Place>);

/// What a command has printed.
type Printed = String;

/// Carries out `tc filter`, `tc actions` or `tc chain`; `words` are those behind the object.
///
/// # Errors
/// What tc or the kernel would refuse.
pub fn run(
    picture: &mut Picture,
    object: &str,
    words: &[String],
    world: &World<'_>,
    dirty: &mut Dirty,
) -> Result<Printed, TcError> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words = Words::new(&words, world.devices);
    match object {
        "filter" => filter_command(picture, &filter::parse(words)?, world, dirty),
        "actions" => action_command(picture, &action::parse(words)?, world, dirty),
        _ => Err(TcError::filter_refused(format!("tc {object} is not supported"))),
    }
}

/// Reads a command without carrying it out: whether it is not only to print something.
///
/// # Errors
/// Its words are wrong.
pub fn is_change(object: &str, words: &[String], devices: &dyn Devices) -> Result<bool, TcError> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words = Words::new(&words, devices);
    Ok(match object {
        "filter" => !matches!(filter::parse(words)?.verb, Verb::Show | Verb::Get),
        "actions" => !matches!(
            action::parse(words)?,
            ActionCommand::Show(_) | ActionCommand::Get(_) | ActionCommand::Help
        ),
        _ => true,
    })
}

/// What commands are told of the world.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// The devices there are.
    pub devices: &'a dyn Devices,
    /// The time.
    pub now: Instant,
    /// How to print.
    pub show: Show,
}

fn filter_command(
    picture: &mut Picture,
    command: &FilterCommand,
    world: &World<'_>,
    dirty: &mut Dirty,
) -> Result<Printed, TcError> {
    let show = world.show;
    let devices = world.devices;
    let Some(dev) = command.dev else {
        return match command.verb {
            Verb::Show => Ok(print::show(&[], command, show, devices)),
            _ => Err(TcError::filter_errno(Errno::NoDevice)),
        };
    };
    let attach = match attach_point(picture.tree(dev), command.parent) {
        Ok(attach) => attach,
        // A dump of what is not there is empty.
        Err(_) if command.verb == Verb::Show => return Ok(print::show(&[], command, show, devices)),
        Err(error) => return Err(error),
    };
    let (at, owner) = attach;
    let place = (dev, at);
    let shown =
        print::Place { dev, parent: if command.parent == TcHandle::UNSPEC { at } else { command.parent } };
    let filters = &mut picture.filters;
    filters.end_if_other(place, &owner);
    let table = filters.tables.get(&place).map(|attached| &*attached.table);
    match command.verb {
        Verb::Show => {
            let rows = table.map_or_else(Vec::new, |table| table.rows(command, &filters.actions, world.now));
            let rows: Vec<_> = rows.into_iter().map(|row| (shown, row)).collect();
            return Ok(print::show(&rows, command, show, devices));
        }
        Verb::Get => {
            let missing = || TcError::filter_refused("Filter with specified priority/protocol not found");
            let row = table.ok_or_else(missing)?.get(command, &filters.actions, world.now)?;
            return Ok(print::print(shown, &row, command, show, devices));
        }
        Verb::Add | Verb::Change | Verb::Replace | Verb::Delete => {}
    }
    let mut attached =
        filters.tables.remove(&place).unwrap_or_else(|| Attached { owner, table: Arc::default() });
    let adds = command.verb == Verb::Add;
    let before = if adds { Vec::new() } else { attached.table.classes() };
    let actions = Arc::make_mut(&mut filters.actions);
    let table = Arc::make_mut(&mut attached.table);
    let done = table.apply(command, &mut Cx { actions, devices, now: world.now });
    let after = match (adds, &done) {
        (false, _) => table.classes(),
        (true, Ok(())) => command.classid().into_iter().collect(),
        (true, Err(_)) => Vec::new(),
    };
    if !table.is_empty() {
        filters.tables.insert(place, attached);
    }
    picture.rebind(dev, &before, &after);
    dirty.0.insert(place);
    done.map(|()| String::new())
}

fn action_command(
    picture: &mut Picture,
    command: &ActionCommand,
    world: &World<'_>,
    dirty: &mut Dirty,
) -> Result<Printed, TcError> {
    if *command == ActionCommand::Help {
        return Ok(action::USAGE.to_owned());
    }
    let show = world.show;
    let devices = world.devices;
    let filters = &mut picture.filters;
    match Arc::make_mut(&mut filters.actions).apply(command, world.now)? {
        Outcome::Changed => {
            dirty.0.extend(filters.tables.keys().copied());
            Ok(String::new())
        }
        Outcome::Nothing => Ok(String::new()),
        Outcome::List(rows) => Ok(action_print::list(&rows, show, devices)),
        Outcome::Get(rows) => Ok(action_print::get(&rows, show, devices)),
    }
}

/// The place a command means, and its owner.
fn attach_point(tree: Option<&Tree>, parent: TcHandle) -> Result<(TcHandle, Owner), TcError> {
    let no_qdisc = || TcError::filter_refused("Parent Qdisc doesn't exists");
    let tree = tree.ok_or_else(no_qdisc)?;
    if parent.major() == INGRESS.major() && parent != TcHandle::ROOT {
        let node = tree.ingress().ok_or_else(no_qdisc)?;
        let side = if parent == EGRESS { EGRESS } else { INGRESS };
        if side == EGRESS && *node.spec() != NodeSpec::Clsact {
            return Err(TcError::filter_errno(Errno::NotSupported));
        }
        return Ok((side, Owner::Qdisc(Arc::clone(node.cells()))));
    }
    let node = match parent {
        TcHandle::UNSPEC | TcHandle::ROOT => tree.root(),
        parent => tree.qdisc(parent.qdisc()),
    };
    let node = node.ok_or_else(no_qdisc)?;
    match node.spec() {
        NodeSpec::Sched(QdiscSpec::Htb(_) | QdiscSpec::Prio(_)) => {}
        NodeSpec::Sched(QdiscSpec::Tbf(_) | QdiscSpec::Red(_)) => {
            return Err(TcError::filter_refused("Class doesn't support blocks"));
        }
        _ => return Err(TcError::filter_refused("Qdisc not classful")),
    }
    of_class(tree, node, if parent == TcHandle::ROOT { TcHandle::UNSPEC } else { parent })
}

fn of_class(tree: &Tree, node: &Node, parent: TcHandle) -> Result<(TcHandle, Owner), TcError> {
    if parent.minor() == 0 {
        return Ok((node.handle(), Owner::Qdisc(Arc::clone(node.cells()))));
    }
    if !tree.has_class(parent) {
        return Err(TcError::filter_refused("Specified class doesn't exist"));
    }
    match tree.htb_class(parent) {
        Some(class) => Ok((parent, Owner::Class(Arc::clone(&class.cells)))),
        None => Err(TcError::filter_refused("Class doesn't support blocks")),
    }
}

impl Filters {
    /// Ends the filters of a place if they were another owner's.
    fn end_if_other(&mut self, place: Place, owner: &Owner) {
        if self.tables.get(&place).is_some_and(|attached| !attached.owner.is(owner)) {
            self.end(place);
        }
    }

    fn end(&mut self, place: Place) {
        if let Some(mut attached) = self.tables.remove(&place) {
            Arc::make_mut(&mut attached.table).clear(Arc::make_mut(&mut self.actions));
        }
    }

    /// Ends the filters whose owners are gone. True if some were at hooks.
    fn sweep(&mut self, trees: &BTreeMap<IfIndex, Arc<Tree>>) -> bool {
        let owner_of = |place: &Place| attach_point(trees.get(&place.0).map(|tree| &**tree), place.1).ok();
        let gone: Vec<Place> = self
            .tables
            .iter()
            .filter(|(place, attached)| owner_of(place).is_none_or(|(_, owner)| !attached.owner.is(&owner)))
            .map(|(place, _)| *place)
            .collect();
        gone.iter().for_each(|place| self.end(*place));
        self.sides
            .retain(|dev, (owner, _)| owner_of(&(*dev, INGRESS)).is_some_and(|(_, now)| owner.is(&now)));
        gone.iter().any(|place| is_side(place.1))
    }

    /// The functions of all `ingress` and `clsact`.
    fn hooks(&mut self, trees: &BTreeMap<IfIndex, Arc<Tree>>) -> Vec<(Hook, HookEntry)> {
        let mut entries = Vec::new();
        for (&(dev, side), attached) in self.tables.iter().filter(|((_, at), _)| is_side(*at)) {
            let Ok((_, owner)) = attach_point(trees.get(&dev).map(|tree| &**tree), INGRESS) else { continue };
            let (_, cells) = self.sides.entry(dev).or_insert_with(|| (owner, Arc::default()));
            let program = Arc::new(attached.table.compile(TcHandle::INGRESS.qdisc(), &self.actions));
            let hook = TcHook::new(program, side == INGRESS, Arc::clone(cells));
            let entry =
                HookEntry { priority: HOOK_PRIORITY, dev: Some(dev), function: Arc::new(hook) as Arc<_> };
            entries.push((if side == INGRESS { Hook::L2Input } else { Hook::L2Enqueue }, entry));
        }
        entries
    }
}

fn is_side(at: TcHandle) -> bool {
    at == INGRESS || at == EGRESS
}

impl Picture {
    /// What the data plane must do so that filters are as they are here: changes of trees, and, if they have changed,
    /// all functions of `ingress` and `clsact`.
    pub(super) fn compile_filters(&mut self, dirty: &Dirty, ops: &mut Ops) -> Option<Vec<(Hook, HookEntry)>> {
        let ended = self.filters.sweep(&self.trees);
        for &(dev, at) in dirty.0.iter().filter(|(_, at)| !is_side(*at)) {
            let Some(tree) = self.trees.get(&dev).filter(|tree| tree.qdisc(at.qdisc()).is_some()) else {
                continue;
            };
            let attached = self.filters.tables.get(&(dev, at));
            let program = attached.map(|attached| {
                Arc::new(attached.table.compile(at.qdisc(), &self.filters.actions)) as Arc<_>
            });
            ops.push((dev, TreeOp::At(tree.path(at), QdiscOp::Filters(at, program))));
        }
        let changed = ended || dirty.0.iter().any(|(_, at)| is_side(*at));
        changed.then(|| self.filters.hooks(&self.trees))
    }

    /// Brings the statistics of `ingress` and `clsact` to where their filters' are.
    pub(super) fn count_sides(&self) {
        for (dev, (_, counted)) in &self.filters.sides {
            if let Some(node) = self.trees.get(dev).and_then(|tree| tree.ingress()) {
                let (bytes, packets, drops) = counted.counts();
                node.cells().bytes.set(bytes);
                node.cells().packets.set(packets);
                node.cells().drops.set(drops);
            }
        }
    }

    /// Classes that filters name cannot be deleted.
    fn rebind(&mut self, dev: IfIndex, before: &[TcHandle], after: &[TcHandle]) {
        if before == after {
            return;
        }
        let Some(tree) = self.trees.get_mut(&dev).map(Arc::make_mut) else { return };
        before.iter().for_each(|class| tree.unbind(*class, 1));
        after.iter().for_each(|class| tree.bind(*class, 1));
    }
}
