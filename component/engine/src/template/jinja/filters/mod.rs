//! Jinja's filters.

use super::args::{Arguments, wanted};
use super::error::{Result, fail, shown};
use super::limits::Budget;
use super::value::{Dict, Value};
use super::{format, json, methods};

mod lists;
mod numbers;
mod sorting;
mod texts;

/// The filters there are.
pub(super) const NAMES: [&str; 47] = [
    "abs",
    "attr",
    "batch",
    "capitalize",
    "center",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "forceescape",
    "format",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "sort",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "truncate",
    "unique",
    "upper",
    "wordcount",
];

/// `value | name(args)`
pub(super) fn apply(name: &str, value: &Value, args: Arguments, budget: &Budget) -> Result<Value> {
    budget.work(1)?;
    match name {
        "default" | "d" => {
            let [default, boolean] = args.bind(name, ["default_value", "boolean"])?;
            let falsy = boolean.is_some_and(|is| is.is_true()) && !value.is_true();
            Ok(if falsy || matches!(value, Value::Undefined) {
                default.unwrap_or_else(|| "".into())
            } else {
                value.clone()
            })
        }
        "length" | "count" => {
            args.bind::<0>(name, [])?;
            Ok(Value::Int(value.len(budget)? as i64))
        }
        "tojson" => {
            let names = ["ensure_ascii", "indent", "separators", "sort_keys"];
            json::tojson(value, args.bind(name, names)?, budget)
        }
        "items" => {
            args.bind::<0>(name, [])?;
            match value {
                Value::Undefined => Value::list(Vec::new(), budget),
                value => methods::entries(value, name, budget),
            }
        }
        "string" => {
            args.bind::<0>(name, [])?;
            value.to_text(budget)
        }
        // Chat templates do not escape, so that nothing has to be marked as safe.
        "safe" => Ok(value.clone()),
        "pprint" => {
            let mut out = super::limits::Text::new(budget);
            value.write_repr(&mut out)?;
            out.finish()
        }
        "attr" => {
            let [attribute] = args.bind(name, ["name"])?;
            match wanted(attribute, name, "name")? {
                Value::Str(attribute) => value.attribute(&attribute, budget),
                other => fail(format!("attr wants a name, not {}", other.type_name())),
            }
        }
        "format" => match value {
            Value::Str(pattern) if args.keyword.is_empty() => {
                let values = Value::tuple(args.positional, budget)?;
                format::percent(pattern, &values, budget)
            }
            Value::Str(pattern) => {
                let mut names = super::value::DictBuilder::new(budget);
                for (name, value) in args.keyword {
                    names.insert(Value::Str(name), value)?;
                }
                format::percent(pattern, &names.finish()?, budget)
            }
            other => fail(format!("format wants a string, not {}", other.type_name())),
        },
        "first" | "last" | "list" | "reverse" | "join" | "batch" | "slice" | "map" | "select"
        | "reject" | "selectattr" | "rejectattr" => lists::apply(name, value, args, budget),
        "sort" | "unique" | "min" | "max" | "groupby" | "dictsort" => {
            sorting::apply(name, value, args, budget)
        }
        "abs" | "int" | "float" | "round" | "sum" => numbers::apply(name, value, args, budget),
        "capitalize" | "center" | "e" | "escape" | "forceescape" | "indent" | "lower"
        | "replace" | "title" | "trim" | "truncate" | "upper" | "wordcount" => {
            texts::apply(name, value, args, budget)
        }
        _ => fail(format!("there is no filter `{}`", shown(name))),
    }
}

/// The entries of a dict.
fn dict<'v>(value: &'v Value, of: &str) -> Result<&'v Dict> {
    match value {
        Value::Dict(dict) => Ok(dict),
        other => fail(format!("{of} wants a dict, not {}", other.type_name())),
    }
}

/// The key of a filter: the item, or an attribute of it.
fn key(item: &Value, attribute: Option<&Value>, budget: &Budget) -> Result<Value> {
    match attribute {
        None | Some(Value::None) => Ok(item.clone()),
        Some(path) => item.path(path, budget),
    }
}

/// As `key`, with texts in lower case unless the case matters.
fn folded(
    item: &Value,
    attribute: Option<&Value>,
    case_sensitive: bool,
    budget: &Budget,
) -> Result<Value> {
    match key(item, attribute, budget)? {
        Value::Str(text) if !case_sensitive => {
            methods::call(&Value::Str(text), "lower", Arguments::default(), budget)
        }
        other => Ok(other),
    }
}
