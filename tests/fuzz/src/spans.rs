//! The byte ranges of a file's tensors, found without the engine's own checks: what was accepted
//! has no two of them on one byte, and each name once.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;
use sterna_engine::files::Gguf;
use sterna_engine::placement::Bytes;

/// Names and bytes.
pub type Spans = Vec<(String, Range<u64>)>;

/// Panics where two tensors share a byte or a name.
pub fn assert_apart(spans: &Spans) {
    for (i, (a, x)) in spans.iter().enumerate() {
        for (b, y) in &spans[i + 1..] {
            assert!(a != b, "tensor {a} was accepted twice");
            let apart = x.end <= y.start || y.end <= x.start;
            assert!(
                apart,
                "{a} ({x:?}) and {b} ({y:?}) overlap and were accepted"
            );
        }
    }
}

/// Of a GGUF that was accepted. Sizes by ggml's own definition; of padded and unknown types the
/// least there can be.
pub fn of_gguf(file: &[u8]) -> Spans {
    let Ok(gguf) = Gguf::parse(Bytes::from(file.to_vec())) else {
        return Spans::new();
    };
    let spans = gguf.tensors().iter().map(|tensor| {
        let n = tensor.elements();
        let n_bytes = match tensor.ty {
            0 => n * 4,
            1 | 30 => n * 2,
            8 => n / 32 * 34,
            14 => n / 256 * 210,
            36 => n / 4 + 32,
            _ => 1,
        };
        let start = tensor.start as u64;
        (tensor.name.clone(), start..start + n_bytes)
    });
    spans.collect()
}

/// Of a safetensors file that was accepted, by every pair of offsets in its header.
pub fn of_safetensors(file: &[u8]) -> Spans {
    let header = || -> Option<Value> {
        let (length, rest) = file.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        serde_json::from_slice(rest.get(..length)?).ok()
    };
    let header: BTreeMap<String, Value> = header()
        .and_then(|header| serde_json::from_value(header).ok())
        .unwrap_or_default();
    let spans = header.into_iter().filter_map(|(name, info)| {
        let start = info.pointer("/data_offsets/0")?.as_u64()?;
        let end = info.pointer("/data_offsets/1")?.as_u64()?;
        (start < end).then_some((name, start..end))
    });
    spans.collect()
}
