//! gact: decides, perhaps by chance (tc-actions(8)).

use super::Control;

/// A decision that is sometimes another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gact {
    /// When it is another, and which.
    pub random: Option<Chance>,
}

/// `random`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chance {
    /// Every nth packet (`determ`), or one of n by chance (`netrand`).
    pub determ: bool,
    /// What is decided then.
    pub control: Control,
    /// n; at most 10000.
    pub of: u16,
}

impl Gact {
    /// What becomes of the `nth` packet.
    #[inline]
    pub fn decide(&self, usual: Control, nth: u64, random: impl FnOnce() -> u32) -> Control {
        let Some(chance) = self.random else { return usual };
        let of = chance.of.max(1);
        let rest = if chance.determ {
            nth % u64::from(of)
        } else {
            // The high half of a product: even enough for 16 bits, and no division.
            (u64::from(random()) * u64::from(of)) >> 32
        };
        if rest == 0 { chance.control } else { usual }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fifth_packet_or_one_of_five() {
        let mut gact = Gact { random: Some(Chance { determ: true, control: Control::Shot, of: 5 }) };
        let shot = |gact: Gact, n: u64, word| gact.decide(Control::Ok, n, || word) == Control::Shot;
        assert_eq!(
            (1..=100).filter(|n| shot(gact, *n, 1)).collect::<Vec<_>>(),
            (1..=20).map(|i| i * 5).collect::<Vec<_>>()
        );
        gact.random = Some(Chance { determ: false, control: Control::Shot, of: 5 });
        assert!(shot(gact, 1, u32::MAX / 5 - 1) && !shot(gact, 5, u32::MAX / 5 + 1));
        assert_eq!(Gact::default().decide(Control::Pipe, 5, || 0), Control::Pipe);
    }
}
