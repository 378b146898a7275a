//! Scopes: which of them a dataset needs, and what those that an app has allow (resources, 6.3).

use std::collections::BTreeSet;

use super::Source;

/// A scope that lets an app change things. A pipeline needs none of them.
struct WritingScope {
    name: &'static str,
    /// The scope in whose place it is accepted too.
    reads_as: Option<&'static str>,
}

const fn writing(name: &'static str, reads_as: Option<&'static str>) -> WritingScope {
    WritingScope { name, reads_as }
}

/// Of the methods that write (resources, 1.2).
const WRITING: &[WritingScope] = &[
    writing("vc:room", Some("vc:room:readonly")),
    writing("vc:rooms.room:create", None),
    writing("vc:rooms.room:update", None),
    writing("vc:rooms.roomlevel:create", None),
    writing("vc:rooms.roomlevel:update", None),
    writing("vc:rooms.roomlevel:delete", None),
    writing("vc:meeting", None),
    writing("vc:meeting.participant:write", None),
    writing("vc:record", None),
    writing("vc:reserve", None),
];

/// Without it answers leave out employee ids, `user_id`.
pub const EMPLOYEE_ID_SCOPE: &str = "contact:user.employee_id:readonly";

/// The scopes that an app has, as Feishu lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantedScopes {
    /// Every name of the list, granted or not.
    listed: BTreeSet<String>,
    of_app: BTreeSet<String>,
    /// None if the list does not tell scopes of users from those of the app.
    of_users: Option<BTreeSet<String>>,
}

/// What the granted scopes mean for a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// It can be read, by this scope.
    Granted(&'static str),
    /// This scope is granted, but only to be used in the name of a user.
    ForUsersOnly(&'static str),
    /// Of these scopes, none is granted.
    Missing(&'static [&'static str]),
}

impl GrantedScopes {
    /// The scopes of a list: name, `scope_type` if the list has one, and whether it is granted.
    pub fn of<'s>(listed: impl IntoIterator<Item = (&'s str, Option<&'s str>, bool)>) -> Self {
        let mut scopes = Self::default();
        for (name, kind, is_granted) in listed {
            scopes.listed.insert(name.to_owned());
            let of_kind = match kind {
                Some("user") => scopes.of_users.get_or_insert_default(),
                Some(_) => {
                    scopes.of_users.get_or_insert_default();
                    &mut scopes.of_app
                }
                None => &mut scopes.of_app,
            };
            if is_granted {
                of_kind.insert(name.to_owned());
            }
        }
        scopes
    }

    /// Whether the list has the name, granted or not. Feishu and Lark do not have the same ones.
    #[must_use]
    pub fn lists(&self, scope: &str) -> bool {
        self.listed.contains(scope)
    }

    /// Whether the list tells anything of a source: it has a name of each scope that is needed.
    #[must_use]
    pub fn tells_of(&self, source: &Source) -> bool {
        let is_told = |reading: &[&'static str]| {
            let accepted = accepted_scopes(reading);
            accepted.iter().any(|scope| self.lists(scope))
        };
        source.scopes_needed().into_iter().all(is_told)
    }

    /// Whether a source can be read, in the name of a user or of the app.
    #[must_use]
    pub fn grant(&self, source: &Source, as_user: bool) -> Grant {
        let mut first = None;
        for reading in source.scopes_needed() {
            match self.grant_of(reading, as_user) {
                Grant::Granted(scope) => first = first.or(Some(scope)),
                stops => return stops,
            }
        }
        first.map_or(Grant::Missing(&[]), Grant::Granted)
    }

    /// Whether one of these scopes is granted, or one in its place.
    fn grant_of(&self, reading: &'static [&'static str], as_user: bool) -> Grant {
        let accepted = accepted_scopes(reading);
        let first_of = |granted: &BTreeSet<String>| {
            let mut accepted = accepted.iter().copied();
            accepted.find(|scope| granted.contains(*scope))
        };
        let for_users = self.of_users.as_ref().map(first_of);
        match (first_of(&self.of_app), for_users) {
            (_, Some(Some(scope))) if as_user => Grant::Granted(scope),
            (_, Some(None)) if as_user => Grant::Missing(reading),
            (Some(scope), _) => Grant::Granted(scope),
            (None, Some(Some(scope))) => Grant::ForUsersOnly(scope),
            (None, _) => Grant::Missing(reading),
        }
    }

    /// Whether the app has the scope itself.
    #[must_use]
    pub fn has(&self, scope: &str) -> bool {
        self.of_app.contains(scope)
    }

    /// The granted scopes that let the app change things.
    pub fn writing(&self) -> impl Iterator<Item = &'static str> {
        let of_users = self.of_users.iter().flatten();
        let granted: BTreeSet<&String> = self.of_app.iter().chain(of_users).collect();
        let names = WRITING.iter().map(|scope| scope.name);
        names.filter(move |name| granted.iter().any(|granted| granted == name))
    }
}

/// Every scope of which one suffices: the reading ones, the narrowest first, then those that could
/// also change things.
#[must_use]
pub fn accepted_scopes(reading: &[&'static str]) -> Vec<&'static str> {
    let writing = WRITING.iter().filter(|scope| {
        let reads_as = scope.reads_as;
        reads_as.is_some_and(|reads_as| reading.contains(&reads_as))
    });
    reading
        .iter()
        .copied()
        .chain(writing.map(|scope| scope.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Dataset;
    use super::*;

    fn source(of: Dataset) -> Source {
        of.own_source()
    }

    fn granted(scopes: &[(&'static str, Option<&'static str>)]) -> GrantedScopes {
        GrantedScopes::of(scopes.iter().map(|(name, kind)| (*name, *kind, true)))
    }

    #[test]
    fn one_accepted_scope_suffices_and_the_narrowest_is_named() {
        let (app, user) = (Some("tenant"), Some("user"));
        let coarse = "vc:room:readonly";
        let fine = "vc:rooms.room.basicinfo:read";
        let missing = Grant::Missing(Dataset::Room.definition().scopes);
        for (scopes, as_user, expected) in [
            (&[(coarse, None)][..], false, Grant::Granted(coarse)),
            (&[(coarse, app), (fine, app)], false, Grant::Granted(fine)),
            (&[("vc:room", app)], false, Grant::Granted("vc:room")),
            (&[(coarse, user)], false, Grant::ForUsersOnly(coarse)),
            (&[(coarse, user)], true, Grant::Granted(coarse)),
            (&[(coarse, app)], true, missing),
            // The list says nothing of users.
            (&[(coarse, None)], true, Grant::Granted(coarse)),
            (&[("vc:export", app)], false, missing),
            (&[("vc:room:readonly:x", app)], false, missing),
            (&[], false, missing),
        ] {
            let found = granted(scopes).grant(&source(Dataset::Room), as_user);
            assert_eq!(found, expected, "{scopes:?} {as_user}");
        }
        let refused = GrantedScopes::of([(coarse, None, false)]);
        assert_eq!(refused.grant(&source(Dataset::Room), false), missing);
    }

    /// Ids come from one endpoint and meetings from another.
    #[test]
    fn a_dataset_of_two_endpoints_needs_a_scope_of_each() {
        let (ids, details) = ("vc:meeting.meetingid:read", "vc:meeting.meetingevent:read");
        let both = "vc:meeting:readonly";
        let sets = source(Dataset::Meeting).scopes_needed();
        for (scopes, expected) in [
            (&[(both, None)][..], Grant::Granted(both)),
            (&[(ids, None), (details, None)], Grant::Granted(ids)),
            (&[(ids, None)], Grant::Missing(sets[1])),
            (&[(details, None)], Grant::Missing(sets[0])),
        ] {
            let found = granted(scopes).grant(&source(Dataset::Meeting), false);
            assert_eq!(found, expected, "{scopes:?}");
        }
    }

    #[test]
    fn a_list_without_any_name_of_a_scope_tells_nothing_of_it() {
        let (ids, both) = ("vc:meeting.meetingid:read", "vc:meeting:readonly");
        for (listed, dataset, expected) in [
            (&["vc:room"][..], Dataset::Room, true),
            (&["vc:room:readonly:x"], Dataset::Room, false),
            (&[], Dataset::Room, false),
            // Two endpoints, and a scope of each.
            (&[ids], Dataset::Meeting, false),
            (&[both], Dataset::Meeting, true),
        ] {
            let scopes = GrantedScopes::of(listed.iter().map(|name| (*name, None, false)));
            assert_eq!(scopes.tells_of(&source(dataset)), expected, "{listed:?}");
        }
    }

    #[test]
    fn scopes_that_write_are_seen_whoever_has_them() {
        let scopes = granted(&[
            ("vc:reserve", Some("user")),
            ("vc:room", Some("tenant")),
            ("vc:room:readonly", Some("tenant")),
        ]);
        assert_eq!(
            scopes.writing().collect::<Vec<_>>(),
            ["vc:room", "vc:reserve"]
        );
        let sources = Dataset::ALL.into_iter().flat_map(Dataset::sources);
        let reading = sources.flat_map(|(_, source)| source.scopes);
        let reading = GrantedScopes::of(reading.map(|name| (*name, None, true)));
        assert_eq!(reading.writing().count(), 0, "no dataset asks for one");
    }
}
