//! A template's text as tokens, with Jinja's rules for the whitespace around tags.
//!
//! The rules are those of `apply_chat_template`: `trim_blocks` (a tag takes the newline after it),
//! `lstrip_blocks` (and the blanks before it on its line), and one newline at the very end is
//! dropped.

use std::sync::Arc;

use super::error::{Error, Result, fail, shown};

/// A token. `Op` holds the operator as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// Text between tags, not empty.
    Data(Arc<str>),
    /// `{{`
    EmitStart,
    /// `}}`
    EmitEnd,
    /// `{%`
    TagStart,
    /// `%}`
    TagEnd,
    Name(Arc<str>),
    Str(Arc<str>),
    Int(i64),
    Float(f64),
    Op(&'static str),
}

/// Longest first, so that the first that fits is right.
const OPERATORS: [&str; 28] = [
    "**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}",
    ">", "<", "=", ".", ":", "|", ",", ";", "&", "^",
];

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    /// Up to where `line` has counted.
    counted: usize,
    line: u32,
    tokens: Vec<(Token, u32)>,
    /// True if the last tag ended its line, or none came yet.
    line_starts: bool,
}

/// All tokens of a template, each with its line.
pub(super) fn tokens(source: &str) -> Result<Vec<(Token, u32)>> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut lexer = Lexer {
        source: source.strip_suffix('\n').unwrap_or(&source),
        at: 0,
        counted: 0,
        line: 1,
        tokens: Vec::new(),
        line_starts: true,
    };
    match lexer.run() {
        Ok(()) => Ok(lexer.tokens),
        Err(error) => Err(Error::at(error, lexer.line())),
    }
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn line(&mut self) -> u32 {
        let passed = &self.source.as_bytes()[self.counted..self.at];
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count() as u32;
        self.counted = self.at;
        self.line
    }

    fn push(&mut self, token: Token) {
        let line = self.line();
        self.tokens.push((token, line));
    }

    fn run(&mut self) -> Result<()> {
        while self.at < self.source.len() {
            let Some(start) = next_tag(self.rest()) else {
                let rest = self.rest();
                self.push(Token::Data(rest.into()));
                return Ok(());
            };
            let data = &self.rest()[..start];
            let kind = self.rest().as_bytes()[start + 1];
            let sign = self.rest().as_bytes().get(start + 2).copied();
            let data = self.before_tag(data, kind, sign);
            if !data.is_empty() {
                self.push(Token::Data(data.into()));
            }
            self.at += start + 2 + usize::from(matches!(sign, Some(b'-' | b'+')));
            match kind {
                b'#' => self.comment()?,
                b'{' => {
                    self.push(Token::EmitStart);
                    self.inside("}}", Token::EmitEnd)?;
                }
                _ if self.raw()? => {}
                _ => {
                    self.push(Token::TagStart);
                    self.inside("%}", Token::TagEnd)?;
                }
            }
        }
        Ok(())
    }

    /// The text before a tag without what the tag takes of it.
    fn before_tag(&self, data: &'s str, kind: u8, sign: Option<u8>) -> &'s str {
        match sign {
            Some(b'-') => data.trim_end(),
            Some(b'+') => data,
            _ if kind == b'{' => data,
            _ => {
                let line = data.rfind('\n').map_or(0, |at| at + 1);
                let is_blank = data[line..].chars().all(char::is_whitespace);
                if is_blank && (line > 0 || self.line_starts) {
                    &data[..line]
                } else {
                    data
                }
            }
        }
    }

    /// After the end of a tag: what it takes of the text behind it.
    fn after_tag(&mut self, sign: Option<u8>, takes_newline: bool) {
        let rest = self.rest();
        let taken = match sign {
            Some(b'-') => rest.len() - rest.trim_start().len(),
            None if takes_newline && rest.starts_with('\n') => 1,
            _ => 0,
        };
        self.at += taken;
        self.line_starts = rest[..taken].ends_with('\n');
    }

    fn comment(&mut self) -> Result<()> {
        let Some(end) = self.rest().find("#}") else {
            return fail("a comment without its end `#}`");
        };
        let sign = self.rest()[..end].bytes().next_back();
        self.at += end + 2;
        self.after_tag(sign.filter(|sign| matches!(sign, b'-' | b'+')), true);
        Ok(())
    }

    /// Reads everything from `{% raw %}` to `{% endraw %}`; returns true if there was such a block.
    fn raw(&mut self) -> Result<bool> {
        let Some((begin, sign)) = named_tag(self.rest(), "raw") else {
            return Ok(false);
        };
        self.at += begin;
        self.after_tag(sign, false);
        let mut from = 0;
        while let Some(found) = self.rest()[from..].find("{%") {
            let start = from + found;
            let inner = &self.rest()[start + 2..];
            let open = inner.bytes().next().filter(|b| matches!(b, b'-' | b'+'));
            let skip = usize::from(open.is_some());
            if let Some((end, sign)) = named_tag(&inner[skip..], "endraw") {
                let data = self.before_tag(&self.rest()[..start], b'%', open);
                if !data.is_empty() {
                    self.push(Token::Data(data.into()));
                }
                self.at += start + 2 + skip + end;
                self.after_tag(sign, true);
                return Ok(true);
            }
            from = start + 2;
        }
        fail("`{% raw %}` without `{% endraw %}`")
    }

    /// The tokens of a tag up to its `end`.
    fn inside(&mut self, end: &'static str, token: Token) -> Result<()> {
        // Brackets that are open: a tag does not end inside of them.
        let mut open = 0_u32;
        loop {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start().len();
            let rest = self.rest();
            let Some(c) = rest.chars().next() else {
                return fail(format!("the template ends where `{end}` was expected"));
            };
            if open == 0 {
                let sign = rest.bytes().next().filter(|b| matches!(b, b'-' | b'+'));
                // `+}}` is no end: there the sign is an operator.
                let sign = sign.filter(|&sign| sign == b'-' || end == "%}");
                let skip = usize::from(sign.is_some());
                if rest[skip..].starts_with(end) {
                    self.push(token);
                    self.at += skip + 2;
                    self.after_tag(sign, end == "%}");
                    return Ok(());
                }
            }
            if c == '\'' || c == '"' {
                self.string(c)?;
            } else if c.is_ascii_digit() {
                self.number()?;
            } else if c.is_alphabetic() || c == '_' {
                let is_part = |c: char| c.is_alphanumeric() || c == '_';
                let len = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                self.push(Token::Name(rest[..len].into()));
                self.at += len;
            } else if let Some(op) = OPERATORS.iter().find(|op| rest.starts_with(**op)) {
                match *op {
                    "(" | "[" | "{" => open += 1,
                    ")" | "]" | "}" => open = open.saturating_sub(1),
                    _ => {}
                }
                self.push(Token::Op(op));
                self.at += op.len();
            } else {
                return fail(format!("unexpected character {c:?}"));
            }
        }
    }

    fn string(&mut self, quote: char) -> Result<()> {
        let mut text = String::new();
        let mut chars = self.rest()[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            if c == quote {
                self.push(Token::Str(text.into()));
                self.at += 1 + at + 1;
                return Ok(());
            }
            if c != '\\' {
                text.push(c);
                continue;
            }
            let Some((_, escape)) = chars.next() else {
                break;
            };
            let digits = match escape {
                'x' => 2,
                'u' => 4,
                'U' => 8,
                _ => 0,
            };
            match escape {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                'a' => text.push('\u{7}'),
                'b' => text.push('\u{8}'),
                'f' => text.push('\u{c}'),
                'v' => text.push('\u{b}'),
                '0'..='7' => {
                    let mut code = u32::from(escape) - u32::from('0');
                    for _ in 0..2 {
                        let mut ahead = chars.clone();
                        let Some((_, digit @ '0'..='7')) = ahead.next() else {
                            break;
                        };
                        code = code * 8 + (u32::from(digit) - u32::from('0'));
                        chars = ahead;
                    }
                    text.extend(char::from_u32(code));
                }
                '\n' => {}
                '\\' | '\'' | '"' => text.push(escape),
                'x' | 'u' | 'U' => {
                    let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    let code = u32::from_str_radix(&hex, 16)
                        .ok()
                        .filter(|_| hex.len() == digits);
                    let Some(c) = code.and_then(char::from_u32) else {
                        return fail(format!("`\\{escape}{}` is no character", shown(&hex)));
                    };
                    text.push(c);
                }
                other => text.extend(['\\', other]),
            }
        }
        fail("a string without its end")
    }

    fn number(&mut self) -> Result<()> {
        let rest = self.rest();
        let is_digit = |byte: u8| byte.is_ascii_digit() || byte == b'_';
        let digits = |from: usize| from + rest[from..].bytes().take_while(|b| is_digit(*b)).count();
        let radix = match rest.as_bytes().get(..2) {
            Some(b"0x" | b"0X") => 16,
            Some(b"0o" | b"0O") => 8,
            Some(b"0b" | b"0B") => 2,
            _ => 10,
        };
        let is_wide = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let mut end = if radix == 10 {
            digits(0)
        } else {
            rest.bytes().take_while(is_wide).count()
        };
        let mut is_float = false;
        if radix == 10 {
            let next = |at: usize| rest.as_bytes().get(at).copied();
            if next(end) == Some(b'.') && next(end + 1).is_some_and(|b| b.is_ascii_digit()) {
                (end, is_float) = (digits(end + 1), true);
            }
            if matches!(next(end), Some(b'e' | b'E')) {
                let sign = usize::from(matches!(next(end + 1), Some(b'+' | b'-')));
                if next(end + 1 + sign).is_some_and(|b| b.is_ascii_digit()) {
                    (end, is_float) = (digits(end + 1 + sign), true);
                }
            }
        }
        let text = rest[..end].replace('_', "");
        let token = if is_float {
            text.parse().ok().map(Token::Float)
        } else {
            let digits = if radix == 10 { &text[..] } else { &text[2..] };
            i64::from_str_radix(digits, radix).ok().map(Token::Int)
        };
        let Some(token) = token else {
            return fail(format!("the number {} cannot be used", shown(&text)));
        };
        self.push(token);
        self.at += end;
        Ok(())
    }
}

/// The position of the next `{{`, `{%` or `{#`.
fn next_tag(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + text[from..].find('{')?;
        if matches!(text.as_bytes().get(at + 1), Some(b'{' | b'%' | b'#')) {
            return Some(at);
        }
        from = at + 1;
    }
}

/// The length of ` NAME %}` where `text` begins with it, and the sign before its end.
fn named_tag(text: &str, name: &str) -> Option<(usize, Option<u8>)> {
    let inner = text.trim_start().strip_prefix(name)?.trim_start();
    let sign = inner.bytes().next().filter(|b| matches!(b, b'-' | b'+'));
    let after = inner[usize::from(sign.is_some())..].strip_prefix("%}")?;
    Some((text.len() - after.len(), sign))
}
