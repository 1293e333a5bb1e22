//! Which cut a regular expression describes, however it is spelled.
//!
//! An expression is taken apart into its alternatives, and each is brought to one spelling: groups
//! that change nothing are opened, the members of character classes sorted, quantifiers made
//! possessive only to be quick made plain again. What is left is compared with the alternatives of
//! the known cuts; an expression that differs in anything else is not known.

use super::{Case, Family, Split, Steps};

/// Ends of contractions, sorted.
const CONTRACTIONS: [&str; 7] = ["d", "ll", "m", "re", "s", "t", "ve"];

const GPT2_LETTERS: &str = r" ?\p{L}+";
const GPT2_NUMBERS: &str = r" ?\p{N}+";
const GPT2_SYMBOLS: &str = r" ?[^\p{L}\p{N}\s]+";
const LLAMA3_LETTERS: &str = r"[^\n\p{L}\p{N}\r]?\p{L}+";
const LLAMA3_SYMBOLS: &str = r" ?[^\p{L}\p{N}\s]+[\n\r]*";
/// The last newline of a run ends both.
const NEWLINES: [&str; 2] = [r"\s*[\n\r]+", r"\s*[\n\r]"];
/// Whitespace but its last character, where a word follows.
const BEFORE_WORD: &str = r"\s+(?!\S)";
/// The rest is one character.
const REST: [&str; 2] = [r"\s+", r"\s"];

/// An expression is at most this long; real ones have 120 to 400 characters.
const MAX_LENGTH: usize = 2000;
/// Groups in groups.
const MAX_DEPTH: usize = 8;

/// One alternative, and whether case is ignored in it.
struct Branch<'a> {
    text: &'a str,
    ignore_case: bool,
}

/// The cut of `pattern`; `dropped` where text that it does not match is not kept as pieces of its
/// own.
pub(super) fn parse(pattern: &str, dropped: bool) -> Option<Split> {
    if pattern.len() > MAX_LENGTH {
        return None;
    }
    let mut branches = Vec::new();
    flatten(pattern, false, 0, &mut branches)?;
    // Contractions come first: `'s` would else be a symbol and a letter.
    let n = branches
        .iter()
        .take_while(|branch| branch.text.starts_with('\''))
        .count();
    let case = contractions(&branches[..n])?;
    let rest: Vec<String> = branches[n..]
        .iter()
        .map(|branch| canonical(branch.text))
        .collect::<Option<_>>()?;
    let mut rest: Vec<&str> = rest.iter().map(String::as_str).collect();

    // The whitespace's alternatives are the last, in this order.
    if rest.last().is_some_and(|last| REST.contains(last)) {
        rest.pop();
    } else if dropped {
        return None;
    }
    if rest.pop()? != BEFORE_WORD {
        return None;
    }
    let family = match rest[..] {
        // No character can begin two of these, so their order is free.
        [_, _, _]
            if [GPT2_LETTERS, GPT2_NUMBERS, GPT2_SYMBOLS]
                .iter()
                .all(|x| rest.contains(x)) =>
        {
            Family::Gpt2
        }
        [a, b, symbols, newlines] if symbols == LLAMA3_SYMBOLS && NEWLINES.contains(&newlines) => {
            let numbers = match (a, b) {
                (LLAMA3_LETTERS, numbers) | (numbers, LLAMA3_LETTERS) => numbers,
                _ => return None,
            };
            Family::Llama3 {
                max_digits: max_digits(numbers)?,
            }
        }
        _ => return None,
    };
    Some(Split {
        family,
        case,
        steps: Steps::NONE,
    })
}

/// `\p{N}`, `\p{N}{1,3}` or `\p{N}+`: how many digits a piece has at most.
fn max_digits(numbers: &str) -> Option<usize> {
    match numbers.strip_prefix(r"\p{N}")? {
        "" => Some(1),
        "+" => Some(usize::MAX),
        counted => {
            let most = counted.strip_prefix("{1,")?.strip_suffix('}')?;
            most.parse().ok().filter(|most| (1..=64).contains(most))
        }
    }
}

/// The alternatives of an expression, in order, with those of groups that are whole alternatives.
fn flatten<'a>(
    text: &'a str,
    ignore_case: bool,
    depth: usize,
    out: &mut Vec<Branch<'a>>,
) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    let (text, ignore_case) = match text.strip_prefix("(?i)") {
        Some(rest) => (rest, true),
        None => (text, ignore_case),
    };
    for branch in alternatives(text)? {
        match group(branch) {
            Some((inner, case)) => flatten(inner, ignore_case || case, depth + 1, out)?,
            None => out.push(Branch {
                text: branch,
                ignore_case,
            }),
        }
    }
    Some(())
}

/// The inside of a text that is one group that captures or not, and whether it ignores case.
fn group(text: &str) -> Option<(&str, bool)> {
    if !text.starts_with('(') || end_of_group(text)? != text.len() {
        return None;
    }
    let inner = &text[1..text.len() - 1];
    if let Some(inner) = inner.strip_prefix("?i:") {
        return Some((inner, true));
    }
    match inner.strip_prefix("?:") {
        Some(inner) => Some((inner, false)),
        None => (!inner.starts_with('?')).then_some((inner, false)),
    }
}

/// The end of the group at the start of `text`.
fn end_of_group(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, kind) in structure(text)? {
        match kind {
            '(' => depth += 1,
            ')' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Cut at the bars outside of groups and classes.
fn alternatives(text: &str) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0usize);
    for (at, kind) in structure(text)? {
        match kind {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            '|' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (depth == 0).then_some(parts)
}

/// The parentheses and bars that mean something, with their places.
fn structure(text: &str) -> Option<Vec<(usize, char)>> {
    let (mut found, mut class, mut escaped) = (Vec::new(), false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' if class => return None,
            '[' => class = true,
            ']' => class = false,
            '(' | ')' | '|' if !class => found.push((at, c)),
            _ => {}
        }
    }
    (!class && !escaped).then_some(found)
}

/// In which case these alternatives, `'` and what follows it, are exactly the contractions.
fn contractions(branches: &[Branch<'_>]) -> Option<Case> {
    let mut words: Vec<(String, Case)> = Vec::new();
    for branch in branches {
        let tail = branch.text.strip_prefix('\'')?;
        match group(tail) {
            Some((inner, case)) => {
                let mut inside = Vec::new();
                flatten(inner, branch.ignore_case || case, 1, &mut inside)?;
                for branch in inside {
                    words.extend(spellings(branch.text, branch.ignore_case)?);
                }
            }
            None => words.extend(spellings(tail, branch.ignore_case)?),
        }
    }
    words.sort_by(|a, b| a.0.cmp(&b.0));
    let case = words.first()?.1;
    let same = words.iter().map(|(word, _)| word.as_str()).eq(CONTRACTIONS);
    (same && words.iter().all(|(_, own)| *own == case)).then_some(case)
}

/// The words that letters and classes of letters (`re`, `[rR][eE]`, `[sdmt]`) stand for.
fn spellings(text: &str, ignore_case: bool) -> Option<Vec<(String, Case)>> {
    let mut words = vec![String::new()];
    let mut case = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (letters, after) = match c {
            '[' => rest[1..].split_once(']')?,
            c => rest.split_at(c.len_utf8()),
        };
        rest = after;
        if letters.is_empty() || !letters.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return None;
        }
        let small: Vec<char> = letters.chars().filter(char::is_ascii_lowercase).collect();
        let large = letters.chars().filter(char::is_ascii_uppercase).count();
        let both = small
            .iter()
            .all(|c| letters.contains(c.to_ascii_uppercase()));
        let own = match (ignore_case, large) {
            (true, 0) => Case::Unicode,
            (false, 0) => Case::Exact,
            (false, n) if n == small.len() && both => Case::Ascii,
            _ => return None,
        };
        if case.is_some_and(|case| case != own) {
            return None;
        }
        case = Some(own);
        words = words
            .iter()
            .flat_map(|word| small.iter().map(move |c| format!("{word}{c}")))
            .collect();
        if words.len() > CONTRACTIONS.len() {
            return None;
        }
    }
    let case = case?;
    Some(words.into_iter().map(|word| (word, case)).collect())
}

/// One spelling for an alternative.
fn canonical(branch: &str) -> Option<String> {
    // Possessive whitespace gives nothing back to what follows it: another meaning.
    let possessive_is_plain = !branch.starts_with(r"\s");
    let mut out = String::new();
    let mut chars = branch.chars().peekable();
    // Whether a quantifier was the last.
    let mut quantified = false;
    while let Some(c) = chars.next() {
        let mut quantifier = false;
        match c {
            '+' if quantified && possessive_is_plain => {}
            '?' | '*' | '+' => {
                out.push(c);
                quantifier = true;
            }
            '\\' => out.push_str(&escape(&mut chars)?),
            '[' => out.push_str(&class(&mut chars)?),
            c => out.push(c),
        }
        quantified = quantifier;
    }
    Some(out)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

/// The escape after a backslash, in one spelling.
fn escape(chars: &mut Chars<'_>) -> Option<String> {
    Some(match chars.next()? {
        ' ' => " ".into(),
        'p' => {
            let mut name = String::new();
            match chars.next()? {
                '{' => loop {
                    match chars.next()? {
                        '}' => break,
                        c => name.push(c),
                    }
                },
                c => name.push(c),
            }
            let name = match name.as_str() {
                "Letter" => "L",
                "Number" => "N",
                other => other,
            };
            format!(r"\p{{{name}}}")
        }
        c => format!("\\{c}"),
    })
}

/// A class after its bracket, its members sorted; one of a single member is that member.
fn class(chars: &mut Chars<'_>) -> Option<String> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut members = Vec::new();
    loop {
        match chars.next()? {
            ']' => break,
            '\\' => members.push(escape(chars)?),
            // Ranges, classes in classes and set operations are in none of the known cuts.
            '[' | '-' | '&' => return None,
            '\n' => members.push(r"\n".into()),
            '\r' => members.push(r"\r".into()),
            c => members.push(c.into()),
        }
    }
    members.sort();
    members.dedup();
    Some(match (negated, &members[..]) {
        (false, [only]) => only.clone(),
        (negated, members) => {
            format!("[{}{}]", if negated { "^" } else { "" }, members.concat())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_expressions_have_their_cuts() {
        for split in [Split::GPT2, Split::LLAMA3, Split::QWEN2] {
            assert_eq!(parse(&split.expression(), true), Some(split));
        }
        let odd = Split {
            case: Case::Ascii,
            ..Split::LLAMA3
        };
        let odd = Split {
            family: Family::Llama3 {
                max_digits: usize::MAX,
            },
            ..odd
        };
        assert_eq!(parse(&odd.expression(), true), Some(odd));
    }

    #[test]
    fn other_spellings_are_the_same_cut() {
        let ascii = Split {
            case: Case::Ascii,
            ..Split::LLAMA3
        };
        let cases = [
            // tiktoken's own spelling of Llama 3's.
            (
                r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]|\s+(?!\S)|\s+",
                Split::LLAMA3,
            ),
            (
                r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s",
                Split::LLAMA3,
            ),
            (
                r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[^\p{N}\p{L}\r\n]?\p{L}+|\p{N}| ?[^\p{L}\s\p{N}]+[\n\r]*|\s*[\n\r]+|\s+(?!\S)|\s+",
                Split::QWEN2,
            ),
            (
                r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
                ascii,
            ),
            (
                r"(?:'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)",
                Split::GPT2,
            ),
            (
                r"'d|'s|'t|'re|'ve|'m|'ll|[ ]?\p{Letter}+|\ ?\pN+| ?[^\s\pL\p{N}]++|\s+(?!\S)|\s+",
                Split::GPT2,
            ),
        ];
        for (pattern, split) in cases {
            assert_eq!(parse(pattern, true), Some(split), "{pattern}");
        }
        // llama.cpp's, in which the last whitespace matches nothing: a piece only where such text
        // is kept.
        let open = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
        assert_eq!(parse(open, false), Some(Split::GPT2));
        assert_eq!(parse(open, true), None);
    }

    #[test]
    fn other_cuts_are_not_known() {
        let llama3 = Split::LLAMA3.expression();
        let changes = [
            (r"\p{L}+", r"[\p{L}\p{M}]+"),
            (r"\p{N}{1,3}", r"\p{N}{1,3}+"),
            (r"\p{N}{1,3}", r"\d{1,3}"),
            (r"\p{N}{1,3}", r"\p{N}{2,3}"),
            (r"[\r\n]*", r"[\r\n/]*"),
            (r"\s*[\r\n]+", r"\s*+[\r\n]+"),
            (r"\s+(?!\S)", r"\s++(?!\S)"),
            (r"\s+(?!\S)", r"\s+$"),
            (r"\s+(?!\S)", r"\s+(?=\S)"),
            ("'ll|", ""),
            ("'s|", "'s|'S|"),
            ("'", "’"),
            ("?i:", "?x:"),
            ("]?", "]?+?"),
            ("|", ""),
            ("(", "(("),
            ("[", "[["),
        ];
        for (from, to) in changes {
            let pattern = llama3.replacen(from, to, 1);
            assert_ne!(pattern, llama3);
            assert_eq!(parse(&pattern, false), None, "{pattern}");
        }
        assert_eq!(parse("", false), None);
        assert_eq!(parse(&"(".repeat(1000), false), None);
        assert_eq!(
            parse(&format!("{}a{}", "(".repeat(900), ")".repeat(900)), false),
            None
        );
        assert_eq!(parse(&"'s|".repeat(600), false), None);
        assert_eq!(parse(&format!("'{}", "[ab]".repeat(400)), false), None);
    }
}
