//! The fields of objects that ask for a form of the answer.

use super::{Group, Place, harmless, honour, refuse, table::*};

const BLANKS: &str = "the blanks of JSON are fixed; leave it out";

#[rustfmt::skip]
pub(super) const TABLE: &[Group] = &[
    Group { place: Place::ResponseFormat, fields: &[
        honour("type", "text, json_object, json_schema, regex, grammar, or json (as json_schema)"),
        honour("json_schema", "of the type json_schema: 'schema' and 'strict'"),
        honour("schema", "a JSON Schema, as an object or its text"),
        honour("value", "the same; of the type regex a regular expression"),
        honour("pattern", "of the type regex: a regular expression"),
        honour("grammar", "of the type grammar: GBNF, or Lark"),
    ] },
    Group { place: Place::JsonSchema, fields: &[
        honour("schema", "a JSON Schema"),
        honour("strict", "true refuses what cannot be enforced; else it is passed over"),
        harmless("name", "the prompt says what the answer is for"),
        harmless("description", "the prompt says what the answer is for"),
    ] },
    Group { place: Place::StructuredOutputs, fields: &[
        honour("json", "a JSON Schema, as an object or its text"),
        honour("regex", "a regular expression that all of the answer matches"),
        honour("choice", "a list of texts, one of which is the answer"),
        honour("grammar", "a grammar that the answer follows: GBNF, or Lark"),
        honour("json_object", "true: the answer is a JSON object"),
        refuse("structural_tag", EMPTY, "send a 'grammar' in Lark"),
        refuse("disable_any_whitespace", NO, BLANKS),
        refuse("whitespace_pattern", EMPTY, BLANKS),
        refuse("disable_additional_properties", NO, "say so in the schema"),
        harmless("disable_fallback", "there is none"),
    ] },
];
