//! Conversations with functions, their calls and answers, and variables of the client's, against
//! the texts that transformers renders of them. `chat/oracle.py` wrote the texts.

use std::path::Path;

use serde_json::Value as Json;
use sterna_engine::request::{Conversation, Message};
use sterna_engine::template::ChatTemplate;

fn read(path: &Path) -> Json {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn conversations(cases: &Json) -> Vec<Conversation> {
    let text = |json: &Json| json.as_str().map(str::to_owned);
    let conversation = |case: &Json| Conversation {
        messages: serde_json::from_value::<Vec<Message>>(case["messages"].clone()).unwrap(),
        tools: text(&case["tools"]),
        template_kwargs: text(&case["kwargs"]),
        ..Conversation::default()
    };
    cases.as_array().unwrap().iter().map(conversation).collect()
}

/// Compares the texts of one template.
fn check(source: &str, reference: &Json, conversations: &[Conversation]) {
    let text = |name: &str| reference[name].as_str().unwrap_or_default();
    let template = ChatTemplate::new(Some(source), text("bos"), text("eos"));
    assert_eq!(template.fault(), None, "{}", text("name"));
    let texts = reference["texts"].as_array().unwrap();
    assert_eq!(texts.len(), conversations.len());
    let mut rendered = 0;
    for (at, (conversation, text)) in conversations.iter().zip(texts).enumerate() {
        // Without a place for them, transformers passes functions over.
        if conversation.tools.is_some() && !source.contains("tools") {
            assert!(template.render(conversation).is_err());
            continue;
        }
        let ours = template.render(conversation);
        assert_eq!(ours.as_deref().ok(), text.as_str(), "case {at}: {ours:?}");
        rendered += usize::from(ours.is_ok());
    }
    assert!(rendered >= 4, "{}", text("name"));
}

#[test]
fn our_templates_render_to_transformers_texts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/chat");
    let reference = read(&folder.join("cases.json"));
    let conversations = conversations(&reference["cases"]);
    let templates = reference["templates"].as_array().unwrap();
    assert_eq!((templates.len(), conversations.len()), (10, 25));
    for template in templates {
        let source = folder.join(template["name"].as_str().unwrap());
        let source = std::fs::read_to_string(source).unwrap();
        check(&source, template, &conversations);
    }
}

#[test]
fn published_templates_render_to_transformers_texts() {
    let Some(path) = std::env::var_os("STERNA_TEMPLATES") else {
        eprintln!("left out: published templates; STERNA_TEMPLATES names no file of oracle.py's");
        return;
    };
    let reference = read(Path::new(&path));
    let conversations = conversations(&reference["cases"]);
    for template in reference["templates"].as_array().unwrap() {
        check(
            template["template"].as_str().unwrap(),
            template,
            &conversations,
        );
    }
}
