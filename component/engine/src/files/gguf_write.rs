//! Writing GGUF version 3, little-endian. The header is written first, from the tensors' names,
//! shapes and sizes; their data follows one at a time, so that no more than one tensor need be in
//! memory. Where their types are known only then, a [`header`] of the same names takes its place at
//! the end: it is as long.

use std::io::{Result, Write};

use super::gguf_value::ValueType;

const VERSION: u32 = 3;
/// The metadata key of the alignment of tensors in bytes, a `u32`, and what it is without the key.
pub const ALIGNMENT_KEY: &str = "general.alignment";
const ALIGNMENT: usize = 32;

/// The value of a metadata entry to write.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are the format's own")]
pub enum Entry {
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Strings(Vec<String>),
    I32s(Vec<i32>),
    F32s(Vec<f32>),
    U8s(Vec<u8>),
}

/// A tensor to come.
#[derive(Clone, Debug)]
pub struct TensorPlan {
    /// Its name.
    pub name: String,
    /// Row-major shape, `[out, in]` or `[n]`; written in GGUF's reversed order.
    pub shape: Vec<usize>,
    /// The ggml type id.
    pub ty: u32,
    /// Bytes of its data, without padding.
    pub n_bytes: usize,
}

/// Writes a file whose tensors come in the order of the plan.
pub struct GgufWriter<W> {
    out: W,
    alignment: usize,
    written: usize,
}

/// The file's bytes before the first tensor.
pub fn header(metadata: &[(String, Entry)], tensors: &[TensorPlan]) -> Vec<u8> {
    let alignment = alignment(metadata);
    let mut header = Vec::new();
    header.extend(b"GGUF");
    header.extend(VERSION.to_le_bytes());
    put_len(&mut header, tensors.len());
    put_len(&mut header, metadata.len());
    for (key, entry) in metadata {
        put_string(&mut header, key);
        put_entry(&mut header, entry);
    }
    let mut offset = 0usize;
    for tensor in tensors {
        put_string(&mut header, &tensor.name);
        put_u32(&mut header, tensor.shape.len());
        for &n in tensor.shape.iter().rev() {
            put_len(&mut header, n);
        }
        header.extend(tensor.ty.to_le_bytes());
        put_len(&mut header, offset);
        offset += tensor.n_bytes.next_multiple_of(alignment);
    }
    header.resize(header.len().next_multiple_of(alignment), 0);
    header
}

fn alignment(metadata: &[(String, Entry)]) -> usize {
    let value = metadata.iter().find_map(|(key, entry)| match entry {
        Entry::U32(value) if key == ALIGNMENT_KEY => Some(*value as usize),
        _ => None,
    });
    value.unwrap_or(ALIGNMENT)
}

impl<W: Write> GgufWriter<W> {
    /// Write the header.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, metadata: &[(String, Entry)], tensors: &[TensorPlan]) -> Result<Self> {
        let mut writer = GgufWriter {
            out,
            alignment: alignment(metadata),
            written: 0,
        };
        writer.append(&header(metadata, tensors))?;
        Ok(writer)
    }

    /// Write the next tensor's data, or a piece of it. After the last piece, [`GgufWriter::pad`].
    ///
    /// # Errors
    /// Those of the output.
    pub fn append(&mut self, piece: &[u8]) -> Result<()> {
        self.written += piece.len();
        self.out.write_all(piece)
    }

    /// End a tensor's data.
    ///
    /// # Errors
    /// Those of the output.
    pub fn pad(&mut self) -> Result<()> {
        let padded = self.written.next_multiple_of(self.alignment);
        self.out.write_all(&vec![0; padded - self.written])?;
        self.written = padded;
        Ok(())
    }

    /// The output, after the last tensor.
    pub fn into_inner(self) -> W {
        self.out
    }
}

fn put_len(out: &mut Vec<u8>, n: usize) {
    out.extend((n as u64).to_le_bytes());
}

fn put_u32(out: &mut Vec<u8>, n: usize) {
    out.extend(u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend(text.as_bytes());
}

fn put_type(out: &mut Vec<u8>, ty: ValueType) {
    out.extend((ty as u32).to_le_bytes());
}

fn put_entry(out: &mut Vec<u8>, entry: &Entry) {
    match entry {
        Entry::U32(n) => {
            put_type(out, ValueType::U32);
            out.extend(n.to_le_bytes());
        }
        Entry::I32(n) => {
            put_type(out, ValueType::I32);
            out.extend(n.to_le_bytes());
        }
        Entry::F32(x) => {
            put_type(out, ValueType::F32);
            out.extend(x.to_le_bytes());
        }
        Entry::Bool(b) => {
            put_type(out, ValueType::Bool);
            out.push(u8::from(*b));
        }
        Entry::String(text) => {
            put_type(out, ValueType::String);
            put_string(out, text);
        }
        Entry::Strings(texts) => {
            put_type(out, ValueType::Array);
            put_type(out, ValueType::String);
            put_len(out, texts.len());
            for text in texts {
                put_string(out, text);
            }
        }
        Entry::I32s(numbers) => {
            put_type(out, ValueType::Array);
            put_type(out, ValueType::I32);
            put_len(out, numbers.len());
            for n in numbers {
                out.extend(n.to_le_bytes());
            }
        }
        Entry::F32s(numbers) => {
            put_type(out, ValueType::Array);
            put_type(out, ValueType::F32);
            put_len(out, numbers.len());
            for n in numbers {
                out.extend(n.to_le_bytes());
            }
        }
        Entry::U8s(bytes) => {
            put_type(out, ValueType::Array);
            put_type(out, ValueType::U8);
            put_len(out, bytes.len());
            out.extend(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Gguf, Value};
    use super::*;
    use crate::placement::Bytes;

    #[test]
    fn what_is_written_is_read() {
        let metadata = [
            ("a".to_owned(), Entry::U32(7)),
            ("b".to_owned(), Entry::String("text".into())),
            (
                "c".to_owned(),
                Entry::Strings(vec!["x".into(), String::new(), "é".into()]),
            ),
            ("d".to_owned(), Entry::I32s(vec![-1, 2])),
            ("e".to_owned(), Entry::F32(0.5)),
            ("f".to_owned(), Entry::Bool(true)),
            ("g".to_owned(), Entry::I32(-3)),
        ];
        let plan = |name: &str, shape: &[usize], n_bytes| TensorPlan {
            name: name.into(),
            shape: shape.to_vec(),
            ty: 1,
            n_bytes,
        };
        let tensors = [plan("first", &[3, 5], 30), plan("second", &[4], 8)];
        let mut writer = GgufWriter::new(Vec::new(), &metadata, &tensors).unwrap();
        writer.append(&[1; 10]).unwrap();
        writer.append(&[2; 20]).unwrap();
        writer.pad().unwrap();
        writer.append(&[3; 8]).unwrap();
        writer.pad().unwrap();
        let gguf = Gguf::parse(Bytes::from(writer.into_inner())).unwrap();

        assert_eq!(gguf.metadata().count(), metadata.len());
        assert_eq!(gguf.get("a").and_then(Value::as_usize), Some(7));
        assert_eq!(gguf.get("b").and_then(Value::as_str), Some("text"));
        assert_eq!(
            gguf.get("c")
                .unwrap()
                .as_array()
                .unwrap()
                .strings()
                .unwrap(),
            ["x", "", "é"]
        );
        assert_eq!(
            gguf.get("d")
                .unwrap()
                .as_array()
                .unwrap()
                .integers()
                .unwrap(),
            [-1, 2]
        );
        assert_eq!(gguf.get("e").and_then(Value::as_f64), Some(0.5));
        assert_eq!(gguf.get("f").and_then(Value::as_bool), Some(true));
        assert_eq!(gguf.get("g").and_then(Value::as_i64), Some(-3));
        let first = gguf.tensor("first").unwrap();
        assert_eq!(first.ne, [5, 3]);
        assert_eq!(gguf.data(first, 30).unwrap()[9..11], [1, 2]);
        assert_eq!(
            &*gguf.data(gguf.tensor("second").unwrap(), 8).unwrap(),
            [3; 8]
        );
    }
}
