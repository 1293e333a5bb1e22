//! Walks a parsed template: statements, scopes and output. Expressions are in [`expressions`],
//! calls of macros in [`calls`].

mod calls;
mod expressions;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{Body, ForLoop, Kind, MacroDef, Name, Target};
use super::error::{Fault, Result, fail};
use super::functions;
use super::limits::{Budget, MAX_CALL_DEPTH, Text};
use super::value::{Callable, Loop, Value};

/// The control flow after a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// The names of one scope.
#[derive(Default)]
struct Frame {
    names: Vec<(Name, Value)>,
    /// The frame around it.
    parent: Option<usize>,
}

/// One rendering.
struct Interpreter<'b> {
    budget: &'b Budget,
    /// The innermost last. A macro's frame has the frame it was defined in as parent, not the one
    /// below.
    frames: Vec<Frame>,
    depth: usize,
}

/// The text of a template with these variables.
pub(super) fn render(
    body: &Body,
    variables: Vec<(Name, Value)>,
    budget: &Budget,
) -> Result<String> {
    let globals = functions::FUNCTIONS
        .iter()
        .filter_map(|(name, _)| Some(((*name).into(), functions::find(name)?)));
    let frame = Frame {
        names: globals.chain(variables).collect(),
        parent: None,
    };
    let mut interpreter = Interpreter {
        budget,
        frames: vec![frame],
        depth: 0,
    };
    let mut out = Text::new(budget);
    interpreter.body(body, &mut out)?;
    Ok(out.into_string())
}

impl<'b> Interpreter<'b> {
    /// One level deeper.
    fn nested<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == MAX_CALL_DEPTH {
            let limit = format!("blocks and calls nest deeper than {MAX_CALL_DEPTH} levels");
            return Err(Fault::Limit(limit).into());
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    /// In a scope of its own, in the frame `parent`.
    fn scope<T>(
        &mut self,
        parent: usize,
        names: Vec<(Name, Value)>,
        run: impl FnOnce(&mut Self) -> Result<T>,
    ) -> Result<T> {
        self.frames.push(Frame {
            names,
            parent: Some(parent),
        });
        let result = run(self);
        self.frames.pop();
        result
    }

    /// The innermost frame.
    fn here(&self) -> usize {
        self.frames.len() - 1
    }

    fn lookup(&self, name: &Name) -> Result<Value> {
        let mut at = Some(self.here());
        while let Some(frame) = at.and_then(|at| self.frames.get(at)) {
            self.budget.work(frame.names.len() / 8)?;
            if let Some((_, value)) = frame.names.iter().find(|(own, _)| own == name) {
                return Ok(value.clone());
            }
            at = frame.parent;
        }
        Ok(Value::Undefined)
    }

    fn assign(&mut self, target: &Target, value: Value) -> Result<()> {
        self.budget.work(1)?;
        match target {
            Target::Name(name) => {
                let here = self.here();
                let names = &mut self.frames[here].names;
                self.budget.work(names.len() / 8)?;
                match names.iter_mut().find(|(own, _)| own == name) {
                    Some(entry) => entry.1 = value,
                    None => {
                        self.budget.slots(1)?;
                        names.push((name.clone(), value));
                    }
                }
                Ok(())
            }
            Target::Attribute(name, attribute) => match self.lookup(name)? {
                Value::Namespace(namespace) => namespace.set(attribute, value, self.budget),
                other => fail(format!(
                    "`{name}.{attribute}` cannot be assigned to: `{name}` is no namespace but {}",
                    other.type_name()
                )),
            },
            Target::Several(targets) => {
                let items = value.items(self.budget)?;
                if items.len() != targets.len() {
                    return fail(format!(
                        "{} values for {} names",
                        items.len(),
                        targets.len()
                    ));
                }
                for (target, item) in targets.iter().zip(items.iter()) {
                    self.assign(target, item.clone())?;
                }
                Ok(())
            }
        }
    }

    /// The statements of a block, into `out`.
    fn body(&mut self, body: &Body, out: &mut Text<'b>) -> Result<Flow> {
        self.nested(|this| {
            for statement in body {
                this.budget.work(1)?;
                let flow = this.statement(&statement.kind, out);
                let flow = flow.map_err(|error| error.at(statement.line))?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    /// The statements of a block as a text of their own.
    fn captured(&mut self, body: &Body) -> Result<Value> {
        let mut text = Text::new(self.budget);
        let here = self.here();
        self.scope(here, Vec::new(), |this| this.body(body, &mut text))?;
        text.finish()
    }

    fn statement(&mut self, statement: &Kind, out: &mut Text<'b>) -> Result<Flow> {
        match statement {
            Kind::Data(text) => out.push(text)?,
            Kind::Emit(expr) => self.eval(expr)?.write_str(out)?,
            Kind::If {
                branches,
                otherwise,
            } => {
                for (test, body) in branches {
                    if self.eval(test)?.is_true() {
                        return self.body(body, out);
                    }
                }
                return self.body(otherwise, out);
            }
            Kind::For(def) => self.for_(def, out)?,
            Kind::Set(target, expr) => {
                let value = self.eval(expr)?;
                self.assign(target, value)?;
            }
            Kind::SetBlock {
                target,
                filters,
                body,
            } => {
                let text = self.captured(body)?;
                let value = self.chain(text, filters)?;
                self.assign(target, value)?;
            }
            Kind::With(assigned, body) => {
                let here = self.here();
                return self.scope(here, Vec::new(), |this| {
                    for (target, expr) in assigned {
                        let value = this.eval(expr)?;
                        this.assign(target, value)?;
                    }
                    this.body(body, out)
                });
            }
            Kind::Macro(def) => {
                let value = self.macro_here(def);
                self.assign(&Target::Name(def.name.clone()), value)?;
            }
            Kind::Call(caller, call) => {
                let caller = self.macro_here(caller);
                self.call_with(call, caller)?.write_str(out)?;
            }
            Kind::Filter(filters, body) => {
                let text = self.captured(body)?;
                self.chain(text, filters)?.write_str(out)?;
            }
            Kind::Scope(body) => {
                let here = self.here();
                return self.scope(here, Vec::new(), |this| this.body(body, out));
            }
            Kind::Do(expr) => {
                self.eval(expr)?;
            }
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn macro_here(&self, def: &Arc<MacroDef>) -> Value {
        Value::Callable(Rc::new(Callable::Macro {
            def: def.clone(),
            scope: self.here(),
        }))
    }

    fn for_(&mut self, def: &Arc<ForLoop>, out: &mut Text<'b>) -> Result<()> {
        let over = self.eval(&def.iterable)?;
        let scope = self.here();
        self.run_loop(def, &over, scope, 0, out)
    }

    /// The iterations of a loop over `over`, in the frame `scope`.
    fn run_loop(
        &mut self,
        def: &Arc<ForLoop>,
        over: &Value,
        scope: usize,
        depth: usize,
        out: &mut Text<'b>,
    ) -> Result<()> {
        let mut items = over.items(self.budget)?;
        if let Some(filter) = &def.filter {
            let mut kept = Vec::new();
            for item in items.iter() {
                let keep = self.scope(scope, Vec::new(), |this| {
                    this.assign(&def.target, item.clone())?;
                    Ok(this.eval(filter)?.is_true())
                })?;
                if keep {
                    kept.push(item.clone());
                }
            }
            items = Value::list(kept, self.budget)?.items(self.budget)?;
        }
        if items.is_empty() {
            let otherwise = &def.otherwise;
            self.scope(scope, Vec::new(), |this| this.body(otherwise, out))?;
            return Ok(());
        }
        let state = Rc::new(Loop {
            def: def.clone(),
            scope,
            items: items.clone(),
            index: Cell::new(0),
            depth,
            changed: RefCell::new(None),
        });
        let name: Name = "loop".into();
        for (at, item) in items.iter().enumerate() {
            state.index.set(at);
            let names = vec![(name.clone(), Value::Loop(state.clone()))];
            let flow = self.scope(scope, names, |this| {
                this.assign(&def.target, item.clone())?;
                this.body(&def.body, out)
            })?;
            if flow == Flow::Break {
                break;
            }
        }
        Ok(())
    }

    /// `loop(...)`: the loop's own body over other items, as a text.
    fn recurse(&mut self, state: &Rc<Loop>, over: &Value) -> Result<Value> {
        if !state.def.recursive {
            return fail("only a `recursive` loop can be called");
        }
        let mut text = Text::new(self.budget);
        let scope = state.scope.min(self.here());
        self.nested(|this| this.run_loop(&state.def, over, scope, state.depth + 1, &mut text))
            .map_err(|error| error.at(state.def.line))?;
        text.finish()
    }
}
