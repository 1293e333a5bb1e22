//! A token: bytes that are signed, as text of base64url.
//!
//! Layout, numbers in LEB128 where no size is given: version (1 byte), model (8), request (8), the
//! answer's identity (16), when it began, position (`position`), runs of token ids to the end, each
//! with its choice, its first token's place and its length; behind it the first 16 bytes of the
//! HMAC-SHA256 of all that.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::position::Position;

/// Tokens of another version are not read: an answer's events may be others too.
const VERSION: u8 = 1;
/// Half of the digest, the least that RFC 2104 has.
const TAG_BYTES: usize = 16;
/// Signatures of these keys are for nothing else.
const PURPOSE: &[u8] = b"sterna resume token";

/// The beginning of a digest.
pub(super) type Short = [u8; 8];

/// Token ids of a choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The choice.
    pub index: u32,
    /// The place in its completion of the first of them.
    pub start: u32,
    /// Their ids.
    pub ids: Vec<u32>,
}

/// What a token says.
#[derive(Clone, Debug)]
pub struct Token {
    /// Of the model, its version and that of the program.
    pub model: Short,
    /// Of the request.
    pub request: Short,
    /// The identity of the answer.
    pub id: u128,
    /// When it began, in Unix time in seconds.
    pub created: u64,
    /// How far it was sent.
    pub position: Position,
    /// Token ids of its choices.
    pub runs: Vec<Run>,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is damaged, or none at all.
    Damaged,
    /// None of the keys signed it.
    Unsigned,
}

impl Token {
    /// The token as text, signed with this key.
    pub fn sign(&self, key: &str) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(self.model);
        bytes.extend(self.request);
        bytes.extend(self.id.to_be_bytes());
        write_long(&mut bytes, self.created);
        self.position.write(&mut bytes);
        for run in &self.runs {
            write(&mut bytes, run.index);
            write(&mut bytes, run.start);
            write(&mut bytes, u32::try_from(run.ids.len()).unwrap_or(u32::MAX));
            run.ids.iter().for_each(|&id| write(&mut bytes, id));
        }
        sign_bytes(bytes, key)
    }

    /// The token in a text, if one of these keys signed it. That is checked before any of it is
    /// read, in a time that does not depend on the signature.
    ///
    /// # Errors
    /// Why it is none.
    pub fn read(text: &str, keys: &[String]) -> Result<Self, Fault> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim());
        let bytes = bytes.map_err(|_| Fault::Damaged)?;
        let signed = bytes.len().checked_sub(TAG_BYTES).ok_or(Fault::Damaged)?;
        let (bytes, tag) = bytes.split_at(signed);
        let is_signed = |key: &String| {
            mac(key, bytes).is_some_and(|mac| mac.verify_truncated_left(tag).is_ok())
        };
        if !keys.iter().any(is_signed) {
            return Err(Fault::Unsigned);
        }
        let mut reader = Reader(bytes);
        Self::parse(&mut reader).ok_or(Fault::Damaged)
    }

    fn parse(from: &mut Reader<'_>) -> Option<Self> {
        if from.byte()? != VERSION {
            return None;
        }
        let (model, request) = (from.array()?, from.array()?);
        let (id, created) = (u128::from_be_bytes(from.array()?), from.long()?);
        let position = Position::read(from)?;
        let mut runs = Vec::new();
        while !from.0.is_empty() {
            let (index, start) = (from.number()?, from.number()?);
            let ids = (0..from.number()?).map(|_| from.number());
            let ids = ids.collect::<Option<_>>()?;
            runs.push(Run { index, start, ids });
        }
        Some(Token {
            model,
            request,
            id,
            created,
            position,
            runs,
        })
    }
}

pub(super) fn sign_bytes(mut bytes: Vec<u8>, key: &str) -> String {
    if let Some(mac) = mac(key, &bytes) {
        let tag = mac.finalize().into_bytes();
        bytes.extend(tag.iter().take(TAG_BYTES));
    }
    URL_SAFE_NO_PAD.encode(bytes)
}

fn mac(key: &str, bytes: &[u8]) -> Option<Hmac<Sha256>> {
    // A key of any length is one.
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    mac.update(PURPOSE);
    mac.update(bytes);
    Some(mac)
}

/// Append a number.
pub(super) fn write(bytes: &mut Vec<u8>, number: u32) {
    write_long(bytes, u64::from(number));
}

fn write_long(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads what was written; `None` where it ends too early or a number is too large.
pub(super) struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn number(&mut self) -> Option<u32> {
        u32::try_from(self.long()?).ok()
    }

    fn long(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (&first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(first)
    }
}
