//! Chat templates: a conversation as the text the model was trained to continue.
//!
//! Templates are Jinja, written for Hugging Face's `apply_chat_template`; minijinja runs them here with
//! the same variables, functions and whitespace rules. A template is part of a model's file, so it runs
//! on fuel: it can neither loop for ever nor fill the memory.

mod clock;
mod message;

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value, context};

use crate::error::{EngineError, LoadError};
use crate::request::Message;
use crate::tokenizer::Tokenizer;

/// The template of microsoft/bitnet-b1.58-2B-4T, from its `tokenizer_config.json`. The one inside its
/// GGUF is a converter's mistake (FORMATS.md 4.1), so this stands in for it.
pub const BITNET_2B_4T: &str = "\
{% for message in messages %}\
{% if loop.first %}{{ bos_token }}{% endif %}\
{{ message['role'] | capitalize + ': ' + message['content'] | trim + '<|eot_id|>' }}\
{% endfor %}\
{% if add_generation_prompt %}{{ 'Assistant: ' }}{% endif %}";

/// The template of a model that continues stories: the contents are the story's opening.
pub const STORY: &str = r"{{ bos_token }}{{ messages | map(attribute='content') | join('\n\n') }}";

/// What one rendering may use: about as many instructions, and 64 bytes of text for each. A long
/// conversation takes a few hundred for each message.
const FUEL: u64 = 2_000_000;

/// The only template's name in its environment.
const NAME: &str = "chat_template";

/// A compiled chat template, or the absence of one.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: Option<String>,
    environment: Environment<'static>,
    bos_text: String,
    eos_text: String,
}

impl ChatTemplate {
    /// Compile a template. `bos_text` and `eos_text` are the texts of the model's special tokens, empty
    /// where it has none. Without `source`, rendering is an invalid request: a guessed format would make
    /// a model answer badly without a word.
    ///
    /// # Errors
    /// `LoadError::Template` where the template does not compile.
    pub fn new(source: Option<&str>, bos_text: &str, eos_text: &str) -> Result<Self, LoadError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|e| LoadError::Template(e.to_string()))?);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", |format: &str| {
            clock::strftime(format, clock::now())
        });
        environment.add_filter("tojson", to_json);
        if let Some(source) = source {
            let added = environment.add_template_owned(NAME, source.to_owned());
            added.map_err(|e| LoadError::Template(format!("does not compile: {e}")))?;
        }
        Ok(ChatTemplate {
            source: source.map(str::to_owned),
            environment,
            bos_text: bos_text.into(),
            eos_text: eos_text.into(),
        })
    }

    /// The template as it was given, to be stored in a converted file.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// The conversation as text, with the opening of the answer. What users wrote is in it as they wrote it: to make
    /// a prompt of a conversation, [`Self::encode`] it.
    ///
    /// # Errors
    /// `InvalidRequest` for the field `messages`: there are none, the template refuses them
    /// (`raise_exception`), they are too long, or there is no template. `Internal` where the template itself fails.
    pub fn render(&self, messages: &[Message]) -> Result<String, EngineError> {
        self.render_texts(messages, &str::to_owned, &str::to_owned)
    }

    /// As [`Self::render`], with each text that users wrote as `text` makes it, and what a model said as `said` does.
    fn render_texts(
        &self,
        messages: &[Message],
        text: &dyn Fn(&str) -> String,
        said: &dyn Fn(&str) -> String,
    ) -> Result<String, EngineError> {
        let invalid = |message: String| EngineError::InvalidRequest {
            field: "messages".into(),
            message,
        };
        let Ok(template) = self.environment.get_template(NAME) else {
            return Err(invalid(
                "this model has no chat template; use /v1/completions with a prompt".into(),
            ));
        };
        if messages.is_empty() {
            return Err(invalid("there are none".into()));
        }
        let context = context! {
            messages => messages.iter().map(|turn| message::value(turn, text, said)).collect::<Vec<_>>(),
            bos_token => self.bos_text.as_str(),
            eos_token => self.eos_text.as_str(),
            add_generation_prompt => true,
            // Templates ask whether these are none, as Hugging Face passes them.
            tools => (),
            documents => (),
        };
        template
            .render(context)
            .map_err(|e| match (raised(&e), e.kind()) {
                (Some(message), _) => invalid(message.to_owned()),
                (None, ErrorKind::OutOfFuel) => {
                    invalid("the conversation is too long for its chat template".into())
                }
                _ => EngineError::Internal(format!("the model's chat template fails: {e}")),
            })
    }

    /// The conversation as token ids, special tokens where the template has them. In what users wrote, a text
    /// like `<|eot_id|>` or `<tool_call>` stays text: nobody can end their own turn and speak as the system.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> Result<Vec<u32>, EngineError> {
        let guarded = self.render_texts(messages, &|text| tokenizer.guard(text), &|text| {
            tokenizer.guard_answer(text)
        })?;
        tokenizer.encode_guarded(&guarded)
    }
}

/// What a template said through `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

fn raised<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    let chain = std::iter::successors(Some(error), |e| e.source());
    chain
        .filter_map(|e| e.downcast_ref::<Raised>())
        .map(|raised| raised.0.as_str())
        .next()
}

/// As `json.dumps(value, ensure_ascii=False)`, save for the spaces: minijinja's own escapes for HTML.
fn to_json(value: &Value) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|e| Error::new(ErrorKind::BadSerialization, "no JSON value").with_source(e))
}

#[cfg(test)]
mod tests;
