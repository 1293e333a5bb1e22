//! Python's equality and order of values.

use std::cmp::Ordering;
use std::rc::Rc;

use super::error::{Result, fail};
use super::limits::Budget;
use super::value::Value;

impl Value {
    /// A number as a float, if it is one.
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Value::Bool(is) => Some(f64::from(u8::from(*is))),
            Value::Int(number) => Some(*number as f64),
            Value::Float(number) => Some(*number),
            _ => None,
        }
    }

    /// Python's `==`.
    pub(super) fn equals(&self, other: &Value, budget: &Budget) -> Result<bool> {
        budget.work(1)?;
        Ok(match (self, other) {
            (Value::Undefined, Value::Undefined) | (Value::None, Value::None) => true,
            (Value::Str(a), Value::Str(b)) => {
                budget.read(a.len().min(b.len()))?;
                a == b
            }
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(b.iter()) {
                    if !a.equals(b, budget)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Dict(a), Value::Dict(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (key, value) in a.iter() {
                    match b.get(key, budget)? {
                        Some(other) if value.equals(other, budget)? => {}
                        _ => return Ok(false),
                    }
                }
                true
            }
            (Value::Namespace(a), Value::Namespace(b)) => Rc::ptr_eq(a, b),
            (Value::Loop(a), Value::Loop(b)) => Rc::ptr_eq(a, b),
            (Value::Callable(a), Value::Callable(b)) => Rc::ptr_eq(a, b),
            (a, b) => match (a.number(), b.number()) {
                (Some(a), Some(b)) => a == b,
                _ => false,
            },
        })
    }

    /// Python's `<`, `==` or `>`; `None` between numbers one of which is none.
    ///
    /// # Errors
    /// Values that Python does not order.
    pub(super) fn compare(&self, other: &Value, budget: &Budget) -> Result<Option<Ordering>> {
        budget.work(1)?;
        match (self, other) {
            (Value::Str(a), Value::Str(b)) => {
                budget.read(a.len().min(b.len()))?;
                Ok(Some(a.cmp(b)))
            }
            (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
            (Value::List(a), Value::List(b)) | (Value::Tuple(a), Value::Tuple(b)) => {
                for (a, b) in a.iter().zip(b.iter()) {
                    if !a.equals(b, budget)? {
                        return a.compare(b, budget);
                    }
                }
                Ok(Some(a.len().cmp(&b.len())))
            }
            (a, b) => match (a.number(), b.number()) {
                (Some(x), Some(y)) => Ok(x.partial_cmp(&y)),
                _ => fail(format!(
                    "'{}' and '{}' have no order",
                    a.type_name(),
                    b.type_name()
                )),
            },
        }
    }

    /// Python's `self in container`.
    pub(super) fn is_in(&self, container: &Value, budget: &Budget) -> Result<bool> {
        match container {
            Value::Str(text) => {
                let Value::Str(part) = self else {
                    return fail(format!(
                        "'in <string>' wants a string on its left, not {}",
                        self.type_name()
                    ));
                };
                budget.read(text.len())?;
                Ok(text.contains(&**part))
            }
            Value::Dict(dict) => Ok(dict.get(self, budget)?.is_some()),
            other => {
                for item in other.items(budget)?.iter() {
                    if item.equals(self, budget)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
        }
    }
}

/// Merge sort, stable: unlike the standard library's, its comparisons may fail, and an order that
/// is none (numbers that are not) does no harm.
pub(super) fn sort<T: Clone>(
    mut items: Vec<T>,
    budget: &Budget,
    compare: &mut dyn FnMut(&T, &T) -> Result<Ordering>,
) -> Result<Vec<T>> {
    let mut width = 1;
    while width < items.len() {
        budget.slots(items.len())?;
        let mut merged = Vec::with_capacity(items.len());
        for pair in items.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let ([a, ..], [b, ..]) = (left, right) {
                if compare(a, b)? == Ordering::Greater {
                    merged.push(b.clone());
                    right = &right[1..];
                } else {
                    merged.push(a.clone());
                    left = &left[1..];
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        items = merged;
        width *= 2;
    }
    Ok(items)
}
