//! The captures that run, and how those went that ran.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use skiff_dataplane::core::capture::{Captures, MAX_SESSIONS};

use super::{LONGEST_BURST, Router};
use crate::observe::capture::{Live, Request, Totals};

/// Captures that are over whose totals can still be asked for.
const REMEMBERED: usize = 64;

/// All captures.
#[derive(Debug, Default)]
pub(super) struct CaptureTable {
    next: u64,
    running: BTreeMap<u64, Arc<Live>>,
    over: VecDeque<(u64, Totals)>,
}

impl CaptureTable {
    /// What the lcores are to know of them.
    pub(super) fn for_lcores(&self) -> Captures {
        Captures::new(self.running.values().map(|live| Arc::clone(&live.session)))
    }
}

impl Router {
    /// Begins a capture.
    ///
    /// # Errors
    /// Why not, in one line.
    pub fn capture_begin(&mut self, request: &Request) -> Result<Arc<Live>, String> {
        if self.captures.running.len() >= MAX_SESSIONS {
            return Err(format!("{MAX_SESSIONS} captures are running, and there cannot be more"));
        }
        let find = |name: &String| self.rtnl.find(name).map_err(|refusal| refusal.to_string());
        let device = request.device.as_ref().map(find).transpose()?;
        self.captures.next += 1;
        let live = Arc::new(Live::new(self.captures.next, request.session(device)?));
        self.captures.running.insert(live.id, Arc::clone(&live));
        self.publish();
        Ok(live)
    }

    /// Ends a capture, if it is not over, and says how it went; `None` if there was none of that number.
    pub fn capture_end(&mut self, id: u64) -> Option<Totals> {
        if let Some(live) = self.captures.running.remove(&id) {
            self.publish();
            // What lcores are copying now is to be there when the reader takes its last look.
            self.settle(LONGEST_BURST);
            live.finish();
            self.captures.over.push_back((id, live.totals()));
            if self.captures.over.len() > REMEMBERED {
                self.captures.over.pop_front();
            }
            return Some(live.totals());
        }
        self.captures.over.iter().find(|(over, _)| *over == id).map(|(_, totals)| *totals)
    }

    /// Notes how a capture went whose last packet has been read.
    pub fn capture_read(&mut self, live: &Live) {
        self.capture_end(live.id);
        if let Some((_, totals)) = self.captures.over.iter_mut().find(|(id, _)| *id == live.id) {
            *totals = live.totals();
        }
    }
}
