//! The bytes of a stream, event by event, against a scripted engine.

use super::*;
use crate::{
    answer::{Answer, Stamp},
    choices::{Asked, Form},
    engine::{Error, Event, Prompt, plain_request},
    kind::Kind,
    now,
    params::StreamUsage,
    resume::Resumed,
    testing::{ScriptedEngine, all, end, settings, text},
};

const STAMP: Stamp = Stamp {
    id: 0xab,
    created: 1_700_000_000,
    clock: || 0,
};

fn events(
    engine: &ScriptedEngine,
    kind: Kind,
    usage: StreamUsage,
    prompts: u32,
) -> EventStream<ScriptedEngine> {
    let template = plain_request("org/demo".into());
    let asked = Asked {
        kind,
        template,
        per_prompt: 1,
        prompts: (0..prompts).map(|i| Prompt::Tokens(vec![i])).collect(),
        seed: 7,
        same_seed: false,
        form: Form::default(),
        grammar_field: None,
        clock: || 0,
        resumed: Resumed::default(),
    };
    let choices = Choices::start(engine.clone(), &settings(), 2, asked).unwrap();
    let answer = Answer::new(kind, STAMP, "demo".into(), usage);
    EventStream::new(Box::new(Chunks::new(answer)), choices, None)
}

fn stream(kind: Kind, usage: StreamUsage, script: Vec<Result<Event, Error>>) -> Vec<String> {
    texts(events(&ScriptedEngine::new(Ok(script)), kind, usage, 1))
}

fn texts(events: EventStream<ScriptedEngine>) -> Vec<String> {
    all(events)
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
        &format!(r#""choices":[{{"index":0,{piece},"logprobs":null,"finish_reason":{reason}}}]"#),
    )
}

const DONE: &str = "data: [DONE]\n\n";

#[test]
fn a_chat_opens_with_the_role_and_ends_with_done() {
    let kind = Kind::Chat;
    let sent = stream(
        kind,
        StreamUsage::Never,
        vec![text("Hi"), text(""), text(" \"you\"\n"), end("!")],
    );
    assert_eq!(
        sent,
        [
            choice(
                kind,
                r#""delta":{"role":"assistant","content":null}"#,
                "null"
            ),
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
    let sent = stream(kind, StreamUsage::Never, vec![text("a"), end("")]);
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
    let sent = stream(Kind::Text, StreamUsage::AtTheEnd, vec![text("a"), end("")]);
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
        StreamUsage::AtTheEnd,
        vec![text("a"), Err(Error::Internal("NaN in layer 3".into()))],
    );
    let error = r#"{"error":{"message":"Internal error: NaN in layer 3.","type":"server_error","param":null,"code":"internal_error","resume":{"seed":7,"completion_tokens":1,"tokens":[1]}}}"#;
    assert_eq!(sent.last().unwrap(), &format!("data: {error}\n\n"));
    assert_eq!(sent.len(), 2);
}

#[test]
fn an_end_without_reason_is_a_fault() {
    let sent = stream(Kind::Text, StreamUsage::Never, vec![text("a")]);
    assert!(
        sent[1].contains("without a reason") && !sent[1].contains("[DONE]"),
        "{}",
        sent[1]
    );
}

#[test]
fn usage_may_come_with_every_piece() {
    let sent = stream(Kind::Text, StreamUsage::Always, vec![text("a"), end("")]);
    let so_far = r#""usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4,"#;
    assert!(sent[0].contains(so_far), "{}", sent[0]);
    assert_eq!(
        sent[1].matches(r#""completion_tokens":2"#).count(),
        2,
        "{}",
        sent[1]
    );
}

#[test]
fn choices_come_one_after_the_other_and_their_usage_is_summed() {
    let kind = Kind::Text;
    let engine = ScriptedEngine::new(Ok(vec![text("a"), end("b")]));
    let sent = texts(events(&engine, kind, StreamUsage::AtTheEnd, 3)).concat();
    let chunks: Vec<serde_json::Value> = sent
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .collect();
    let told: Vec<(u64, String)> = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"].get(0))
        .map(|choice| {
            (
                choice["index"].as_u64().unwrap(),
                choice["text"].as_str().unwrap().into(),
            )
        })
        .collect();
    let expected: Vec<(u64, String)> = (0..3)
        .flat_map(|index| ["a", "b", ""].map(|text| (index, text.to_owned())))
        .collect();
    assert_eq!(told, expected);
    assert_eq!(sent.matches("[DONE]").count(), 1);
    let usage = &chunks.last().unwrap()["usage"];
    assert_eq!(usage["prompt_tokens"], 9);
    assert_eq!(usage["completion_tokens"], 6);
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 3);
    let seeds: Vec<_> = engine
        .asked
        .borrow()
        .iter()
        .map(|asked| asked.sampling.seed)
        .collect();
    assert_eq!(seeds, [Some(7), Some(8), Some(9)]);
    assert_eq!(engine.alive(), 0);
}

#[test]
fn a_long_list_waits_for_places() {
    let engine = ScriptedEngine::new(Ok(vec![text("a"), end("")]));
    let mut events = events(&engine, Kind::Text, StreamUsage::Never, 5);
    assert_eq!(engine.alive(), 2, "as many as the engine runs at a time");
    let mut most = 0;
    while now(events.next()).is_some() {
        most = most.max(engine.alive());
    }
    assert_eq!((most, engine.asked.borrow().len()), (2, 5));
    // With a place for one alone, the second is asked for again once the first has ended.
    let engine = ScriptedEngine {
        places: 1,
        ..ScriptedEngine::new(Ok(vec![text("a"), end("")]))
    };
    let sent = texts(self::events(&engine, Kind::Text, StreamUsage::Never, 3)).concat();
    assert_eq!(
        sent.matches("finish_reason\":\"length").count(),
        3,
        "{sent}"
    );
}

#[test]
fn a_list_that_lost_its_places_waits_for_one() {
    let engine = ScriptedEngine {
        places: 1,
        ..ScriptedEngine::new(Ok(vec![text("a"), end("")]))
    };
    let events = events(&engine, Kind::Text, StreamUsage::Never, 2);
    engine.taken.set(5);
    let sent = texts(events).concat();
    assert_eq!(
        sent.matches("finish_reason\":\"length").count(),
        2,
        "{sent}"
    );
    // But not for ever.
    let events = self::events(&engine, Kind::Text, StreamUsage::Never, 2);
    engine.taken.set(usize::MAX / 2);
    let sent = texts(events).concat();
    assert!(
        sent.contains("overloaded") && sent.contains(r#""index":1"#),
        "{sent}"
    );
}

#[test]
fn a_fault_in_a_later_choice_names_it() {
    let engine = ScriptedEngine::new(Ok(vec![text("a"), end("")]));
    let mut events = events(&engine, Kind::Text, StreamUsage::Never, 3);
    now(events.next()).unwrap();
    // The third is refused when the first has ended.
    let mut broken = engine.clone();
    broken.answer = Err(Error::Unavailable("draining".into()));
    if let State::Running(choices) = &mut events.state {
        choices.replace_engine(broken);
    }
    let sent = texts(events).concat();
    assert!(
        sent.contains("draining") && !sent.contains("[DONE]"),
        "{sent}"
    );
    assert!(sent.contains(r#""resume":{"index":"#), "{sent}");
}

#[test]
fn dropping_the_stream_drops_the_generations() {
    let engine = ScriptedEngine::new(Ok(vec![text("a"), text("b"), end("")]));
    let mut events = events(&engine, Kind::Text, StreamUsage::Never, 2);
    now(events.next()).unwrap();
    assert_eq!(engine.alive(), 2);
    drop(events);
    assert_eq!(engine.alive(), 0);
}

#[test]
fn the_last_event_frees_the_generation_at_once() {
    let engine = ScriptedEngine::new(Ok(vec![end("")]));
    let mut events = events(&engine, Kind::Text, StreamUsage::Never, 1);
    assert!(now(events.next()).is_some());
    assert_eq!(engine.alive(), 0);
    assert!(now(events.next()).is_none());
}
