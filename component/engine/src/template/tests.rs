//! Rendered conversations against texts written by hand.

use super::*;
use crate::request::Message;

fn messages(turns: &[(&str, &str)]) -> Conversation {
    turns
        .iter()
        .map(|(role, content)| Message::new(*role, *content))
        .collect::<Vec<_>>()
        .into()
}

fn render(source: &str, turns: &[(&str, &str)]) -> Result<String, EngineError> {
    ChatTemplate::new(Some(source), "<|begin_of_text|>", "<|end_of_text|>").render(&messages(turns))
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
    let none = ChatTemplate::new(None, "", "");
    let error = none.render(&messages(CHAT)).unwrap_err().to_string();
    assert!(
        error.contains("no chat template") && error.contains("/v1/completions"),
        "{error}"
    );
    assert_eq!(none.source(), None);
}

/// The model loads all the same, and its template is kept as it was.
#[test]
fn a_template_that_does_not_parse_is_said_where_it_is_wanted() {
    for (source, why) in [
        ("{% for %}", "line 1: `%}` where a name was expected"),
        (
            "{{- if .System }}{{ .System }}{{ end }}",
            "line 1: `.` where an expression was expected",
        ),
        (
            "a\n{{ x",
            "line 2: the template ends where `}}` was expected",
        ),
        ("{% include 'other' %}", "cannot read other files"),
        ("{% frobnicate %}", "there is no statement `frobnicate`"),
    ] {
        let template = ChatTemplate::new(Some(source), "", "");
        assert_eq!(template.source(), Some(source));
        let fault = template.fault().unwrap();
        assert!(fault.contains(why), "{fault}");
        let Err(EngineError::InvalidRequest { field, message }) = template.render(&messages(CHAT))
        else {
            panic!("{source} renders")
        };
        assert_eq!(field, "messages");
        assert!(
            message.contains(why) && message.contains("/v1/completions"),
            "{message}"
        );
    }
    assert_eq!(ChatTemplate::new(Some(BITNET_2B_4T), "", "").fault(), None);
}

#[test]
fn a_template_that_fails_says_where() {
    let Err(EngineError::InvalidRequest { message, .. }) =
        render("{{ bos_token }}\n{{ messages[0].content.nothing() }}", CHAT)
    else {
        panic!("fails")
    };
    assert!(message.contains("line 2"), "{message}");
    let long = format!("{{{{ raise_exception('{}') }}}}", "a".repeat(100_000));
    let message = render(&long, CHAT).unwrap_err().to_string();
    assert!(message.len() < 5_000, "{}", message.len());
    // Texts of the template are not repeated at any length either.
    for inner in [
        "x.NAME.b",
        "1 | NAME",
        "1 is NAME",
        "range(NAME=1)",
        "'a'.NAME()",
        "NAME b",
        "'NAME' b",
        "1NAME",
    ] {
        let source = format!("{{{{ {} }}}}", inner.replace("NAME", &"a".repeat(100_000)));
        let message = render(&source, CHAT).unwrap_err().to_string();
        assert!(message.len() < 1_000, "{inner}: {}", message.len());
    }
}

#[test]
fn guards_are_no_part_of_json() {
    let guarded = "{{ messages[0].content | tojson(ensure_ascii=true) }}";
    assert_eq!(
        render(guarded, &[("user", "\u{FDD0}<é")]).unwrap(),
        "\"\u{FDD0}<\\u00e9\""
    );
}

#[test]
fn tags_are_those_that_the_template_writes() {
    let tags = |source: &str| {
        let template = ChatTemplate::new(Some(source), "", "");
        let calls = template.call_form().map(|form| match form {
            CallForm::Tagged(tags) => tags,
            CallForm::Bare => panic!("bare"),
        });
        [template.reasoning_tags(), calls].map(|tags| tags.map(|tags| tags.begin))
    };
    let (think, call) = (Some("<think>".to_owned()), Some("<tool_call>".to_owned()));
    assert_eq!(tags(BITNET_2B_4T), [None, None]);
    let hermes = "{{ '<tool_call>' ~ call | tojson ~ '</tool_call>' }}";
    assert_eq!(tags(hermes), [None, call.clone()]);
    let think_only = "{{ content.split('</think>')[-1] }}";
    assert_eq!(tags(think_only), [think.clone(), None]);
    assert_eq!(tags(&(hermes.to_owned() + think_only)), [think, call]);
    for xml in ["<arg_key>", "<function=name>"] {
        assert_eq!(tags(&format!("{hermes} {xml}")), [None, None]);
    }
    assert_eq!(ChatTemplate::new(None, "", "").call_form(), None);
}

#[test]
fn calls_without_tags_are_those_of_llama() {
    let form = |source: &str| ChatTemplate::new(Some(source), "", "").call_form();
    for source in [
        "{%- if not tools is defined %}{{ '<|python_tag|>' + name + '.call(' }}",
        "{{ 'Environment: ipython' }}",
        "{% if tools %}{{ tools | tojson }}{% endif %}",
    ] {
        assert_eq!(form(source), Some(CallForm::Bare), "{source}");
    }
    for source in [
        "{{ messages }}",
        "{{ tools }}[TOOL_CALLS]",
        "{{ tools }}<\u{ff5c}tool\u{2581}calls\u{2581}begin\u{ff5c}>",
        "{{ tools }}<|tool_call|>",
        "{{ tools }}<|channel|>",
    ] {
        assert_eq!(form(source), None, "{source}");
    }
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
