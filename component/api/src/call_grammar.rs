//! Answers that must be calls, or whose calls must have the arguments that their functions take:
//! `tool_choice`, and functions with `strict`. They are said to the engine as a grammar of the form
//! in which the model calls.

use crate::{
    engine::{CallForm, Constraint, Grammar, JsonSchema},
    error::ApiError,
    json::to_text,
};

/// How calls are held to their functions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// The model writes what it wants.
    #[default]
    Free,
    /// It decides whether to call; a call is one of these.
    IfCalled,
    /// The answer is such calls and nothing else.
    Calls,
}

/// A function that may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// The JSON Schema of its arguments, an object as it was sent.
    pub parameters: Option<String>,
    /// What of the schema cannot be enforced is refused.
    pub strict: bool,
}

/// The calls that an answer may hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calls {
    /// How they are held to `functions`.
    pub demand: Demand,
    /// The functions that may be called.
    pub functions: Vec<Function>,
    /// One call at most.
    pub one: bool,
    /// Instead of calls an answer may be this, where it is to have a form.
    pub answer: Option<Grammar>,
}

impl Calls {
    /// The field that an error of the grammar names.
    pub const FIELD: &'static str = "tools";

    /// The names of the functions.
    pub fn names(&self) -> Vec<String> {
        let names = self.functions.iter();
        names.map(|function| function.name.clone()).collect()
    }

    /// The grammar of calls of this form, if calls are held to anything.
    ///
    /// # Errors
    /// An answer must be a call and the model has no form of calls that is known.
    pub fn constraint(&self, form: Option<&CallForm>) -> Result<Option<Constraint>, ApiError> {
        let Some(form) = form else {
            return if self.demand == Demand::Calls {
                let why = "this model's template has no form of calls that answers can be held to; send \"auto\"";
                Err(ApiError::unsupported("tool_choice".into(), why))
            } else {
                Ok(None)
            };
        };
        let several = if self.one { "" } else { " (BETWEEN one)*" };
        let (start, trigger) = match (self.demand, form) {
            (Demand::Free | Demand::IfCalled, _) if let Some(answer) = &self.answer => {
                let Some(schema) = schema_of(answer) else {
                    return Ok(None);
                };
                let start = format!("start: answer | one{several}\nanswer: %json {schema}\n");
                (start, None)
            }
            (Demand::Free, _) => return Ok(None),
            (Demand::Calls, _) => (format!("start: one{several}\n"), None),
            // The text at which it begins is the first tag itself.
            (Demand::IfCalled, CallForm::Tagged(tags)) => {
                let start = format!("start: call {}\n", to_text(&tags.end));
                (start, Some(tags.begin.clone()))
            }
            // A call is an answer that begins with a bracket. Any other is text.
            (Demand::IfCalled, CallForm::Bare) => {
                let start = format!(
                    "start: TEXT? | GAP? one{several}\nTEXT: /\\s{{0,4}}[^{{\\s](.|\\n)*/\nGAP: /\\s{{1,4}}/\n"
                );
                (start, None)
            }
        };
        Ok(Some(Constraint {
            grammar: Grammar::Lark(start + &self.rules(form)),
            after_reasoning: trigger.is_none(),
            trigger,
        }))
    }

    /// A call: an object with the function's name and its arguments, between tags as Hermes and
    /// Qwen write it, or as Llama 3 does.
    fn rules(&self, form: &CallForm) -> String {
        let names: Vec<String> = (0..self.functions.len()).map(|n| format!("f{n}")).collect();
        let (one, between, call, arguments) = match form {
            CallForm::Tagged(tags) => (
                format!("{} call {}", to_text(&tags.begin), to_text(&tags.end)),
                "\\n",
                "GAP? (\"{\" object \"}\") GAP?\nGAP: \"\\n\"",
                "arguments",
            ),
            CallForm::Bare => ("call".to_owned(), "; ", "\"{\" object \"}\"", "parameters"),
        };
        let mut rules = format!(
            "one: {one}\nBETWEEN: \"{between}\"\ncall: {call}\nobject: {}\n",
            names.join(" | ")
        );
        for (n, function) in self.functions.iter().enumerate() {
            let name = format!("\"name\": {}, \"{arguments}\": ", to_text(&function.name));
            rules += &format!(
                "f{n}: {} a{n}\na{n}: %json {}\n",
                to_text(&name),
                function.schema()
            );
        }
        rules
    }
}

/// The schema of a grammar that is one of JSON.
fn schema_of(grammar: &Grammar) -> Option<String> {
    match grammar {
        Grammar::JsonObject => Some(r#"{"type": "object"}"#.to_owned()),
        Grammar::JsonSchema(JsonSchema { schema, strict }) => Some(with_options(schema, *strict)),
        _ => None,
    }
}

/// A schema, the text of a JSON object, with what its compiler is to know.
fn with_options(schema: &str, strict: bool) -> String {
    let fields = schema.trim().strip_prefix('{').map(str::trim_start);
    match fields {
        Some(fields) if !strict => {
            let comma = if fields == "}" { "" } else { "," };
            format!("{{\"x-guidance\": {{\"lenient\": true}}{comma}{fields}")
        }
        _ => schema.trim().to_owned(),
    }
}

impl Function {
    /// The schema of the arguments, which are an object, with what its compiler is to know.
    fn schema(&self) -> String {
        let sent = self.parameters.as_deref().unwrap_or("{}").trim();
        let has_type = serde_json::from_str::<serde_json::Value>(sent)
            .is_ok_and(|value| value.get("type").is_some());
        let fields = sent.strip_prefix('{').unwrap_or("}").trim_start();
        if has_type {
            with_options(sent, self.strict)
        } else {
            let comma = if fields == "}" { "" } else { "," };
            with_options(
                &format!("{{\"type\": \"object\"{comma}{fields}"),
                self.strict,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Tags;

    fn function(name: &str, parameters: Option<&str>, strict: bool) -> Function {
        Function {
            name: name.into(),
            parameters: parameters.map(Into::into),
            strict,
        }
    }

    fn calls(demand: Demand, one: bool) -> Calls {
        let functions = vec![
            function(
                "f",
                Some(r#"{ "type": "object", "properties": {"z": {}, "a": {}}}"#),
                true,
            ),
            function("g\"", None, false),
        ];
        Calls {
            demand,
            functions,
            one,
            answer: None,
        }
    }

    fn tags() -> CallForm {
        CallForm::Tagged(Tags {
            begin: "<tool_call>".into(),
            end: "</tool_call>".into(),
        })
    }

    #[test]
    fn a_grammar_has_a_rule_for_each_function() {
        let constraint = |demand, one| calls(demand, one).constraint(Some(&tags())).unwrap();
        assert_eq!(constraint(Demand::Free, false), None);
        let required = constraint(Demand::Calls, true).unwrap();
        let expected = "start: one\none: \"<tool_call>\" call \"</tool_call>\"\n\
            BETWEEN: \"\\n\"\ncall: GAP? (\"{\" object \"}\") GAP?\nGAP: \"\\n\"\nobject: f0 | f1\n\
            f0: \"\\\"name\\\": \\\"f\\\", \\\"arguments\\\": \" a0\n\
            a0: %json { \"type\": \"object\", \"properties\": {\"z\": {}, \"a\": {}}}\n\
            f1: \"\\\"name\\\": \\\"g\\\\\\\"\\\", \\\"arguments\\\": \" a1\n\
            a1: %json {\"x-guidance\": {\"lenient\": true},\"type\": \"object\"}\n";
        assert_eq!(required.grammar, Grammar::Lark(expected.into()));
        assert!(required.after_reasoning && required.trigger.is_none());
        let several = constraint(Demand::Calls, false).unwrap();
        assert!(matches!(several.grammar, Grammar::Lark(lark) if lark.starts_with("start: one (")));
        let free = constraint(Demand::IfCalled, false).unwrap();
        assert_eq!(free.trigger.as_deref(), Some("<tool_call>"));
        assert!(!free.after_reasoning);
    }

    #[test]
    fn an_answer_of_a_form_may_be_calls_instead() {
        let of = |answer, demand, one| {
            let calls = Calls {
                answer: Some(answer),
                ..calls(demand, one)
            };
            calls.constraint(Some(&tags())).unwrap()
        };
        let schema = |strict| {
            let schema = r#"{"type": "integer"}"#.to_owned();
            Grammar::JsonSchema(JsonSchema { schema, strict })
        };
        let held = of(schema(true), Demand::Free, true).unwrap();
        assert!(held.after_reasoning && held.trigger.is_none());
        let Grammar::Lark(lark) = held.grammar else {
            panic!("a grammar");
        };
        let begin =
            "start: answer | one\nanswer: %json {\"type\": \"integer\"}\none: \"<tool_call>\" call";
        assert!(lark.starts_with(begin), "{lark}");
        let held = of(schema(false), Demand::IfCalled, false).unwrap();
        assert!(matches!(held.grammar, Grammar::Lark(lark)
            if lark.starts_with("start: answer | one (") && lark.contains("%json {\"x-guidance\"")));
        assert_eq!(of(Grammar::Regex("x".into()), Demand::Free, true), None);
    }

    #[test]
    fn calls_without_tags_are_the_whole_answer() {
        let constraint = |demand, one| {
            let held = calls(demand, one).constraint(Some(&CallForm::Bare));
            held.unwrap().unwrap()
        };
        let lark = |constraint: &Constraint| match &constraint.grammar {
            Grammar::Lark(lark) => lark.clone(),
            other => panic!("{other:?}"),
        };
        let required = lark(&constraint(Demand::Calls, false));
        let begin =
            "start: one (BETWEEN one)*\none: call\nBETWEEN: \"; \"\ncall: \"{\" object \"}\"\n";
        assert!(required.starts_with(begin), "{required}");
        let f = "f0: \"\\\"name\\\": \\\"f\\\", \\\"parameters\\\": \" a0\n";
        assert!(required.contains(f), "{required}");
        let strict = constraint(Demand::IfCalled, true);
        let begin = "start: TEXT? | GAP? one\nTEXT: /\\s{0,4}[^{\\s](.|\\n)*/\nGAP: /\\s{1,4}/\n";
        assert!(lark(&strict).starts_with(begin), "{strict:?}");
        assert!(strict.after_reasoning && strict.trigger.is_none());
    }

    #[test]
    fn a_model_without_the_form_cannot_be_made_to_call() {
        let error = calls(Demand::Calls, false).constraint(None).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("tool_choice"));
        assert_eq!(calls(Demand::IfCalled, false).constraint(None), Ok(None));
    }
}
