//! Optimisations, which change no bit: each can be switched off, to measure its effect.

use sterna_kernels::Isa;

/// Which optimisations are on; all of them by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Optimisations {
    /// Weights move to 2 MiB pages.
    pub huge_pages: bool,
    /// Two-bit matrices are packed as trits5, 1.67 bits a weight, where several threads share the
    /// memory and the instruction set has loops for it.
    pub trits5: bool,
    /// Ternary matrices with a scale for each group are packed as trits8, 1.625 bits a weight,
    /// where the instruction set has loops that keep up with the memory. A prompt takes longer.
    pub trits8: bool,
    /// `up` rows are not read where relu(gate) is zero, nor `down` columns where the activation is.
    pub skip_zeros: bool,
    /// A copy of `down` by columns is made in memory once many of its inputs have turned out to be
    /// zero. Without it only `up` rows are skipped.
    pub down_copy: bool,
    /// Tokens that a text's own repetitions suggest are verified several a step.
    pub speculation: bool,
    /// Keys and values are kept for prompts that begin alike.
    pub prefix_cache: bool,
}

impl Default for Optimisations {
    fn default() -> Self {
        Optimisations::ALL
    }
}

impl Optimisations {
    /// Everything on.
    pub const ALL: Optimisations = Optimisations {
        huge_pages: true,
        trits5: true,
        trits8: true,
        skip_zeros: true,
        down_copy: true,
        speculation: true,
        prefix_cache: true,
    };

    /// Every optimisation's name, and where it is switched.
    fn switches(&mut self) -> [(&'static str, &mut bool); 7] {
        [
            ("huge-pages", &mut self.huge_pages),
            ("trits5", &mut self.trits5),
            ("trits8", &mut self.trits8),
            ("skip-zeros", &mut self.skip_zeros),
            ("down-copy", &mut self.down_copy),
            ("speculation", &mut self.speculation),
            ("prefix-cache", &mut self.prefix_cache),
        ]
    }

    /// All but the named ones, names separated by commas.
    ///
    /// # Errors
    /// A sentence with the names there are, for one that is none.
    pub fn without(names: &str) -> Result<Self, String> {
        let mut optimisations = Optimisations::ALL;
        for name in names
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            // The layout's name in commands that were written before it had this one.
            let name = if name == "t5" { "trits5" } else { name };
            let mut switches = optimisations.switches();
            match switches.iter_mut().find(|(known, _)| *known == name) {
                Some((_, on)) => **on = false,
                None => {
                    let known = switches.map(|(known, _)| known).join(", ");
                    return Err(format!(
                        "no optimisation is called `{name}`; there are {known}"
                    ));
                }
            }
        }
        Ok(optimisations)
    }

    /// True if two-bit matrices are better packed as trits5 for `threads` threads of this
    /// instruction set (kernels/docs/experiments.md has the figures).
    #[must_use]
    pub fn wants_trits5(self, isa: Isa, threads: usize) -> bool {
        self.trits5 && isa.prefers_trits5(threads)
    }

    /// True if ternary matrices with a scale for each group are better packed as trits8.
    #[must_use]
    pub fn wants_trits8(self, isa: Isa, threads: usize) -> bool {
        self.trits8 && isa.prefers_trits8(threads)
    }

    /// The names of those that are off.
    #[must_use]
    pub fn off(mut self) -> Vec<String> {
        let off = self.switches().into_iter().filter(|(_, on)| !**on);
        off.map(|(name, _)| name.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_switch_off_and_strange_ones_are_refused() {
        assert_eq!(Optimisations::without(""), Ok(Optimisations::ALL));
        let off = Optimisations::without(" huge-pages,").unwrap();
        assert!(!off.huge_pages);
        assert_eq!(off.off(), ["huge-pages"]);
        let [new, old] = ["trits5", "t5"].map(|name| Optimisations::without(name).unwrap());
        assert!(!new.trits5 && new == old);
        assert!(Optimisations::ALL.off().is_empty());
        let error = Optimisations::without("huge-pages,warp").unwrap_err();
        assert!(
            error.contains("`warp`") && error.contains("huge-pages"),
            "{error}"
        );
    }
}
