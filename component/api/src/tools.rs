//! The functions that a chat may call: `tools`, `tool_choice` and `parallel_tool_calls`.
//!
//! Whether the model's chat template has a place for them is the engine's to say; here it is
//! OpenAI's schema. What a function's object holds besides goes to the template as it was sent.

use crate::{
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
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tools {
    /// `tools` as it was sent; absent where none may be called.
    pub json: Option<String>,
    /// The answer ends after its first call.
    pub one_call: bool,
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
    for (i, value) in tools.iter().enumerate() {
        check(&Object::at(format!("{path}[{i}]"), value)?)?;
    }
    let wanted = choice(body)? && !tools.is_empty();
    let parallel = body.get("parallel_tool_calls").is_none() || body.flag("parallel_tool_calls")?;
    let json = raw.field("tools").filter(|_| wanted);
    Ok(Tools {
        one_call: wanted && !parallel,
        json: json.map(|json| json.text().to_owned()),
    })
}

fn check(tool: &Object<'_>) -> Result<(), ApiError> {
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
    function.object("parameters")?;
    function.flag("strict")?;
    Ok(())
}

/// True where functions may be called, and the model decides.
fn choice(body: &Object<'_>) -> Result<bool, ApiError> {
    const WHY: &str = "an answer cannot be made to be a call; send \"auto\" or \"none\"";
    let path = body.path("tool_choice");
    match body.get("tool_choice") {
        None => Ok(true),
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => Ok(true),
            "none" => Ok(false),
            "required" | "any" => Err(ApiError::unsupported(path, WHY)),
            other => {
                let why = format!(
                    "expected \"auto\" or \"none\", but got '{}'",
                    shorten(other)
                );
                Err(ApiError::invalid_value(path, &why))
            }
        },
        Some(Value::Object(_)) => Err(ApiError::unsupported(path, WHY)),
        Some(other) => Err(ApiError::invalid_type(path, "\"auto\" or \"none\"", other)),
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
        let body = |rest: &str| format!(r#"{{"tools": {json} {rest}}}"#);
        let given = |json: &str, one_call| Tools {
            json: Some(json.into()),
            one_call,
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
                json!({"parallel_tool_calls": "no"}),
                "parallel_tool_calls".into(),
            ),
        ] {
            let error = read(&body.to_string()).unwrap_err();
            assert_eq!((error.status, error.param), (400, Some(param)), "{body}");
        }
    }
}
