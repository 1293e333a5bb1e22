//! The document as the code has it: every route with its methods, every honoured field of a body
//! with its meaning. Fields that are refused or change nothing are not in it.

use serde_json::{Map, Value, json};

use super::DOCUMENT;
use crate::{
    error::Form,
    kind::Kind,
    known::{self, Place},
    llama_cpp, ollama,
    route::table::{ROUTES, Route},
    tokens,
};

/// The body of a route, and the fields that it must have.
fn body(route: Route) -> Option<(Place, &'static [&'static str])> {
    Some(match route {
        Route::Complete(Kind::Chat) | Route::CountChat => (Place::Chat, &["messages"]),
        Route::Complete(Kind::Text) => (Place::Text, &["prompt"]),
        Route::Embed => (Place::Embeddings, &["input"]),
        Route::Responses | Route::CountResponse => (Place::Responses, &["input"]),
        Route::Messages => (Place::Messages, &["messages", "max_tokens"]),
        Route::CountTokens => (Place::Messages, &["messages"]),
        Route::Ollama(asked) => match asked {
            ollama::Asked::Answer(ollama::Kind::Chat) => (Place::OllamaChat, &["model"]),
            ollama::Asked::Answer(ollama::Kind::Prompt) => (Place::OllamaGenerate, &["model"]),
            ollama::Asked::Show => (Place::OllamaShow, &["model"]),
            ollama::Asked::Embed => (Place::OllamaEmbed, &["model", "input"]),
            ollama::Asked::EmbedOne => (Place::OllamaEmbedOne, &["model", "prompt"]),
            ollama::Asked::Version | ollama::Asked::Tags | ollama::Asked::Running => return None,
        },
        // A `prompt` or `messages` in its place.
        Route::Tokens(tokens::Asked::Tokenize) => (Place::Tokenize, &[]),
        Route::Tokens(tokens::Asked::Detokenize) => (Place::Detokenize, &["tokens"]),
        Route::Tokens(tokens::Asked::ApplyTemplate) => (Place::Template, &["messages"]),
        Route::LlamaCpp(llama_cpp::Asked::Completion) => (Place::LlamaCompletion, &["prompt"]),
        _ => return None,
    })
}

/// The objects that a field holds, where they have fields of their own.
fn nested(place: Place, name: &str) -> Option<(Place, bool)> {
    Some(match (place, name) {
        (Place::Chat | Place::Template | Place::Tokenize, "messages") => (Place::Message, true),
        (Place::Chat | Place::Template | Place::Tokenize | Place::OllamaChat, "tools") => {
            (Place::Tool, true)
        }
        (Place::PromptObject, "content") => (Place::PromptPart, true),
        (Place::Chat | Place::Text, "stream_options") => (Place::StreamOptions, false),
        (Place::Message, "tool_calls") => (Place::ToolCall, true),
        (Place::Message, "function_call") | (Place::ToolCall, "function") => {
            (Place::Function, false)
        }
        (Place::Responses, "tools") => (Place::ResponsesTool, true),
        (Place::Responses, "text") => (Place::ResponsesText, false),
        (Place::Responses, "reasoning") => (Place::ResponsesReasoning, false),
        (Place::Messages, "messages") => (Place::MessagesTurn, true),
        (Place::Messages, "tools") => (Place::MessagesTool, true),
        (Place::Messages, "tool_choice") => (Place::MessagesChoice, false),
        (Place::Messages, "thinking") => (Place::MessagesThinking, false),
        (Place::Messages, "output_config") => (Place::MessagesOutput, false),
        (Place::OllamaChat, "messages") => (Place::OllamaMessage, true),
        (Place::OllamaMessage, "tool_calls") => (Place::OllamaCall, true),
        (Place::OllamaCall, "function") => (Place::OllamaFunction, false),
        (Place::OllamaChat | Place::OllamaGenerate, "options") => (Place::OllamaOptions, false),
        _ => return None,
    })
}

/// What a field may be; null is as good as absent everywhere.
fn schema(place: Place, name: &str, note: &str) -> Value {
    let reference = |place: Place| json!({"$ref": format!("#/components/schemas/{place:?}")});
    if let Some((inner, several)) = nested(place, name) {
        let inner = reference(inner);
        // Ollama's clients have a model loaded by an empty list.
        let least = u8::from(name == "messages" && place != Place::OllamaChat);
        let value = if several {
            json!({"type": "array", "items": inner, "minItems": least})
        } else {
            inner
        };
        return json!({"description": note, "anyOf": [value, {"type": "null"}]});
    }
    let mut schema = match name {
        "max_tokens" | "max_completion_tokens" | "max_new_tokens" | "max_output_tokens" => {
            json!({"type": ["integer", "null"], "minimum": 0})
        }
        "dimensions" => json!({"type": ["integer", "null"], "minimum": 1}),
        "truncate_prompt_tokens" => json!({"type": ["integer", "null"], "minimum": -1}),
        "prompt" | "system" if place == Place::OllamaGenerate => {
            json!({"type": ["string", "null"]})
        }
        "n_predict" | "num_predict" => json!({"type": ["integer", "null"], "minimum": -2}),
        "min_tokens" | "min_new_tokens" | "num_ctx" => {
            json!({"type": ["integer", "null"], "minimum": 0})
        }
        "top_k" => json!({"type": ["integer", "null"], "minimum": -1}),
        "seed" | "random_seed" => json!({"type": ["integer", "null"]}),
        "temperature" => json!({"type": ["number", "null"], "minimum": 0, "maximum": 2}),
        "top_p" | "min_p" => json!({"type": ["number", "null"], "minimum": 0, "maximum": 1}),
        "repetition_penalty" | "repeat_penalty" => {
            json!({"type": ["number", "null"], "exclusiveMinimum": 0})
        }
        "presence_penalty" | "frequency_penalty" => {
            json!({"type": ["number", "null"], "minimum": -2, "maximum": 2})
        }
        "model" | "role" | "instructions" | "name" | "tool_call_id" | "call_id" => {
            json!({"type": ["string", "null"]})
        }
        "stream" | "ignore_eos" | "include_stop_str_in_output" | "parallel_tool_calls" | "raw" => {
            json!({"type": ["boolean", "null"]})
        }
        "stop_token_ids" | "tokens" => {
            json!({"type": ["array", "null"], "items": {"type": "integer", "minimum": 0}})
        }
        "stop_sequences" => json!({"type": ["array", "null"], "items": {"type": "string"}}),
        "chat_template_kwargs" | "metadata" => json!({"type": ["object", "null"]}),
        _ => json!({}),
    };
    schema["description"] = json!(note);
    schema
}

/// The schema of a place's objects.
fn object(place: Place, required: &[&str]) -> Value {
    let mut properties = Map::new();
    for (name, note) in known::honoured(place) {
        properties.insert(name.to_owned(), schema(place, name, note));
    }
    let mut object = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

fn errors(form: Form) -> Value {
    let text = json!({"type": "string"});
    match form {
        Form::OpenAi => json!({
            "type": "object", "required": ["error"],
            "properties": {"error": {
                "type": "object", "required": ["message", "type", "param", "code"],
                "properties": {"message": text, "type": text, "param": {"type": ["string", "null"]},
                               "code": {"type": ["string", "null"]}},
            }},
        }),
        Form::Anthropic => json!({
            "type": "object", "required": ["type", "error", "request_id"],
            "properties": {"type": {"const": "error"}, "request_id": text, "error": {
                "type": "object", "required": ["type", "message"], "properties": {"type": text, "message": text},
            }},
        }),
        Form::LlamaCpp => json!({
            "type": "object", "required": ["error"],
            "properties": {"error": {
                "type": "object", "required": ["code", "message", "type"],
                "properties": {"code": {"type": "integer"}, "message": text, "type": text,
                               "param": {"type": ["string", "null"]},
                               "n_prompt_tokens": {"type": "integer"}, "n_ctx": {"type": "integer"}},
            }},
        }),
        Form::Ollama => json!({
            "type": "object", "required": ["error"], "properties": {"error": text},
        }),
    }
}

fn responses(route: Route) -> Value {
    let streams = match route {
        Route::Complete(_)
        | Route::Responses
        | Route::Messages
        | Route::LlamaCpp(llama_cpp::Asked::Completion) => Some("text/event-stream"),
        Route::Ollama(ollama::Asked::Answer(_)) => Some("application/x-ndjson"),
        _ => None,
    };
    let kind = match route {
        Route::Index | Route::Page(_) => "*/*",
        _ => "application/json",
    };
    let mut content = json!({ kind: {} });
    if let Some(kind) = streams {
        content[kind] = json!({});
    }
    let failed = json!({
        "description": "The request failed; the message says why.",
        "content": {"application/json": {"schema":
            {"$ref": format!("#/components/schemas/{:?}Error", route.form())}}},
    });
    json!({
        "200": {"description": "The answer.", "content": content},
        "4XX": failed,
        "5XX": failed,
    })
}

fn document() -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for place in known::places() {
        schemas.insert(format!("{place:?}"), object(place, &[]));
    }
    for form in [Form::OpenAi, Form::Anthropic, Form::Ollama, Form::LlamaCpp] {
        schemas.insert(format!("{form:?}Error"), errors(form));
    }
    for &(path, route) in ROUTES {
        let mut operation = json!({ "responses": responses(route) });
        operation["security"] = if route.needs_key() {
            json!([{}, {"bearer": []}, {"key": []}])
        } else {
            json!([{}])
        };
        if let Some((place, required)) = body(route) {
            let schema = if required.is_empty() {
                json!({"$ref": format!("#/components/schemas/{place:?}")})
            } else {
                let whole = json!({"$ref": format!("#/components/schemas/{place:?}")});
                let there = json!({"not": {"type": "null"}});
                let there = required
                    .iter()
                    .map(|&name| (name.to_owned(), there.clone()));
                let there: Map<String, Value> = there.collect();
                json!({"allOf": [whole, {"required": required, "properties": there}]})
            };
            operation["requestBody"] = json!({
                "required": true, "content": {"application/json": {"schema": schema}},
            });
        }
        let mut item = Map::new();
        for method in route.allow().split(", ") {
            let method = method.to_ascii_lowercase();
            let operation = if method == "options" {
                json!({"responses": {
                    "200": {"description": "The methods that it takes."},
                    "4XX": {"description": "The server has the route answered otherwise."},
                }})
            } else {
                operation.clone()
            };
            item.insert(method, operation);
        }
        if path.ends_with("{id}") {
            let id = json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string"},
                "description": "It may hold slashes."});
            item.insert("parameters".into(), json!([id]));
        }
        paths.insert(path.to_owned(), Value::Object(item));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sterna",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Ternary language models on CPUs. Paths below /v1 are found without it too. \
                            Fields that are not named are refused, or change nothing.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    })
}

#[test]
fn the_documentation_is_the_code() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    let document = document();
    if std::env::var_os("STERNA_WRITE_DOCS").is_some() {
        let text = format!("{}\n", serde_json::to_string_pretty(&document).unwrap());
        std::fs::write(&path, text).unwrap();
        return;
    }
    let hint = "run this test with STERNA_WRITE_DOCS=1 to bring openapi.json up to date";
    // The order of keys is that of serde_json's features in this build.
    let kept: Value = serde_json::from_str(DOCUMENT).unwrap();
    assert!(kept == document, "{hint}");
}

#[test]
fn every_reference_is_there() {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let mut found = 0;
    for part in DOCUMENT.split("\"$ref\": \"#").skip(1) {
        let pointer = part.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
        found += 1;
    }
    assert!(found > 50, "{found}");
}

#[test]
fn every_body_that_is_read_is_described() {
    for (path, route) in ROUTES {
        assert_eq!(body(*route).is_some(), route.posts(), "{path}");
    }
}
