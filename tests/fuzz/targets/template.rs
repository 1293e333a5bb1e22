//! A chat template, and a conversation for it.
#![no_main]
#![allow(missing_docs, reason = "the macro's own")]

use libfuzzer_sys::fuzz_target;
use sterna_engine::request::Message;
use sterna_engine::template::ChatTemplate;

fuzz_target!(|input: &[u8]| {
    let [source, role, content] = sterna_fuzz::parts(input).map(String::from_utf8_lossy);
    let Ok(template) = ChatTemplate::new(Some(&source), "<s>", "</s>") else {
        return;
    };
    let user = Message::new(role, content);
    let answer = Message::new("assistant", "Yes.");
    let _ = template.render(&[user.clone(), answer, user]);
});
