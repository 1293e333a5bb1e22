//! Calls: of macros, with their parameters, and of everything else that can be called.

use std::rc::Rc;
use std::sync::Arc;

use super::super::args::Arguments;
use super::super::ast::{Args, Expr, MacroDef, Name, Postfix};
use super::super::error::{Result, fail};
use super::super::limits::Text;
use super::super::value::{Callable, DictBuilder, Value};
use super::super::{functions, loops, methods};
use super::Interpreter;

impl Interpreter<'_> {
    /// The arguments' values.
    pub(super) fn arguments(&mut self, args: &Args) -> Result<Arguments> {
        let mut arguments = Arguments::default();
        self.many(args.positional.len() + args.keyword.len())?;
        for (expr, spread) in &args.positional {
            let value = self.eval(expr)?;
            if *spread {
                let items = value.items(self.budget)?;
                self.budget.slots(items.len())?;
                arguments.positional.extend(items.iter().cloned());
            } else {
                arguments.positional.push(value);
            }
        }
        for (name, expr) in &args.keyword {
            arguments.keyword.push((name.clone(), self.eval(expr)?));
        }
        for expr in &args.dicts {
            let value = self.eval(expr)?;
            let Value::Dict(dict) = &value else {
                return fail(format!("`**` wants a dict, not {}", value.type_name()));
            };
            self.budget.slots(2 * dict.len())?;
            for (key, value) in dict.iter() {
                match key {
                    Value::Str(name) => arguments.keyword.push((name.clone(), value.clone())),
                    _ => return fail("`**` wants a dict with names as keys"),
                }
            }
        }
        Ok(arguments)
    }

    /// `{% call %}`: the last call of the expression knows `caller`.
    pub(super) fn call_with(&mut self, call: &Expr, caller: Value) -> Result<Value> {
        let Expr::Postfix(of, chain) = call else {
            return fail("`{% call %}` wants a call of a macro");
        };
        let Some((Postfix::Call(args), before)) = chain.split_last() else {
            return fail("`{% call %}` wants a call of a macro");
        };
        let of = self.eval(of)?;
        let of = self.chain(of, before)?;
        let mut arguments = self.arguments(args)?;
        arguments.keyword.push(("caller".into(), caller));
        self.call(&of, arguments)
    }

    pub(super) fn call(&mut self, of: &Value, args: Arguments) -> Result<Value> {
        self.budget.work(1)?;
        match of {
            Value::Callable(callable) => match &**callable {
                Callable::Function(function) => functions::call(*function, args, self.budget),
                Callable::Macro { def, scope } => self.call_macro(def, *scope, args),
                Callable::Method { of, name } => self.method(of, name, args),
            },
            Value::Loop(state) => {
                let [over] = args.bind("loop", ["iterable"])?;
                self.recurse(&Rc::clone(state), &over.unwrap_or(Value::Undefined))
            }
            Value::Undefined => fail("what is called is undefined"),
            other => fail(format!("'{}' object is not callable", other.type_name())),
        }
    }

    pub(super) fn method(&mut self, of: &Value, name: &Arc<str>, args: Arguments) -> Result<Value> {
        match of {
            Value::Loop(state) => loops::method(state, name, args, self.budget),
            of => methods::call(of, name, args, self.budget),
        }
    }

    fn call_macro(&mut self, def: &Arc<MacroDef>, scope: usize, args: Arguments) -> Result<Value> {
        // The frame it was defined in may be gone, where a namespace kept the macro.
        let scope = scope.min(self.here());
        let (n, given) = (def.parameters.len(), args.positional.len());
        let mut keyword = args.keyword;
        let mut names: Vec<(Name, Value)> = Vec::with_capacity(n + 1);
        let mut positional = args.positional.into_iter();
        self.budget.work(n * (1 + keyword.len() / 8))?;
        let mut missing = Vec::new();
        for (at, (name, _)) in def.parameters.iter().enumerate() {
            let by_name = keyword.iter().position(|(own, _)| own == name);
            let value = match (positional.next(), by_name) {
                (Some(_), Some(_)) => return fail(format!("two values for `{name}`")),
                (Some(value), None) => value,
                (None, Some(found)) => keyword.swap_remove(found).1,
                (None, None) => {
                    missing.push(at);
                    continue;
                }
            };
            names.push((name.clone(), value));
        }
        let caller = keyword.iter().position(|(name, _)| **name == *"caller");
        if let Some(at) = caller {
            names.push(keyword.swap_remove(at));
        }
        let varargs: Vec<Value> = positional.collect();
        if !varargs.is_empty() && !def.varargs {
            return fail(format!(
                "macro '{}' takes not more than {n} arguments, not {given}",
                def.name
            ));
        }
        if let Some((name, _)) = keyword.first().filter(|_| !def.kwargs) {
            return fail(format!("macro '{}' has no argument `{name}`", def.name));
        }
        if def.varargs {
            names.push(("varargs".into(), Value::tuple(varargs, self.budget)?));
        }
        if def.kwargs {
            let mut kwargs = DictBuilder::new(self.budget);
            for (name, value) in keyword {
                kwargs.insert(Value::Str(name), value)?;
            }
            names.push(("kwargs".into(), kwargs.finish()?));
        }
        let mut text = Text::new(self.budget);
        self.scope(scope, names, |this| {
            for at in missing {
                let (name, default) = &def.parameters[at];
                let value = match default {
                    Some(default) => this.eval(default)?,
                    None => Value::Undefined,
                };
                let here = this.here();
                this.frames[here].names.push((name.clone(), value));
            }
            this.body(&def.body, &mut text)
        })?;
        text.finish()
    }
}
