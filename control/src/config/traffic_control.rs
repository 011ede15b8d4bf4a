//! `[traffic-control]`: `commands`, lines of `tc -batch`.

use skiff_dataplane::net::IfIndex;
use skiff_dataplane::time::Instant;

use super::diag::{At, Fault, Pos, Source};
use super::model::{Config, DEFAULT_MTU, TrafficControl};
use super::section::{Section, Value};
use super::text::text_offset;
use crate::tc::{self, Device, Devices, Picture};

/// The speed of a link while nobody can ask for it, bytes a second: percentages of it must only be read.
const SOME_SPEED: u64 = 125_000_000;

/// Reads the section, and tries its commands on the devices of the file.
///
/// `names` are all of them, also those whose own mistakes kept them out of `config`.
pub(super) fn read<'t>(
    source: &'t Source<'t>,
    value: &'t Value<'t>,
    names: &[&str],
    config: &Config,
) -> Option<At<TrafficControl>> {
    let section = Section::of(source, "traffic-control", value, &["commands"])?;
    let text = section.string("commands")?;
    let start = section.get("commands").map_or(0, |raw| text_offset(source, raw, text.value));
    // Offsets into the text are offsets into the file if it was written without escapes.
    let place = |offset: usize| if start > 0 { source.pos(start + offset) } else { text.pos };
    let places = tc::starts(text.value).into_iter().map(|at| (at, place(at))).collect();
    let commands = TrafficControl { commands: text.value.to_owned(), places };
    match tc::load(text.value, &mut Picture::default(), &InFile { names, config }, Instant::ZERO) {
        Ok(_) => Some(At::new(commands, text.pos)),
        Err(faults) => {
            for fault in faults {
                source.report(commands.place(fault.start), Fault::from(format!("tc: {}", fault.why)));
            }
            None
        }
    }
}

impl TrafficControl {
    /// Where the command stands that begins at this byte of the text.
    pub fn place(&self, start: usize) -> Pos {
        self.places.iter().find(|(at, _)| *at == start).map_or(Pos::START, |(_, pos)| *pos)
    }
}

/// The devices of the file.
struct InFile<'a> {
    names: &'a [&'a str],
    config: &'a Config,
}

impl Devices for InFile<'_> {
    fn find(&self, name: &str) -> Option<Device> {
        let at = match name {
            "lo" => self.names.len(),
            name => self.names.iter().position(|known| *known == name)?,
        };
        let mtu = self.config.interface(name).and_then(|interface| interface.mtu.as_ref());
        Some(Device {
            index: IfIndex(u16::try_from(at).ok()?),
            name: name.to_owned(),
            mtu: mtu.map_or(DEFAULT_MTU, |mtu| mtu.value).into(),
            speed: Some(SOME_SPEED),
        })
    }

    fn all(&self) -> Vec<Device> {
        self.names.iter().filter_map(|name| self.find(name)).collect()
    }
}
