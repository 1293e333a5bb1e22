//! llama.cpp's grammars (GBNF) as llguidance's Lark.
//!
//! llguidance reads a text as tokens of its own (terminals), each as long as it can be. Whatever is
//! regular (a rule that cannot come back to itself, and each run of such parts) so becomes one
//! terminal, within which nothing is cut; only recursion is left to rules.

mod parse;

use std::fmt::Write as _;

use parse::{Fault, Parser};

/// A part of a rule.
#[derive(Debug)]
enum Node {
    Text(String),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    Rule(usize),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Repeat(Box<Node>, u32, Option<u32>),
}

/// The same grammar in Lark.
///
/// # Errors
/// Its first fault, with the line.
pub(super) fn to_lark(grammar: &str) -> Result<String, Fault> {
    let rules = Parser::new(grammar).rules()?;
    let root = rules.names["root"];
    let regular = regular(&rules.bodies);
    let mut writer = Writer {
        regular: &regular,
        terminals: String::new(),
        made: 0,
    };
    let mut lark = format!("start: {}\n", name(root, &regular));
    for (index, body) in rules.bodies.iter().enumerate() {
        let text = if regular[index] {
            writer.terminal(body)
        } else {
            writer.rule(body)
        };
        let _ = writeln!(lark, "{}: {text}", name(index, &regular));
    }
    lark += &writer.terminals;
    Ok(lark)
}

/// A text as Lark quotes it.
pub(super) fn quoted(text: &str) -> String {
    let quoted = serde_json::Value::from(text).to_string();
    quoted.replace('\u{7f}', "\\u007f")
}

fn name(rule: usize, regular: &[bool]) -> String {
    if regular[rule] {
        format!("T{rule}")
    } else {
        format!("r{rule}")
    }
}

/// Which rules cannot come back to themselves, nor to one that can.
fn regular(bodies: &[Node]) -> Vec<bool> {
    fn needs(node: &Node, of: &mut Vec<usize>) {
        match node {
            Node::Text(_) | Node::Class { .. } => {}
            Node::Rule(rule) => of.push(*rule),
            Node::Sequence(parts) | Node::Choice(parts) => {
                parts.iter().for_each(|part| needs(part, of));
            }
            Node::Repeat(part, ..) => needs(part, of),
        }
    }
    let mut waits_for: Vec<Vec<usize>> = Vec::with_capacity(bodies.len());
    let mut needed_by = vec![Vec::new(); bodies.len()];
    for (index, body) in bodies.iter().enumerate() {
        let mut of = Vec::new();
        needs(body, &mut of);
        of.sort_unstable();
        of.dedup();
        of.iter().for_each(|&rule| needed_by[rule].push(index));
        waits_for.push(of);
    }
    // A rule is regular once all it needs are: what is left has a cycle before it.
    let mut waits: Vec<usize> = waits_for.iter().map(Vec::len).collect();
    let mut ready: Vec<usize> = (0..bodies.len()).filter(|&rule| waits[rule] == 0).collect();
    let mut regular = vec![false; bodies.len()];
    while let Some(rule) = ready.pop() {
        regular[rule] = true;
        for &by in &needed_by[rule] {
            waits[by] -= 1;
            if waits[by] == 0 {
                ready.push(by);
            }
        }
    }
    regular
}

/// Writes parts of rules.
struct Writer<'a> {
    regular: &'a [bool],
    /// Those that were made of parts of rules.
    terminals: String,
    made: usize,
}

impl Writer<'_> {
    fn is_regular(&self, node: &Node) -> bool {
        match node {
            Node::Text(_) | Node::Class { .. } => true,
            Node::Rule(rule) => self.regular[*rule],
            Node::Sequence(parts) | Node::Choice(parts) => {
                parts.iter().all(|part| self.is_regular(part))
            }
            Node::Repeat(part, ..) => self.is_regular(part),
        }
    }

    /// What is regular.
    fn terminal(&self, node: &Node) -> String {
        match node {
            Node::Text(text) => quoted(text),
            Node::Class { negated, ranges } => class(*negated, ranges),
            Node::Rule(rule) => name(*rule, self.regular),
            Node::Sequence(parts) if parts.is_empty() => "\"\"".into(),
            Node::Sequence(parts) => self.joined(parts, " "),
            Node::Choice(parts) => self.joined(parts, " | "),
            Node::Repeat(part, least, most) => {
                format!("({}){}", self.terminal(part), times(*least, *most))
            }
        }
    }

    fn joined(&self, parts: &[Node], by: &str) -> String {
        let parts: Vec<String> = parts.iter().map(|part| self.terminal(part)).collect();
        format!("({})", parts.join(by))
    }

    /// A part of a rule that is not regular, or may not be.
    fn rule(&mut self, node: &Node) -> String {
        if self.is_regular(node) {
            return self.run(std::slice::from_ref(node));
        }
        match node {
            Node::Sequence(parts) => {
                let mut written = Vec::new();
                let mut rest = parts.as_slice();
                while let Some(first) = rest.first() {
                    let run = rest.iter().take_while(|part| self.is_regular(part)).count();
                    if run == 0 {
                        written.push(self.rule(first));
                        rest = &rest[1..];
                    } else {
                        written.push(self.run(&rest[..run]));
                        rest = &rest[run..];
                    }
                }
                format!("({})", written.join(" "))
            }
            Node::Choice(parts) => {
                let parts: Vec<String> = parts.iter().map(|part| self.rule(part)).collect();
                format!("({})", parts.join(" | "))
            }
            Node::Repeat(part, least, most) => {
                format!("({}){}", self.rule(part), times(*least, *most))
            }
            Node::Rule(rule) => name(*rule, self.regular),
            Node::Text(_) | Node::Class { .. } => self.run(std::slice::from_ref(node)),
        }
    }

    /// Regular parts that follow each other, as one terminal.
    fn run(&mut self, parts: &[Node]) -> String {
        if let [Node::Rule(rule)] = parts {
            return name(*rule, self.regular);
        }
        let text = self.joined(parts, " ");
        let name = format!("P{}", self.made);
        self.made += 1;
        let _ = writeln!(self.terminals, "{name}: {text}");
        name
    }
}

fn times(least: u32, most: Option<u32>) -> String {
    match (least, most) {
        (0, None) => "*".into(),
        (1, None) => "+".into(),
        (0, Some(1)) => "?".into(),
        (least, None) => format!("{{{least},}}"),
        (least, Some(most)) => format!("{{{least},{most}}}"),
    }
}

/// A class as a regular expression, by numbers alone.
fn class(negated: bool, ranges: &[(char, char)]) -> String {
    let mut text = String::from(if negated { "/[^" } else { "/[" });
    for (low, high) in ranges {
        let _ = write!(text, r"\x{{{:x}}}-\x{{{:x}}}", *low as u32, *high as u32);
    }
    text + "]/"
}
