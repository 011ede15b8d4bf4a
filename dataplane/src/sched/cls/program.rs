//! The filters of one attachment point, ready to be searched.

use std::sync::Arc;

use super::ematch::Tree;
use super::flow::{FlowKey, Flower};
use super::tuple::{Builder, Group, Hit, MAX_WORDS, Shape};
use super::u32::{self, Compared, Found, Node, Tables, Walk};
use super::view::View;
use super::{ETH_P_ALL, FilterCells, FilterKind, FilterSpec};
use crate::net::IfIndex;
use crate::sched::act::Action;
use crate::sched::handle::TcHandle;

/// Filters, compiled.
#[derive(Debug)]
pub struct FilterProgram {
    /// By number.
    chains: Vec<Chain>,
    /// The discipline, for marks that are classes.
    qdisc: TcHandle,
}

/// What becomes of packets a filter matches.
#[derive(Debug)]
pub struct Leaf {
    /// Its preference, protocol and handle.
    pub name: (u16, u16, u32),
    /// The class.
    pub classid: TcHandle,
    /// The device they must have come in by.
    pub indev: Option<IfIndex>,
    /// The actions.
    pub actions: Box<[Arc<Action>]>,
    /// The counters.
    pub cells: Arc<FilterCells>,
}

#[derive(Debug)]
struct Chain {
    number: u32,
    /// Those with the earliest filter first.
    groups: Vec<Group>,
    /// Places of filters that are in no group.
    odd: Vec<u32>,
    /// In the order they are tried.
    rules: Vec<Rule>,
    flows: bool,
    tables: Tables,
    /// Leaves of the nodes in `tables`.
    leaves: Vec<Leaf>,
    /// The tables a search begins in.
    roots: Vec<u32>,
}

#[derive(Debug)]
struct Rule {
    leaf: Leaf,
    protocol: u16,
    /// Where the search goes on if its actions say `continue`.
    then: u32,
    /// The first filter of the next preference.
    next_pref: u32,
    /// It compares, and takes nothing: a node of u32 without class, actions and link.
    inert: bool,
    odd: Option<Odd>,
}

/// Filters that are tried one by one.
#[derive(Debug)]
enum Odd {
    /// A node that links; its place among the tables' nodes.
    Link(u32),
    /// A node of more words than a table takes, or whose words are not at constant places.
    Wide(Node),
    /// Port ranges.
    Ranges(Box<Flower>),
    /// An expression.
    Tree(Tree),
    /// The mark is the class.
    MarkIsClass,
}

/// What a search looks at.
#[derive(Clone, Copy)]
struct Seen<'a, 'v> {
    view: &'a View<'v>,
    flow: &'a FlowKey,
    qdisc: TcHandle,
}

/// Where a search through a chain stands.
#[derive(Debug, Default)]
pub struct Cursor {
    next: u32,
    walk: Option<(u32, Walk)>,
    /// The next header that the last walk has found, and the end of the preference it holds for: the kernel does not
    /// forget it when a search comes back from below a link.
    next_header: (isize, u32),
}

/// A filter that matched.
#[derive(Clone, Copy, Debug)]
pub struct Matched<'a> {
    /// What to do.
    pub leaf: &'a Leaf,
    /// The class it names.
    pub classid: TcHandle,
}

/// Compiles filters. Those of one chain and preference come in the order they were made.
pub fn compile(qdisc: TcHandle, filters: &[FilterSpec]) -> FilterProgram {
    let mut numbers: Vec<u32> = filters.iter().map(|f| f.chain).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let chain = |number: &u32| Chain::new(*number, filters);
    FilterProgram { chains: numbers.iter().map(chain).collect(), qdisc }
}

impl FilterProgram {
    /// True if no packet can match.
    pub fn is_empty(&self) -> bool {
        self.chains.iter().all(|chain| chain.number != 0 || chain.rules.is_empty())
    }

    /// The next filter of chain `number` that matches, from where `cursor` stands; the cursor moves behind it.
    #[inline]
    pub fn next<'a>(&'a self, number: u32, cursor: &mut Cursor, view: &View<'_>) -> Option<Matched<'a>> {
        let chain = self.chains.iter().find(|c| c.number == number)?;
        let flow = if chain.flows { FlowKey::dissect(view) } else { FlowKey::default() };
        chain.next(cursor, view, &flow, self.qdisc)
    }
}

impl Chain {
    #[inline]
    fn next<'a>(
        &'a self,
        cursor: &mut Cursor,
        view: &View<'_>,
        flow: &FlowKey,
        qdisc: TcHandle,
    ) -> Option<Matched<'a>> {
        loop {
            if cursor.walk.is_some() {
                match self.go_on(cursor, view) {
                    Some(matched) => return Some(matched),
                    None => continue,
                }
            }
            let hit = self.lookup(view, flow, cursor.next)?;
            let rule = self.rules.get(hit.place() as usize)?;
            if matches!(hit, Hit::Outside(_)) {
                cursor.next = rule.next_pref;
                continue;
            }
            cursor.next = hit.place() + 1;
            let classid = match rule.odd {
                None => rule.leaf.classid,
                Some(ref odd) => match self.try_odd(odd, hit.place(), cursor, Seen { view, flow, qdisc }) {
                    Some(classid) => classid,
                    None => continue,
                },
            };
            if rule.leaf.is_from(view) && !rule.inert {
                cursor.next = rule.then;
                return Some(Matched { leaf: &rule.leaf, classid });
            }
        }
    }

    /// The first filter from `from` on that a group knows to match, or that is in no group.
    #[inline]
    fn lookup(&self, view: &View<'_>, flow: &FlowKey, from: u32) -> Option<Hit> {
        let odd = self.odd.get(self.odd.partition_point(|place| *place < from));
        let mut best = odd.map(|place| Hit::Match(*place));
        for group in &self.groups {
            if best.is_some_and(|best| best.place() < group.first()) {
                break;
            }
            if let Some(hit) = group.find(view, flow, from)
                && best.is_none_or(|best| hit.place() < best.place())
            {
                best = Some(hit);
            }
        }
        best
    }

    /// Whether a filter of no group matches, and the class it names.
    #[cold]
    fn try_odd(&self, odd: &Odd, place: u32, cursor: &mut Cursor, seen: Seen<'_, '_>) -> Option<TcHandle> {
        let Seen { view, flow, qdisc } = seen;
        let rule = self.rules.get(place as usize)?;
        if rule.protocol != ETH_P_ALL && rule.protocol != view.protocol {
            return None;
        }
        let class = Some(rule.leaf.classid);
        let next_header = match cursor.next_header {
            (next, end) if end == rule.next_pref => next,
            _ => 0,
        };
        match odd {
            Odd::Ranges(flower) => class.filter(|_| flower.matches(flow)),
            Odd::Tree(tree) => class.filter(|_| tree.matches(view)),
            Odd::MarkIsClass => {
                let class = TcHandle(view.mark);
                (view.mark != 0 && (class.major() == 0 || class.major() == qdisc.major())).then_some(class)
            }
            Odd::Wide(node) => {
                let compared = node.compare(view, 0, next_header);
                if compared == Compared::Outside {
                    cursor.next = rule.next_pref;
                }
                class.filter(|_| compared == Compared::Yes)
            }
            Odd::Link(node) => {
                let compared = self.tables.nodes.get(*node as usize)?.compare(view, 0, next_header);
                if compared == Compared::Yes {
                    let walk = Walk::begin(&self.tables, view, *node, next_header);
                    cursor.walk = walk.map(|walk| (place, walk));
                }
                if compared == Compared::Outside || compared == Compared::Yes && cursor.walk.is_none() {
                    cursor.next = rule.next_pref;
                }
                None
            }
        }
    }

    /// Goes on with a walk through tables of u32.
    #[cold]
    fn go_on<'a>(&'a self, cursor: &mut Cursor, view: &View<'_>) -> Option<Matched<'a>> {
        let (place, walk) = cursor.walk.as_mut()?;
        let rule = self.rules.get(*place as usize)?;
        match walk.next(&self.tables, view) {
            Found::Node(node) => {
                let leaf = self.leaves.get(node as usize).filter(|leaf| leaf.is_from(view))?;
                return Some(Matched { leaf, classid: leaf.classid });
            }
            Found::End => cursor.next_header = (walk.next_header(), rule.next_pref),
            Found::Abort => cursor.next = rule.next_pref,
        }
        cursor.walk = None;
        None
    }

    fn new(number: u32, filters: &[FilterSpec]) -> Chain {
        let mut ours: Vec<&FilterSpec> = filters.iter().filter(|f| f.chain == number).collect();
        ours.sort_by_key(|f| f.pref);
        let mut chain = Chain {
            number,
            groups: Vec::new(),
            odd: Vec::new(),
            rules: Vec::new(),
            flows: false,
            tables: Tables::default(),
            leaves: Vec::new(),
            roots: Vec::new(),
        };
        chain.add_tables(filters);
        let mut groups = Builder::default();
        for pref in ours.chunk_by(|a, b| a.pref == b.pref) {
            chain.add_pref(pref, &mut groups);
        }
        chain.groups = groups.build();
        chain.flows = chain.groups.iter().any(Group::is_flow)
            || chain.rules.iter().any(|r| matches!(r.odd, Some(Odd::Ranges(_))));
        chain
    }

    /// The tables of u32: of the whole attachment point, so that links reach those of other preferences.
    fn add_tables(&mut self, filters: &[FilterSpec]) {
        for f in filters {
            if let FilterKind::U32Table { divisor, root } = f.kind {
                if root {
                    self.roots.push(u32::table_of(f.handle));
                }
                let buckets = vec![Vec::new(); divisor.clamp(1, 256) as usize];
                self.tables.tables.push(u32::Table { id: u32::table_of(f.handle), buckets });
            }
        }
        self.tables.tables.sort_by_key(|t| t.id);
        self.tables.tables.dedup_by_key(|t| t.id);
        let mut nodes: Vec<&FilterSpec> =
            filters.iter().filter(|f| matches!(f.kind, FilterKind::U32(_))).collect();
        nodes.sort_by_key(|f| u32::node_of(f.handle));
        for f in nodes {
            let id = u32::table_of(f.handle);
            let Ok(table) = self.tables.tables.binary_search_by_key(&id, |t| t.id) else { continue };
            let at = self.add_node(f);
            let bucket = self.tables.tables[table].buckets.get_mut(u32::bucket_of(f.handle) as usize);
            if let Some(bucket) = bucket {
                bucket.push(at);
            }
        }
    }

    fn add_node(&mut self, f: &FilterSpec) -> u32 {
        let at = self.tables.nodes.len() as u32;
        if let FilterKind::U32(node) = &f.kind {
            self.tables.nodes.push(node.clone());
            self.leaves.push(leaf(f));
        }
        at
    }

    /// Gives the filters of one preference their places.
    fn add_pref(&mut self, pref: &[&FilterSpec], groups: &mut Builder) {
        let mut ordered: Vec<&FilterSpec> = pref.iter().copied().filter(|f| self.is_tried(f)).collect();
        ordered.sort_by_key(|f| match &f.kind {
            FilterKind::U32(_) => u64::from(u32::node_of(f.handle)),
            FilterKind::Flower(flower) => flower.age,
            _ => 0,
        });
        let next_pref = (self.rules.len() + ordered.len()) as u32;
        let links = ordered.iter().any(|f| matches!(&f.kind, FilterKind::U32(node) if node.link != 0));
        for f in ordered {
            let place = self.rules.len() as u32;
            let protocol = (f.protocol != ETH_P_ALL).then_some(f.protocol);
            let mut odd = None;
            match self.shape(f, links) {
                Ok((shape, words)) => groups.add(protocol, shape, words, place),
                Err(why) => {
                    odd = Some(why);
                    self.odd.push(place);
                }
            }
            // After the actions of these the kernel goes on with the next preference.
            let last = matches!(f.kind, FilterKind::Flower(_) | FilterKind::Matchall | FilterKind::FwClass);
            let then = if last { next_pref } else { place + 1 };
            let inert = matches!(&f.kind, FilterKind::U32(node) if !node.terminal);
            self.rules.push(Rule { leaf: leaf(f), protocol: f.protocol, then, next_pref, inert, odd });
        }
    }

    /// Whether a filter is one that packets meet without a link: for u32, one in the preference's first table.
    fn is_tried(&self, f: &FilterSpec) -> bool {
        match &f.kind {
            FilterKind::U32Table { .. } => false,
            FilterKind::U32(_) => self.roots.contains(&u32::table_of(f.handle)),
            _ => true,
        }
    }

    /// What a filter compares; with `links` there are links in its preference.
    fn shape(&mut self, f: &FilterSpec, links: bool) -> Result<(Shape, Vec<u32>), Odd> {
        match &f.kind {
            FilterKind::U32(node) if node.link != 0 => Err(Odd::Link(self.add_node(f))),
            FilterKind::U32(node) if links && node.keys.iter().any(|key| key.next_header) => {
                Err(Odd::Wide(node.clone()))
            }
            FilterKind::U32(node) => bytes_shape(node),
            FilterKind::U32Table { .. } | FilterKind::Matchall | FilterKind::Basic(None) => {
                Ok((Shape::Any, Vec::new()))
            }
            FilterKind::Fw { mask } => Ok((Shape::Mark(*mask), vec![f.handle])),
            FilterKind::FwClass => Err(Odd::MarkIsClass),
            FilterKind::Flower(flower) if flower.has_ranges() => Err(Odd::Ranges(flower.clone())),
            FilterKind::Flower(flower) => {
                let (masks, words) = flower.words().map(|(at, mask, val)| ((at, mask), val)).unzip();
                Ok((Shape::Flow(masks), words))
            }
            FilterKind::Basic(Some(tree)) => Err(Odd::Tree(tree.clone())),
        }
    }
}

impl Leaf {
    #[inline]
    fn is_from(&self, view: &View<'_>) -> bool {
        self.indev.is_none_or(|dev| dev == view.iif)
    }
}

fn leaf(f: &FilterSpec) -> Leaf {
    let actions = f.actions.clone().into();
    Leaf {
        name: (f.pref, f.protocol, f.handle),
        classid: f.classid,
        indev: f.indev,
        actions,
        cells: Arc::clone(&f.cells),
    }
}

fn bytes_shape(node: &Node) -> Result<(Shape, Vec<u32>), Odd> {
    if node.keys.len() + 1 > MAX_WORDS {
        return Err(Odd::Wide(node.clone()));
    }
    let (mark, mask) = node.mark.unwrap_or_default();
    if mark & mask != mark {
        return Err(Odd::Wide(node.clone()));
    }
    let mut words: Vec<u32> = (mask != 0).then_some(mark).into_iter().collect();
    words.extend(node.words().map(|(.., val)| val));
    let masks = node.words().map(|(off, mask, _)| (off, mask)).collect();
    Ok((Shape::Bytes(masks, mask), words))
}

#[cfg(test)]
mod tests;
