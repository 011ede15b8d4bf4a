//! What the log says of packets that cannot be.

use skiff_dataplane::ipv4::martian::Martian;

use super::Router;

impl Router {
    /// Writes the line; lcores keep them few.
    pub(super) fn log_martian(&self, martian: &Martian) {
        let dev = self.rtnl.link(martian.dev).map_or("?", |link| link.name());
        tracing::warn!("{}", martian.line(dev));
    }
}
