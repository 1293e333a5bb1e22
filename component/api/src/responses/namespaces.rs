//! Functions of namespaces: a chat has one name for a function, so the namespace stands before it.

/// The functions of namespaces by the names that a chat has for them.
#[derive(Debug, Default)]
pub(super) struct Spaces(Vec<(String, Named)>);

/// A function of a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) space: String,
    pub(super) name: String,
}

/// A chat's name for a function of a namespace. Codex's namespaces end with the separator.
pub(super) fn joined(space: &str, name: &str) -> String {
    format!("{}__{name}", space.trim_end_matches('_'))
}

impl Spaces {
    /// Take in a function of a namespace.
    pub(super) fn add(&mut self, space: &str, name: &str) {
        let said = joined(space, name);
        let named = Named {
            space: space.to_owned(),
            name: name.to_owned(),
        };
        self.0.push((said, named));
    }

    /// The function that has this name in a chat.
    pub(super) fn get(&self, said: &str) -> Option<&Named> {
        let found = self.0.iter().find(|(name, _)| name == said);
        found.map(|(_, named)| named)
    }
}
