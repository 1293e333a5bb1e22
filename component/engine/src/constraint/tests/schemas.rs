//! Everything that is generated under a schema validates against it, by another implementation.

use serde_json::{Map, Value, json};

use super::*;

/// Draws schemas.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn flip(&mut self) -> bool {
        self.below(2) == 0
    }

    fn word(&mut self) -> String {
        let words = [
            "a", "name", "größe", "x y", "\"q\"", "1", "ünï", "tags", "$id_", "𝄞",
        ];
        words[self.below(words.len() as u64) as usize].to_owned()
    }

    fn schema(&mut self, depth: u64) -> Value {
        let kinds = if depth == 0 { 8 } else { 12 };
        match self.below(kinds) {
            0 => json!({"type": "boolean"}),
            1 => json!({"type": "null"}),
            2 => {
                let low = self.below(200) as i64 - 100;
                let high = low + self.below(1000) as i64;
                json!({"type": "integer", "minimum": low, "maximum": high})
            }
            3 => {
                let low = self.below(50) as f64 / 4.0;
                json!({"type": "number", "minimum": low, "exclusiveMaximum": low + 7.5})
            }
            4 => {
                let least = self.below(4);
                json!({"type": "string", "minLength": least, "maxLength": least + self.below(9)})
            }
            5 => {
                let patterns = [
                    "^[a-z]{2,5}$",
                    "^\\d{4}-\\d{2}$",
                    "^(ja|nein|vielleicht)$",
                    "^.{0,3}$",
                ];
                json!({"type": "string", "pattern": patterns[self.below(4) as usize]})
            }
            6 => {
                let values: Vec<Value> = (0..=self.below(4))
                    .map(|n| match n % 3 {
                        0 => json!(self.word()),
                        1 => json!(n),
                        _ => json!({"k": [null, n]}),
                    })
                    .collect();
                json!({"enum": values})
            }
            7 => {
                let formats = ["date", "time", "date-time", "uuid", "ipv4"];
                json!({"type": "string", "format": formats[self.below(5) as usize]})
            }
            8 => {
                let least = self.below(3);
                let items = self.schema(depth - 1);
                json!({"type": "array", "items": items, "minItems": least, "maxItems": least + self.below(3)})
            }
            9 => {
                let parts: Vec<Value> = (0..=self.below(3))
                    .map(|_| self.schema(depth - 1))
                    .collect();
                json!({"anyOf": parts})
            }
            _ => self.object(depth),
        }
    }

    fn object(&mut self, depth: u64) -> Value {
        let (mut fields, mut required) = (Map::new(), Vec::new());
        for _ in 0..self.below(5) {
            let name = self.word();
            if self.flip() && !required.contains(&name) {
                required.push(name.clone());
            }
            fields.insert(name, self.schema(depth - 1));
        }
        let mut object = json!({"type": "object", "properties": fields, "required": required});
        if self.flip() {
            object["additionalProperties"] = json!(false);
        }
        object
    }

    /// With definitions, one of which comes back to itself.
    fn whole(&mut self) -> Value {
        let mut schema = self.object(3);
        if self.below(3) == 0 {
            let inner = self.schema(1);
            schema["properties"]["tree"] = json!({"$ref": "#/$defs/node"});
            schema["$defs"] = json!({"node": {
                "type": "object",
                "properties": {"value": inner, "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}},
                "required": ["value", "next"],
                "additionalProperties": false,
            }});
        }
        schema
    }
}

fn all_validate(tokenizer: &Tokenizer, schemas: u64, seed: u64) {
    let constraints = Constraints::default();
    let mut complete = 0;
    for n in 0..schemas {
        let wanted = Draw(seed + n).whole();
        let mut guard = guard(&constraints, tokenizer, &schema(&wanted));
        let (text, ended) = Random::new(seed + n).say(tokenizer, &mut guard, 600);
        if !ended {
            continue;
        }
        complete += 1;
        let value: Value = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{n}: {error}: {text:?}\n{wanted}"));
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&wanted)
            .unwrap();
        if let Err(error) = validator.validate(&value) {
            panic!("{n}: {error}: {text}\n{wanted}");
        }
    }
    assert!(
        complete * 10 >= schemas * 9,
        "{complete} of {schemas} came to an end"
    );
}

#[test]
fn a_thousand_random_schemas_hold() {
    all_validate(&demo(), 1000, 1);
}

#[test]
fn they_hold_with_pieces_and_byte_tokens() {
    all_validate(&llama(), 200, 5000);
}

#[test]
fn properties_come_in_the_order_of_the_schema() {
    let tokenizer = demo();
    let wanted = r#"{"type": "object", "properties": {"zeta": {"type": "null"}, "alpha": {"type": "null"}},
        "required": ["alpha", "zeta"], "additionalProperties": false}"#;
    let grammar = Grammar::JsonSchema {
        schema: wanted.into(),
        strict: true,
    };
    let mut guard = guard(&Constraints::default(), &tokenizer, &grammar);
    let (text, _) = Random::new(3).say(&tokenizer, &mut guard, 100);
    assert!(text.find("zeta") < text.find("alpha"), "{text}");
}

#[test]
fn a_strict_schema_is_enforced_or_refused() {
    let message = error(&schema(&json!({"type": "array", "uniqueItems": true})));
    assert!(message.contains("uniqueItems"), "{message}");
    let grammar = |strict| Grammar::JsonSchema {
        schema: r#"{"oneOf": [{"type": "integer"}, {"type": "number"}], "uniqueItems": true}"#
            .into(),
        strict,
    };
    assert!(
        Constraints::default()
            .matcher(&demo(), &grammar(true))
            .is_err()
    );
    assert!(
        Constraints::default()
            .matcher(&demo(), &grammar(false))
            .is_ok()
    );
}

#[test]
fn any_object_is_one() {
    let tokenizer = demo();
    let constraints = Constraints::default();
    for seed in 0..50 {
        let mut guard = guard(&constraints, &tokenizer, &Grammar::JsonObject);
        let (text, ended) = Random::new(seed).say(&tokenizer, &mut guard, 600);
        assert!(
            !ended || serde_json::from_str::<Map<String, Value>>(&text).is_ok(),
            "{text:?}"
        );
    }
}
