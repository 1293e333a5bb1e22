//! Values of a template: Python's, as far as chat templates see them.
//!
//! Lists and dicts never change once they are made, and each knows how deep it nests. Only a
//! namespace changes, and what it holds is shallower than itself, so that no value contains itself:
//! walking and dropping values recurses [`MAX_VALUE_DEPTH`] levels at most.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{ForLoop, MacroDef};
use super::error::{Result, fail, shown};
use super::limits::{Budget, MAX_HELD_DEPTH, MAX_VALUE_DEPTH, OBJECT_BYTES};

#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// The value of an undefined name.
    Undefined,
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(Arc<str>),
    List(Rc<Seq>),
    Tuple(Rc<Seq>),
    Dict(Rc<Dict>),
    Namespace(Rc<Namespace>),
    /// `loop`, inside of a `for`.
    Loop(Rc<Loop>),
    Callable(Rc<Callable>),
}

/// Items of a list or a tuple.
#[derive(Debug, Default)]
pub(crate) struct Seq {
    items: Vec<Value>,
    depth: u8,
}

/// Keys with their values, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Dict {
    entries: Vec<(Value, Value)>,
    depth: u8,
}

/// `namespace(...)`: the only thing that can be assigned to from an inner scope.
#[derive(Debug, Default)]
pub(crate) struct Namespace {
    attributes: RefCell<Vec<(Arc<str>, Value)>>,
}

/// The state of a `for`.
#[derive(Debug)]
pub(crate) struct Loop {
    pub(super) def: Arc<ForLoop>,
    /// The frame around the `for`.
    pub(super) scope: usize,
    pub(super) items: Rc<Seq>,
    pub(super) index: Cell<usize>,
    /// Loops of the same `for` around this one.
    pub(super) depth: usize,
    /// The last argument of `loop.changed`.
    pub(super) changed: RefCell<Option<Value>>,
}

#[derive(Debug)]
pub(crate) enum Callable {
    Function(Function),
    Macro {
        def: Arc<MacroDef>,
        /// The frame it was defined in.
        scope: usize,
    },
    Method {
        of: Value,
        name: Arc<str>,
    },
}

/// The functions that a template finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    Range,
    Dict,
    Namespace,
    RaiseException,
    StrftimeNow,
}

impl std::ops::Deref for Seq {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.items
    }
}

impl std::ops::Deref for Dict {
    type Target = [(Value, Value)];

    fn deref(&self) -> &[(Value, Value)] {
        &self.entries
    }
}

fn deeper(depth: u8) -> Result<u8> {
    if depth >= MAX_VALUE_DEPTH {
        return fail(format!(
            "lists and dicts nest deeper than {MAX_VALUE_DEPTH} levels"
        ));
    }
    Ok(depth + 1)
}

impl Seq {
    /// Items that are accounted for already.
    pub(super) fn new(items: Vec<Value>) -> Result<Rc<Seq>> {
        let depth = items.iter().map(Value::depth).max().unwrap_or(0);
        let depth = deeper(depth)?;
        Ok(Rc::new(Seq { items, depth }))
    }
}

impl Dict {
    /// The value of a key.
    pub(super) fn get(&self, key: &Value, budget: &Budget) -> Result<Option<&Value>> {
        budget.work(self.entries.len() / 4)?;
        for (own, value) in &self.entries {
            let is = match (own, key) {
                (Value::Str(a), Value::Str(b)) => a == b,
                (Value::Str(_), _) | (_, Value::Str(_)) => false,
                (own, key) => own.equals(key, budget)?,
            };
            if is {
                return Ok(Some(value));
            }
        }
        Ok(None)
    }

    pub(super) fn get_str(&self, key: &str) -> Option<&Value> {
        let is = |own: &Value| matches!(own, Value::Str(own) if **own == *key);
        self.entries
            .iter()
            .find(|(own, _)| is(own))
            .map(|(_, value)| value)
    }
}

/// A dict in the making.
pub(super) struct DictBuilder<'b> {
    dict: Dict,
    budget: &'b Budget,
}

impl<'b> DictBuilder<'b> {
    pub(super) fn new(budget: &'b Budget) -> Self {
        DictBuilder {
            dict: Dict::default(),
            budget,
        }
    }

    /// As Python: a key that is there keeps its place and gets the new value.
    pub(super) fn insert(&mut self, key: Value, value: Value) -> Result<()> {
        match &key {
            Value::List(_) | Value::Dict(_) | Value::Namespace(_) => {
                return fail(format!("unhashable type: '{}'", key.type_name()));
            }
            _ => {}
        }
        self.budget.work(self.dict.len() / 4)?;
        for entry in &mut self.dict.entries {
            if entry.0.equals(&key, self.budget)? {
                entry.1 = value;
                return Ok(());
            }
        }
        self.budget.slots(2)?;
        self.dict.entries.push((key, value));
        Ok(())
    }

    pub(super) fn extend(&mut self, dict: &Dict) -> Result<()> {
        for (key, value) in dict.iter() {
            self.insert(key.clone(), value.clone())?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Value> {
        let entries = self.dict.entries.iter();
        let depth = entries.map(|(key, value)| key.depth().max(value.depth()));
        self.dict.depth = deeper(depth.max().unwrap_or(0))?;
        Ok(Value::Dict(Rc::new(self.dict)))
    }
}

impl Namespace {
    pub(super) fn get(&self, name: &str) -> Option<Value> {
        let attributes = self.attributes.borrow();
        let found = attributes.iter().find(|(own, _)| **own == *name);
        found.map(|(_, value)| value.clone())
    }

    pub(super) fn set(&self, name: &Arc<str>, value: Value, budget: &Budget) -> Result<()> {
        if value.depth() > MAX_HELD_DEPTH {
            return fail(format!(
                "a namespace can hold neither a namespace nor more than {MAX_HELD_DEPTH} levels of lists and dicts"
            ));
        }
        let mut attributes = self.attributes.borrow_mut();
        budget.work(attributes.len() / 4)?;
        // The old value is dropped after the borrow: it holds no namespace, but nothing has to rely
        // on that.
        let old = match attributes.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => std::mem::replace(own, value),
            None => {
                budget.slots(2)?;
                attributes.push((name.clone(), value));
                Value::None
            }
        };
        drop(attributes);
        drop(old);
        Ok(())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Str(text.into())
    }
}

impl Value {
    /// A list of new values.
    pub(super) fn list(items: Vec<Value>, budget: &Budget) -> Result<Value> {
        budget.slots(items.len())?;
        Ok(Value::List(Seq::new(items)?))
    }

    pub(super) fn tuple(items: Vec<Value>, budget: &Budget) -> Result<Value> {
        budget.slots(items.len())?;
        Ok(Value::Tuple(Seq::new(items)?))
    }

    /// A copy of a part of a text.
    pub(super) fn text(text: &str, budget: &Budget) -> Result<Value> {
        budget.make(text.len() + OBJECT_BYTES)?;
        Ok(text.into())
    }

    pub(super) fn bound(of: Value, name: &Arc<str>, budget: &Budget) -> Result<Value> {
        deeper(of.depth())?;
        budget.make(OBJECT_BYTES)?;
        Ok(Value::Callable(Rc::new(Callable::Method {
            of,
            name: name.clone(),
        })))
    }

    /// Its nesting depth: 0 for a value that holds no other.
    pub(super) fn depth(&self) -> u8 {
        match self {
            Value::List(items) | Value::Tuple(items) => items.depth,
            Value::Dict(dict) => dict.depth,
            Value::Namespace(_) => MAX_HELD_DEPTH + 1,
            // Its items may be as deep as values get.
            Value::Loop(_) => MAX_VALUE_DEPTH,
            Value::Callable(callable) => match &**callable {
                Callable::Method { of, .. } => of.depth() + 1,
                _ => 0,
            },
            _ => 0,
        }
    }

    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Undefined | Value::None => false,
            Value::Bool(is) => *is,
            Value::Int(number) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Str(text) => !text.is_empty(),
            Value::List(items) | Value::Tuple(items) => !items.is_empty(),
            Value::Dict(dict) => !dict.is_empty(),
            Value::Namespace(_) | Value::Loop(_) | Value::Callable(_) => true,
        }
    }

    /// Python's name of the type, for messages.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Undefined => "Undefined",
            Value::None => "NoneType",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Float(_) => "float",
            Value::Str(_) => "str",
            Value::List(_) => "list",
            Value::Tuple(_) => "tuple",
            Value::Dict(_) => "dict",
            Value::Namespace(_) => "Namespace",
            Value::Loop(_) => "LoopContext",
            Value::Callable(_) => "function",
        }
    }

    pub(super) fn as_str(&self) -> Result<&str> {
        match self {
            Value::Str(text) => Ok(text),
            other => fail(format!("a string is wanted, not {}", other.type_name())),
        }
    }

    pub(super) fn as_int(&self) -> Result<i64> {
        match self {
            Value::Int(number) => Ok(*number),
            Value::Bool(is) => Ok(i64::from(*is)),
            other => fail(format!("an integer is wanted, not {}", other.type_name())),
        }
    }

    /// As a number of things: what is negative counts as none.
    pub(super) fn as_count(&self) -> Result<usize> {
        Ok(usize::try_from(self.as_int()?.max(0)).unwrap_or(usize::MAX))
    }

    /// The sequence a `for` iterates over: items, keys, characters.
    pub(super) fn items(&self, budget: &Budget) -> Result<Rc<Seq>> {
        budget.work(1)?;
        let items: Vec<Value> = match self {
            Value::List(items) | Value::Tuple(items) => return Ok(items.clone()),
            Value::Undefined => Vec::new(),
            Value::Dict(dict) => {
                budget.slots(dict.len())?;
                dict.iter().map(|(key, _)| key.clone()).collect()
            }
            Value::Str(text) => {
                let n = text.chars().count();
                budget.slots(n.saturating_mul(2))?;
                text.chars()
                    .map(|c| Value::from(&*c.encode_utf8(&mut [0; 4])))
                    .collect()
            }
            other => return fail(format!("'{}' object is not iterable", other.type_name())),
        };
        Seq::new(items)
    }

    /// Python's `len`.
    pub(super) fn len(&self, budget: &Budget) -> Result<usize> {
        match self {
            Value::Undefined => Ok(0),
            Value::Str(text) => {
                budget.read(text.len())?;
                Ok(text.chars().count())
            }
            Value::List(items) | Value::Tuple(items) => Ok(items.len()),
            Value::Dict(dict) => Ok(dict.len()),
            Value::Loop(state) => Ok(state.items.len()),
            other => fail(format!("'{}' object has no length", other.type_name())),
        }
    }

    /// `obj.name`: Python's attribute before a dict's key of the same name.
    pub(super) fn attribute(&self, name: &Arc<str>, budget: &Budget) -> Result<Value> {
        let found = match self {
            Value::Undefined => {
                return fail(format!("what has `.{}` is undefined", shown(name)));
            }
            _ if super::methods::exists(self, name) => {
                return Value::bound(self.clone(), name, budget);
            }
            Value::Dict(dict) => {
                budget.work(dict.len() / 4)?;
                dict.get_str(name).cloned()
            }
            Value::Namespace(namespace) => namespace.get(name),
            Value::Loop(state) => super::loops::attribute(state, name),
            Value::Callable(callable) => match &**callable {
                Callable::Macro { def, .. } if **name == *"name" => {
                    Some(Value::Str(def.name.clone()))
                }
                _ => None,
            },
            _ => None,
        };
        Ok(found.unwrap_or(Value::Undefined))
    }

    /// `obj[key]`: a key or an index before an attribute of the same name.
    pub(super) fn item(&self, key: &Value, budget: &Budget) -> Result<Value> {
        let found = match (self, key) {
            (Value::Undefined, _) => return fail("what is subscripted is undefined"),
            (Value::Dict(dict), key) => dict.get(key, budget)?.cloned(),
            (Value::List(items) | Value::Tuple(items), Value::Int(index)) => {
                at(*index, items.len()).map(|at| items[at].clone())
            }
            (Value::Str(text), Value::Int(index)) => {
                let at = at(*index, self.len(budget)?);
                let c = at.and_then(|at| text.chars().nth(at));
                c.map(|c| Value::from(&*c.encode_utf8(&mut [0; 4])))
            }
            _ => None,
        };
        match (found, key) {
            (Some(value), _) => Ok(value),
            (None, Value::Str(name)) => self.attribute(name, budget),
            (None, _) => Ok(Value::Undefined),
        }
    }

    /// An attribute's path as filters take it: `a.b.0`, or an index.
    pub(super) fn path(&self, path: &Value, budget: &Budget) -> Result<Value> {
        let Value::Str(path) = path else {
            return self.item(path, budget);
        };
        budget.read(path.len())?;
        let mut value = self.clone();
        for part in path.split('.') {
            let key = match part.parse::<i64>() {
                Ok(index) => Value::Int(index),
                Err(_) => part.into(),
            };
            value = value.item(&key, budget)?;
        }
        Ok(value)
    }
}

/// An index from either end.
pub(super) fn at(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 {
        index.checked_add(i64::try_from(len).ok()?)?
    } else {
        index
    };
    usize::try_from(index).ok().filter(|at| *at < len)
}
