//! A generation as server-sent events, which are written and flushed one by one.
//!
//! Dropping it drops the generation, which cancels it; that is how a client that went away stops the
//! engine.

use crate::{
    answer::{Answer, Kind},
    engine::{Event, Generation},
    error::{ApiError, Resume},
};

/// The server-sent events of one answer, as bytes to write.
#[derive(Debug)]
pub struct EventStream<G> {
    kind: Kind,
    answer: Answer,
    resume: Resume,
    state: State<G>,
}

#[derive(Debug)]
enum State<G> {
    /// Nothing was sent yet.
    Opening(G),
    Running(G),
    Ended,
}

impl<G: Generation> EventStream<G> {
    /// The events of `generation`, which `answer` describes and which draws from `seed`.
    pub fn new(kind: Kind, answer: Answer, seed: u64, generation: G) -> Self {
        EventStream {
            kind,
            answer,
            resume: Resume {
                seed,
                ..Resume::default()
            },
            state: State::Opening(generation),
        }
    }

    /// The bytes an engine event is sent as; empty where it has no text and is not the last.
    fn render(&self, event: &Event) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !event.text.is_empty() {
            push_data(&mut bytes, &self.answer.text_chunk(&event.text));
        }
        if let Some(finish) = event.finish {
            push_data(&mut bytes, &self.answer.finish_chunk(finish.reason));
            if let Some(chunk) = self.answer.usage_chunk(finish.usage) {
                push_data(&mut bytes, &chunk);
            }
            push_data(&mut bytes, b"[DONE]");
        }
        bytes
    }
}

impl<G: Generation> EventStream<G> {
    /// Wait for the next bytes to send; `None` after the last.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut generation = match std::mem::replace(&mut self.state, State::Ended) {
            State::Opening(generation) => {
                if let Some(chunk) = self.answer.opening_chunk() {
                    push_data(&mut bytes, &chunk);
                    self.state = State::Running(generation);
                    return Some(bytes);
                }
                generation
            }
            State::Running(generation) => generation,
            State::Ended => return None,
        };
        while bytes.is_empty() {
            let error = match generation.next().await {
                Ok(Some(event)) => {
                    self.resume.completion_tokens += event.tokens.len();
                    self.resume.tokens.extend(&event.tokens);
                    bytes = self.render(&event);
                    if event.finish.is_some() {
                        return Some(bytes);
                    }
                    continue;
                }
                Ok(None) => unfinished(),
                Err(error) => ApiError::from_engine(error, self.kind),
            };
            // The status has been sent, so the fault goes where the next chunk would; no [DONE] follows.
            push_data(&mut bytes, &error.to_event(&self.resume));
            return Some(bytes);
        }
        self.state = State::Running(generation);
        Some(bytes)
    }
}

/// The engine broke its contract: it ended without saying why.
pub fn unfinished() -> ApiError {
    ApiError::internal("the generation ended without a reason")
}

/// One event. JSON as serde writes it is a single line, so one `data:` field holds it.
fn push_data(bytes: &mut Vec<u8>, data: &[u8]) {
    bytes.extend_from_slice(b"data: ");
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        answer::Stamp,
        engine::Error,
        now,
        testing::{Script, all, end, text},
    };

    const STAMP: Stamp = Stamp {
        id: 0xab,
        created: 1_700_000_000,
    };

    fn stream(kind: Kind, include_usage: bool, script: Vec<Result<Event, Error>>) -> Vec<String> {
        let answer = Answer::new(kind, STAMP, "demo".into(), include_usage);
        let items = EventStream::new(kind, answer, 7, Script::new(script));
        all(items)
            .into_iter()
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .collect()
    }

    fn chunk(kind: Kind, rest: &str) -> String {
        let (prefix, object) = match kind {
            Kind::Chat => ("chatcmpl", "chat.completion.chunk"),
            Kind::Text => ("cmpl", "text_completion"),
        };
        format!(
            "data: {{\"id\":\"{prefix}-000000000000000000000000000000ab\",\"object\":\"{object}\",\
             \"created\":1700000000,\"model\":\"demo\",\"system_fingerprint\":\"sterna-{}\",{rest}}}\n\n",
            env!("CARGO_PKG_VERSION")
        )
    }

    fn choice(kind: Kind, piece: &str, reason: &str) -> String {
        chunk(
            kind,
            &format!(
                r#""choices":[{{"index":0,{piece},"logprobs":null,"finish_reason":{reason}}}]"#
            ),
        )
    }

    const DONE: &str = "data: [DONE]\n\n";

    #[test]
    fn a_chat_opens_with_the_role_and_ends_with_done() {
        let kind = Kind::Chat;
        let sent = stream(
            kind,
            false,
            vec![text("Hi"), text(""), text(" \"you\"\n"), end("!")],
        );
        assert_eq!(
            sent,
            [
                choice(kind, r#""delta":{"role":"assistant","content":""}"#, "null"),
                choice(kind, r#""delta":{"content":"Hi"}"#, "null"),
                choice(kind, r#""delta":{"content":" \"you\"\n"}"#, "null"),
                choice(kind, r#""delta":{"content":"!"}"#, "null")
                    + &choice(kind, r#""delta":{}"#, "\"length\"")
                    + DONE,
            ]
        );
    }

    #[test]
    fn a_completion_has_no_opening() {
        let kind = Kind::Text;
        let sent = stream(kind, false, vec![text("a"), end("")]);
        assert_eq!(
            sent,
            [
                choice(kind, r#""text":"a""#, "null"),
                choice(kind, r#""text":"""#, "\"length\"") + DONE
            ]
        );
    }

    #[test]
    fn usage_comes_last_and_is_null_before() {
        let sent = stream(Kind::Text, true, vec![text("a"), end("")]);
        let null = r#""logprobs":null,"finish_reason":null}],"usage":null"#;
        assert_eq!(
            sent[0],
            chunk(
                Kind::Text,
                &format!(r#""choices":[{{"index":0,"text":"a",{null}"#)
            )
        );
        let usage = r#""choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":1}}"#;
        assert!(
            sent[1].ends_with(&(chunk(Kind::Text, usage) + DONE)),
            "{}",
            sent[1]
        );
        assert_eq!(sent.len(), 2);
    }

    #[test]
    fn a_fault_midway_is_told_with_what_a_resume_needs_and_ends_the_stream() {
        let sent = stream(
            Kind::Text,
            true,
            vec![text("a"), Err(Error::Internal("NaN in layer 3".into()))],
        );
        let error = r#"{"error":{"message":"Internal error: NaN in layer 3.","type":"server_error","param":null,"code":"internal_error","resume":{"seed":7,"completion_tokens":1,"tokens":[1]}}}"#;
        assert_eq!(sent.last().unwrap(), &format!("data: {error}\n\n"));
        assert_eq!(sent.len(), 2);
    }

    #[test]
    fn an_end_without_reason_is_a_fault() {
        let sent = stream(Kind::Text, false, vec![text("a")]);
        assert!(
            sent[1].contains("without a reason") && !sent[1].contains("[DONE]"),
            "{}",
            sent[1]
        );
    }

    #[test]
    fn dropping_the_stream_drops_the_generation() {
        let script = Script::new(vec![text("a"), text("b"), end("")]);
        let alive = script.alive();
        let answer = Answer::new(Kind::Text, STAMP, "demo".into(), false);
        let mut events = EventStream::new(Kind::Text, answer, 7, script);
        now(events.next()).unwrap();
        assert_eq!(alive.strong_count(), 1);
        drop(events);
        assert_eq!(alive.strong_count(), 0);
    }

    #[test]
    fn the_last_event_frees_the_generation_at_once() {
        let script = Script::new(vec![end("")]);
        let alive = script.alive();
        let answer = Answer::new(Kind::Text, STAMP, "demo".into(), false);
        let mut events = EventStream::new(Kind::Text, answer, 7, script);
        assert!(now(events.next()).is_some());
        assert_eq!(alive.strong_count(), 0);
        assert!(now(events.next()).is_none());
    }
}
