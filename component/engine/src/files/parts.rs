//! A GGUF in several files, as llama.cpp's `llama-gguf-split` makes them:
//! `NAME-00001-of-00003.gguf`, each with keys `split.no` (from 0), `split.count` and
//! `split.tensors.count` (of all parts together).

use std::path::{Path, PathBuf};

use super::{Gguf, Value, damaged};

use crate::config::bad;
use crate::error::LoadError;
use crate::placement;

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";
/// So many the names have digits for.
const MOST_PARTS: usize = 99_999;

/// `first`, which was read from `path`, with the tensors of its other parts, if it is one of
/// several.
pub(super) fn complete(first: Gguf, path: &Path) -> Result<Gguf, LoadError> {
    let count = number(&first, COUNT)?.unwrap_or(1);
    if count <= 1 {
        return Ok(first);
    }
    let own = number(&first, NUMBER)?.unwrap_or(0);
    let names = names(path, count).filter(|names| names.get(own).is_some_and(|name| name == path));
    let Some(names) = names else {
        return Err(bad(
            COUNT,
            format!(
                "is {count}: this is part {} of {count} of a model. Put all parts into one \
                 directory under their own names (NAME-00001-of-{count:05}.gguf and so on), and give \
                 one of them",
                own + 1
            ),
        ));
    };
    let absent: Vec<String> = names
        .iter()
        .filter(|name| !name.is_file())
        .map(|name| {
            name.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    if !absent.is_empty() {
        return Err(bad(
            COUNT,
            format!(
                "is {count}: this is one part of a model, and beside it there is no {}. Download \
                 those too",
                absent.join(", ")
            ),
        ));
    }
    let mut parts = Vec::with_capacity(count);
    let mut first = Some(first);
    for (index, name) in names.iter().enumerate() {
        let part = match first.take_if(|_| index == own) {
            Some(part) => part,
            None => Gguf::parse(placement::open(name)?).map_err(|reason| damaged(name, reason))?,
        };
        if number(&part, COUNT)? != Some(count) || number(&part, NUMBER)? != Some(index) {
            return Err(damaged(
                name,
                format!("it is not part {} of {count}, as its name says", index + 1),
            ));
        }
        parts.push(part);
    }
    let whole = Gguf::join(parts).map_err(|reason| damaged(path, reason))?;
    let expected = number(&whole, TENSORS)?;
    if expected.is_some_and(|expected| expected != whole.tensors().len()) {
        return Err(damaged(
            path,
            format!(
                "`{TENSORS}` is {}, its {count} parts hold {}",
                expected.unwrap_or_default(),
                whole.tensors().len()
            ),
        ));
    }
    Ok(whole)
}

fn number(gguf: &Gguf, key: &str) -> Result<Option<usize>, LoadError> {
    let number = gguf.get(key).map(|value: &Value| {
        let number = value
            .as_usize()
            .filter(|&n| n <= MOST_PARTS || key == TENSORS);
        number.ok_or_else(|| bad(key, "is no number of parts"))
    });
    number.transpose()
}

/// The name without what says that it is a part: `NAME` of `NAME-00001-of-00003`.
pub(super) fn whole_stem(stem: &str) -> Option<&str> {
    let (name, count) = stem.rsplit_once("-of-")?;
    let (name, number) = name.rsplit_once('-')?;
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    (digits(count) && digits(number)).then_some(name)
}

/// The names of all parts, of which `path` is one; `None` where it is not named so.
fn names(path: &Path, count: usize) -> Option<Vec<PathBuf>> {
    let stem = whole_stem(path.file_stem()?.to_str()?)?;
    let name = |index: usize| format!("{stem}-{:05}-of-{count:05}.gguf", index + 1);
    Some(
        (0..count)
            .map(|index| path.with_file_name(name(index)))
            .collect(),
    )
}
