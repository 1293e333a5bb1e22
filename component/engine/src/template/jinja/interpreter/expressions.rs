//! Expressions as values.

use std::cmp::Ordering;

use super::super::ast::{Arithmetic, Comparison, Expr, Postfix};
use super::super::error::{Result, fail, shown};
use super::super::limits::Text;
use super::super::value::{DictBuilder, Value};
use super::super::{arithmetic, checks, filters, methods, slices};
use super::Interpreter;

impl Interpreter<'_> {
    /// The value of an expression.
    pub(super) fn eval(&mut self, expr: &Expr) -> Result<Value> {
        self.budget.work(1)?;
        match expr {
            Expr::None => Ok(Value::None),
            Expr::Bool(is) => Ok(Value::Bool(*is)),
            Expr::Int(number) => Ok(Value::Int(*number)),
            Expr::Float(number) => Ok(Value::Float(*number)),
            Expr::Str(text) => Ok(Value::Str(text.clone())),
            Expr::Name(name) => self.lookup(name),
            inner => self.nested(|this| this.eval_inner(inner)),
        }
    }

    /// Values that wait for the last of them: many would be much memory in a macro that calls
    /// itself.
    pub(super) fn many(&self, n: usize) -> Result<()> {
        const FEW: usize = 16;
        if n > FEW {
            self.budget.slots(n)?;
        }
        Ok(())
    }

    fn all(&mut self, exprs: &[Expr]) -> Result<Vec<Value>> {
        self.many(exprs.len())?;
        exprs.iter().map(|expr| self.eval(expr)).collect()
    }

    /// Evaluates an expression with operands.
    fn eval_inner(&mut self, expr: &Expr) -> Result<Value> {
        match expr {
            Expr::List(items) => Value::list(self.all(items)?, self.budget),
            Expr::Tuple(items) => Value::tuple(self.all(items)?, self.budget),
            Expr::Dict(entries) => {
                let mut dict = DictBuilder::new(self.budget);
                for (key, value) in entries {
                    dict.insert(self.eval(key)?, self.eval(value)?)?;
                }
                dict.finish()
            }
            Expr::Not(operand) => Ok(Value::Bool(!self.eval(operand)?.is_true())),
            Expr::Sign(minus, operand) => {
                let factor = Value::Int(if *minus { -1 } else { 1 });
                let value = self.eval(operand)?;
                if value.number().is_none() {
                    value.as_int()?;
                }
                arithmetic::apply(Arithmetic::Mul, &factor, &value, self.budget)
            }
            Expr::Or(operands) => self.first(operands, true),
            Expr::And(operands) => self.first(operands, false),
            Expr::Compare(first, rest) => self.compare(first, rest),
            Expr::Arithmetic(first, rest) => {
                let mut value = self.eval(first)?;
                for (op, operand) in rest {
                    let operand = self.eval(operand)?;
                    value = arithmetic::apply(*op, &value, &operand, self.budget)?;
                }
                Ok(value)
            }
            Expr::Concat(operands) => {
                let mut text = Text::new(self.budget);
                for operand in operands {
                    self.eval(operand)?.write_str(&mut text)?;
                }
                text.finish()
            }
            Expr::If(branches, otherwise) => {
                for (value, test) in branches {
                    if self.eval(test)?.is_true() {
                        return self.eval(value);
                    }
                }
                match otherwise {
                    Some(otherwise) => self.eval(otherwise),
                    None => Ok(Value::Undefined),
                }
            }
            Expr::Postfix(of, chain) => {
                let value = self.eval(of)?;
                if let (Value::Undefined, Expr::Name(name)) = (&value, &**of)
                    && !matches!(
                        chain.first(),
                        Some(Postfix::Filter(..) | Postfix::Test { .. })
                    )
                {
                    return fail(format!("`{}` is undefined", shown(name)));
                }
                self.chain(value, chain)
            }
            // `eval` has these.
            leaf => self.eval(leaf),
        }
    }

    /// The first operand whose truth is `truth`, or the last one.
    fn first(&mut self, operands: &[Expr], truth: bool) -> Result<Value> {
        let mut value = Value::Undefined;
        for operand in operands {
            value = self.eval(operand)?;
            if value.is_true() == truth {
                break;
            }
        }
        Ok(value)
    }

    fn compare(&mut self, first: &Expr, rest: &[(Comparison, Expr)]) -> Result<Value> {
        let budget = self.budget;
        let mut left = self.eval(first)?;
        for (op, right) in rest {
            let right = self.eval(right)?;
            let order = |wanted: &[Ordering]| -> Result<bool> {
                let order = left.compare(&right, budget)?;
                Ok(order.is_some_and(|order| wanted.contains(&order)))
            };
            let holds = match op {
                Comparison::Eq => left.equals(&right, budget)?,
                Comparison::Ne => !left.equals(&right, budget)?,
                Comparison::Lt => order(&[Ordering::Less])?,
                Comparison::Le => order(&[Ordering::Less, Ordering::Equal])?,
                Comparison::Gt => order(&[Ordering::Greater])?,
                Comparison::Ge => order(&[Ordering::Greater, Ordering::Equal])?,
                Comparison::In => left.is_in(&right, budget)?,
                Comparison::NotIn => !left.is_in(&right, budget)?,
            };
            if !holds {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    /// Evaluates the chain after a value: attributes, items, calls, filters and tests, from left to
    /// right.
    pub(super) fn chain(&mut self, of: Value, chain: &[Postfix]) -> Result<Value> {
        let mut value = of;
        let mut rest = chain.iter().peekable();
        while let Some(link) = rest.next() {
            self.budget.work(1)?;
            value = match link {
                Postfix::Attribute(name) => match rest.peek() {
                    // The usual call of a method needs no value for the method.
                    Some(Postfix::Call(args)) if methods::exists(&value, name) => {
                        rest.next();
                        let args = self.arguments(args)?;
                        self.method(&value, name, args)?
                    }
                    _ => value.attribute(name, self.budget)?,
                },
                Postfix::Item(key) => {
                    let key = self.eval(key)?;
                    value.item(&key, self.budget)?
                }
                Postfix::Slice(bounds) => {
                    let mut values = [Value::None, Value::None, Value::None];
                    for (value, bound) in values.iter_mut().zip(bounds.iter()) {
                        if let Some(bound) = bound {
                            *value = self.eval(bound)?;
                        }
                    }
                    slices::slice(&value, &values, self.budget)?
                }
                Postfix::Call(args) => {
                    let args = self.arguments(args)?;
                    self.call(&value, args)?
                }
                Postfix::Filter(name, args) => {
                    let args = self.arguments(args)?;
                    filters::apply(name, &value, args, self.budget)?
                }
                Postfix::Test {
                    name,
                    args,
                    negated,
                } => {
                    let args = self.arguments(args)?;
                    let holds = checks::holds(name, &value, args, self.budget)?;
                    Value::Bool(holds != *negated)
                }
            };
        }
        Ok(value)
    }
}
