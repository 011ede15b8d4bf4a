//! `skiff trace`: a session on the daemon's side, from the steps that lcores report to lines of JSON.
//!
//! One session at a time: it opens the data plane's queue of steps, arms the next packets by a new snapshot, and reads
//! until as many as were asked for have come to their end. Dropping it disarms.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use skiff_dataplane::core::shared::{RunState, Shared};
use skiff_dataplane::core::trace::{MOST_AT_ONCE, Step, TraceArm, TraceEvent};
use skiff_pmd::tsc_hz;

use super::body::Source;
use super::filter::Program;
use super::trace_words::{Story, tell};
use crate::router::Router;

/// Most packets a session may ask for.
pub const MOST_PACKETS: u32 = 100_000;
/// Steps put into words in one turn, so that the router's lock is not held for long.
const STEPS_A_TURN: usize = 256;
/// After steps were lost, a packet that is silent for so long has had its end among them.
const LOST_AFTER: Duration = Duration::from_secs(1);

/// The body of `POST /v1/trace`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// Packets to trace.
    pub count: u32,
    /// Only those this interface receives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Only those this program wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Program>,
}

/// A line of the answer: a step of a packet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The packet, from 1.
    pub packet: u32,
    /// Nanoseconds since it was received.
    pub ns: u64,
    /// The stage, by the name it has everywhere.
    pub step: String,
    /// What happened, in words.
    pub text: String,
    /// The packet has come to its end, its copies and fragments too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub end: bool,
    /// The same as `text`, in values.
    #[serde(flatten)]
    pub facts: Map<String, Value>,
}

/// How a session reaches the router: one turn at a time.
pub trait Access: Send + Sync {
    /// Runs `work` on the router.
    fn with(&self, work: &mut dyn FnMut(&mut Router));
}

/// A session.
pub struct Session {
    router: Box<dyn Access>,
    shared: Arc<Shared>,
    arm: Arc<TraceArm>,
    reader: Reader,
}

impl Session {
    /// Arms the next packets.
    ///
    /// # Errors
    /// Why not, in one line without an end.
    pub fn start(
        router: Box<dyn Access>,
        shared: Arc<Shared>,
        request: &TraceRequest,
    ) -> Result<Session, String> {
        if !shared.trace.open() {
            return Err("trace: another trace is running".to_owned());
        }
        let arm = match arm(&*router, request) {
            Ok(arm) => Arc::new(arm),
            Err(why) => {
                shared.trace.close();
                return Err(format!("trace: {why}"));
            }
        };
        router.with(&mut |router| router.set_trace(Some(Arc::clone(&arm))));
        Ok(Session { router, shared, arm, reader: Reader::new(request.count) })
    }

    fn lines(&mut self) -> Vec<Line> {
        let mut events: Vec<TraceEvent> = Vec::new();
        while events.len() < STEPS_A_TURN
            && let Some(event) = self.shared.trace.pop()
        {
            events.push(event);
        }
        let mut lines = Vec::new();
        let ended = self.reader.ended;
        let reader = &mut self.reader;
        if !events.is_empty() {
            self.router.with(&mut |router| {
                lines.extend(events.drain(..).filter_map(|event| reader.line(router, &event)));
            });
        }
        lines.extend(reader.give_up(self.shared.trace.lost(), Instant::now()));
        for _ in ended..reader.ended {
            if reader.asked < reader.wanted {
                reader.asked += 1;
                self.arm.add_room();
            }
        }
        lines
    }
}

/// Which packets a request means.
fn arm(router: &dyn Access, request: &TraceRequest) -> Result<TraceArm, String> {
    if !(1..=MOST_PACKETS).contains(&request.count) {
        return Err(format!("{} packets: 1 to {MOST_PACKETS} can be traced", request.count));
    }
    let filter = request.filter.as_ref().map(Program::filter).transpose();
    let filter = filter.map_err(|why| format!("filter: {why}"))?;
    let mut dev = None;
    if let Some(name) = &request.device {
        router.with(&mut |router| dev = router.rtnl.find(name).ok());
        dev.ok_or_else(|| format!("{name}: no such interface"))?;
    }
    Ok(TraceArm::new(dev, filter, request.count.min(MOST_AT_ONCE)))
}

impl Source for Session {
    /// Lines of JSON.
    fn read(&mut self) -> String {
        let lines = self.lines();
        // A line that is no JSON cannot be: its keys are strings.
        let json = lines.iter().filter_map(|line| serde_json::to_string(line).ok());
        json.map(|line| line + "\n").collect()
    }

    /// All have come to their end, or the router stops.
    fn is_over(&self) -> bool {
        self.reader.ended >= self.reader.wanted || self.shared.run_state() != RunState::Running
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.router.with(&mut |router| router.set_trace(None));
        self.shared.trace.close();
    }
}

/// A packet under way.
struct Packet {
    number: u32,
    /// Ticks at its first step.
    began: u64,
    /// Buffers that carry it: itself, its copies and fragments.
    buffers: u32,
    seen: Instant,
    story: Story,
}

/// What is known of the packets under way.
struct Reader {
    wanted: u32,
    asked: u32,
    begun: u32,
    ended: u32,
    packets: HashMap<u32, Packet>,
}

impl Reader {
    fn new(wanted: u32) -> Reader {
        Reader { wanted, asked: wanted.min(MOST_AT_ONCE), begun: 0, ended: 0, packets: HashMap::new() }
    }

    /// A step in words; `None` of a packet whose beginning nobody saw, or that has had its end.
    fn line(&mut self, router: &Router, event: &TraceEvent) -> Option<Line> {
        if matches!(event.step, Step::Poll { .. }) {
            self.begun += 1;
            let packet = Packet {
                number: self.begun,
                began: event.ticks,
                buffers: 1,
                seen: Instant::now(),
                story: Story::default(),
            };
            self.packets.insert(event.packet, packet);
        }
        let packet = self.packets.get_mut(&event.packet)?;
        packet.seen = Instant::now();
        let ns = nanos(event.ticks.saturating_sub(packet.began));
        let (text, facts) = tell(router, &mut packet.story, &event.step, ns);
        packet.buffers += u32::from(matches!(event.step, Step::Copied));
        packet.buffers -= u32::from(event.step.is_end());
        let (number, end) = (packet.number, packet.buffers == 0);
        if end {
            self.packets.remove(&event.packet);
            self.ended += 1;
        }
        Some(Line { packet: number, ns, step: event.step.name().to_owned(), text, end, facts })
    }

    /// Ends packets whose end is among steps that were lost.
    fn give_up(&mut self, lost: u64, now: Instant) -> Vec<Line> {
        if lost == 0 {
            return Vec::new();
        }
        let silent = |packet: &Packet| now.duration_since(packet.seen) >= LOST_AFTER;
        let gone: Vec<Packet> = self.packets.extract_if(|_, packet| silent(packet)).map(|(_, p)| p).collect();
        self.ended += gone.len() as u32;
        let line = |packet: Packet| Line {
            packet: packet.number,
            step: "lost".to_owned(),
            text: format!("{lost} steps of all packets were lost: there were too many at a time"),
            end: true,
            ..Line::default()
        };
        gone.into_iter().map(line).collect()
    }
}

fn nanos(ticks: u64) -> u64 {
    (u128::from(ticks) * 1_000_000_000 / u128::from(tsc_hz().max(1))) as u64
}
