//! Embeddings as OpenAI writes them.

use serde::{Serialize, Serializer};

use super::inputs::Embedded;
use crate::json::to_json;

/// The form of a vector in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// An array of numbers.
    Float,
    /// The base64 of little-endian `f32`s.
    Base64,
}

#[derive(Serialize)]
struct Document<'a> {
    object: &'static str,
    data: Vec<Embedding>,
    model: &'a str,
    usage: Usage,
}

#[derive(Serialize)]
struct Embedding {
    object: &'static str,
    index: usize,
    embedding: Vector,
}

struct Vector(Vec<f32>, Encoding);

#[derive(Serialize)]
struct Usage {
    prompt_tokens: u64,
    total_tokens: u64,
}

impl Serialize for Vector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            Encoding::Float => self.0.serialize(serializer),
            Encoding::Base64 => {
                let bytes: Vec<u8> = self.0.iter().flat_map(|v| v.to_le_bytes()).collect();
                base64(&bytes).serialize(serializer)
            }
        }
    }
}

/// The whole answer; each vector cut to `numbers` and then scaled to length 1 again.
pub(super) fn document(
    model: &str,
    embedded: Embedded,
    numbers: usize,
    encoding: Encoding,
) -> Vec<u8> {
    let vectors = embedded.vectors.into_iter().enumerate();
    let data = vectors.map(|(index, vector)| Embedding {
        object: "embedding",
        index,
        embedding: Vector(shortened(vector, numbers), encoding),
    });
    to_json(&Document {
        object: "list",
        data: data.collect(),
        model,
        usage: Usage {
            prompt_tokens: embedded.prompt_tokens,
            total_tokens: embedded.prompt_tokens,
        },
    })
}

/// The first `numbers` of a vector, of length 1. A vector that is not cut stays as it is.
fn shortened(mut vector: Vec<f32>, numbers: usize) -> Vec<f32> {
    if vector.len() <= numbers {
        return vector;
    }
    vector.truncate(numbers);
    let squares = vector.iter().map(|&v| f64::from(v) * f64::from(v));
    let length = squares.sum::<f64>().sqrt();
    if length > 0.0 {
        for v in &mut vector {
            *v = (f64::from(*v) / length) as f32;
        }
    }
    vector
}

/// RFC 4648, section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, at| {
            bits << 8 | group.get(at).map_or(0, |&byte| usize::from(byte))
        });
        for at in 0..4 {
            // One byte makes two letters, two make three.
            text.push(if at <= group.len() {
                char::from(ALPHABET[bits >> (18 - 6 * at) & 63])
            } else {
                '='
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4648, section 10.
    #[test]
    fn base64_is_the_standards() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }

    #[test]
    fn a_vector_that_is_cut_has_length_one_again() {
        let vector = vec![0.6, 0.0, 0.8];
        assert_eq!(shortened(vector.clone(), 3), vector);
        assert_eq!(shortened(vector.clone(), 9), vector);
        assert_eq!(shortened(vector, 2), [1.0, 0.0]);
        assert_eq!(shortened(vec![0.0, 1.0], 1), [0.0], "nothing is left of it");
    }
}
