//! Which tokens begin a text, end a turn, and cannot be written by users: from every place a file
//! says it.

mod directories;
mod ggufs;
mod vocabularies;

use super::*;
use crate::convert::{ConvertOptions, convert};

const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}\
    {{ '<|im_start|>assistant\n' }}";

/// A copy of the fixture with changes to its JSON files; a file that is made `null` is absent.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(fixture("packed-autobitlinear")).unwrap() {
            let path = file.unwrap().path();
            std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        Directory(dir)
    }

    fn edit(self, name: &str, change: impl FnOnce(&mut Json)) -> Self {
        let path = self.0.path().join(name);
        let mut json = std::fs::read(&path)
            .map_or(Json::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
        change(&mut json);
        if json.is_null() {
            std::fs::remove_file(path).unwrap();
        } else {
            std::fs::write(path, json.to_string()).unwrap();
        }
        self
    }

    fn set(self, name: &str, values: Json) -> Self {
        self.edit(name, |json| {
            if json.is_null() {
                *json = json!({});
            }
            for (key, value) in values.as_object().unwrap() {
                json[key] = value.clone();
            }
        })
    }

    fn load(&self) -> Model {
        load(self.0.path()).unwrap()
    }

    /// By way of a GGUF, which must say the same.
    fn load_converted(&self) -> Model {
        let path = self.0.path().join("converted.gguf");
        let report = convert(
            self.0.path(),
            &path,
            &ConvertOptions::default(),
            &mut |_, _| (),
        )
        .unwrap();
        let model = self.load();
        assert!(
            model
                .warnings
                .iter()
                .all(|warning| report.notes.contains(warning))
        );
        let converted = load(&path).unwrap();
        assert_eq!(converted.config.eos_tokens, model.config.eos_tokens);
        assert_eq!(converted.config.bos_token, model.config.bos_token);
        for text in ["", "a <s> b </s>", "<s>a", "it's 12345\n\n  <x>  y", "I'ſ"] {
            let ids = model.tokenize(text, true).unwrap();
            assert_eq!(converted.tokenize(text, true).unwrap(), ids, "{text:?}");
        }
        converted
    }
}
