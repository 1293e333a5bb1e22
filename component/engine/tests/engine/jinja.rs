//! Templates against the texts that Python's Jinja2 renders of them, with the settings of Hugging
//! Face's `apply_chat_template`. `jinja/oracle.py` wrote the texts.

use sterna_engine::request::Message;
use sterna_engine::template::ChatTemplate;

const CASES: &str = include_str!("jinja/cases.json");

#[test]
fn every_template_renders_to_jinjas_text() {
    let cases: Vec<serde_json::Value> = serde_json::from_str(CASES).unwrap();
    let messages: Vec<Message> = serde_json::from_value(cases[0].clone()).unwrap();
    let mut wrong = Vec::new();
    for case in &cases[1..] {
        let (source, text) = (case[0].as_str().unwrap(), case[1].as_str());
        let template = ChatTemplate::new(Some(source), "<s>", "</s>");
        let rendered = template.render(&messages.clone().into());
        if rendered.as_deref().ok() != text {
            wrong.push(format!("{source}\n  is    {rendered:?}\n  wants {text:?}"));
        }
    }
    assert!(cases.len() > 600);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
