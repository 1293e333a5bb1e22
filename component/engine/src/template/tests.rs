//! Rendered conversations against texts written by hand.

use super::*;

fn messages(turns: &[(&str, &str)]) -> Vec<Message> {
    turns
        .iter()
        .map(|(role, content)| Message::new(*role, *content))
        .collect()
}

fn render(source: &str, turns: &[(&str, &str)]) -> Result<String, EngineError> {
    ChatTemplate::new(Some(source), "<|begin_of_text|>", "<|end_of_text|>")
        .unwrap()
        .render(&messages(turns))
}

const CHAT: &[(&str, &str)] = &[
    ("system", "Be brief."),
    ("user", " Hi!\n"),
    ("assistant", "Hello."),
    ("user", "Who?"),
];

#[test]
fn bitnet_2b_4t() {
    assert_eq!(
        render(BITNET_2B_4T, CHAT).unwrap(),
        "<|begin_of_text|>System: Be brief.<|eot_id|>User: Hi!<|eot_id|>Assistant: Hello.<|eot_id|>User: Who?<|eot_id|>Assistant: "
    );
}

#[test]
fn story() {
    assert_eq!(
        render(STORY, &[("user", "Once.")]).unwrap(),
        "<|begin_of_text|>Once."
    );
    assert_eq!(
        render(STORY, &[("system", "A"), ("user", " B ")]).unwrap(),
        "<|begin_of_text|>A\n\n B "
    );
}

#[test]
fn blocks_leave_no_blank_lines_and_python_methods_work() {
    let source = "{% for m in messages %}
    {% if m.content.startswith('Be') %}
{{ m['content'].strip().upper() }}
    {% endif %}
{% endfor %}
{%- if tools is not none %}tools{% endif %}
{%- set ns = namespace(n=0) %}
{%- for m in messages if m.role == 'user' %}{% set ns.n = ns.n + 1 %}{% if ns.n > 1 %}{% break %}{% endif %}[{{ m.content | tojson }}]{% endfor -%}
{{ eos_token }}";
    assert_eq!(
        render(source, CHAT).unwrap(),
        "BE BRIEF.\n[\" Hi!\\n\"]<|end_of_text|>"
    );
}

#[test]
fn the_date_is_asked_for() {
    let text = render("{{ strftime_now('%Y') }}", CHAT).unwrap();
    assert!(text.parse::<u32>().unwrap() >= 2024, "{text}");
}

#[test]
fn what_a_template_refuses_is_the_requests_fault() {
    let source = "{% if messages[0].role != 'user' %}{{ raise_exception('The first turn is the user\\'s') }}{% endif %}";
    let Err(EngineError::InvalidRequest { field, message }) = render(source, CHAT) else {
        panic!("refused")
    };
    assert_eq!(
        (field.as_str(), message.as_str()),
        ("messages", "The first turn is the user's")
    );
    assert_eq!(render(source, &[("user", "x")]).unwrap(), "");
}

#[test]
fn no_messages_and_no_template_are_named() {
    assert!(
        matches!(render(STORY, &[]), Err(EngineError::InvalidRequest { field, .. }) if field == "messages")
    );
    let none = ChatTemplate::new(None, "", "").unwrap();
    let error = none.render(&messages(CHAT)).unwrap_err().to_string();
    assert!(
        error.contains("no chat template") && error.contains("/v1/completions"),
        "{error}"
    );
    assert_eq!(none.source(), None);
}

#[test]
fn a_template_that_does_not_compile_is_named() {
    let error = ChatTemplate::new(Some("{% for %}"), "", "")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("chat template: does not compile"),
        "{error}"
    );
}

#[test]
fn a_template_that_fails_is_the_models_fault() {
    assert!(matches!(
        render("{{ messages[0].content.nothing() }}", CHAT),
        Err(EngineError::Internal(_))
    ));
}

#[test]
fn runaway_templates_end() {
    let endless = "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}";
    assert!(matches!(
        render(endless, CHAT),
        Err(EngineError::InvalidRequest { .. })
    ));
    let doubling = "{% set ns = namespace(s='xxxxxxxx') %}{% for a in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}";
    assert!(matches!(
        render(doubling, CHAT),
        Err(EngineError::InvalidRequest { .. })
    ));
    let recursive = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    assert!(render(recursive, CHAT).is_err());
}

#[test]
fn a_megabyte_of_conversation_renders() {
    let long = "word ".repeat(200_000);
    let text = render(BITNET_2B_4T, &[("user", &long)]).unwrap();
    assert!(text.len() > 999_000);
}
