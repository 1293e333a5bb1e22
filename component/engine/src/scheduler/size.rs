//! Prompts that are refused by their size alone, before a template or the tokenizer sees them.

use crate::error::EngineError;
use crate::request::{Conversation, Message, Prompt, Request, clamp_u32};
use crate::tokenizer::TokenBytes;

/// Contexts that the tokens of a prompt may fill whose beginning is cut off.
const CUT_CONTEXTS: usize = 8;

/// The limits of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptSize {
    /// Positions of a sequence.
    pub context: usize,
    /// Bytes of a text for each token.
    pub token_bytes: TokenBytes,
}

impl PromptSize {
    /// Refuse a prompt that is certain not to fit beside `reserved` positions for what is
    /// generated.
    ///
    /// A conversation's messages count as a token at least, and their texts without whitespace,
    /// which templates strip. What an assistant thought does not count, since they may drop it; nor
    /// does what only some of them look at.
    ///
    /// # Errors
    /// `ContextOverflow`, with the least that it needs.
    pub fn check(&self, prompt: &Prompt, reserved: usize) -> Result<(), EngineError> {
        let room = self.context.saturating_sub(reserved);
        let least = match prompt {
            Prompt::Tokens(tokens) => Some(tokens.len()).filter(|&length| length > room),
            Prompt::Text(text) => self.token_bytes.excess([text.as_str()].into_iter(), room),
            Prompt::Messages(Conversation { messages, .. }) => {
                let stripped = TokenBytes {
                    whitespace: false,
                    ..self.token_bytes
                };
                let texts = messages.iter().flat_map(texts);
                Some(messages.len())
                    .filter(|&least| least > room)
                    .or_else(|| stripped.excess(texts, room))
            }
        };
        match least {
            Some(least) => Err(self.overflow(least, reserved)),
            None => Ok(()),
        }
    }

    /// The limits of a request's prompt.
    #[must_use]
    pub fn of(&self, request: &Request) -> PromptSize {
        if request.truncate_prompt.is_some() && !request.embed {
            self.before_cut()
        } else {
            *self
        }
    }

    /// The limits of a prompt whose beginning is cut off: it is tokenised as a whole before.
    pub(super) fn before_cut(&self) -> PromptSize {
        PromptSize {
            context: self.context.saturating_mul(CUT_CONTEXTS),
            ..*self
        }
    }

    /// A prompt of `least` tokens at least does not fit.
    pub(super) fn overflow(&self, least: usize, reserved: usize) -> EngineError {
        EngineError::ContextOverflow {
            limit: clamp_u32(self.context),
            requested: clamp_u32(least.saturating_add(reserved)),
        }
    }

    /// Bytes of a prompt's texts, and those of them at most that are tokenised (the rest is
    /// whitespace that vanishes, or refused).
    #[must_use]
    pub fn bytes(&self, prompt: &Prompt) -> (usize, usize) {
        let bytes = match prompt {
            Prompt::Tokens(tokens) => size_of_val(&tokens[..]),
            Prompt::Text(text) => text.len(),
            Prompt::Messages(conversation) => conversation_bytes(conversation),
        };
        let most = match self.token_bytes.most {
            0 => usize::MAX,
            most => self.context.saturating_mul(most),
        };
        (bytes, bytes.min(most))
    }
}

/// The texts that every template shows.
fn texts(message: &Message) -> [&str; 2] {
    [&message.role, &message.content]
}

/// Arguments, functions and variables are parsed: so many bytes for each of theirs.
const PARSED: usize = 8;

/// Bytes of all of a conversation's texts, and of what is parsed from them.
#[must_use]
pub fn conversation_bytes(conversation: &Conversation) -> usize {
    let json = [&conversation.tools, &conversation.template_kwargs];
    let json = json.into_iter().flatten().map(|json| PARSED * json.len());
    let messages = conversation.messages.iter().map(message_bytes);
    messages.chain(json).sum()
}

fn message_bytes(message: &Message) -> usize {
    let optional = [
        &message.name,
        &message.reasoning_content,
        &message.tool_call_id,
    ];
    let calls = message.tool_calls.iter();
    let calls = calls.map(|call| call.id.len() + call.name.len() + PARSED * call.arguments.len());
    let optional = optional.into_iter().flatten().map(String::len);
    let texts = texts(message).into_iter().map(str::len);
    texts.chain(optional).chain(calls).sum()
}
