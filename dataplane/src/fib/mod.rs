//! Forwarding information base.
