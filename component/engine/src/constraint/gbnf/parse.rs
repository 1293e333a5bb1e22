//! GBNF, read by descent; brackets are as deep as `grammar` lets them be.

use std::collections::HashMap;

use super::Node;

/// Rules of a grammar at most.
const MAX_RULES: usize = 1000;
/// Repetitions at most where a number is given.
const MAX_REPEAT: u32 = 2000;

/// A fault in a grammar.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the grammar: {what}")]
pub(in crate::constraint) struct Fault {
    line: usize,
    what: String,
}

/// The rules of a grammar, by number.
pub(super) struct Rules {
    pub(super) names: HashMap<String, usize>,
    pub(super) bodies: Vec<Node>,
}

pub(super) struct Parser<'a> {
    text: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    names: HashMap<String, usize>,
    bodies: Vec<Option<Node>>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Parser {
            text: text.chars().peekable(),
            line: 1,
            names: HashMap::new(),
            bodies: Vec::new(),
        }
    }

    pub(super) fn rules(mut self) -> Result<Rules, Fault> {
        loop {
            self.blanks(true);
            if self.text.peek().is_none() {
                break;
            }
            let name = self.name()?;
            self.blanks(true);
            for expected in "::=".chars() {
                self.expect(expected)?;
            }
            let body = self.choice(false)?;
            let rule = self.number(name.clone())?;
            if self.bodies[rule].replace(body).is_some() {
                return Err(self.fault(format!("the rule '{name}' is there twice")));
            }
        }
        if !self.names.contains_key("root") {
            return Err(self.fault("there is no rule 'root'"));
        }
        let missing = self
            .names
            .iter()
            .find(|(_, rule)| self.bodies[**rule].is_none());
        if let Some((name, _)) = missing {
            return Err(self.fault(format!("the rule '{name}' is not defined")));
        }
        Ok(Rules {
            names: self.names,
            bodies: self.bodies.into_iter().flatten().collect(),
        })
    }

    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault {
            line: self.line,
            what: what.into(),
        }
    }

    fn next(&mut self) -> Option<char> {
        let next = self.text.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    fn expect(&mut self, expected: char) -> Result<(), Fault> {
        match self.next() {
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(self.fault(format!("expected '{expected}', found '{found}'"))),
            None => Err(self.fault(format!("expected '{expected}', found the end"))),
        }
    }

    /// Pass over blanks and comments; over line breaks too if `lines`.
    fn blanks(&mut self, lines: bool) {
        while let Some(&next) = self.text.peek() {
            match next {
                ' ' | '\t' => {}
                '\r' | '\n' if lines => {}
                '#' => {
                    while self.text.peek().is_some_and(|&next| next != '\n') {
                        self.next();
                    }
                    continue;
                }
                _ => break,
            }
            self.next();
        }
    }

    fn name(&mut self) -> Result<String, Fault> {
        let mut name = String::new();
        while let Some(&next) = self.text.peek() {
            if !(next.is_ascii_alphanumeric() || matches!(next, '-' | '_')) {
                break;
            }
            name.push(next);
            self.next();
        }
        match self.text.peek() {
            _ if !name.is_empty() => Ok(name),
            Some(found) => {
                let found = *found;
                Err(self.fault(format!("expected a rule's name, found '{found}'")))
            }
            None => Err(self.fault("expected a rule's name, found the end")),
        }
    }

    fn number(&mut self, name: String) -> Result<usize, Fault> {
        let next = self.bodies.len();
        let rule = *self.names.entry(name).or_insert(next);
        if rule == next {
            if next >= MAX_RULES {
                return Err(self.fault(format!("more than {MAX_RULES} rules")));
            }
            self.bodies.push(None);
        }
        Ok(rule)
    }

    /// Alternatives. `inside` brackets, where line breaks are blanks.
    fn choice(&mut self, inside: bool) -> Result<Node, Fault> {
        let mut parts = vec![self.sequence(inside)?];
        while self.goes_on() {
            self.next();
            parts.push(self.sequence(inside)?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Node::Choice(parts),
        })
    }

    /// True before a `|`, which may stand at the beginning of a line.
    fn goes_on(&mut self) -> bool {
        let (text, line) = (self.text.clone(), self.line);
        self.blanks(true);
        let found = self.text.peek() == Some(&'|');
        if !found {
            (self.text, self.line) = (text, line);
        }
        found
    }

    fn sequence(&mut self, inside: bool) -> Result<Node, Fault> {
        let mut parts: Vec<Node> = Vec::new();
        // A rule may go on in the line behind `::=` or `|`.
        self.blanks(true);
        while let Some(&next) = self.text.peek() {
            let part = match next {
                '"' => Node::Text(self.quoted()?),
                '[' => self.class()?,
                '.' => {
                    self.next();
                    Node::Class {
                        negated: false,
                        ranges: vec![('\0', char::MAX)],
                    }
                }
                '(' => {
                    self.next();
                    let choice = self.choice(true)?;
                    self.expect(')')?;
                    choice
                }
                '*' | '+' | '?' | '{' => {
                    let times = self.times()?;
                    let Some(last) = parts.pop() else {
                        return Err(self.fault(format!("nothing stands before '{next}'")));
                    };
                    if matches!(last, Node::Repeat(..)) {
                        return Err(self.fault("a repetition is repeated; one of them is enough"));
                    }
                    Node::Repeat(Box::new(last), times.0, times.1)
                }
                '|' | ')' | '\n' | '\r' => break,
                _ => {
                    let name = self.name()?;
                    Node::Rule(self.number(name)?)
                }
            };
            parts.push(part);
            self.blanks(inside);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Node::Sequence(parts),
        })
    }

    fn times(&mut self) -> Result<(u32, Option<u32>), Fault> {
        match self.next() {
            Some('*') => return Ok((0, None)),
            Some('+') => return Ok((1, None)),
            Some('?') => return Ok((0, Some(1))),
            _ => {}
        }
        self.blanks(false);
        let least = self.count()?;
        self.blanks(false);
        let most = if self.text.peek() == Some(&',') {
            self.next();
            self.blanks(false);
            match self.text.peek() {
                Some('}') => None,
                _ => Some(self.count()?),
            }
        } else {
            Some(least)
        };
        self.blanks(false);
        self.expect('}')?;
        match most {
            Some(most) if most < least => Err(self.fault(format!("{{{least},{most}}} is empty"))),
            _ => Ok((least, most)),
        }
    }

    fn count(&mut self) -> Result<u32, Fault> {
        let mut count: Option<u32> = None;
        while let Some(digit) = self.text.peek().and_then(|next| next.to_digit(10)) {
            self.next();
            let more = count.unwrap_or(0).saturating_mul(10).saturating_add(digit);
            count = Some(more);
        }
        match count {
            Some(count) if count <= MAX_REPEAT => Ok(count),
            Some(_) => Err(self.fault(format!("a count is at most {MAX_REPEAT}"))),
            None => Err(self.fault("expected a count")),
        }
    }

    fn quoted(&mut self) -> Result<String, Fault> {
        self.expect('"')?;
        let mut text = String::new();
        loop {
            match self.text.peek() {
                Some('"') => {
                    self.next();
                    return Ok(text);
                }
                Some('\n') | None => return Err(self.fault("a text has no end")),
                Some(_) => text.push(self.character()?),
            }
        }
    }

    fn class(&mut self) -> Result<Node, Fault> {
        self.expect('[')?;
        let negated = self.text.peek() == Some(&'^');
        if negated {
            self.next();
        }
        let mut ranges = Vec::new();
        loop {
            match self.text.peek() {
                Some(']') => break,
                Some('\n') | None => return Err(self.fault("a class has no end")),
                Some(_) => {}
            }
            let low = self.character()?;
            let mut high = low;
            if self.text.peek() == Some(&'-') {
                self.next();
                // At the end it stands for itself.
                if self.text.peek() == Some(&']') {
                    ranges.push(('-', '-'));
                } else {
                    high = self.character()?;
                }
            }
            if high < low {
                return Err(self.fault(format!("the range '{low}-{high}' is empty")));
            }
            ranges.push((low, high));
        }
        self.next();
        if ranges.is_empty() {
            return Err(self.fault("a class is empty"));
        }
        Ok(Node::Class { negated, ranges })
    }

    /// A character, which may be escaped.
    fn character(&mut self) -> Result<char, Fault> {
        let digits = match self.next() {
            Some('\\') => match self.next() {
                Some('n') => return Ok('\n'),
                Some('r') => return Ok('\r'),
                Some('t') => return Ok('\t'),
                Some('x') => 2,
                Some('u') => 4,
                Some('U') => 8,
                Some(other) if other.is_ascii_punctuation() => return Ok(other),
                Some(other) => return Err(self.fault(format!("the escape '\\{other}' is unknown"))),
                None => return Err(self.fault("an escape has no end")),
            },
            Some(other) => return Ok(other),
            None => return Err(self.fault("expected a character, found the end")),
        };
        let mut code = 0u32;
        for _ in 0..digits {
            let digit = self.text.peek().and_then(|next| next.to_digit(16));
            let Some(digit) = digit else {
                return Err(self.fault(format!("an escape has less than {digits} hex digits")));
            };
            self.next();
            code = code.wrapping_mul(16).wrapping_add(digit);
        }
        char::from_u32(code).ok_or_else(|| self.fault(format!("{code:x} is no character")))
    }
}
