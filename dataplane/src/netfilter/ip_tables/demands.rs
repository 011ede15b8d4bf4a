//! What rules demand of the fields of packets, as ranges of values.

use super::classify::{DIMS, Field};

/// Ranges of a field that may tell a rule from others: the ports of a multiport match.
const MOST_RANGES: usize = 15;

/// Values of a field that a rule accepts: disjoint inclusive ranges in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Accepts(pub Vec<(u32, u32)>);

impl Accepts {
    /// One range.
    pub fn range(min: u32, max: u32) -> Accepts {
        Accepts(if min <= max { vec![(min, max)] } else { Vec::new() })
    }

    /// Ranges in any order, overlapping or not.
    pub fn ranges(ranges: impl IntoIterator<Item = (u32, u32)>) -> Accepts {
        let mut all: Vec<_> = ranges.into_iter().filter(|(min, max)| min <= max).collect();
        all.sort_unstable();
        let mut merged: Vec<(u32, u32)> = Vec::new();
        for (min, max) in all {
            match merged.last_mut() {
                Some(last) if min <= last.1.saturating_add(1) => last.1 = last.1.max(max),
                _ => merged.push((min, max)),
            }
        }
        Accepts(merged)
    }

    /// What is not in it, up to the last value of `field`.
    pub fn invert(self, field: Field) -> Accepts {
        let mut gaps = Vec::new();
        let mut next = Some(0u32);
        for (min, max) in self.0 {
            if let Some(from) = next
                && from < min
            {
                gaps.push((from, min - 1));
            }
            next = max.checked_add(1);
        }
        if let Some(from) = next
            && from <= field.last()
        {
            gaps.push((from, field.last()));
        }
        Accepts(gaps)
    }

    /// The same, if `invert`.
    pub fn inverted_if(self, invert: bool, field: Field) -> Accepts {
        if invert { self.invert(field) } else { self }
    }

    /// Whether `value` is in it.
    pub fn has(&self, value: u32) -> bool {
        let behind = self.0.partition_point(|(min, _)| *min <= value);
        behind.checked_sub(1).and_then(|i| self.0.get(i)).is_some_and(|(_, max)| value <= *max)
    }

    /// What both accept.
    pub fn and(self, other: &Accepts) -> Accepts {
        let both = self.0.iter().flat_map(|a| {
            other.0.iter().map(|b| (a.0.max(b.0), a.1.min(b.1))).filter(|(min, max)| min <= max)
        });
        Accepts(both.collect())
    }
}

/// What a rule accepts in each field; `None` is everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter(pub [Option<Accepts>; DIMS]);

impl Filter {
    /// Also demands this of `field`.
    pub fn demand(&mut self, field: Field, accepts: Accepts) {
        let place = &mut self.0[field as usize];
        *place = Some(match place.take() {
            Some(old) => old.and(&accepts),
            None => accepts,
        });
    }

    /// Demands all that `other` does too.
    pub fn and(mut self, other: &Filter) -> Filter {
        for (field, accepts) in Field::ALL.into_iter().zip(&other.0) {
            if let Some(accepts) = accepts {
                self.demand(field, accepts.clone());
            }
        }
        self
    }

    /// Has no more ranges in a field than the longest list of ports.
    pub fn is_simple(&self) -> bool {
        self.0.iter().flatten().all(|accepts| accepts.0.len() <= MOST_RANGES)
    }

    /// Looks at ports.
    pub fn has_ports(&self) -> bool {
        Field::ALL.iter().any(|f| f.is_port() && self.0[*f as usize].is_some())
    }
}
