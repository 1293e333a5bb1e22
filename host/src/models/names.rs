//! The names of models.

/// Which model a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Each model's own name.
    ids: Vec<String>,
    /// Second names, and the models they mean.
    aliases: Vec<(String, usize)>,
    default: usize,
    /// A name that nobody has means the default model.
    any: bool,
}

impl Names {
    /// One model, by its name.
    #[must_use]
    pub fn one(id: String) -> Self {
        Names::new(vec![id])
    }

    /// Several, of which the first is the default one.
    #[must_use]
    pub fn new(ids: Vec<String>) -> Self {
        Names {
            ids,
            aliases: Vec::new(),
            default: 0,
            any: false,
        }
    }

    /// The model that has this name of its own.
    #[must_use]
    pub fn of_own(&self, name: &str) -> Option<usize> {
        self.ids.iter().position(|id| id == name)
    }

    /// The model that a request means, which names none for the default one.
    #[must_use]
    pub fn find(&self, name: Option<&str>) -> Option<usize> {
        let Some(name) = name else {
            return Some(self.default);
        };
        let alias = || {
            let mut aliases = self.aliases.iter();
            aliases.find_map(|(alias, index)| (alias == name).then_some(*index))
        };
        let known = self.of_own(name).or_else(alias);
        known.or_else(|| self.any.then_some(self.default))
    }

    /// A second name for a model; false where the name is taken.
    #[must_use]
    pub fn add_alias(&mut self, alias: String, index: usize) -> bool {
        let taken =
            self.of_own(&alias).is_some() || self.aliases.iter().any(|(it, _)| *it == alias);
        if !taken {
            self.aliases.push((alias, index));
        }
        !taken
    }

    /// Requests that name no model, or one that nobody has, mean this one.
    pub fn answer_any(&mut self, index: usize) {
        (self.default, self.any) = (index, true);
    }

    /// The model that a request means which names none.
    #[must_use]
    pub fn default_index(&self) -> usize {
        self.default
    }

    /// A model's own name.
    #[must_use]
    pub fn id(&self, index: usize) -> &str {
        self.ids.get(index).map_or("", String::as_str)
    }

    /// Every name with its model, the default one's first: its own, then its second ones.
    pub fn all(&self) -> impl Iterator<Item = (&str, usize)> {
        let others = (0..self.ids.len()).filter(|&index| index != self.default);
        std::iter::once(self.default)
            .chain(others)
            .flat_map(|index| {
                let aliases = self.aliases.iter().filter(move |(_, of)| *of == index);
                let aliases = aliases.map(move |(alias, _)| (alias.as_str(), index));
                std::iter::once((self.id(index), index)).chain(aliases)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_model() {
        let mut names = Names::new(vec!["a".into(), "b".into()]);
        assert!(names.add_alias("c".into(), 1));
        assert!(!names.add_alias("c".into(), 0) && !names.add_alias("a".into(), 1));
        let found = |names: &Names| {
            [None, Some("a"), Some("b"), Some("c"), Some("d")].map(|it| names.find(it))
        };
        assert_eq!(found(&names), [Some(0), Some(0), Some(1), Some(1), None]);
        let all: Vec<_> = names.all().collect();
        assert_eq!(all, [("a", 0), ("b", 1), ("c", 1)]);
        names.answer_any(1);
        assert_eq!(found(&names), [Some(1), Some(0), Some(1), Some(1), Some(1)]);
        let all: Vec<_> = names.all().collect();
        assert_eq!(all, [("b", 1), ("c", 1), ("a", 0)]);
    }
}
