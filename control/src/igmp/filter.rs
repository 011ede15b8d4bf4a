//! Which sources of a group are wanted.

use std::collections::BTreeSet;

/// A source filter (RFC 3376 section 3). Addresses in host byte order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// These sources and no other.
    Include(BTreeSet<u32>),
    /// All sources but these.
    Exclude(BTreeSet<u32>),
}

impl Filter {
    /// Nothing: the same as no membership.
    pub const NONE: Filter = Filter::Include(BTreeSet::new());
    /// Everything: a membership without a source list.
    pub const ALL: Filter = Filter::Exclude(BTreeSet::new());

    /// True if packets of `source` are wanted.
    pub fn wants(&self, source: u32) -> bool {
        match self {
            Filter::Include(sources) => sources.contains(&source),
            Filter::Exclude(sources) => !sources.contains(&source),
        }
    }

    /// True if nothing is wanted.
    pub fn is_none(&self) -> bool {
        *self == Filter::NONE
    }

    /// What wants all that `self` or `other` wants (RFC 3376 section 3.2).
    pub fn merge(self, other: Filter) -> Filter {
        match (self, other) {
            (Filter::Include(a), Filter::Include(b)) => Filter::Include(&a | &b),
            (Filter::Exclude(a), Filter::Exclude(b)) => Filter::Exclude(&a & &b),
            (Filter::Exclude(not), Filter::Include(but)) | (Filter::Include(but), Filter::Exclude(not)) => {
                Filter::Exclude(&not - &but)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_filter() -> impl Strategy<Value = Filter> {
        (any::<bool>(), proptest::collection::btree_set(0u32..8, 0..6))
            .prop_map(|(include, set)| if include { Filter::Include(set) } else { Filter::Exclude(set) })
    }

    proptest! {
        #[test]
        fn a_merged_filter_wants_what_either_wants(a in any_filter(), b in any_filter()) {
            let merged = a.clone().merge(b.clone());
            for source in 0..9 {
                prop_assert_eq!(merged.wants(source), a.wants(source) || b.wants(source));
            }
        }
    }
}
