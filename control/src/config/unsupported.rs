//! What the file may say and the router does not do yet. A setting that would be ignored is a mistake: nobody
//! should find out from lost packets.

use super::section::Section;

/// Reports every part of the configuration that nothing acts on yet.
pub(super) fn check(top: &Section<'_>) {
    if let Some(value) = top.get("traffic-control") {
        let pos = top.source.pos(value.span().start);
        top.source.report(pos, "[traffic-control] is not supported yet");
    }
}
