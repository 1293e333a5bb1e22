//! A conversation whose last turn is continued, as `apply_chat_template(continue_final_message=
//! True)` of transformers renders it: the turn's text is marked, and the rendered text ends where
//! the mark stands.

use crate::request::Message;

/// Stands behind the last turn's text while the template runs. Private characters, so that no
/// tokenizer's markers are in it.
const MARK: &str = "\u{f8fe}the last turn goes on\u{f8fe}";
/// A template that strips the turn's text takes this from its end.
const SPACE: &str = " ";

/// The turns with a mark behind the last one's text.
pub(super) fn marked(messages: &[Message]) -> Vec<Message> {
    let mut messages = messages.to_vec();
    if let Some(last) = messages.last_mut() {
        last.content += MARK;
        last.content += SPACE;
    }
    messages
}

/// The text before the mark, without the whitespace at its end where the template strips that;
/// `None` where the template does not show the last turn's text.
pub(super) fn cut(mut text: String) -> Option<String> {
    let end = text.rfind(MARK)?;
    let is_stripped = !text[end + MARK.len()..].starts_with(SPACE);
    text.truncate(end);
    if is_stripped {
        text.truncate(text.trim_end().len());
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use crate::error::EngineError;
    use crate::request::{Conversation, ConversationEnd, Message};
    use crate::template::ChatTemplate;

    const PLAIN: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}\
        {% if add_generation_prompt %}<assistant>{% endif %}";
    const STRIPS: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}</s>{% endfor %}\
        {% if add_generation_prompt %}<assistant>{% endif %}";

    fn rendered(source: &str, last: &str, end: ConversationEnd) -> Result<String, EngineError> {
        let conversation = Conversation {
            messages: vec![
                Message::new("user", " Hi "),
                Message::new("assistant", last),
            ],
            end,
            ..Conversation::default()
        };
        ChatTemplate::new(Some(source), "", "").render(&conversation)
    }

    #[test]
    fn a_conversation_ends_as_it_is_asked_to() {
        use ConversationEnd::{AnswerOpening, Closed, LastTurnOpen};
        let begin = "<user> Hi </s><assistant>";
        for (end, last) in [
            (AnswerOpening, "Yes, </s><assistant>"),
            (Closed, "Yes, </s>"),
            (LastTurnOpen, "Yes, "),
        ] {
            let text = rendered(PLAIN, "Yes, ", end).unwrap();
            assert_eq!(text, format!("{begin}{last}"));
        }
    }

    #[test]
    fn a_template_that_strips_texts_strips_the_open_one() {
        let open = rendered(STRIPS, " Yes, ", ConversationEnd::LastTurnOpen).unwrap();
        assert_eq!(open, "<user>Hi</s><assistant>Yes,");
    }

    #[test]
    fn a_turn_that_is_not_shown_cannot_be_continued() {
        let source = "{% for m in messages[:-1] %}{{ m.content }}{% endfor %}";
        let error = rendered(source, "Yes", ConversationEnd::LastTurnOpen).unwrap_err();
        let EngineError::InvalidRequest { field, message } = error else {
            panic!("{error}");
        };
        assert!(
            field == "messages" && message.contains("continue"),
            "{message}"
        );
    }
}
