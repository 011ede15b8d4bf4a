//! The router's side of a link: queries, and what the hosts there want (RFC 3376 sections 6 and 7).
//!
//! One [`Querier`] a link. Messages and time go in; queries to send come out. The caller asks for the memberships
//! whenever [`Querier::turn`] or [`Querier::receive`] says that some changed.

use std::collections::{BTreeMap, BTreeSet};

use skiff_dataplane::time::Instant;

use super::filter::Filter;
use super::wire::{Message, Query, Record, RecordKind, Version};
use super::{ALL_SYSTEMS, Outgoing, Timing};

/// Groups a link may have: a host cannot make the router remember more.
const MAX_GROUPS: usize = 1024;
/// Sources a group may have.
const MAX_SOURCES: usize = 128;

/// What became of a message or of time passing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Messages to send.
    pub send: Vec<Outgoing>,
    /// Groups whose memberships may have changed.
    pub changed: BTreeSet<u32>,
}

/// The router on one link.
#[derive(Debug)]
pub struct Querier {
    timing: Timing,
    /// What this link's querier says, or we do.
    in_force: Timing,
    address: u32,
    /// Another querier, and until when it is believed to be there.
    other: Option<(u32, Instant)>,
    next_general: Instant,
    /// General queries still to be sent at the shorter interval of the start.
    startup: u8,
    groups: BTreeMap<u32, Group>,
}

/// What is known of one group. Its filter is EXCLUDE while `exclude_until` is there.
#[derive(Debug, Default)]
struct Group {
    exclude_until: Option<Instant>,
    /// Sources wanted until that time; without one, in EXCLUDE, not wanted.
    sources: BTreeMap<u32, Option<Instant>>,
    v1_host_until: Option<Instant>,
    v2_host_until: Option<Instant>,
    queries: Pending,
}

/// Group-specific queries still to be sent.
#[derive(Debug, Default)]
struct Pending {
    /// About the group as a whole.
    group: u8,
    /// About these sources.
    sources: BTreeMap<u32, u8>,
    next: Option<Instant>,
}

impl Querier {
    /// A router that comes up on a link, with its address there (host byte order).
    pub fn new(timing: Timing, address: u32, now: Instant) -> Querier {
        Querier {
            timing,
            in_force: timing,
            address,
            other: None,
            next_general: now,
            startup: timing.robustness,
            groups: BTreeMap::new(),
        }
    }

    /// True if no router with a lower address was heard lately.
    pub fn is_querier(&self) -> bool {
        self.other.is_none()
    }

    /// Our address on the link.
    pub fn address(&self) -> u32 {
        self.address
    }

    /// Groups somebody wants, with what is wanted of them.
    pub fn memberships(&self) -> impl Iterator<Item = (u32, Filter)> {
        self.groups.iter().map(|(&group, state)| (group, state.filter()))
    }

    /// What is wanted of one group.
    pub fn membership(&self, group: u32) -> Filter {
        self.groups.get(&group).map_or(Filter::NONE, Group::filter)
    }

    /// Takes in a message from `source`.
    pub fn receive(&mut self, source: u32, message: &Message, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        match message {
            Message::Query(query) => self.query(source, query, now),
            Message::ReportV1(group) => {
                self.note_old_host(*group, Version::V1, now);
                self.record(&plain(RecordKind::IsExclude, *group), now, &mut outcome);
            }
            Message::ReportV2(group) => {
                self.note_old_host(*group, Version::V2, now);
                self.record(&plain(RecordKind::IsExclude, *group), now, &mut outcome);
            }
            Message::Leave(group) => self.record(&plain(RecordKind::ToInclude, *group), now, &mut outcome),
            Message::ReportV3(records) => {
                records.iter().for_each(|record| self.record(record, now, &mut outcome));
            }
        }
        self.due(now, &mut outcome);
        outcome
    }

    /// Lets time pass.
    pub fn turn(&mut self, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        self.due(now, &mut outcome);
        outcome
    }

    /// When it wants to run again.
    pub fn deadline(&self) -> Instant {
        let own = self.other.map_or(self.next_general, |(_, until)| until);
        self.groups.values().filter_map(Group::deadline).fold(own, Instant::min)
    }

    /// Another router's query: an election, and news of timers (RFC 3376 sections 6.6.1 and 6.6.2).
    fn query(&mut self, source: u32, query: &Query, now: Instant) {
        if source == 0 || source == self.address {
            return;
        }
        if source < self.address && self.other.is_none_or(|(other, _)| source <= other) {
            if query.version == Version::V3 {
                self.adopt(query);
            }
            self.other = Some((source, now + self.in_force.other_querier_present_interval()));
        }
        if query.group != 0 && !query.suppress && self.other.is_some() {
            let until = now + self.in_force.last_member_query_time();
            if let Some(state) = self.groups.get_mut(&query.group) {
                state.lower(&query.sources, until);
            }
        }
    }

    /// A querier's values hold for the whole link (RFC 3376 sections 4.1.6 and 4.1.7).
    fn adopt(&mut self, query: &Query) {
        self.in_force = self.timing;
        if query.robustness != 0 {
            self.in_force.robustness = query.robustness;
        }
        if !query.interval.is_zero() {
            self.in_force.query_interval = query.interval;
        }
    }

    fn note_old_host(&mut self, group: u32, version: Version, now: Instant) {
        let until = now + self.in_force.group_membership_interval();
        if let Some(state) = self.state_of(group) {
            match version {
                Version::V1 => state.v1_host_until = Some(until),
                _ => state.v2_host_until = Some(until),
            }
        }
    }

    /// The state of a group; a new one, unless there are too many.
    fn state_of(&mut self, group: u32) -> Option<&mut Group> {
        if group == ALL_SYSTEMS || (self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&group)) {
            return None;
        }
        Some(self.groups.entry(group).or_default())
    }

    /// One group record (the tables of RFC 3376 section 6.4).
    fn record(&mut self, record: &Record, now: Instant, outcome: &mut Outcome) {
        let (timing, querier) = (self.in_force, self.is_querier());
        let Some(state) = self.state_of(record.group) else { return };
        let (kind, sources) = state.as_its_oldest_host_means(record, now);
        let Some(kind) = kind else { return };
        let asked = state.take_in(kind, &sources, now, &timing);
        if querier {
            state.ask(asked, now, &timing);
        }
        if state.is_gone() {
            self.groups.remove(&record.group);
        }
        outcome.changed.insert(record.group);
    }

    /// Everything that is due: timers that ran out, queries.
    fn due(&mut self, now: Instant, outcome: &mut Outcome) {
        if self.other.is_some_and(|(_, until)| now >= until) {
            self.other = None;
            self.in_force = self.timing;
            self.next_general = now;
        }
        if self.is_querier() && now >= self.next_general {
            outcome.send.push(self.general_query());
            self.startup = self.startup.saturating_sub(1);
            let interval = match self.startup {
                0 => self.timing.query_interval,
                _ => self.timing.startup_query_interval(),
            };
            self.next_general = now + interval;
        }
        let (timing, querier) = (self.in_force, self.is_querier());
        for (&group, state) in &mut self.groups {
            if querier {
                state.send_queries(group, now, &timing, &mut outcome.send);
            } else {
                state.queries = Pending::default();
            }
            if state.expire(now) {
                outcome.changed.insert(group);
            }
        }
        self.groups.retain(|_, state| !state.is_gone());
    }

    fn general_query(&self) -> Outgoing {
        let query = query(&self.timing, 0, Vec::new(), false, self.timing.query_response_interval);
        Outgoing { to: ALL_SYSTEMS, message: Message::Query(query) }
    }
}

/// What is to be asked after a record was taken in.
#[derive(Default)]
struct Asked {
    group: bool,
    sources: BTreeSet<u32>,
}

impl Group {
    fn filter(&self) -> Filter {
        let with = |wanted: bool| {
            self.sources.iter().filter(move |(_, until)| until.is_some() == wanted).map(|(&s, _)| s).collect()
        };
        match self.exclude_until {
            Some(_) => Filter::Exclude(with(false)),
            None => Filter::Include(with(true)),
        }
    }

    fn is_gone(&self) -> bool {
        self.exclude_until.is_none() && self.sources.is_empty()
    }

    fn deadline(&self) -> Option<Instant> {
        let sources = self.sources.values().flatten().copied();
        sources.chain(self.exclude_until).chain(self.queries.next).min()
    }

    /// While a host of an older version is there, what it would not understand is not believed (RFC 3376 section
    /// 7.3.2): leaving, with version 1; blocking, and lists of excluded sources, with either.
    fn as_its_oldest_host_means(&self, record: &Record, now: Instant) -> (Option<RecordKind>, BTreeSet<u32>) {
        let is_there = |until: Option<Instant>| until.is_some_and(|until| now < until);
        let (v1, v2) = (is_there(self.v1_host_until), is_there(self.v2_host_until));
        let sources = record.sources.iter().copied().take(MAX_SOURCES).collect();
        match record.kind {
            RecordKind::Block if v1 || v2 => (None, sources),
            RecordKind::ToInclude if v1 => (None, sources),
            RecordKind::ToExclude if v1 || v2 => (Some(RecordKind::ToExclude), BTreeSet::new()),
            kind => (Some(kind), sources),
        }
    }

    /// The sources with a running timer.
    fn running(&self) -> BTreeSet<u32> {
        self.sources.iter().filter(|(_, until)| until.is_some()).map(|(&s, _)| s).collect()
    }

    fn want(&mut self, sources: &BTreeSet<u32>, until: Instant) {
        for &source in sources {
            if self.sources.len() < MAX_SOURCES || self.sources.contains_key(&source) {
                self.sources.insert(source, Some(until));
                self.queries.sources.remove(&source);
            }
        }
    }

    fn take_in(&mut self, kind: RecordKind, sources: &BTreeSet<u32>, now: Instant, timing: &Timing) -> Asked {
        let until = now + timing.group_membership_interval();
        let running = self.running();
        match kind {
            RecordKind::IsInclude | RecordKind::Allow => {
                self.want(sources, until);
                Asked::default()
            }
            RecordKind::ToInclude => {
                self.want(sources, until);
                Asked { group: self.exclude_until.is_some(), sources: &running - sources }
            }
            RecordKind::Block => {
                let asked = match self.exclude_until {
                    None => &running & sources,
                    Some(group_until) => {
                        let new: BTreeSet<u32> =
                            sources.iter().filter(|s| !self.sources.contains_key(s)).copied().collect();
                        self.want(&new, group_until);
                        // Those that are not wanted already need no question.
                        sources
                            .iter()
                            .filter(|s| self.sources.get(s).is_some_and(Option::is_some))
                            .copied()
                            .collect()
                    }
                };
                Asked { group: false, sources: asked }
            }
            RecordKind::IsExclude | RecordKind::ToExclude => {
                let asks = kind == RecordKind::ToExclude;
                self.exclude(sources, until, asks);
                let asked = if asks { self.running() } else { BTreeSet::new() };
                Asked { group: false, sources: asked }
            }
        }
    }

    /// EXCLUDE with these sources.
    fn exclude(&mut self, sources: &BTreeSet<u32>, until: Instant, to_exclude: bool) {
        let was = self.exclude_until;
        let new_until = match (was, to_exclude) {
            // INCLUDE (A): B-A is not wanted by anybody.
            (None, _) => None,
            (Some(group_until), true) => Some(group_until),
            (Some(_), false) => Some(until),
        };
        self.sources.retain(|source, _| sources.contains(source));
        for &source in sources.iter().take(MAX_SOURCES) {
            self.sources.entry(source).or_insert(new_until);
        }
        self.exclude_until = Some(until);
        self.queries.group = 0;
    }

    /// Lowers timers to the last member query time, here and by queries on the link.
    fn ask(&mut self, asked: Asked, now: Instant, timing: &Timing) {
        if !asked.group && asked.sources.is_empty() {
            return;
        }
        let until = now + timing.last_member_query_time();
        if asked.group {
            self.lower(&[], until);
            self.queries.group = timing.robustness;
        }
        if !asked.sources.is_empty() {
            let sources: Vec<u32> = asked.sources.iter().copied().collect();
            self.lower(&sources, until);
            self.queries.sources.extend(sources.into_iter().map(|source| (source, timing.robustness)));
        }
        self.queries.next = Some(now);
    }

    /// Lowers the timer of the group, or those of these sources.
    fn lower(&mut self, sources: &[u32], until: Instant) {
        if sources.is_empty() {
            self.exclude_until = self.exclude_until.map(|old| old.min(until));
        }
        for source in sources {
            if let Some(Some(old)) = self.sources.get_mut(source) {
                *old = (*old).min(until);
            }
        }
    }

    /// Sends the group-specific queries that are due. Each says with its flag whether somebody answered since: then
    /// other routers are to leave their timers alone.
    fn send_queries(&mut self, group: u32, now: Instant, timing: &Timing, send: &mut Vec<Outgoing>) {
        if self.queries.next.is_none_or(|next| now < next) {
            return;
        }
        let lowered = now + timing.last_member_query_time();
        let response = timing.last_member_query_interval;
        let mut say = |sources: Vec<u32>, suppress| {
            let query = query(timing, group, sources, suppress, response);
            send.push(Outgoing { to: group, message: Message::Query(query) });
        };
        if self.queries.group > 0 {
            self.queries.group -= 1;
            say(Vec::new(), self.exclude_until.is_some_and(|until| until > lowered));
        }
        let asked: Vec<u32> = self.queries.sources.keys().copied().collect();
        let answered = |s: &u32| self.sources.get(s).is_some_and(|until| until.is_some_and(|u| u > lowered));
        let (late, open): (Vec<u32>, Vec<u32>) = asked.into_iter().partition(answered);
        for (sources, suppress) in [(late, true), (open, false)] {
            if !sources.is_empty() {
                say(sources, suppress);
            }
        }
        self.queries.sources.retain(|_, left| {
            *left -= 1;
            *left > 0
        });
        let more = self.queries.group > 0 || !self.queries.sources.is_empty();
        self.queries.next = more.then_some(now + response);
    }

    /// Timers that ran out (RFC 3376 sections 6.2.2 and 6.2.3, 6.5). True if what is wanted changed.
    fn expire(&mut self, now: Instant) -> bool {
        let before = self.filter();
        let over = |until: &Option<Instant>| until.is_some_and(|until| now >= until);
        if over(&self.exclude_until) {
            self.exclude_until = None;
            self.sources.retain(|_, until| until.is_some() && !over(until));
        }
        match self.exclude_until {
            Some(_) => self.sources.values_mut().filter(|until| over(until)).for_each(|until| *until = None),
            None => self.sources.retain(|_, until| !over(until)),
        }
        before != self.filter() || self.is_gone()
    }
}

fn plain(kind: RecordKind, group: u32) -> Record {
    Record { kind, group, sources: Vec::new() }
}

fn query(
    timing: &Timing,
    group: u32,
    sources: Vec<u32>,
    suppress: bool,
    max_response: std::time::Duration,
) -> Query {
    Query {
        version: Version::V3,
        group,
        max_response,
        suppress,
        robustness: timing.robustness,
        interval: timing.query_interval,
        sources,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const US: u32 = 0x0a00_0005;
    const HOST: u32 = 0x0a00_0063;
    const G: u32 = 0xef01_0203;

    fn secs(s: f64) -> Instant {
        Instant::from_millis((s * 1000.0) as u64)
    }

    fn querier() -> Querier {
        let mut querier = Querier::new(Timing::default(), US, secs(0.0));
        assert_eq!(querier.turn(secs(0.0)).send.len(), 1);
        querier
    }

    fn v3(kind: RecordKind, sources: &[u32]) -> Message {
        Message::ReportV3(vec![Record { kind, group: G, sources: sources.to_vec() }])
    }

    fn set(sources: &[u32]) -> BTreeSet<u32> {
        sources.iter().copied().collect()
    }

    /// Runs it up to `to`, each turn at its own deadline; gives the times of queries and what they ask.
    fn run(querier: &mut Querier, to: f64) -> Vec<(f64, u32, Vec<u32>)> {
        let mut sent = Vec::new();
        while querier.deadline() <= secs(to) {
            let at = querier.deadline();
            for out in querier.turn(at).send {
                let Message::Query(query) = out.message else { panic!("{out:?}") };
                sent.push((at.as_millis() as f64 / 1000.0, query.group, query.sources));
            }
        }
        sent
    }

    #[test]
    fn general_queries_come_faster_at_the_start() {
        let mut querier = querier();
        let times: Vec<f64> = run(&mut querier, 300.0).iter().map(|q| q.0).collect();
        assert_eq!(times, [31.25, 156.25, 281.25]);
    }

    #[test]
    fn a_membership_lasts_260_seconds() {
        let mut querier = querier();
        querier.receive(HOST, &Message::ReportV2(G), secs(10.0));
        run(&mut querier, 269.9);
        assert_eq!(querier.membership(G), Filter::ALL);
        assert_eq!(querier.turn(secs(270.0)).changed, set(&[G]));
        assert_eq!(querier.membership(G), Filter::NONE);
    }

    #[test]
    fn a_leave_ends_it_after_two_queries_of_a_second() {
        let mut querier = querier();
        querier.receive(HOST, &v3(RecordKind::ToExclude, &[]), secs(10.0));
        let out = querier.receive(HOST, &Message::Leave(G), secs(20.0));
        assert_eq!((out.send.len(), out.send[0].to), (1, G));
        assert_eq!(run(&mut querier, 21.9), [(21.0, G, vec![])]);
        assert_eq!(querier.membership(G), Filter::ALL);
        assert!(run(&mut querier, 22.0).is_empty());
        assert_eq!(querier.membership(G), Filter::NONE);
    }

    #[test]
    fn somebody_who_stays_keeps_it() {
        let mut querier = querier();
        querier.receive(HOST, &Message::ReportV2(G), secs(10.0));
        querier.receive(HOST, &Message::Leave(G), secs(20.0));
        querier.receive(HOST + 1, &Message::ReportV2(G), secs(20.5));
        assert!(run(&mut querier, 31.0).is_empty(), "answered: nothing more to ask");
        assert_eq!(querier.membership(G), Filter::ALL);
    }

    #[test]
    fn a_version_1_host_does_not_leave() {
        let mut querier = querier();
        querier.receive(HOST, &Message::ReportV1(G), secs(10.0));
        let out = querier.receive(HOST, &Message::Leave(G), secs(20.0));
        assert!(out.send.is_empty());
        run(&mut querier, 100.0);
        assert_eq!(querier.membership(G), Filter::ALL);
    }

    #[test]
    fn sources_are_allowed_and_blocked() {
        let mut querier = querier();
        querier.receive(HOST, &v3(RecordKind::Allow, &[1, 2]), secs(10.0));
        assert_eq!(querier.membership(G), Filter::Include(set(&[1, 2])));
        let out = querier.receive(HOST, &v3(RecordKind::Block, &[2, 3]), secs(20.0));
        let Message::Query(query) = &out.send[0].message else { panic!("{out:?}") };
        assert_eq!((query.group, query.sources.as_slice(), query.suppress), (G, &[2][..], false));
        assert_eq!(run(&mut querier, 22.5), [(21.0, G, vec![2])]);
        assert_eq!(querier.membership(G), Filter::Include(set(&[1])));
    }

    #[test]
    fn exclude_then_include_goes_through_the_table() {
        let mut querier = querier();
        querier.receive(HOST, &v3(RecordKind::IsInclude, &[1, 2]), secs(1.0));
        querier.receive(HOST, &v3(RecordKind::ToExclude, &[2, 3]), secs(2.0));
        // EXCLUDE (X = {2}, Y = {3}); 1 is wanted like everything else.
        assert_eq!(querier.membership(G), Filter::Exclude(set(&[3])));
        run(&mut querier, 4.5);
        assert_eq!(querier.membership(G), Filter::Exclude(set(&[2, 3])), "nobody answered for 2");
        querier.receive(HOST, &v3(RecordKind::ToInclude, &[3]), secs(5.0));
        assert_eq!(querier.membership(G), Filter::Exclude(set(&[2])));
        run(&mut querier, 7.0);
        assert_eq!(querier.membership(G), Filter::Include(set(&[3])), "the group's timer ran out");
    }

    #[test]
    fn the_lowest_address_is_the_querier() {
        let mut querier = querier();
        let query = |interval| {
            let timing = Timing { query_interval: Duration::from_secs(interval), ..Timing::default() };
            Message::Query(super::query(&timing, 0, vec![], false, Duration::from_secs(10)))
        };
        querier.receive(US + 1, &query(60), secs(1.0));
        assert!(querier.is_querier(), "a higher address");
        querier.receive(0, &query(60), secs(1.0));
        assert!(querier.is_querier(), "no address");
        querier.receive(US - 1, &query(60), secs(1.0));
        assert!(!querier.is_querier());
        assert!(run(&mut querier, 125.9).is_empty(), "2 x 60 s and 5 s of silence");
        let resumed = run(&mut querier, 126.0);
        assert_eq!(resumed, [(126.0, 0, vec![])]);
        assert!(querier.is_querier());
    }

    #[test]
    fn a_router_that_is_not_querier_learns_and_believes_the_queriers_questions() {
        let mut querier = querier();
        let general = super::query(&Timing::default(), 0, vec![], false, Duration::from_secs(10));
        querier.receive(US - 1, &Message::Query(general), secs(1.0));
        querier.receive(HOST, &Message::ReportV2(G), secs(2.0));
        assert!(querier.receive(HOST, &Message::Leave(G), secs(3.0)).send.is_empty());
        let specific = super::query(&Timing::default(), G, vec![], false, Duration::from_secs(1));
        querier.receive(US - 1, &Message::Query(specific.clone()), secs(3.0));
        run(&mut querier, 5.0);
        assert_eq!(querier.membership(G), Filter::NONE);
        querier.receive(HOST, &Message::ReportV2(G), secs(6.0));
        querier.receive(US - 1, &Message::Query(Query { suppress: true, ..specific }), secs(7.0));
        run(&mut querier, 20.0);
        assert_eq!(querier.membership(G), Filter::ALL, "the flag says that somebody answered");
    }

    #[test]
    fn no_host_can_fill_the_memory() {
        let mut querier = querier();
        for n in 0..5000 {
            querier.receive(HOST, &Message::ReportV2(G + n), secs(1.0));
        }
        let sources: Vec<u32> = (0..5000).collect();
        querier.receive(HOST, &v3(RecordKind::IsInclude, &sources), secs(1.0));
        assert_eq!(querier.memberships().count(), MAX_GROUPS);
        assert!(querier.groups.values().all(|group| group.sources.len() <= MAX_SOURCES));
    }
}
