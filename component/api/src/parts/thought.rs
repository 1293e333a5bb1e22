//! How many of an answer's tokens are reasoning.

use super::Part;

/// Counts an answer's tokens until its reasoning is over.
#[derive(Debug, Default)]
pub struct Thought {
    tokens: u32,
    /// Of which nothing is told yet.
    open: u32,
    over: bool,
}

impl Thought {
    /// The next parts came with so many tokens.
    pub fn count(&mut self, parts: &[Part], tokens: u32) {
        if self.over {
            return;
        }
        self.open = self.open.saturating_add(tokens);
        let thinks = |part: &Part| matches!(part, Part::Reasoning(_));
        if parts.iter().any(thinks) {
            self.tokens = self.tokens.saturating_add(self.open);
            self.open = 0;
        }
        // Reasoning comes first.
        self.over = !parts.iter().all(thinks);
    }

    /// Tokens up to the last of which some reasoning was told.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        self.tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_count_until_something_else_is_told() {
        let reasoning = || vec![Part::Reasoning("x".into())];
        let text = || vec![Part::Text("x".into())];
        let both = vec![Part::Reasoning("x".into()), Part::Text("x".into())];
        for (pieces, tokens) in [
            (vec![(vec![], 2), (text(), 1)], 0),
            (
                vec![
                    (vec![], 2),
                    (reasoning(), 1),
                    (vec![], 1),
                    (text(), 1),
                    (vec![], 5),
                ],
                3,
            ),
            (vec![(reasoning(), 1), (vec![], 1), (reasoning(), 1)], 3),
            (vec![(both, 2), (text(), 1)], 2),
            (vec![], 0),
        ] {
            let mut thought = Thought::default();
            for (parts, tokens) in &pieces {
                thought.count(parts, *tokens);
            }
            assert_eq!(thought.tokens(), tokens, "{pieces:?}");
        }
    }
}
