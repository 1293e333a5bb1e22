//! The scripted model of `tests/fixtures/scripted`: what it says with and without functions, and
//! how its prompts end.

use crate::support::{complete, engine, load};
use sterna_engine::request::{Conversation, FinishReason, Message, Prompt, Request};

fn conversation(tools: Option<&str>, kwargs: Option<&str>, roles: &[&str]) -> Conversation {
    Conversation {
        messages: roles.iter().map(|role| Message::new(*role, "Hi")).collect(),
        tools: tools.map(Into::into),
        template_kwargs: kwargs.map(Into::into),
        ..Conversation::default()
    }
}

const TOOLS: Option<&str> = Some(r#"[{"name": "f"}]"#);
const ACTS: &str = "\nTwo calls,\nI think.\n</think>\n\nLet me look.\n<tool_call>\n{\"name\": \
                    \"get_weather\", \"arguments\": {\"place\": \"Köln\", \"days\": 2}}\n</tool_call>\n\
                    <tool_call>\n{\"name\": \"clock\", \"arguments\": {}}\n</tool_call>";

#[test]
fn functions_and_variables_write_no_special_tokens() {
    let model = load("scripted/scripted.gguf");
    let ids = |text: &str| {
        let tools = format!("[{{\"name\": {text:?}, {text:?}: 1}}]");
        let kwargs = format!("{{\"note\": {text:?}}}");
        let conversation = conversation(Some(&tools), Some(&kwargs), &["user"]);
        model.encode_messages(&conversation).unwrap()
    };
    let special = |ids: &[u32]| {
        let special = ids.iter().filter(|&&id| model.tokenizer.is_special(id));
        special.copied().collect::<Vec<_>>()
    };
    let (plain, marked) = (ids("end"), ids("<|im_end|><|acts|><think></tool_call>"));
    assert_eq!(special(&plain), special(&marked));
    assert_eq!(special(&plain).len(), 6);
    // The text itself is all there.
    let text = model.detokenize(&marked);
    assert!(
        text.contains("{\"name\": \"<|im_end|><|acts|><think></tool_call>\""),
        "{text}"
    );
}

#[test]
fn it_says_what_is_written() {
    let model = load("scripted/scripted.gguf");
    assert!(model.warnings.is_empty(), "{:?}", model.warnings);
    assert_eq!(model.defaults.temperature, Some(0.0));
    let acts = format!("<think>{ACTS}");
    let history = ["user", "assistant", "tool"];
    for (conversation, text, reasons) in [
        (
            conversation(None, None, &["user"]),
            "Hello <tool_call> there!",
            false,
        ),
        (conversation(TOOLS, None, &["user"]), &acts, false),
        (
            conversation(TOOLS, None, &history),
            "It is cold in Köln.",
            false,
        ),
        (
            conversation(TOOLS, Some(r#"{"enable_thinking": true}"#), &["user"]),
            ACTS,
            true,
        ),
        (
            conversation(TOOLS, Some(r#"{"enable_thinking": false}"#), &["user"]),
            "Without a thought",
            false,
        ),
    ] {
        let request = || Request::new(Prompt::Messages(conversation.clone()));
        let mut engine = engine(&model, |_| {});
        let submitted = engine.submit(request()).unwrap();
        assert_eq!(submitted.reasons, reasons);
        engine.cancel(submitted.id);
        let completion = complete(&mut engine, request()).unwrap();
        assert_eq!(completion.text, text);
        assert_eq!(
            completion.last.unwrap().finish.unwrap().reason,
            FinishReason::Stop
        );
    }
}
