//! The fault in the header of a safetensors file, where the library says only that there is one:
//! the tensor's name, and the bytes the whole file should have.
//!
//! Layout: eight bytes with the header's length, a JSON object from names to `{dtype, shape,
//! data_offsets}`, then the data (<https://github.com/huggingface/safetensors#format>).

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::ranges::{self, Span};

/// Headers are some hundred bytes a tensor; no model has a hundred thousand tensors.
const MAX_HEADER_BYTES: u64 = 32 << 20;

/// Check that every name occurs once, and every tensor has bytes of its own within the file.
///
/// # Errors
/// A sentence for `LoadError::Damaged`.
pub(super) fn check(file: &[u8]) -> Result<(), String> {
    let cut_short = |whole: u64| {
        format!(
            "it is cut short: it begins as a safetensors file of {whole} bytes or more, and has {}. \
             Download it anew",
            file.len()
        )
    };
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return Err(cut_short(8));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER_BYTES {
        return Err(format!(
            "it is no safetensors file: its first eight bytes give the header {length} bytes, the \
             limit is {MAX_HEADER_BYTES}"
        ));
    }
    let header = usize::try_from(length).ok().and_then(|n| rest.get(..n));
    let header = header.ok_or_else(|| cut_short(8 + length))?;
    let tensors: Tensors =
        serde_json::from_slice(header).map_err(|error| format!("safetensors header: {error}"))?;
    let mut names = BTreeSet::new();
    if let Some((name, _)) = tensors.0.iter().find(|(name, _)| !names.insert(name)) {
        return Err(format!(
            "tensor `{name}` occurs twice in the safetensors header"
        ));
    }
    let spans = tensors.0.iter().map(|(name, (start, end))| Span {
        name,
        bytes: *start..*end,
    });
    // Of tensors without elements any number may lie at one place.
    let spans = spans.filter(|span| span.bytes.start < span.bytes.end);
    let data = file.len() as u64 - 8 - length;
    ranges::check(spans.collect(), data)
}

/// Names and data offsets, duplicates included.
struct Tensors(Vec<(String, (u64, u64))>);

#[derive(Deserialize)]
struct Entry {
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for Tensors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EveryEntry)
    }
}

struct EveryEntry;

impl<'de> Visitor<'de> for EveryEntry {
    type Value = Tensors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tensors, A::Error> {
        let mut tensors = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let Entry { data_offsets } = map
                .next_value()
                .map_err(|error| A::Error::custom(format!("tensor `{name}`: {error}")))?;
            tensors.push((name, data_offsets));
        }
        Ok(Tensors(tensors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.resize(file.len() + data, 0);
        file
    }

    fn tensor(name: &str, start: u64, end: u64) -> String {
        let len = end - start;
        format!(r#""{name}":{{"dtype":"U8","shape":[{len}],"data_offsets":[{start},{end}]}}"#)
    }

    fn refused(entries: &[String], data: usize) -> String {
        check(&file(&format!("{{{}}}", entries.join(",")), data)).unwrap_err()
    }

    #[test]
    fn a_good_header_passes() {
        let header = format!(
            r#"{{"__metadata__":{{"format":"pt"}},{},{},{}}}"#,
            tensor("b", 8, 20),
            tensor("a", 0, 8),
            tensor("empty", 8, 8)
        );
        check(&file(&header, 20)).unwrap();
    }

    #[test]
    fn doubles_overlaps_and_ends_are_named() {
        let twice = refused(&[tensor("a", 0, 8), tensor("a", 0, 8)], 8);
        assert!(twice.contains("`a` occurs twice"), "{twice}");
        let over = refused(&[tensor("a", 0, 8), tensor("b", 7, 15)], 15);
        assert!(over.contains("overlap"), "{over}");
        let short = refused(&[tensor("a", 0, 8), tensor("b", 8, 20)], 19);
        assert!(
            short.contains("`b`") && short.contains("cut short"),
            "{short}"
        );
        let wrong = refused(&[r#""a":{"dtype":"U8"}"#.into()], 1);
        assert!(wrong.contains("tensor `a`"), "{wrong}");
    }

    #[test]
    fn a_file_cut_anywhere_says_so() {
        let header = format!("{{{}}}", tensor("a", 0, 8));
        let whole = file(&header, 8);
        for end in 0..whole.len() {
            let error = check(&whole[..end]).unwrap_err();
            assert!(error.contains("cut short"), "{end}: {error}");
        }
        let error = check(b"a text of more than eight bytes").unwrap_err();
        assert!(error.contains("no safetensors file"), "{error}");
    }
}
