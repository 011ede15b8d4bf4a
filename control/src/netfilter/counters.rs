//! Counters of a changed rule set.

/// Where the counters of a new ruleset come from. Either way the engine starts from those in its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counters {
    /// They are those of the rules in force, added up just now: what is counted until the new rules take over may be
    /// added to rules that stay.
    Keep,
    /// They were given with the rules and hold exactly.
    Set,
}
