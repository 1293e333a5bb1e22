//! Tokens as a tree: Jinja's statements. Expressions are in [`expressions`].
//!
//! Each block, bracket and sign counts as one level of nesting, and the parser refuses more than
//! [`MAX_NESTING`] of them before it goes deeper: the source decides how deep this recurses.

mod expressions;

use std::sync::Arc;

use super::ast::{Body, Expr, ForLoop, Kind, MacroDef, Name, Postfix, Statement, Target};
use super::error::{Fault, Result, fail, shown};
use super::lexer::{Token, tokens};
use super::limits::{MAX_NESTING, MAX_SOURCE_BYTES};

/// Names that cannot be assigned to.
const RESERVED: [&str; 6] = ["true", "True", "false", "False", "none", "None"];

pub(super) struct Parser {
    tokens: Vec<(Token, u32)>,
    at: usize,
    depth: usize,
    in_loop: bool,
}

/// The statements of a template.
pub(super) fn parse(source: &str) -> Result<Body> {
    if source.len() > MAX_SOURCE_BYTES {
        let limit = format!(
            "it has {} bytes, at most {MAX_SOURCE_BYTES} are taken",
            source.len()
        );
        return Err(Fault::Limit(limit).into());
    }
    let mut parser = Parser {
        tokens: tokens(source)?,
        at: 0,
        depth: 0,
        in_loop: false,
    };
    let parsed = parser.body(&[]).and_then(|(body, _)| match parser.peek() {
        None => Ok(body),
        Some(_) => parser.unexpected("a statement"),
    });
    parsed.map_err(|error| error.at(parser.line()))
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn line(&self) -> u32 {
        let last = self.tokens.len().saturating_sub(1);
        self.tokens
            .get(self.at.min(last))
            .map_or(1, |(_, line)| *line)
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T> {
        let found = match self.peek() {
            None => "the end of the template".into(),
            Some(Token::Data(_)) => "text".into(),
            Some(Token::EmitStart) => "`{{`".into(),
            Some(Token::EmitEnd) => "`}}`".into(),
            Some(Token::TagStart) => "`{%`".into(),
            Some(Token::TagEnd) => "`%}`".into(),
            Some(Token::Name(name)) => format!("`{}`", shown(name)),
            Some(Token::Str(text)) => format!("the string {:?}", shown(text)),
            Some(Token::Int(number)) => number.to_string(),
            Some(Token::Float(number)) => number.to_string(),
            Some(Token::Op(op)) => format!("`{op}`"),
        };
        fail(format!("{found} where {wanted} was expected"))
    }

    /// Takes the next token if it is this one.
    fn take(&mut self, token: &Token) -> bool {
        let is = self.peek() == Some(token);
        self.at += usize::from(is);
        is
    }

    fn op(&mut self, op: &'static str) -> bool {
        self.take(&Token::Op(op))
    }

    fn is_op(&self, op: &'static str) -> bool {
        self.peek() == Some(&Token::Op(op))
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(name)) if **name == *word)
    }

    fn word(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        self.at += usize::from(is);
        is
    }

    fn expect(&mut self, op: &'static str) -> Result<()> {
        if self.op(op) {
            return Ok(());
        }
        self.unexpected(&format!("`{op}`"))
    }

    fn tag_end(&mut self) -> Result<()> {
        if self.take(&Token::TagEnd) {
            return Ok(());
        }
        self.unexpected("`%}`")
    }

    fn name(&mut self) -> Result<Name> {
        let Some(Token::Name(name)) = self.peek() else {
            return self.unexpected("a name");
        };
        let name = name.clone();
        self.at += 1;
        Ok(name)
    }

    /// One level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_NESTING {
            let limit = format!("it nests blocks and brackets deeper than {MAX_NESTING} levels");
            return Err(Fault::Limit(limit).into());
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Statements up to a tag with one of the names `ends`, whose name is taken and returned;
    /// without `ends`, up to the end.
    fn body(&mut self, ends: &[&'static str]) -> Result<(Body, &'static str)> {
        let mut body = Body::new();
        loop {
            let line = self.line();
            let kind = match self.peek() {
                None if ends.is_empty() => return Ok((body, "")),
                None => {
                    let ends = ends.join("` or `");
                    return self.unexpected(&format!("`{ends}`"));
                }
                Some(Token::Data(text)) => {
                    let text = text.clone();
                    self.at += 1;
                    Kind::Data(text)
                }
                Some(Token::EmitStart) => {
                    self.at += 1;
                    let value = self.tuple()?;
                    if !self.take(&Token::EmitEnd) {
                        return self.unexpected("`}}`");
                    }
                    Kind::Emit(value)
                }
                _ => {
                    if !self.take(&Token::TagStart) {
                        return self.unexpected("a statement");
                    }
                    if let Some(end) = ends.iter().find(|end| self.is_word(end)) {
                        self.at += 1;
                        return Ok((body, end));
                    }
                    let kind = self.nested(Self::statement)?;
                    self.tag_end()?;
                    kind
                }
            };
            body.push(Statement { line, kind });
        }
    }

    /// The end of a tag, a body, and the name of the tag that ends it.
    fn block(&mut self, ends: &[&'static str]) -> Result<(Body, &'static str)> {
        self.tag_end()?;
        self.body(ends)
    }

    /// A statement from its name on, up to the end of its last tag.
    fn statement(&mut self) -> Result<Kind> {
        let line = self.line();
        let name = self.name()?;
        Ok(match &*name {
            "if" => self.if_()?,
            "for" => Kind::For(Arc::new(self.for_(line)?)),
            "set" => self.set()?,
            "with" => self.with()?,
            "macro" => {
                let name = self.name()?;
                let parameters = self.parameters()?;
                Kind::Macro(Arc::new(self.macro_def(name, parameters, "endmacro")?))
            }
            "call" => {
                let parameters = if self.is_op("(") {
                    self.parameters()?
                } else {
                    Vec::new()
                };
                let call = self.expression()?;
                if !matches!(&call, Expr::Postfix(_, chain) if matches!(chain.last(), Some(Postfix::Call(_))))
                {
                    return fail("`{% call %}` wants a call of a macro");
                }
                Kind::Call(
                    Arc::new(self.macro_def("caller".into(), parameters, "endcall")?),
                    call,
                )
            }
            "filter" => {
                let mut filters = Vec::new();
                self.filter(&mut filters)?;
                self.filters(&mut filters)?;
                Kind::Filter(filters, self.block(&["endfilter"])?.0)
            }
            // Chat templates do not escape, whatever this says.
            "autoescape" => {
                self.expression()?;
                Kind::Scope(self.block(&["endautoescape"])?.0)
            }
            // Hugging Face's mark for what the assistant said: transparent.
            "generation" => Kind::Scope(self.block(&["endgeneration"])?.0),
            "block" => {
                self.name()?;
                let _ = self.word("scoped");
                let _ = self.word("required");
                let (body, _) = self.block(&["endblock"])?;
                if matches!(self.peek(), Some(Token::Name(_))) {
                    self.at += 1;
                }
                Kind::Scope(body)
            }
            "do" => Kind::Do(self.expression()?),
            "break" | "continue" if !self.in_loop => {
                return fail(format!("`{name}` outside of a loop"));
            }
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            "include" | "import" | "from" | "extends" => {
                return fail(format!("`{name}`: a chat template cannot read other files"));
            }
            _ => return fail(format!("there is no statement `{}`", shown(&name))),
        })
    }

    fn if_(&mut self) -> Result<Kind> {
        let mut branches = Vec::new();
        loop {
            let test = self.tuple()?;
            let (body, end) = self.block(&["elif", "else", "endif"])?;
            branches.push((test, body));
            let otherwise = match end {
                "elif" => continue,
                "else" => self.block(&["endif"])?.0,
                _ => Body::new(),
            };
            return Ok(Kind::If {
                branches,
                otherwise,
            });
        }
    }

    fn for_(&mut self, line: u32) -> Result<ForLoop> {
        let target = self.targets(false)?;
        if !self.word("in") {
            return self.unexpected("`in`");
        }
        let iterable = self.tuple_of(Self::without_if)?;
        let filter = if self.word("if") {
            Some(self.expression()?)
        } else {
            None
        };
        let recursive = self.word("recursive");
        let outside = std::mem::replace(&mut self.in_loop, true);
        let (body, end) = self.block(&["else", "endfor"])?;
        self.in_loop = outside;
        let otherwise = match end {
            "else" => self.block(&["endfor"])?.0,
            _ => Body::new(),
        };
        Ok(ForLoop {
            line,
            target,
            iterable,
            filter,
            recursive,
            body,
            otherwise,
        })
    }

    fn set(&mut self) -> Result<Kind> {
        let target = self.targets(true)?;
        if self.op("=") {
            return Ok(Kind::Set(target, self.tuple()?));
        }
        let mut filters = Vec::new();
        self.filters(&mut filters)?;
        let (body, _) = self.block(&["endset"])?;
        Ok(Kind::SetBlock {
            target,
            filters,
            body,
        })
    }

    fn with(&mut self) -> Result<Kind> {
        let mut assigned = Vec::new();
        while self.peek() != Some(&Token::TagEnd) {
            if !assigned.is_empty() {
                self.expect(",")?;
            }
            let target = self.target(false)?;
            self.expect("=")?;
            assigned.push((target, self.expression()?));
        }
        Ok(Kind::With(assigned, self.block(&["endwith"])?.0))
    }

    fn parameters(&mut self) -> Result<Vec<(Name, Option<Expr>)>> {
        let mut parameters: Vec<(Name, Option<Expr>)> = Vec::new();
        self.expect("(")?;
        while !self.op(")") {
            if !parameters.is_empty() {
                self.expect(",")?;
                if self.op(")") {
                    break;
                }
            }
            let name = self.name()?;
            let default = if self.op("=") {
                Some(self.expression()?)
            } else if parameters
                .last()
                .is_some_and(|(_, default)| default.is_some())
            {
                return fail("a parameter without a default after one with a default");
            } else {
                None
            };
            parameters.push((name, default));
        }
        Ok(parameters)
    }

    fn macro_def(
        &mut self,
        name: Name,
        parameters: Vec<(Name, Option<Expr>)>,
        end: &'static str,
    ) -> Result<MacroDef> {
        let outside = std::mem::replace(&mut self.in_loop, false);
        let from = self.at;
        let (body, _) = self.block(&[end])?;
        self.in_loop = outside;
        let uses = |word: &str| {
            let is =
                |(token, _): &(Token, u32)| matches!(token, Token::Name(name) if **name == *word);
            self.tokens[from..self.at].iter().any(is)
        };
        Ok(MacroDef {
            name,
            parameters,
            body,
            varargs: uses("varargs"),
            kwargs: uses("kwargs"),
        })
    }

    /// One target, or several with commas between.
    fn targets(&mut self, attributes: bool) -> Result<Target> {
        let first = self.target(attributes)?;
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut targets = vec![first];
        while self.op(",") {
            if !matches!(self.peek(), Some(Token::Name(_) | Token::Op("("))) || self.is_word("in") {
                break;
            }
            targets.push(self.target(attributes)?);
        }
        Ok(Target::Several(targets))
    }

    fn target(&mut self, attributes: bool) -> Result<Target> {
        if self.op("(") {
            let inner = self.nested(|parser| parser.targets(attributes))?;
            self.expect(")")?;
            return Ok(inner);
        }
        let name = self.name()?;
        if RESERVED.contains(&&*name) {
            return fail(format!("`{name}` cannot be assigned to"));
        }
        if attributes && self.op(".") {
            return Ok(Target::Attribute(name, self.name()?));
        }
        Ok(Target::Name(name))
    }
}
