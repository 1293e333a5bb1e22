//! Templates that can be chosen by name, for files that have none or a wrong one. Each is written
//! in the shape of its family's published template, without functions.

/// The names, each with its template.
const ALL: [(&str, &str); 7] = [
    ("bitnet", BITNET_2B_4T),
    ("chatml", CHATML),
    ("falcon3", include_str!("falcon3.jinja")),
    ("gemma", include_str!("gemma.jinja")),
    ("llama-2", include_str!("llama-2.jinja")),
    ("llama-3", include_str!("llama-3.jinja")),
    ("story", STORY),
];

/// The template of microsoft/bitnet-b1.58-2B-4T, as its `tokenizer_config.json` has it. The one
/// inside its GGUF is a converter's mistake (FORMATS.md 4.1), so this stands in for it.
pub const BITNET_2B_4T: &str = include_str!("bitnet.jinja");

/// The template of a model that continues stories: the contents are the story's opening.
pub const STORY: &str = include_str!("story.jinja");

/// ChatML, for a file that has its tokens and no template.
pub const CHATML: &str = include_str!("chatml.jinja");

/// The special tokens that [`CHATML`] writes.
pub(crate) const CHATML_TOKENS: [&str; 2] = ["<|im_start|>", "<|im_end|>"];

/// The template of a name.
#[must_use]
pub fn built_in(name: &str) -> Option<&'static str> {
    let found = ALL.iter().find(|(known, _)| *known == name);
    found.map(|&(_, template)| template)
}

/// All names, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|&(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Message;
    use crate::template::ChatTemplate;

    #[test]
    fn every_name_has_a_template_that_renders() {
        for name in names() {
            let template = ChatTemplate::new(built_in(name), "<s>", "</s>");
            assert_eq!(template.fault(), None, "{name}");
            let turns = vec![Message::new("system", "S"), Message::new("user", "U")];
            let text = template.render(&turns.into()).unwrap();
            assert!(text.contains('U') && !text.ends_with('}'), "{name}: {text}");
        }
        assert_eq!(built_in("CHATML"), None);
        assert!(names().is_sorted());
    }
}
