//! Which member is the active one, where one is.

use skiff_dataplane::net::IfIndex;

use super::options::PrimaryReselect;

/// A member as a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The member.
    pub dev: IfIndex,
    /// Usable now.
    pub up: bool,
    /// Looks to go until it is usable, if its link is coming back.
    pub returning: Option<u32>,
    /// Higher is better.
    pub prio: i32,
    /// Bits per second in millions; 0 unknown.
    pub speed: u32,
    /// Both ways at once.
    pub full_duplex: bool,
}

/// How to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    /// The primary member.
    pub primary: Option<IfIndex>,
    /// When a better one takes over.
    pub reselect: PrimaryReselect,
    /// The primary was only just named: it takes over whatever `reselect` says.
    pub force_primary: bool,
}

/// The member to use, from those in the order they joined: the primary if it is up, or else the one with the highest
/// priority, unless `reselect` keeps the `current` one; the first one of those that are alike. A link that is coming
/// back is better than none.
pub fn select(members: &[Candidate], current: Option<IfIndex>, how: Preference) -> Option<IfIndex> {
    let up = |dev: Option<IfIndex>| members.iter().find(|m| Some(m.dev) == dev && m.up);
    let current = up(current);
    let primary = up(how.primary);
    if let Some(primary) = primary.filter(|_| how.force_primary) {
        return Some(primary.dev);
    }
    let better = primary.or_else(|| highest(members, current));
    let chosen = match (better, current) {
        (Some(better), Some(current)) if takes_over(better, current, how.reselect) => Some(better),
        (_, Some(current)) => Some(current),
        (better, None) => better,
    };
    chosen.map(|member| member.dev).or_else(|| soonest(members))
}

/// The first one of the highest priority; none if the current one is as high.
fn highest<'a>(members: &'a [Candidate], current: Option<&Candidate>) -> Option<&'a Candidate> {
    let mut best: Option<&Candidate> = None;
    for member in members.iter().filter(|member| member.up) {
        if best.is_none_or(|best| member.prio > best.prio) {
            best = Some(member);
        }
    }
    best.filter(|best| current.is_none_or(|current| best.prio > current.prio))
}

fn takes_over(better: &Candidate, current: &Candidate, reselect: PrimaryReselect) -> bool {
    match reselect {
        PrimaryReselect::Always => true,
        PrimaryReselect::Failure => false,
        PrimaryReselect::Better => (better.speed, better.full_duplex) > (current.speed, current.full_duplex),
    }
}

fn soonest(members: &[Candidate]) -> Option<IfIndex> {
    let returning = members.iter().filter_map(|member| Some((member.returning?, member.dev)));
    returning.min_by_key(|(left, _)| *left).map(|(_, dev)| dev)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(dev: u16, up: bool, prio: i32) -> Candidate {
        Candidate { dev: IfIndex(dev), up, returning: None, prio, speed: 10_000, full_duplex: true }
    }

    /// The sequence of the kernel's test of `primary_reselect`: eth1 is primary, eth2 has the highest priority.
    #[test]
    fn primary_reselect_goes_through_the_known_sequence() {
        use PrimaryReselect::{Always, Better, Failure};
        for (reselect, expected) in
            [(Always, [1, 2, 0, 2, 1]), (Better, [1, 2, 0, 0, 0]), (Failure, [1, 2, 0, 0, 0])]
        {
            let mut up = [true; 3];
            let mut current = None;
            let how = Preference { primary: Some(IfIndex(2)), reselect, force_primary: false };
            // Devices 1, 2, 3 are eth0, eth1, eth2.
            for (step, expected) in expected.into_iter().enumerate() {
                match step {
                    1 => up[1] = false,
                    2 => up[2] = false,
                    3 => up[2] = true,
                    4 => up[1] = true,
                    _ => {}
                }
                let members = [member(1, up[0], 0), member(2, up[1], 10), member(3, up[2], 11)];
                current = select(&members, current, how);
                assert_eq!(current, Some(IfIndex(expected + 1)), "{reselect:?} step {step}");
            }
        }
    }

    #[test]
    fn a_faster_primary_takes_over_when_better_ones_may() {
        let how =
            Preference { primary: Some(IfIndex(1)), reselect: PrimaryReselect::Better, force_primary: false };
        let slow = Candidate { speed: 1000, ..member(2, true, 0) };
        assert_eq!(select(&[member(1, true, 0), slow], Some(IfIndex(2)), how), Some(IfIndex(1)));
        let half = Candidate { full_duplex: false, ..member(2, true, 0) };
        assert_eq!(select(&[member(1, true, 0), half], Some(IfIndex(2)), how), Some(IfIndex(1)));
        assert_eq!(
            select(&[member(1, true, 0), member(2, true, 0)], Some(IfIndex(2)), how),
            Some(IfIndex(2))
        );
    }

    #[test]
    fn the_current_one_stays_among_equals() {
        let members = [member(1, true, 0), member(2, true, 0)];
        assert_eq!(select(&members, Some(IfIndex(2)), Preference::default()), Some(IfIndex(2)));
        assert_eq!(select(&members, None, Preference::default()), Some(IfIndex(1)));
    }

    #[test]
    fn a_new_primary_takes_over_whatever_reselect_says() {
        let how =
            Preference { primary: Some(IfIndex(1)), reselect: PrimaryReselect::Failure, force_primary: true };
        let members = [member(1, true, 0), member(2, true, 0)];
        assert_eq!(select(&members, Some(IfIndex(2)), how), Some(IfIndex(1)));
    }

    #[test]
    fn a_link_that_comes_back_is_better_than_none() {
        let back = |dev, left| Candidate { returning: Some(left), ..member(dev, false, 0) };
        assert_eq!(select(&[back(1, 3), back(2, 1)], None, Preference::default()), Some(IfIndex(2)));
        assert_eq!(select(&[member(1, false, 0)], Some(IfIndex(1)), Preference::default()), None);
    }
}
