//! The depth of a Lark grammar: a compiler goes from each definition to those it is made of, one
//! call within another.

use std::collections::{HashMap, HashSet};

/// A bound on how many definitions need each other one after the other; `most + 1` where it is
/// more. What comes back to itself, and what needs that, counts as if all of it did.
///
/// Definitions are found as Lark's lexer finds them: names before a colon at the start of a line. A
/// name within a text or a regular expression counts as one that is needed, so the bound errs on
/// the safe side.
pub(super) fn longest(lark: &str, most: usize) -> usize {
    let mut needs: HashMap<&str, HashSet<&str>> = HashMap::new();
    let mut current = None;
    for line in lark.lines() {
        let rest = match defined(line) {
            Some((name, rest)) => {
                current = Some(name);
                rest
            }
            // An alternative goes on in the next line.
            None => line,
        };
        if let Some(name) = current {
            let names = rest.split(|c: char| !is_part(c));
            let names = names.filter(|name| !name.is_empty());
            needs.entry(name).or_default().extend(names);
        }
    }
    // Those that need nothing that is defined come first; each further round is one deeper.
    let mut depth = 0;
    while depth <= most {
        let is_done = |of: &HashSet<&str>| of.iter().all(|name| !needs.contains_key(name));
        let done = needs.iter().filter(|(_, of)| is_done(of));
        let done: Vec<&str> = done.map(|(name, _)| *name).collect();
        if done.is_empty() {
            break;
        }
        depth += 1;
        for name in done {
            needs.remove(name);
        }
    }
    (depth + needs.len()).min(most + 1)
}

/// The name that a line defines, and what follows its colon.
fn defined(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start().trim_start_matches(['?', '!']);
    let end = line.find(|c: char| !is_part(c))?;
    let (name, rest) = line.split_at(end);
    let colon = rest.find(':')?;
    // Attributes (`[lazy]`), parameters (`{...}`) and a priority (`.2`) may stand between.
    let between = rest[..colon].trim_start();
    let is_definition = between.is_empty() || between.starts_with(['[', '.', '{', ':']);
    (is_definition && !name.is_empty()).then_some((name, &rest[colon + 1..]))
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

#[cfg(test)]
mod tests {
    use super::longest;

    #[test]
    fn the_longest_chain_counts() {
        for (lark, length) in [
            ("start: \"x\"\n", 1),
            ("start: A b\nb: A B\nA: \"x\"\nB: \"y\"\n", 3),
            ("A: B C\nB: \"b\" | _D\nC: /c/\n_D.2: \"d\"\n", 3),
            ("A[lazy]: \"a\"\n | B\nB: \"b\"\n", 2),
            ("A: B\nB: A\nstart: A\nC: \"c\"\n", 4),
        ] {
            assert_eq!(longest(lark, 100), length, "{lark}");
            assert_eq!(longest(lark, length), length, "{lark}");
            assert_eq!(longest(lark, length - 1), length, "{lark}");
        }
    }
}
