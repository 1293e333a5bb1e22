//! Jinja's expressions, by the precedence of its own parser.

use super::super::ast::{Args, Arithmetic, Comparison, Expr, Name, Postfix};
use super::super::error::{Result, fail};
use super::super::lexer::Token;
use super::Parser;

/// Arithmetic from loose to tight; `~` is between the first and the second level.
const SUMS: &[(&str, Arithmetic)] = &[("+", Arithmetic::Add), ("-", Arithmetic::Sub)];
const PRODUCTS: &[(&str, Arithmetic)] = &[
    ("*", Arithmetic::Mul),
    ("/", Arithmetic::Div),
    ("//", Arithmetic::FloorDiv),
    ("%", Arithmetic::Rem),
];
const POWERS: &[(&str, Arithmetic)] = &[("**", Arithmetic::Pow)];

const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Eq),
    ("!=", Comparison::Ne),
    ("<", Comparison::Lt),
    ("<=", Comparison::Le),
    (">", Comparison::Gt),
    (">=", Comparison::Ge),
];

type Level = fn(&mut Parser) -> Result<Expr>;

impl Parser {
    /// An expression, `... if ... else ...` included.
    pub(super) fn expression(&mut self) -> Result<Expr> {
        self.nested(|parser| {
            let mut branches = Vec::new();
            loop {
                let value = parser.or()?;
                if !parser.word("if") {
                    return Ok(if branches.is_empty() {
                        value
                    } else {
                        Expr::If(branches, Some(Box::new(value)))
                    });
                }
                branches.push((value, parser.or()?));
                if !parser.word("else") {
                    return Ok(Expr::If(branches, None));
                }
            }
        })
    }

    /// An expression where an `if` would be somebody else's.
    pub(super) fn without_if(&mut self) -> Result<Expr> {
        self.nested(Self::or)
    }

    /// An expression, or a tuple without brackets.
    pub(super) fn tuple(&mut self) -> Result<Expr> {
        self.tuple_of(Self::expression)
    }

    pub(super) fn tuple_of(&mut self, item: Level) -> Result<Expr> {
        let first = item(self)?;
        if !self.is_op(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.op(",") {
            let ends = match self.peek() {
                Some(Token::TagEnd | Token::EmitEnd | Token::Op(")" | "=")) => true,
                _ => self.is_word("if") || self.is_word("recursive"),
            };
            if ends {
                break;
            }
            items.push(item(self)?);
        }
        Ok(Expr::Tuple(items))
    }

    fn or(&mut self) -> Result<Expr> {
        let operands = self.operands("or", |parser| {
            let operands = parser.operands("and", Self::not)?;
            Ok(flat(operands, Expr::And))
        })?;
        Ok(flat(operands, Expr::Or))
    }

    fn operands(&mut self, word: &str, level: Level) -> Result<Vec<Expr>> {
        let mut operands = vec![level(self)?];
        while self.word(word) {
            operands.push(level(self)?);
        }
        Ok(operands)
    }

    fn not(&mut self) -> Result<Expr> {
        if self.word("not") {
            return Ok(Expr::Not(Box::new(self.nested(Self::not)?)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Expr> {
        let first = self.sum()?;
        let mut rest = Vec::new();
        loop {
            let found = COMPARISONS.iter().find(|(op, _)| self.is_op(op));
            let operator = if let Some((_, operator)) = found {
                self.at += 1;
                *operator
            } else if self.word("in") {
                Comparison::In
            } else if self.is_word("not") && self.tokens.get(self.at + 1).is_some_and(is_in) {
                self.at += 2;
                Comparison::NotIn
            } else {
                break;
            };
            rest.push((operator, self.sum()?));
        }
        Ok(if rest.is_empty() {
            first
        } else {
            Expr::Compare(Box::new(first), rest)
        })
    }

    fn sum(&mut self) -> Result<Expr> {
        self.chain(SUMS, |parser| {
            let mut operands = vec![parser.product()?];
            while parser.op("~") {
                operands.push(parser.product()?);
            }
            Ok(flat(operands, Expr::Concat))
        })
    }

    fn product(&mut self) -> Result<Expr> {
        self.chain(PRODUCTS, |parser| {
            parser.chain(POWERS, |parser| parser.unary(true))
        })
    }

    fn chain(&mut self, operators: &[(&'static str, Arithmetic)], level: Level) -> Result<Expr> {
        let first = level(self)?;
        let mut rest = Vec::new();
        while let Some((_, operator)) = operators.iter().find(|(op, _)| self.is_op(op)) {
            self.at += 1;
            rest.push((*operator, level(self)?));
        }
        Ok(if rest.is_empty() {
            first
        } else {
            Expr::Arithmetic(Box::new(first), rest)
        })
    }

    /// Signs and what follows a value. A filter applies to the signed value, `.` and `[]` to the
    /// value.
    fn unary(&mut self, filters: bool) -> Result<Expr> {
        let mut chain = Vec::new();
        let value = if self.is_op("-") || self.is_op("+") {
            let minus = self.is_op("-");
            self.at += 1;
            let value = self.nested(|parser| parser.unary(false))?;
            Expr::Sign(minus, Box::new(value))
        } else {
            let value = self.primary()?;
            self.postfix(&mut chain)?;
            value
        };
        if filters {
            self.filters(&mut chain)?;
        }
        Ok(if chain.is_empty() {
            value
        } else {
            Expr::Postfix(Box::new(value), chain)
        })
    }

    fn primary(&mut self) -> Result<Expr> {
        let Some(token) = self.peek().cloned() else {
            return self.unexpected("an expression");
        };
        self.at += 1;
        Ok(match token {
            Token::Name(name) => match &*name {
                "true" | "True" => Expr::Bool(true),
                "false" | "False" => Expr::Bool(false),
                "none" | "None" => Expr::None,
                _ => Expr::Name(name),
            },
            Token::Str(first) => {
                let mut text = String::new();
                while let Some(Token::Str(more)) = self.peek() {
                    if text.is_empty() {
                        text.push_str(&first);
                    }
                    text.push_str(more);
                    self.at += 1;
                }
                Expr::Str(if text.is_empty() { first } else { text.into() })
            }
            Token::Int(number) => Expr::Int(number),
            Token::Float(number) => Expr::Float(number),
            Token::Op("(") => {
                let inner = if self.is_op(")") {
                    Expr::Tuple(Vec::new())
                } else {
                    self.tuple()?
                };
                self.expect(")")?;
                inner
            }
            Token::Op("[") => Expr::List(self.list("]", Self::expression)?),
            Token::Op("{") => Expr::Dict(self.list("}", |parser| {
                let key = parser.expression()?;
                parser.expect(":")?;
                Ok((key, parser.expression()?))
            })?),
            _ => {
                self.at -= 1;
                return self.unexpected("an expression");
            }
        })
    }

    /// Items with commas between, up to `end`.
    fn list<T>(
        &mut self,
        end: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut items = Vec::new();
        while !self.op(end) {
            if !items.is_empty() {
                self.expect(",")?;
                if self.op(end) {
                    break;
                }
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// `.name`, `[...]` and `(...)`, as many as there are.
    fn postfix(&mut self, chain: &mut Vec<Postfix>) -> Result<()> {
        loop {
            if self.op(".") {
                chain.push(match self.peek().cloned() {
                    Some(Token::Name(name)) => Postfix::Attribute(name),
                    Some(Token::Int(index)) => Postfix::Item(Expr::Int(index)),
                    _ => return self.unexpected("a name"),
                });
                self.at += 1;
            } else if self.op("[") {
                chain.push(self.subscript()?);
            } else if self.is_op("(") {
                chain.push(Postfix::Call(self.arguments()?));
            } else {
                return Ok(());
            }
        }
    }

    fn subscript(&mut self) -> Result<Postfix> {
        let mut parts = [None, None, None];
        let mut n = 0;
        loop {
            if self.op("]") {
                break;
            }
            if self.op(":") {
                n += 1;
                if n == parts.len() {
                    return fail("a slice has at most three parts");
                }
            } else if parts[n].is_none() {
                parts[n] = Some(self.expression()?);
            } else {
                return self.unexpected("`]`");
            }
        }
        let [start, stop, step] = parts;
        match start {
            Some(index) if n == 0 => Ok(Postfix::Item(index)),
            None if n == 0 => fail("an empty subscript"),
            start => Ok(Postfix::Slice(Box::new([start, stop, step]))),
        }
    }

    /// Filters, tests, and calls of what they give.
    pub(super) fn filters(&mut self, chain: &mut Vec<Postfix>) -> Result<()> {
        loop {
            if self.op("|") {
                self.filter(chain)?;
            } else if self.word("is") {
                if matches!(chain.last(), Some(Postfix::Test { .. })) {
                    return fail("two tests in a row: use `and`, or brackets");
                }
                let negated = self.word("not");
                let name = self.dotted()?;
                let args = self.test_arguments()?;
                chain.push(Postfix::Test {
                    name,
                    args,
                    negated,
                });
            } else if !chain.is_empty() && self.is_op("(") {
                chain.push(Postfix::Call(self.arguments()?));
            } else {
                return Ok(());
            }
        }
    }

    /// A filter's name and arguments.
    pub(super) fn filter(&mut self, chain: &mut Vec<Postfix>) -> Result<()> {
        let name = self.dotted()?;
        let args = if self.is_op("(") {
            self.arguments()?
        } else {
            Args::default()
        };
        chain.push(Postfix::Filter(name, args));
        Ok(())
    }

    fn dotted(&mut self) -> Result<Name> {
        let first = self.name()?;
        if !self.is_op(".") {
            return Ok(first);
        }
        let mut name = first.to_string();
        while self.op(".") {
            name.push('.');
            name.push_str(&self.name()?);
        }
        Ok(name.into())
    }

    /// A test takes one argument without brackets too: `x is divisibleby 3`.
    fn test_arguments(&mut self) -> Result<Args> {
        const NO_ARGUMENT: [&str; 7] = ["else", "or", "and", "is", "if", "in", "not"];
        if self.is_op("(") {
            return self.arguments();
        }
        let begins = match self.peek() {
            Some(Token::Name(name)) => !NO_ARGUMENT.contains(&&**name),
            Some(Token::Str(_) | Token::Int(_) | Token::Float(_) | Token::Op("[" | "{")) => true,
            _ => false,
        };
        let mut args = Args::default();
        if begins {
            let value = self.nested(|parser| {
                let value = parser.primary()?;
                let mut chain = Vec::new();
                parser.postfix(&mut chain)?;
                Ok(if chain.is_empty() {
                    value
                } else {
                    Expr::Postfix(Box::new(value), chain)
                })
            })?;
            args.positional.push((value, false));
        }
        Ok(args)
    }

    fn arguments(&mut self) -> Result<Args> {
        self.expect("(")?;
        let mut args = Args::default();
        self.list(")", |parser| {
            if parser.op("**") {
                args.dicts.push(parser.expression()?);
            } else if parser.op("*") {
                args.positional.push((parser.expression()?, true));
            } else if matches!(parser.tokens.get(parser.at + 1), Some((Token::Op("="), _)))
                && matches!(parser.peek(), Some(Token::Name(_)))
            {
                let name = parser.name()?;
                parser.at += 1;
                args.keyword.push((name, parser.expression()?));
            } else if args.keyword.is_empty() {
                args.positional.push((parser.expression()?, false));
            } else {
                return fail("an argument without a name after one with a name");
            }
            Ok(())
        })?;
        Ok(args)
    }
}

fn is_in((token, _): &(Token, u32)) -> bool {
    matches!(token, Token::Name(name) if **name == *"in")
}

/// One operand by itself, several as a chain.
fn flat(mut operands: Vec<Expr>, chain: fn(Vec<Expr>) -> Expr) -> Expr {
    match operands.pop() {
        Some(only) if operands.is_empty() => only,
        last => {
            operands.extend(last);
            chain(operands)
        }
    }
}
