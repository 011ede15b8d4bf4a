//! The host's side of a link: telling the router there what we want (RFC 3376 section 5, RFC 2236 section 3 when the
//! router is an older one).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use skiff_dataplane::time::Instant;

use super::filter::Filter;
use super::wire::{Message, Query, Record, RecordKind, Version};
use super::{ALL_IGMPV3_ROUTERS, ALL_ROUTERS, ALL_SYSTEMS, Outgoing};

/// Time between the reports of a change in version 3 (RFC 3376 section 8.11).
const V3_UNSOLICITED: Duration = Duration::from_secs(1);
/// The same in versions 1 and 2 (RFC 2236 section 8.10).
const V2_UNSOLICITED: Duration = Duration::from_secs(10);
/// Time to an answer in version 1, whose queries name none.
const V1_RESPONSE: Duration = Duration::from_secs(10);
/// The query interval of a router that did not say (RFC 3376 section 8.2).
const QUERY_INTERVAL: Duration = Duration::from_secs(125);
/// Bytes of records in one report: a frame of 1500 bytes less IP header, router alert and the report's own head.
const MAX_RECORDS_LEN: usize = 1500 - 24 - 8;

/// Us as a host on one link.
#[derive(Debug)]
pub struct Host {
    robustness: u8,
    forced: Option<Version>,
    v1_router_until: Option<Instant>,
    v2_router_until: Option<Instant>,
    groups: BTreeMap<u32, Membership>,
    /// Groups that are gone and still to be spoken of.
    leaving: BTreeMap<u32, Change>,
    /// When the general query is answered (version 3).
    answer_all_at: Option<Instant>,
    /// When changes are reported next (version 3).
    changes_at: Option<Instant>,
    random: u64,
}

#[derive(Debug)]
struct Membership {
    filter: Filter,
    change: Option<Change>,
    /// When a query about this group is answered, and which sources it asked about (version 3).
    answer: Option<(Instant, BTreeSet<u32>)>,
    /// When it is reported next (versions 1 and 2), and how often after that.
    report: Option<(Instant, u8)>,
    /// We were the last to report it (version 2).
    last_reporter: bool,
}

/// A change still to be reported.
#[derive(Clone, Debug, Default)]
struct Change {
    /// Times the filter itself is to be reported.
    mode: u8,
    /// Sources to be allowed, and how often still.
    allow: BTreeMap<u32, u8>,
    /// Sources to be blocked, and how often still.
    block: BTreeMap<u32, u8>,
}

impl Host {
    /// A host without groups. `robustness` is how often a change is reported; `forced` is a version to keep to whatever
    /// the router speaks (`force_igmp_version`); `seed` spreads the answers of several hosts.
    pub fn new(robustness: u8, forced: Option<Version>, seed: u64) -> Host {
        Host {
            robustness: robustness.max(1),
            forced,
            v1_router_until: None,
            v2_router_until: None,
            groups: BTreeMap::new(),
            leaving: BTreeMap::new(),
            answer_all_at: None,
            changes_at: None,
            random: seed | 1,
        }
    }

    /// What we want and say.
    pub fn memberships(&self) -> impl Iterator<Item = (u32, &Filter)> {
        self.groups.iter().map(|(&group, state)| (group, &state.filter))
    }

    /// The version spoken on this link.
    pub fn version(&self, now: Instant) -> Version {
        let heard = |until: Option<Instant>| until.is_some_and(|until| now < until);
        match self.forced {
            Some(version) => version,
            None if heard(self.v1_router_until) => Version::V1,
            None if heard(self.v2_router_until) => Version::V2,
            None => Version::V3,
        }
    }

    /// Sets what we want of a group from now on. 224.0.0.1 is never spoken of.
    pub fn set(&mut self, group: u32, filter: &Filter, now: Instant) -> Vec<Outgoing> {
        let old = self.groups.get(&group).map_or(Filter::NONE, |state| state.filter.clone());
        if group == ALL_SYSTEMS || old == *filter {
            return Vec::new();
        }
        match self.version(now) {
            Version::V3 => self.set_v3(group, old, filter, now),
            version => self.set_old(version, group, filter, now),
        }
    }

    /// Takes in a message of the link.
    pub fn receive(&mut self, message: &Message, now: Instant) -> Vec<Outgoing> {
        match message {
            Message::Query(query) => self.query(query, now),
            Message::ReportV1(group) | Message::ReportV2(group) => {
                // Another member spoke for all.
                if let Some(state) = self.groups.get_mut(group) {
                    state.report = None;
                    state.last_reporter = false;
                }
            }
            Message::Leave(_) | Message::ReportV3(_) => {}
        }
        self.turn(now)
    }

    /// Sends what is due.
    pub fn turn(&mut self, now: Instant) -> Vec<Outgoing> {
        match self.version(now) {
            Version::V3 => self.turn_v3(now),
            version => self.turn_old(version, now),
        }
    }

    /// When it wants to run again.
    pub fn deadline(&self) -> Option<Instant> {
        let groups = self.groups.values();
        let own = groups.flat_map(|state| {
            [state.answer.as_ref().map(|(at, _)| *at), state.report.map(|(at, _)| at)].into_iter().flatten()
        });
        own.chain(self.answer_all_at).chain(self.changes_at).min()
    }

    /// Says everything once more: the link is back.
    pub fn restart(&mut self, now: Instant) -> Vec<Outgoing> {
        let wanted: Vec<(u32, Filter)> = std::mem::take(&mut self.groups)
            .into_iter()
            .map(|(group, state)| (group, state.filter))
            .collect();
        *self = Host::new(self.robustness, self.forced, self.random);
        wanted.iter().flat_map(|(group, filter)| self.set(*group, filter, now)).collect()
    }

    fn set_v3(&mut self, group: u32, old: Filter, new: &Filter, now: Instant) -> Vec<Outgoing> {
        let pending = self.groups.get_mut(&group).and_then(|state| state.change.take());
        let mut change = pending.or_else(|| self.leaving.remove(&group)).unwrap_or_default();
        change.add(&old, new, self.robustness);
        if new.is_none() {
            self.groups.remove(&group);
            self.leaving.insert(group, change);
        } else {
            self.membership(group, new).change = Some(change);
        }
        self.changes_at = Some(now);
        self.turn_v3(now)
    }

    fn set_old(&mut self, version: Version, group: u32, new: &Filter, now: Instant) -> Vec<Outgoing> {
        if new.is_none() {
            let last = self.groups.remove(&group).is_some_and(|state| state.last_reporter);
            let leave = Outgoing { to: ALL_ROUTERS, message: Message::Leave(group) };
            return if last && version == Version::V2 { vec![leave] } else { Vec::new() };
        }
        let (robustness, is_new) = (self.robustness, !self.groups.contains_key(&group));
        let state = self.membership(group, new);
        if is_new {
            state.report = Some((now, robustness - 1));
        }
        self.turn_old(version, now)
    }

    fn membership(&mut self, group: u32, filter: &Filter) -> &mut Membership {
        let state = self.groups.entry(group).or_insert_with(|| Membership {
            filter: Filter::NONE,
            change: None,
            answer: None,
            report: None,
            last_reporter: false,
        });
        state.filter = filter.clone();
        state
    }

    fn query(&mut self, query: &Query, now: Instant) {
        self.note_version(query, now);
        let longest = if query.version == Version::V1 { V1_RESPONSE } else { query.max_response };
        let at = now + self.within(longest);
        match self.version(now) {
            Version::V3 => self.schedule_v3(query, at),
            _ => {
                let asked =
                    self.groups.iter_mut().filter(|(group, _)| query.group == 0 || **group == query.group);
                for (_, state) in asked {
                    let sooner = state.report.is_some_and(|(planned, _)| planned <= at);
                    if !sooner {
                        state.report = Some((at, 0));
                    }
                }
            }
        }
    }

    /// An older querier decides the version for a while (RFC 3376 section 7.2.1). What waited is of the other version
    /// and is dropped; memberships are answered for at the next query.
    fn note_version(&mut self, query: &Query, now: Instant) {
        let before = self.version(now);
        if query.version == Version::V3 && query.robustness != 0 {
            self.robustness = query.robustness;
        }
        let present =
            QUERY_INTERVAL * u32::from(self.robustness) + query.max_response.max(Duration::from_secs(10));
        match query.version {
            Version::V1 => self.v1_router_until = Some(now + present),
            Version::V2 => self.v2_router_until = Some(now + present),
            Version::V3 => {}
        }
        if self.version(now) != before {
            (self.answer_all_at, self.changes_at) = (None, None);
            self.leaving.clear();
            for state in self.groups.values_mut() {
                (state.change, state.answer, state.report) = (None, None, None);
            }
        }
    }

    /// When to answer (RFC 3376 section 5.2).
    fn schedule_v3(&mut self, query: &Query, at: Instant) {
        if self.answer_all_at.is_some_and(|planned| planned <= at) {
            return;
        }
        if query.group == 0 {
            self.answer_all_at = Some(at);
            return;
        }
        let Some(state) = self.groups.get_mut(&query.group) else { return };
        let asked: BTreeSet<u32> = query.sources.iter().copied().collect();
        state.answer = Some(match state.answer.take() {
            None => (at, asked),
            // An answer about the whole group covers any sources.
            Some((planned, sources)) if sources.is_empty() || asked.is_empty() => {
                (planned.min(at), BTreeSet::new())
            }
            Some((planned, sources)) => (planned.min(at), &sources | &asked),
        });
    }

    fn turn_v3(&mut self, now: Instant) -> Vec<Outgoing> {
        let mut records = Vec::new();
        if self.answer_all_at.is_some_and(|at| now >= at) {
            self.answer_all_at = None;
            records.extend(self.groups.iter().map(|(&group, state)| is_record(group, &state.filter)));
            self.groups.values_mut().for_each(|state| state.answer = None);
        }
        for (&group, state) in &mut self.groups {
            if let Some((_, sources)) = state.answer.take_if(|(at, _)| now >= *at) {
                records.extend(answer(group, &state.filter, &sources));
            }
        }
        if self.changes_at.is_some_and(|at| now >= at) {
            self.changes(now, &mut records);
        }
        reports(records)
    }

    /// Reports every change once more.
    fn changes(&mut self, now: Instant, records: &mut Vec<Record>) {
        for (&group, state) in &mut self.groups {
            if let Some(change) = &mut state.change {
                change.report(group, &state.filter, records);
                if change.is_over() {
                    state.change = None;
                }
            }
        }
        for (&group, change) in &mut self.leaving {
            change.report(group, &Filter::NONE, records);
        }
        self.leaving.retain(|_, change| !change.is_over());
        let more = !self.leaving.is_empty() || self.groups.values().any(|state| state.change.is_some());
        let pause = self.within(V3_UNSOLICITED);
        self.changes_at = more.then(|| now + pause);
    }

    fn turn_old(&mut self, version: Version, now: Instant) -> Vec<Outgoing> {
        let mut send = Vec::new();
        let pause = self.within(V2_UNSOLICITED);
        for (&group, state) in &mut self.groups {
            let Some((_, left)) = state.report.take_if(|(at, _)| now >= *at) else { continue };
            state.last_reporter = true;
            state.report = left.checked_sub(1).map(|left| (now + pause, left));
            let message = match version {
                Version::V1 => Message::ReportV1(group),
                _ => Message::ReportV2(group),
            };
            send.push(Outgoing { to: group, message });
        }
        send
    }

    /// A time between zero and `longest`, so that not all hosts speak at once (xorshift64).
    fn within(&mut self, longest: Duration) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        longest.mul_f64((self.random >> 11) as f64 / (1u64 << 53) as f64)
    }
}

impl Change {
    /// Adds the step from `old` to `new` (RFC 3376 section 5.1).
    fn add(&mut self, old: &Filter, new: &Filter, times: u8) {
        let (gained, lost) = match (old, new) {
            (Filter::Include(a), Filter::Include(b)) if self.mode == 0 => (b - a, a - b),
            (Filter::Exclude(a), Filter::Exclude(b)) if self.mode == 0 => (a - b, b - a),
            _ => {
                *self = Change { mode: times, ..Change::default() };
                return;
            }
        };
        for source in gained {
            self.block.remove(&source);
            self.allow.insert(source, times);
        }
        for source in lost {
            self.allow.remove(&source);
            self.block.insert(source, times);
        }
    }

    fn report(&mut self, group: u32, filter: &Filter, records: &mut Vec<Record>) {
        if self.mode > 0 {
            self.mode -= 1;
            let (kind, sources) = match filter {
                Filter::Include(sources) => (RecordKind::ToInclude, sources),
                Filter::Exclude(sources) => (RecordKind::ToExclude, sources),
            };
            records.push(Record { kind, group, sources: sources.iter().copied().collect() });
        }
        for (kind, list) in [(RecordKind::Allow, &mut self.allow), (RecordKind::Block, &mut self.block)] {
            if !list.is_empty() {
                records.push(Record { kind, group, sources: list.keys().copied().collect() });
            }
            list.retain(|_, left| {
                *left -= 1;
                *left > 0
            });
        }
    }

    fn is_over(&self) -> bool {
        self.mode == 0 && self.allow.is_empty() && self.block.is_empty()
    }
}

fn is_record(group: u32, filter: &Filter) -> Record {
    let (kind, sources) = match filter {
        Filter::Include(sources) => (RecordKind::IsInclude, sources),
        Filter::Exclude(sources) => (RecordKind::IsExclude, sources),
    };
    Record { kind, group, sources: sources.iter().copied().collect() }
}

/// The answer to a question about a group, or about some of its sources.
fn answer(group: u32, filter: &Filter, asked: &BTreeSet<u32>) -> Option<Record> {
    if asked.is_empty() {
        return Some(is_record(group, filter));
    }
    let sources: Vec<u32> = asked.iter().copied().filter(|source| filter.wants(*source)).collect();
    (!sources.is_empty()).then_some(Record { kind: RecordKind::IsInclude, group, sources })
}

/// The records in as few messages as they fit.
fn reports(records: Vec<Record>) -> Vec<Outgoing> {
    let mut packed: Vec<(usize, Vec<Record>)> = Vec::new();
    for record in records {
        let len = record.wire_len();
        match packed.last_mut() {
            Some((used, list)) if *used + len <= MAX_RECORDS_LEN => {
                *used += len;
                list.push(record);
            }
            _ => packed.push((len, vec![record])),
        }
    }
    let message = |(_, list)| Outgoing { to: ALL_IGMPV3_ROUTERS, message: Message::ReportV3(list) };
    packed.into_iter().map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: u32 = 0xef01_0203;

    fn ms(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    fn host() -> Host {
        Host::new(2, None, 99)
    }

    /// Runs it to `to`; the messages with their times in milliseconds.
    fn run(host: &mut Host, to: u64) -> Vec<(u64, Outgoing)> {
        let mut sent = Vec::new();
        while let Some(at) = host.deadline().filter(|at| *at <= ms(to)) {
            sent.extend(host.turn(at).into_iter().map(|out| (at.as_millis(), out)));
        }
        sent
    }

    fn records(out: &Outgoing) -> Vec<(RecordKind, Vec<u32>)> {
        let Message::ReportV3(records) = &out.message else { panic!("{out:?}") };
        assert_eq!(out.to, ALL_IGMPV3_ROUTERS);
        assert!(records.iter().all(|record| record.group == G));
        records.iter().map(|record| (record.kind, record.sources.clone())).collect()
    }

    fn query(version: Version, group: u32, sources: &[u32]) -> Message {
        Message::Query(Query {
            version,
            group,
            max_response: Duration::from_secs(10),
            suppress: false,
            robustness: 2,
            interval: Duration::from_secs(125),
            sources: sources.to_vec(),
        })
    }

    #[test]
    fn a_join_is_said_at_once_and_once_more_within_a_second() {
        let mut host = host();
        let first = host.set(G, &Filter::ALL, ms(0));
        assert_eq!(records(&first[0]), [(RecordKind::ToExclude, vec![])]);
        let more = run(&mut host, 60_000);
        assert_eq!(more.len(), 1);
        assert!(more[0].0 <= 1000);
        assert_eq!(records(&more[0].1), [(RecordKind::ToExclude, vec![])]);
        let left = host.set(G, &Filter::NONE, ms(70_000));
        assert_eq!(records(&left[0]), [(RecordKind::ToInclude, vec![])]);
        assert_eq!(run(&mut host, 80_000).len(), 1);
    }

    #[test]
    fn sources_that_come_and_go_are_allowed_and_blocked() {
        let mut host = host();
        let include = |sources: &[u32]| Filter::Include(sources.iter().copied().collect());
        host.set(G, &include(&[1, 2]), ms(0));
        run(&mut host, 2000);
        let out = host.set(G, &include(&[2, 3]), ms(3000));
        assert_eq!(records(&out[0]), [(RecordKind::Allow, vec![3]), (RecordKind::Block, vec![1])]);
        let out = host.set(G, &include(&[2]), ms(3001));
        assert_eq!(records(&out[0]), [(RecordKind::Block, vec![1, 3])], "3 is wanted no more");
    }

    #[test]
    fn queries_are_answered_within_their_time() {
        let mut host = host();
        host.set(G, &Filter::ALL, ms(0));
        run(&mut host, 2000);
        host.receive(&query(Version::V3, 0, &[]), ms(10_000));
        let sent = run(&mut host, 30_000);
        assert_eq!(sent.len(), 1);
        assert!((10_000..=20_000).contains(&sent[0].0));
        assert_eq!(records(&sent[0].1), [(RecordKind::IsExclude, vec![])]);
        host.receive(&query(Version::V3, G, &[7, 8]), ms(40_000));
        assert_eq!(records(&run(&mut host, 60_000)[0].1), [(RecordKind::IsInclude, vec![7, 8])]);
        host.receive(&query(Version::V3, G + 1, &[]), ms(70_000));
        assert!(run(&mut host, 90_000).is_empty(), "another group");
    }

    #[test]
    fn an_old_router_is_spoken_to_in_its_version() {
        let mut host = host();
        host.receive(&query(Version::V2, 0, &[]), ms(0));
        let sent = host.set(G, &Filter::ALL, ms(1000));
        assert_eq!(sent, [Outgoing { to: G, message: Message::ReportV2(G) }]);
        let more = run(&mut host, 20_000);
        assert_eq!(more.len(), 1, "once more within ten seconds");
        let leave = host.set(G, &Filter::NONE, ms(30_000));
        assert_eq!(leave, [Outgoing { to: ALL_ROUTERS, message: Message::Leave(G) }]);
        assert_eq!(host.version(ms(259_999)), Version::V2);
        assert_eq!(host.version(ms(260_000)), Version::V3);
    }

    #[test]
    fn another_members_report_is_enough_in_version_2() {
        let mut host = host();
        host.receive(&query(Version::V2, 0, &[]), ms(0));
        host.set(G, &Filter::ALL, ms(0));
        host.receive(&Message::ReportV2(G), ms(1));
        assert!(run(&mut host, 30_000).is_empty());
        assert!(host.set(G, &Filter::NONE, ms(31_000)).is_empty(), "somebody else is still there");
    }

    #[test]
    fn many_groups_take_several_reports() {
        let mut host = host();
        for n in 0..400 {
            host.set(0xef00_0000 + n, &Filter::ALL, ms(0));
        }
        run(&mut host, 5000);
        host.receive(&query(Version::V3, 0, &[]), ms(10_000));
        let sent = run(&mut host, 30_000);
        assert_eq!(sent.len(), 3);
        assert!(sent.iter().all(|(_, out)| out.message.emit().len() <= 1476));
    }

    #[test]
    fn all_hosts_is_never_spoken_of() {
        assert!(host().set(ALL_SYSTEMS, &Filter::ALL, ms(0)).is_empty());
    }
}
