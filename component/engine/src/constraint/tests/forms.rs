//! Regular expressions, choices, Lark and GBNF.

use super::*;

/// What comes of a grammar, for some seeds.
fn said(tokenizer: &Tokenizer, grammar: &Grammar) -> Vec<String> {
    let constraints = Constraints::default();
    let one = |seed| {
        let mut guard = guard(&constraints, tokenizer, grammar);
        let (text, ended) = Random::new(seed).say(tokenizer, &mut guard, 400);
        ended.then_some(text)
    };
    let said: Vec<String> = (0..40).filter_map(one).collect();
    assert!(said.len() > 20, "{grammar:?}");
    said
}

#[test]
fn a_regular_expression_holds_for_all_of_the_text() {
    for tokenizer in [demo(), llama()] {
        let grammar = Grammar::Regex(r"[a-c]{2,4}(/|é\n)\d{1,6}\.".into());
        for text in said(&tokenizer, &grammar) {
            let end = text.strip_suffix('.').unwrap();
            let (letters, digits) = end.split_once(['/', 'é']).unwrap();
            assert!((2..=4).contains(&letters.len()), "{text:?}");
            assert!(
                letters.bytes().all(|c| (b'a'..=b'c').contains(&c)),
                "{text:?}"
            );
            assert!(
                digits
                    .trim_start_matches('\n')
                    .chars()
                    .all(|c| c.is_numeric()),
                "{text:?}"
            );
        }
    }
}

#[test]
fn a_choice_is_one_of_its_texts() {
    let texts = ["yes", "yes, but", "\"no\"\n", "nö\u{7f}\\", "𝄞", " "];
    let grammar = Grammar::Choice(texts.map(String::from).to_vec());
    for tokenizer in [demo(), llama()] {
        let said = said(&tokenizer, &grammar);
        assert!(
            said.iter().all(|text| texts.contains(&text.as_str())),
            "{said:?}"
        );
        let distinct: std::collections::HashSet<_> = said.iter().collect();
        assert!(distinct.len() > 2, "{distinct:?}");
    }
}

#[test]
fn lark_with_a_schema_inside() {
    let lark = "start: \"<call>\" call \"</call>\"\ncall: %json {\"type\": \"object\", \"properties\": \
                {\"n\": {\"type\": \"integer\"}}, \"required\": [\"n\"], \"additionalProperties\": false}";
    for text in said(&demo(), &Grammar::Lark(lark.into())) {
        let json = text
            .strip_prefix("<call>")
            .unwrap()
            .strip_suffix("</call>")
            .unwrap();
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert!(value["n"].is_i64() || value["n"].is_u64() || value["n"].is_number());
    }
}

/// llama.cpp's own grammar of JSON (`grammars/json.gbnf` has the same rules).
const JSON: &str = r#"
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::=
  "{" ws (
            string ":" ws value
    ("," ws string ":" ws value)*
  )? "}" ws
array  ::=
  "[" ws (
            value
    ("," ws value)*
  )? "]" ws
string ::=
  "\"" (
    [^"\\\x7F\x00-\x1F] |
    "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) # escapes
  )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
# Optional space: by convention, applied in this grammar after literal chars when allowed
ws ::= | " " | "\n" [ \t]{0,20}
"#;

#[test]
fn gbnf_of_json_makes_json() {
    for tokenizer in [demo(), llama()] {
        for text in said(&tokenizer, &Grammar::Gbnf(JSON.into())) {
            let value: Result<serde_json::Value, _> = serde_json::from_str(&text);
            assert!(value.is_ok_and(|value| value.is_object()), "{text:?}");
        }
    }
}

#[test]
fn gbnf_of_texts() {
    for (grammar, is) in [
        (
            "root ::= (\"a\" | \"ab\") \"c\"+ # one\n  | x-1\nx-1 ::= [^a-z\\]] . [0-9-]{2}",
            (|text: &str| {
                let n = text.chars().count();
                text.starts_with('a') && text.ends_with('c') || n == 4
            }) as fn(&str) -> bool,
        ),
        (
            // Comes back to itself, with parts that are regular.
            "root ::= \"(\" root? \")\" | [a-z]{1,3}",
            |text| {
                let inner = text.trim_start_matches('(');
                let open = text.len() - inner.len();
                let letters = inner.trim_end_matches(')');
                inner.len() - letters.len() == open && letters.len() <= 3
            },
        ),
        ("root ::= \"\\u00e9\\x41\\U0001D11E\\n\"", |text| {
            text == "éA𝄞\n"
        }),
    ] {
        let said = said(&demo(), &Grammar::Gbnf(grammar.into()));
        assert!(said.iter().all(|text| is(text)), "{grammar}: {said:?}");
    }
}

#[test]
fn a_grammar_with_a_fault_is_refused_by_what_is_wrong() {
    for (grammar, why) in [
        (Grammar::Gbnf("a ::= \"x\"".into()), "no rule 'root'"),
        (Grammar::Gbnf("root ::= b".into()), "'b' is not defined"),
        (
            Grammar::Gbnf("root ::= \"a\nroot ::= \"b\"".into()),
            "line 1",
        ),
        (
            Grammar::Gbnf("root ::= \"a\"\nroot ::= \"b\"".into()),
            "twice",
        ),
        (Grammar::Gbnf("root ::= [z-a]".into()), "empty"),
        (Grammar::Gbnf("root ::= []".into()), "empty"),
        (Grammar::Gbnf("root ::= *".into()), "nothing stands before"),
        (Grammar::Gbnf("root ::= \"a\"{3,1}".into()), "{3,1}"),
        (
            Grammar::Gbnf("root ::= \"a\"{99999}".into()),
            "at most 2000",
        ),
        (Grammar::Gbnf("root ::= (\"a\"".into()), "expected ')'"),
        (Grammar::Gbnf("root ::= \"\\q\"".into()), "unknown"),
        (Grammar::Gbnf("root ::= \"\\ud800\"".into()), "no character"),
        (Grammar::Gbnf(String::new()), "no rule 'root'"),
        (Grammar::Gbnf("root : \"a\"".into()), "expected ':'"),
        (Grammar::Lark("start: UNKNOWN".into()), "UNKNOWN"),
        (Grammar::Lark("rule: \"a\"".into()), "start"),
        (Grammar::Regex("(".into()), ""),
        (Grammar::Regex("(?=a)b".into()), "look-around"),
        (Grammar::Regex(String::new()), "empty"),
        (Grammar::Choice(vec![]), "0 choices"),
        (Grammar::Choice(vec![String::new()]), "empty choice"),
    ] {
        let message = error(&grammar);
        assert!(message.contains(why), "{grammar:?}: {message}");
        assert!(message.len() < 2000 && !message.contains('\n'), "{message}");
    }
}

/// What the API makes of `tool_choice`.
#[test]
fn calls_have_their_functions_arguments() {
    let lark = r#"start: one ("\n" one)*
one: "<tool_call>" call "</tool_call>"
call: GAP? ("{" object "}") GAP?
object: f0 | f1
GAP: "\n"
f0: "\"name\": \"weather\", \"arguments\": " a0
a0: %json {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"], "additionalProperties": false}
f1: "\"name\": \"time\", \"arguments\": " a1
a1: %json {"x-guidance": {"lenient": true}, "type": "object", "additionalProperties": false}
"#;
    for tokenizer in [demo(), llama()] {
        let constraints = Constraints::default();
        let mut seen = [0; 2];
        for seed in 0..40 {
            let mut guard = guard(&constraints, &tokenizer, &Grammar::Lark(lark.into()));
            let (text, ended) = Random::new(seed).say(&tokenizer, &mut guard, 300);
            let calls = text.split("</tool_call>");
            let calls: Vec<&str> = calls
                .map(str::trim)
                .filter(|call| !call.is_empty())
                .collect();
            // The last one may be cut.
            let whole = if ended { calls.len() } else { calls.len() - 1 };
            for call in &calls[..whole] {
                let json = call.strip_prefix("<tool_call>").unwrap();
                let call: serde_json::Value = serde_json::from_str(json).unwrap();
                let arguments = &call["arguments"];
                match call["name"].as_str().unwrap() {
                    "weather" => {
                        seen[0] += 1;
                        assert!(matches!(arguments["city"].as_str(), Some("Oslo" | "Rome")));
                    }
                    "time" => {
                        seen[1] += 1;
                        assert_eq!(*arguments, serde_json::json!({}));
                    }
                    other => panic!("{other}"),
                }
            }
        }
        assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    }
}

#[test]
fn calls_without_tags_are_all_that_may_begin_with_a_bracket() {
    let rules = r#"one: call
BETWEEN: "; "
call: "{" object "}"
object: f0
f0: "\"name\": \"time\", \"parameters\": " a0
a0: %json {"type": "object", "properties": {"h": {"type": "integer"}}, "required": ["h"], "additionalProperties": false}
"#;
    let free = format!(
        "start: TEXT? | GAP? one\nTEXT: /\\s{{0,4}}[^{{\\s](.|\\n)*/\nGAP: /\\s{{1,4}}/\n{rules}"
    );
    let required = format!("start: one (BETWEEN one)*\n{rules}");
    let check = |call: &str| {
        let call: serde_json::Value = serde_json::from_str(call).unwrap();
        assert_eq!(call["name"], "time");
        assert!(call["parameters"]["h"].is_i64());
    };
    for tokenizer in [demo(), llama()] {
        let constraints = Constraints::default();
        let takes = |grammar: &str, said: &str| {
            let mut guard = guard(&constraints, &tokenizer, &Grammar::Lark(grammar.into()));
            for token in tokenizer.encode(said, false).unwrap() {
                let mask = guard.mask(&[], &[]).unwrap().unwrap();
                if !mask.allows(token) {
                    return false;
                }
                guard.take(&tokenizer, token).unwrap();
            }
            true
        };
        assert!(takes(&free, "It is {\"name\": \"x\"}\nnow."));
        assert!(takes(
            &free,
            "{\"name\": \"time\", \"parameters\": {\"h\": 7}}"
        ));
        assert!(!takes(&free, "{\"name\": \"x\""));
        assert!(!takes(&required, "It"));
        let mut seen = 0;
        for seed in 0..20 {
            let mut guard = guard(&constraints, &tokenizer, &Grammar::Lark(required.clone()));
            let (text, ended) = Random::new(seed).say(&tokenizer, &mut guard, 200);
            let calls: Vec<&str> = text.split("; ").collect();
            let whole = if ended { calls.len() } else { calls.len() - 1 };
            calls[..whole].iter().for_each(|call| check(call));
            seen += whole;
        }
        assert!(seen > 0);
    }
}
