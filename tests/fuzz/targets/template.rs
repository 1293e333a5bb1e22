//! A chat template, and a conversation for it. Time and memory are libFuzzer's to bound
//! (`scripts/fuzz.sh` says how); here it is that what a template makes of a conversation stays
//! within its own bounds.
#![no_main]
#![allow(missing_docs, reason = "the macro's own")]

use libfuzzer_sys::fuzz_target;
use sterna_engine::request::{Conversation, Message, ToolCall};
use sterna_engine::template::ChatTemplate;
use sterna_fuzz::jinja;

/// No conversation of a few kB has more text than this.
const MOST_TEXT: usize = 64 << 20;

fuzz_target!(|input: &[u8]| {
    let [source, role, content, tools, kwargs] = sterna_fuzz::parts(input);
    // Half of the inputs choose among fragments of Jinja, which gets them past the parser.
    let source = match source.split_first() {
        Some((b'\0', choices)) => jinja::template(choices),
        _ => String::from_utf8_lossy(source).into_owned(),
    };
    let [role, content] = [role, content].map(String::from_utf8_lossy);
    let [tools, template_kwargs] = [tools, kwargs].map(|json| {
        let json = String::from_utf8_lossy(json).into_owned();
        (!json.is_empty()).then_some(json)
    });
    let template = ChatTemplate::new(Some(&source), "<s>", "</s>");
    let user = Message::new(role, content.clone());
    let answer = Message {
        tool_calls: vec![ToolCall {
            arguments: content.into_owned(),
            ..ToolCall::default()
        }],
        ..Message::new("assistant", "Yes.")
    };
    let conversation = Conversation {
        messages: vec![user.clone(), answer, user],
        tools,
        template_kwargs,
        ..Conversation::default()
    };
    match template.render(&conversation) {
        Ok(text) => assert!(text.len() < MOST_TEXT, "{} bytes", text.len()),
        Err(error) => assert!(error.to_string().len() < 10_000, "{error}"),
    }
});
