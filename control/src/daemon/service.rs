//! What the API server asks of the running router.

use std::sync::Arc;

use anyhow::Result;
use skiff_dataplane::core::shared::{RunState, Shared};
use skiff_dataplane::net::IfIndex;

use super::Handle;
use crate::api::{Backend, Reply, Show};
use crate::cli::{Exit, error_line};
use crate::facts::Facts;
use crate::metrics::Exporter;
use crate::netfilter::{Call, Program};
use crate::observe::body::Source;
use crate::observe::capture::{self, CaptureBody};
use crate::observe::trace::{Access, Session, TraceRequest};
use crate::router::Router;
use crate::show;
use crate::tc;

/// The daemon behind the API.
pub(super) struct Service {
    router: Handle,
    shared: Arc<Shared>,
    /// What does not change while the router runs.
    constant: Facts,
    exporter: Exporter,
}

impl Service {
    pub(super) fn new(
        router: Handle,
        shared: Arc<Shared>,
        constant: Facts,
        max_series: usize,
    ) -> Result<Service> {
        let (source, base) = (router.clone(), constant.clone());
        let facts = move || source.lock().picture(base.clone());
        let exporter = Exporter::new(Arc::clone(&shared), facts, max_series)?;
        Ok(Service { router, shared, constant, exporter })
    }

    fn begin(&self, request: &capture::Request) -> Result<Arc<capture::Live>, String> {
        let device = self.router.lock().capture_device(request)?;
        // The router goes on while the buffers are made.
        let session = request.session(device)?;
        self.router.lock().capture_begin(session)
    }

    fn facts(&self) -> Facts {
        self.router.lock().picture(self.constant.clone())
    }
}

impl Access for Handle {
    fn with(&self, work: &mut dyn FnMut(&mut Router)) {
        work(&mut self.lock());
    }
}

impl Backend for Service {
    fn ip(&self, args: &[String]) -> Reply {
        self.router.lock().ip(args)
    }

    fn netfilter(&self, program: Program, call: &Call) -> Reply {
        self.router.lock().netfilter(program, call)
    }

    fn tc(&self, call: &tc::Call) -> Reply {
        self.router.lock().tc(call)
    }

    fn bond(&self, name: Option<&str>, json: bool) -> Reply {
        self.router.lock().bond_show(name, json)
    }

    fn show(&self, what: Show, json: bool) -> Reply {
        Reply::ok(match what {
            Show::Drops => show::drops(&self.shared, json),
            Show::Lcores => show::lcores(&self.shared, &self.facts(), json),
            Show::Mem => show::mem(&self.facts(), json),
            Show::Nstat { zeros } => show::nstat(&self.shared, zeros, json),
            Show::Hooks => show::hooks(&self.shared, json),
            Show::Nfqueue => show::nfqueue(&self.shared, json),
            Show::Vlans => show::vlans(&self.shared.snapshot(), json),
        })
    }

    fn trace(&self, request: &TraceRequest) -> Result<Box<dyn Source>, Reply> {
        let router = Box::new(self.router.clone());
        match Session::start(router, Arc::clone(&self.shared), request) {
            Ok(session) => Ok(Box::new(session)),
            Err(why) => Err(Reply::failed(1, format!("skiff: {why}\n"))),
        }
    }

    fn capture(&self, request: &capture::Request) -> Result<(u64, CaptureBody), Reply> {
        let live = self.begin(request);
        let live = live.map_err(|why| Reply::failed(Exit::Failed as u8, error_line("capture", why)))?;
        let plane = CapturePlane { router: self.router.clone(), shared: Arc::clone(&self.shared) };
        Ok((live.id, CaptureBody::new(request, live, Box::new(plane))))
    }

    fn capture_end(&self, id: u64) -> Option<capture::Totals> {
        self.router.lock().capture_end(id)
    }

    fn metrics(&self) -> String {
        self.exporter.page().unwrap_or_else(|error| format!("# {error}\n"))
    }

    fn healthy(&self) -> Result<(), String> {
        match self.shared.run_state() {
            RunState::Running => Ok(()),
            RunState::Draining | RunState::Stopped => Err("stopping".to_owned()),
        }
    }
}

/// What running captures ask of the router.
struct CapturePlane {
    router: Handle,
    shared: Arc<Shared>,
}

impl capture::Plane for CapturePlane {
    fn name(&self, dev: IfIndex) -> String {
        self.shared.snapshot().device(dev).name.clone()
    }

    fn devices(&self) -> Vec<(IfIndex, String)> {
        self.shared.snapshot().devices().map(|device| (device.ifindex, device.name.clone())).collect()
    }

    fn stopped(&self) -> bool {
        self.shared.run_state() == RunState::Stopped
    }

    fn end(&self, live: &capture::Live) {
        self.router.lock().capture_read(live);
    }
}
