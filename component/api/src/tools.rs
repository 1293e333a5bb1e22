//! The functions that a chat may call: `tools`, `tool_choice` and `parallel_tool_calls`.
//!
//! Whether the model's chat template has a place for them is the engine's to say; here it is
//! OpenAI's schema. What a function's object holds besides goes to the template as it was sent.

use crate::{
    call_grammar::{Calls, Demand, Function},
    error::{ApiError, shorten},
    fields::Object,
    known::{self, Place},
    raw::Raw,
};
use serde_json::Value;

/// Functions of one request.
const MAX_TOOLS: usize = 256;
/// Bytes of a function's name.
const MAX_NAME_BYTES: usize = 256;

/// The functions of a chat.
#[derive(Debug, Default, PartialEq)]
pub struct Tools {
    /// `tools` as it was sent; absent where none may be called.
    pub json: Option<String>,
    /// The answer ends after its first call.
    pub one_call: bool,
    /// What calls are held to.
    pub calls: Calls,
}

/// The functions that the model is told of. `raw` is the body's text.
pub fn tools(body: &Object<'_>, raw: Raw<'_>) -> Result<Tools, ApiError> {
    let tools = match body.get("tools") {
        None => &[][..],
        Some(Value::Array(tools)) => tools,
        Some(other) => {
            let path = body.path("tools");
            return Err(ApiError::invalid_type(path, "an array of functions", other));
        }
    };
    let path = body.path("tools");
    if tools.len() > MAX_TOOLS {
        let why = format!("at most {MAX_TOOLS} functions, but got {}", tools.len());
        return Err(ApiError::invalid_value(path, &why));
    }
    let listed = body.objects("tools", raw, "an array of functions")?;
    let mut functions = Vec::new();
    for tool in listed.into_iter().flatten() {
        let (tool, raw) = tool?;
        functions.push(function(&tool, raw)?);
    }
    let choice = choice(body)?;
    let wanted = choice != Choice::None && !tools.is_empty();
    let parallel = body.get("parallel_tool_calls").is_none() || body.flag("parallel_tool_calls")?;
    let json = raw.field("tools").filter(|_| wanted);
    let one_call = wanted && (!parallel || matches!(choice, Choice::Named(_)));
    Ok(Tools {
        one_call,
        json: json.map(|json| json.text().to_owned()),
        calls: calls(body, choice, functions, one_call)?,
    })
}

/// What calls are held to: the functions that must be called, or those of which a call is strict.
fn calls(
    body: &Object<'_>,
    choice: Choice<'_>,
    mut functions: Vec<Function>,
    one: bool,
) -> Result<Calls, ApiError> {
    let path = body.path("tool_choice");
    let demand = match choice {
        Choice::None => return Ok(Calls::default()),
        Choice::Auto if functions.iter().any(|function| function.strict) => Demand::IfCalled,
        Choice::Auto => Demand::Free,
        Choice::Required if functions.is_empty() => {
            return Err(ApiError::invalid_value(
                path,
                "it needs functions in 'tools'",
            ));
        }
        Choice::Required => Demand::Calls,
        Choice::Named(name) => {
            functions.retain(|function| function.name == name);
            if functions.is_empty() {
                let why = format!("'tools' has no function of the name '{}'", shorten(name));
                return Err(ApiError::invalid_value(path, &why));
            }
            Demand::Calls
        }
    };
    Ok(Calls {
        demand,
        functions,
        one,
        answer: None,
    })
}

fn function(tool: &Object<'_>, raw: Raw<'_>) -> Result<Function, ApiError> {
    match tool.string("type")? {
        Some("function") => {}
        Some(_) => {
            let accepted = "only tools of the type 'function' are";
            return Err(ApiError::unsupported(tool.path("type"), accepted));
        }
        None => return Err(ApiError::missing(tool.path("type"))),
    }
    known::check(tool, Place::Tool)?;
    let function = tool
        .object("function")?
        .ok_or_else(|| ApiError::missing(tool.path("function")))?;
    let path = function.path("name");
    let name = function
        .string("name")?
        .ok_or_else(|| ApiError::missing(path.clone()))?;
    if name.is_empty() || name.len() > MAX_NAME_BYTES || name.chars().any(char::is_control) {
        let why = format!("a name has 1 to {MAX_NAME_BYTES} bytes and no control characters");
        return Err(ApiError::invalid_value(path, &why));
    }
    function.string("description")?;
    let parameters = function.object("parameters")?;
    let raw = raw
        .field("function")
        .and_then(|raw| raw.field("parameters"));
    Ok(Function {
        name: name.to_owned(),
        parameters: raw
            .filter(|_| parameters.is_some())
            .map(|raw| raw.text().to_owned()),
        // Some clients say it of the tool.
        strict: function.flag("strict")? || tool.flag("strict")?,
    })
}

/// Who decides whether functions are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice<'a> {
    /// None may be.
    None,
    /// The model.
    Auto,
    /// The client: one or several.
    Required,
    /// The client: the one of this name.
    Named(&'a str),
}

fn choice<'a>(body: &'a Object<'_>) -> Result<Choice<'a>, ApiError> {
    const FORMS: &str = "\"auto\", \"none\", \"required\" or a function";
    let path = body.path("tool_choice");
    match body.get("tool_choice") {
        None => Ok(Choice::Auto),
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => Ok(Choice::Auto),
            "none" => Ok(Choice::None),
            "required" | "any" => Ok(Choice::Required),
            other => {
                let why = format!("expected {FORMS}, but got '{}'", shorten(other));
                Err(ApiError::invalid_value(path, &why))
            }
        },
        Some(Value::Object(fields)) => {
            let kind = fields.get("type").and_then(Value::as_str);
            let name = fields
                .get("function")
                .and_then(|function| function.get("name"));
            match (kind, name) {
                (Some("function"), Some(Value::String(name))) => Ok(Choice::Named(name)),
                (Some("function"), _) => Err(ApiError::missing(format!("{path}.function.name"))),
                _ => {
                    let why = "of objects only {\"type\": \"function\", \"function\": {\"name\": NAME}} is";
                    Err(ApiError::unsupported(path, why))
                }
            }
        }
        Some(other) => Err(ApiError::invalid_type(path, FORMS, other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(body: &str) -> Result<Tools, ApiError> {
        let value: Value = serde_json::from_str(body).unwrap();
        tools(&Object::top(&value).unwrap(), Raw::new(body))
    }

    const TOOL: &str = r#"{ "type":"function","function":{"parameters":{"z":1.0,"a":{}},"name":"f","strict":true,"x":[]}}"#;

    #[test]
    fn functions_are_passed_on_as_they_are_written() {
        let json = format!("[{TOOL} ]");
        let held = |demand, one| Calls {
            demand,
            one,
            answer: None,
            functions: vec![Function {
                name: "f".into(),
                parameters: Some(r#"{"z":1.0,"a":{}}"#.into()),
                strict: true,
            }],
        };
        let body = |rest: &str| format!(r#"{{"tools": {json} {rest}}}"#);
        let given = |json: &str, one_call| Tools {
            json: Some(json.into()),
            one_call,
            calls: held(Demand::IfCalled, one_call),
        };
        for rest in [
            "",
            r#","tool_choice":"auto""#,
            r#","parallel_tool_calls":true"#,
        ] {
            assert_eq!(read(&body(rest)), Ok(given(&json, false)));
        }
        let one = r#","tool_choice":null,"parallel_tool_calls":false"#;
        assert_eq!(read(&body(one)), Ok(given(&json, true)));
        for (choice, one) in [
            (r#""required""#, false),
            (r#""any""#, false),
            (r#"{"type":"function","function":{"name":"f"}}"#, true),
        ] {
            let read = read(&body(&format!(r#","tool_choice":{choice}"#))).unwrap();
            assert_eq!((read.calls, read.one_call), (held(Demand::Calls, one), one));
        }
        let none = r#","tool_choice":"none","parallel_tool_calls":false"#;
        assert_eq!(read(&body(none)), Ok(Tools::default()));
        for nothing in [
            "{}",
            r#"{"tools":null}"#,
            r#"{"tools":[],"tool_choice":"auto"}"#,
        ] {
            assert_eq!(read(nothing), Ok(Tools::default()), "{nothing}");
        }
    }

    #[test]
    fn wrong_functions_are_named() {
        let f = |function: Value| {
            json!({"tools": [
                {"type": "function", "function": {"name": "f"}},
                {"type": "function", "function": function},
            ]})
        };
        let at = |rest: &str| format!("tools[1].function{rest}");
        for (body, param) in [
            (json!({"tools": {}}), "tools".into()),
            (json!({"tools": "x"}), "tools".into()),
            (json!({"tools": [1]}), "tools[0]".into()),
            (json!({"tools": [{}]}), "tools[0].type".into()),
            (
                json!({"tools": [{"type": "web_search"}]}),
                "tools[0].type".into(),
            ),
            (
                json!({"tools": [{"type": "function"}]}),
                "tools[0].function".into(),
            ),
            (
                json!({"tools": [{"type": "function", "name": "f"}]}),
                "tools[0].name".into(),
            ),
            (json!({"tools": vec![1; MAX_TOOLS + 1]}), "tools".into()),
            (f(json!(1)), at("")),
            (f(json!({})), at(".name")),
            (f(json!({"name": 1})), at(".name")),
            (f(json!({"name": ""})), at(".name")),
            (f(json!({"name": "a\nb"})), at(".name")),
            (
                f(json!({"name": "x".repeat(MAX_NAME_BYTES + 1)})),
                at(".name"),
            ),
            (
                f(json!({"name": "f", "description": 1})),
                at(".description"),
            ),
            (f(json!({"name": "f", "parameters": []})), at(".parameters")),
            (f(json!({"name": "f", "strict": 1})), at(".strict")),
            (json!({"tool_choice": "required"}), "tool_choice".into()),
            (json!({"tool_choice": "any"}), "tool_choice".into()),
            (json!({"tool_choice": "maybe"}), "tool_choice".into()),
            (json!({"tool_choice": 1}), "tool_choice".into()),
            (
                json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}),
                "tool_choice".into(),
            ),
            (
                json!({"tool_choice": {"type": "function"}}),
                "tool_choice.function.name".into(),
            ),
            (json!({"tool_choice": {"type": "x"}}), "tool_choice".into()),
            (
                json!({"parallel_tool_calls": "no"}),
                "parallel_tool_calls".into(),
            ),
        ] {
            let error = read(&body.to_string()).unwrap_err();
            assert_eq!((error.status, error.param), (400, Some(param)), "{body}");
        }
    }
}
