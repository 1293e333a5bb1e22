//! What a request gives the template besides its turns: functions, and variables of the client's.
//!
//! Both are JSON text in the contract and Python's values here, their keys in the order in which
//! they came: as if `apply_chat_template(tools=..., **chat_template_kwargs)` had been called.

use super::jinja::limits::{Budget, MAX_HELD_DEPTH};
use super::jinja::{JsonFault, Name, Value, json_document};
use crate::error::EngineError;

/// Bytes of the functions' JSON at most. A large set (150 functions with their parameters) has
/// about 200 kB.
const MAX_TOOLS_BYTES: usize = 1 << 20;
/// Bytes of the variables' JSON at most.
const MAX_KWARGS_BYTES: usize = 64 << 10;

const TOOLS: &str = "prompt.tools";
const KWARGS: &str = "prompt.template-kwargs";

/// Names that the request or the model has a value for, and the parameters of
/// `apply_chat_template`, which are no variables.
const TAKEN: [&str; 16] = [
    "messages",
    "conversation",
    "tools",
    "bos_token",
    "eos_token",
    "add_generation_prompt",
    "continue_final_message",
    "chat_template",
    "tokenize",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "return_dict",
    "return_assistant_tokens_mask",
    "tokenizer_kwargs",
];

/// The functions: a list of dicts, with each of their texts as `rewrite` makes it.
///
/// # Errors
/// `InvalidRequest` for `prompt.tools`.
pub(super) fn tools(
    json: &str,
    rewrite: &dyn Fn(&str) -> String,
    budget: &Budget,
) -> Result<Value, EngineError> {
    let value = parsed(TOOLS, json, MAX_TOOLS_BYTES, rewrite, budget)?;
    match &value {
        Value::List(items) if items.iter().all(|item| matches!(item, Value::Dict(_))) => Ok(value),
        _ => Err(invalid(TOOLS, "it must be a list of objects".into())),
    }
}

/// The client's variables, with each text in them as `rewrite` makes it.
///
/// # Errors
/// `InvalidRequest` for `prompt.template-kwargs`, and for the name of the variable that is taken.
pub(super) fn kwargs(
    json: &str,
    rewrite: &dyn Fn(&str) -> String,
    budget: &Budget,
) -> Result<Vec<(Name, Value)>, EngineError> {
    let value = parsed(KWARGS, json, MAX_KWARGS_BYTES, rewrite, budget)?;
    let Value::Dict(dict) = value else {
        return Err(invalid(KWARGS, "it must be an object".into()));
    };
    let named = |(name, value): &(Value, Value)| match name {
        Value::Str(name) if TAKEN.contains(&&**name) => Err(invalid(
            &format!("{KWARGS}.{name}"),
            "the request or the model says it already; leave it out".into(),
        )),
        Value::Str(name) => Ok((name.clone(), value.clone())),
        // No key of a JSON object is anything else.
        _ => Err(invalid(KWARGS, "a name is no text".into())),
    };
    dict.iter().map(named).collect()
}

fn parsed(
    field: &str,
    json: &str,
    most_bytes: usize,
    rewrite: &dyn Fn(&str) -> String,
    budget: &Budget,
) -> Result<Value, EngineError> {
    if json.len() > most_bytes {
        let message = format!(
            "it has {} bytes, at most {most_bytes} are taken",
            json.len()
        );
        return Err(invalid(field, message));
    }
    json_document(json, rewrite, budget).map_err(|fault| {
        let message = match fault {
            JsonFault::NoJson(error) => format!("it is no JSON ({error})"),
            JsonFault::TooDeep => format!("it nests deeper than {MAX_HELD_DEPTH} levels"),
            JsonFault::TooMuch => "it has too many values".into(),
        };
        invalid(field, message)
    })
}

fn invalid(field: &str, message: String) -> EngineError {
    EngineError::InvalidRequest {
        field: field.into(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Conversation, Message};
    use crate::template::ChatTemplate;

    fn given(
        source: &str,
        tools: Option<&str>,
        kwargs: Option<&str>,
    ) -> Result<String, (String, String)> {
        let conversation = Conversation {
            messages: vec![Message::new("user", "Hi")],
            tools: tools.map(Into::into),
            template_kwargs: kwargs.map(Into::into),
            ..Conversation::default()
        };
        let rendered = ChatTemplate::new(Some(source), "<s>", "</s>").render(&conversation);
        rendered.map_err(|error| match error {
            EngineError::InvalidRequest { field, message } => (field, message),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn functions_are_what_the_client_sent() {
        let tools = r#"[{"b": 1.0, "a": [true, null, "é<s>"], "b": 1e16}, {}]"#;
        let source = "{% for tool in tools %}{{ tool | tojson }};{{ tool }};{% endfor %}";
        let text = r#"{"b": 1e+16, "a": [true, null, "é<s>"]};{'b': 1e+16, 'a': [True, None, 'é<s>']};{};{};"#;
        assert_eq!(given(source, Some(tools), None).unwrap(), text);
        let asked = "{{ tools is none }}{{ documents is none }}";
        assert_eq!(given(asked, None, None).unwrap(), "TrueTrue");
        // A list without functions is one that a template takes for none.
        assert_eq!(
            given("{{ 1 if tools else 2 }}", Some("[]"), None).unwrap(),
            "2"
        );
    }

    #[test]
    fn variables_reach_the_template_and_take_no_place() {
        let source = "{{ enable_thinking }}|{{ documents }}|{{ x is defined }}|{{ bos_token }}";
        let kwargs = r#"{"enable_thinking": false, "documents": [1], "messages2": 1}"#;
        let text = given(source, None, Some(kwargs)).unwrap();
        assert_eq!(text, "False|[1]|False|<s>");
        for name in TAKEN {
            let kwargs = format!("{{\"a\": 1, \"{name}\": 1}}");
            let (field, message) = given(source, None, Some(&kwargs)).unwrap_err();
            assert_eq!(field, format!("{KWARGS}.{name}"));
            assert!(message.contains("leave it out"), "{message}");
        }
    }

    #[test]
    fn what_cannot_be_given_is_named() {
        let source = "{{ tools }}";
        let deep = |n: usize| format!("[{{\"a\": {}1{}}}]", "[".repeat(n), "]".repeat(n));
        let keys: Vec<String> = (0..50_000).map(|i| format!("\"{i}\":0")).collect();
        let many = format!("[{{{}}}]", keys.join(","));
        let long = format!("[{{\"a\": \"{}\"}}]", "x".repeat(MAX_TOOLS_BYTES));
        for (tools, why) in [
            ("", "no JSON"),
            ("[{}", "no JSON"),
            ("[{}] 1", "no JSON"),
            ("{}", "a list of objects"),
            ("[1]", "a list of objects"),
            ("[[]]", "a list of objects"),
            ("null", "a list of objects"),
            (&deep(31), "deeper than 32"),
            (&deep(200), "no JSON"),
            (&many, "too many values"),
            (&long, "at most 1048576"),
        ] {
            let Err((field, message)) = given(source, Some(tools), None) else {
                panic!("{why}: taken");
            };
            assert_eq!(field, TOOLS);
            assert!(message.contains(why), "{message}");
        }
        given(source, Some(&deep(30)), None).unwrap();
        let long = format!("{{\"a\": \"{}\"}}", "x".repeat(MAX_KWARGS_BYTES));
        for (kwargs, why) in [
            ("[]", "an object"),
            ("{", "no JSON"),
            (&long, "at most 65536"),
        ] {
            let (field, message) = given(source, None, Some(kwargs)).unwrap_err();
            assert_eq!(field, KWARGS);
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn a_template_without_functions_refuses_them() {
        let (field, message) = given("{{ messages }}", Some("[{}]"), None).unwrap_err();
        assert_eq!(field, TOOLS);
        assert!(message.contains("no place for functions"), "{message}");
        given("{{ messages }}", Some("[]"), None).unwrap();
    }
}
