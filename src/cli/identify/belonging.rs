//! Whose a ledger is: one decision, from what ledger and lake say of themselves.
//!
//! Pure. The version of a ledger's tables says nothing of it: they change more often than the
//! lake's format does. A ledger names its lake since lakes have format 2; one that names none, and
//! has published something, did so into a lake of format 1.

use super::Binding;

/// What is found where the lake should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LakeFound {
    /// A lake of this format.
    Lake(Binding),
    /// A lake of this format whose record is gone.
    RecordLost,
    /// No lake of this format.
    Nothing,
    /// It cannot be read at the moment.
    OutOfReach,
}

/// Whose a ledger is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of the lake at hand, or of none yet.
    ThisLake,
    /// Of the other lake that it names.
    AnotherLake,
    /// Of a lake of format 1, which has no name.
    LakeOfFormat1,
}

/// Whose a ledger is that names the lake `bound`, and has published something or has not.
pub(super) fn whose(bound: Option<&Binding>, found: &LakeFound, has_published: bool) -> Whose {
    match (bound, found) {
        (Some(bound), LakeFound::Lake(lake)) if bound != lake => Whose::AnotherLake,
        (Some(_), LakeFound::Nothing) if has_published => Whose::AnotherLake,
        (None, _) if has_published => Whose::LakeOfFormat1,
        // Nothing is known against it; a record that is lost is told by whoever needs it.
        _ => Whose::ThisLake,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::identity::KeyRecord;

    fn binding(lake_id: &str, fingerprint: &str) -> Binding {
        Binding {
            lake_id: lake_id.into(),
            key: KeyRecord {
                id: "k1".into(),
                fingerprint: fingerprint.into(),
            },
        }
    }

    #[test]
    fn a_ledger_belongs_to_the_lake_that_it_names_and_without_a_name_to_one_of_format_1() {
        use Whose::{AnotherLake, LakeOfFormat1, ThisLake};
        let this = binding("a", "f");
        let lake = || LakeFound::Lake(binding("a", "f"));
        let other_key = binding("a", "g");
        let other = binding("b", "f");
        for (bound, found, has_published, expected) in [
            (Some(&this), lake(), true, ThisLake),
            (Some(&this), lake(), false, ThisLake),
            (Some(&other), lake(), true, AnotherLake),
            (Some(&other), lake(), false, AnotherLake),
            (Some(&other_key), lake(), true, AnotherLake),
            (Some(&this), LakeFound::Nothing, true, AnotherLake),
            (Some(&this), LakeFound::Nothing, false, ThisLake),
            (Some(&this), LakeFound::OutOfReach, true, ThisLake),
            (Some(&this), LakeFound::RecordLost, true, ThisLake),
            (None, lake(), true, LakeOfFormat1),
            (None, lake(), false, ThisLake),
            (None, LakeFound::Nothing, true, LakeOfFormat1),
            (None, LakeFound::Nothing, false, ThisLake),
            (None, LakeFound::OutOfReach, true, LakeOfFormat1),
            (None, LakeFound::OutOfReach, false, ThisLake),
            (None, LakeFound::RecordLost, true, LakeOfFormat1),
        ] {
            let decided = whose(bound, &found, has_published);
            assert_eq!(decided, expected, "{bound:?} {found:?} {has_published}");
        }
    }
}
