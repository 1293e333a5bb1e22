//! Chat templates: a conversation as the text the model was trained to continue.
//!
//! Templates are Jinja, written for Hugging Face's `apply_chat_template`; [`jinja`] renders them to
//! the same text. A template is part of a model's file and may be anybody's. One that cannot be
//! used leaves the rest of the model as it is: it loads, completes prompts, and says for a
//! conversation what is wrong with its template. One that runs away ends at the bounds of
//! [`jinja::limits`], which hold for time, memory, output and stack wherever it runs.

mod built_in;
mod clock;
mod given;
mod jinja;
mod last_turn;
mod message;

use std::sync::Arc;

pub(crate) use built_in::CHATML_TOKENS;
pub use built_in::{BITNET_2B_4T, CHATML, STORY, built_in, names as built_in_names};

use crate::error::EngineError;
use crate::request::{CallForm, Conversation, ConversationEnd, Tags};
use crate::tokenizer::{Tokenizer, TooMany};
use jinja::limits::Budget;
use jinja::{Fault, Name, Template, Value};
use message::Rewrite;

/// The properties of a template besides its source.
#[derive(Clone, Debug)]
enum State {
    /// The model has none.
    Absent,
    Parsed(Arc<Template>),
    /// It cannot be used: why.
    Broken(String),
}

/// What templates write around calls that have another form than those of [`CallForm`].
const OTHER_CALLS: [&str; 10] = [
    "<arg_key>",
    "<function=",
    "[TOOL_CALLS]",
    "<|tool_call|>",
    "<|tool_calls_section_begin|>",
    "<|START_ACTION|>",
    "<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}>",
    "<start_function_call>",
    "functools[",
    "<|channel|>",
];

/// A chat template, or the absence of one.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: Option<String>,
    state: State,
    bos_text: String,
    eos_text: String,
}

impl ChatTemplate {
    /// Parse a template. `bos_text` and `eos_text` are the texts of the model's special tokens,
    /// empty where it has none. Without `source`, and where it does not parse ([`Self::fault`]),
    /// rendering is an invalid request: a guessed format would make a model answer badly without a
    /// word.
    pub fn new(source: Option<&str>, bos_text: &str, eos_text: &str) -> Self {
        let state = match source.map(Template::parse) {
            None => State::Absent,
            Some(Ok(template)) => State::Parsed(Arc::new(template)),
            Some(Err(error)) => State::Broken(error.to_string()),
        };
        ChatTemplate {
            source: source.map(str::to_owned),
            state,
            bos_text: bos_text.into(),
            eos_text: eos_text.into(),
        }
    }

    /// The template as it was given, to be stored in a converted file.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// Why the template cannot be used, if it cannot: for a warning when the model is loaded.
    pub fn fault(&self) -> Option<&str> {
        match &self.state {
            State::Broken(why) => Some(why),
            State::Absent | State::Parsed(_) => None,
        }
    }

    /// The texts around the reasoning of an answer. A template that knows reasoning leaves that of
    /// earlier answers out, or writes its tags, so it names the tag that ends it.
    #[must_use]
    pub fn reasoning_tags(&self) -> Option<Tags> {
        self.tags(["<think>", "</think>"])
    }

    /// How the model calls functions, by what its template says: JSON between `<tool_call>` and
    /// `</tool_call>`, as Hermes, Qwen and Falcon do, or as Llama 3 does, which stands for those
    /// too that name no form. `None` where the template has no place for functions, or has them
    /// called in a form that is none of both ([`OTHER_CALLS`]).
    #[must_use]
    pub fn call_form(&self) -> Option<CallForm> {
        let source = self.source.as_deref()?;
        if OTHER_CALLS.iter().any(|other| source.contains(other)) {
            return None;
        }
        if let Some(tags) = self.tags(["<tool_call>", "</tool_call>"]) {
            return Some(CallForm::Tagged(tags));
        }
        let names = ["tools", "<|python_tag|>", "ipython"];
        let knows = names.iter().any(|name| source.contains(name));
        knows.then_some(CallForm::Bare)
    }

    /// These tags, if the template has the second of them.
    fn tags(&self, [begin, end]: [&str; 2]) -> Option<Tags> {
        self.source.as_deref()?.contains(end).then(|| Tags {
            begin: begin.into(),
            end: end.into(),
        })
    }

    /// The conversation as text, with what its end asks for. What users wrote is in it as they
    /// wrote it: to make a prompt of a conversation, [`Self::encode`] it.
    ///
    /// # Errors
    /// `InvalidRequest` for the field `messages`: there are none, the template refuses them
    /// (`raise_exception`), fails on them or reaches a limit, or there is no template that can be
    /// used. For `prompt.tools` and `prompt.template-kwargs`: it is not what `wit/engine.wit` says,
    /// or the template has no place for functions.
    pub fn render(&self, conversation: &Conversation) -> Result<String, EngineError> {
        let as_it_is = Rewrite {
            text: &str::to_owned,
            said: &str::to_owned,
        };
        self.render_texts(conversation, as_it_is)
    }

    /// As [`Self::render`], with each text that users or a model wrote as `rewrite` makes it.
    fn render_texts(
        &self,
        conversation: &Conversation,
        rewrite: Rewrite,
    ) -> Result<String, EngineError> {
        let template = match &self.state {
            State::Parsed(template) => template,
            State::Absent => {
                return Err(invalid(
                    "this model has no chat template; use /v1/completions with a prompt".into(),
                ));
            }
            State::Broken(why) => {
                return Err(invalid(format!(
                    "this model's chat template cannot be used ({why}); use /v1/completions with a \
                     prompt, or convert the model with another --chat-template"
                )));
            }
        };
        let Conversation {
            messages,
            tools,
            template_kwargs,
            end,
        } = conversation;
        if messages.is_empty() {
            return Err(invalid("there are none".into()));
        }
        let json = [tools, template_kwargs].into_iter().flatten();
        let input = messages.iter().map(message::bytes).sum::<usize>();
        let input = input + json.map(String::len).sum::<usize>();
        let budget = Budget::new(input + self.bos_text.len() + self.eos_text.len());
        let tools = self.tools(tools.as_deref(), rewrite, &budget)?;
        let mut variables = match template_kwargs {
            Some(json) => given::kwargs(json, rewrite.text, &budget)?,
            None => Vec::new(),
        };
        let is_open = *end == ConversationEnd::LastTurnOpen;
        let marked = is_open.then(|| last_turn::marked(messages));
        let messages = marked.as_ref().unwrap_or(messages);
        let rendered = message::list(messages, rewrite, &budget).and_then(|messages| {
            variables.push(("messages".into(), messages));
            variables.push(("tools".into(), tools));
            variables.extend(self.defaults(*end));
            template.render(variables, &budget)
        });
        let rendered = rendered.map_err(|error| match error.fault {
            Fault::Raised(message) => invalid(message),
            Fault::Limit(_) => invalid(format!(
                "the conversation is too long for the model's chat template, or the template does not \
                 end ({error})"
            )),
            Fault::Failed(_) => invalid(format!(
                "the model's chat template fails on this conversation ({error})"
            )),
        })?;
        if !is_open {
            return Ok(rendered);
        }
        last_turn::cut(rendered).ok_or_else(|| {
            invalid(
                "the model's chat template does not show the last message's text, so there is \
                 nothing to continue; leave 'continue_final_message' out"
                    .into(),
            )
        })
    }

    /// The conversation as token ids, special tokens where the template has them. In what users
    /// wrote, a text like `<|eot_id|>` or `<tool_call>` stays text: nobody can end their own turn
    /// and speak as the system.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
    ) -> Result<Vec<u32>, EngineError> {
        let encoded = self.encode_at_most(tokenizer, conversation, usize::MAX)?;
        Ok(encoded.unwrap_or_default())
    }

    /// As [`Self::encode`], for a conversation that may have `most` tokens (see
    /// [`Tokenizer::encode_at_most`]).
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn encode_at_most(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation,
        most: usize,
    ) -> Result<Result<Vec<u32>, TooMany>, EngineError> {
        let guard = Rewrite {
            text: &|text| tokenizer.guard(text),
            said: &|text| tokenizer.guard_answer(text),
        };
        let guarded = self.render_texts(conversation, guard)?;
        tokenizer.encode_guarded(&guarded, most)
    }

    /// The functions as the template gets them: none are `None`.
    fn tools(
        &self,
        json: Option<&str>,
        rewrite: Rewrite,
        budget: &Budget,
    ) -> Result<Value, EngineError> {
        let Some(json) = json else {
            return Ok(Value::None);
        };
        let tools = given::tools(json, rewrite.text, budget)?;
        // One that knows functions names the variable.
        let knows = self.source.as_ref().is_some_and(|it| it.contains("tools"));
        match &tools {
            Value::List(tools) if tools.is_empty() => Ok(Value::None),
            _ if !knows => Err(EngineError::InvalidRequest {
                field: "prompt.tools".into(),
                message: "this model's chat template has no place for functions; leave them out"
                    .into(),
            }),
            _ => Ok(tools),
        }
    }

    /// The variables that `apply_chat_template` passes to a template by itself, save the
    /// conversation's.
    fn defaults(&self, end: ConversationEnd) -> [(Name, Value); 4] {
        let opens_answer = end == ConversationEnd::AnswerOpening;
        [
            ("bos_token".into(), self.bos_text.as_str().into()),
            ("eos_token".into(), self.eos_text.as_str().into()),
            ("add_generation_prompt".into(), Value::Bool(opens_answer)),
            // Templates ask whether there are none.
            ("documents".into(), Value::None),
        ]
    }
}

fn invalid(message: String) -> EngineError {
    EngineError::InvalidRequest {
        field: "messages".into(),
        message,
    }
}

#[cfg(test)]
mod tests;
