//! Embeddings as OpenAI writes them.

use serde::{Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::inputs::Embedded;
use crate::error::ApiError;
use crate::json::to_json;

/// The form of a vector in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// An array of numbers.
    Float,
    /// The base64 of little-endian `f32`s.
    Base64,
}

impl Encoding {
    /// Bytes of `numbers` numbers in JSON: of floats about as many, since their digits differ.
    pub(super) fn bytes(self, numbers: usize) -> usize {
        match self {
            Encoding::Float => numbers.saturating_mul(14),
            Encoding::Base64 => numbers.saturating_mul(4).div_ceil(3).saturating_mul(4),
        }
    }
}

/// The vectors of an answer: each cut to `numbers` and then scaled to length 1 again, and written
/// down as it comes.
pub(super) struct Form {
    pub(super) numbers: usize,
    pub(super) encoding: Encoding,
}

impl Form {
    /// A vector as JSON.
    ///
    /// # Errors
    /// `Internal` where it cannot be written.
    pub(super) fn write(&self, vector: Vec<f32>) -> Result<Box<RawValue>, ApiError> {
        let vector = Vector(shortened(vector, self.numbers), self.encoding);
        to_raw_value(&vector).map_err(|error| ApiError::internal(&error.to_string()))
    }
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
    embedding: Box<RawValue>,
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

/// The whole answer.
pub(super) fn document(model: &str, embedded: Embedded) -> Vec<u8> {
    let vectors = embedded.vectors.into_iter().enumerate();
    let data = vectors.map(|(index, embedding)| Embedding {
        object: "embedding",
        index,
        embedding,
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
    fn the_bytes_of_base64_are_known_and_those_of_floats_about() {
        let vector: Vec<f32> = (0..257).map(|i| (i as f32 - 128.3) / 2000.0).collect();
        for (encoding, most) in [(Encoding::Base64, 1372), (Encoding::Float, 257 * 14)] {
            let form = Form {
                numbers: 257,
                encoding,
            };
            assert_eq!(encoding.bytes(257), most);
            let written = form.write(vector.clone()).unwrap().get().len();
            assert!(
                (most / 2..=most + 2).contains(&written),
                "{encoding:?}: {written}"
            );
        }
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
