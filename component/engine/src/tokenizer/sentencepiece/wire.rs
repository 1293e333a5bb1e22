//! Protocol buffers as they lie in a file: fields one after the other, each with a number.
//!
//! Only what a `tokenizer.model` needs. Every length is checked against what is left, so that no
//! file makes a reader allocate or look beyond it.

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    /// An integer, a flag or an enumeration's value.
    Varint(u64),
    /// Four bytes: a float.
    Fixed32(u32),
    /// Eight bytes.
    Fixed64(u64),
    /// Text, bytes or a message.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(super) fn float(self) -> Option<f32> {
        match self {
            Value::Fixed32(bits) => Some(f32::from_bits(bits)),
            _ => None,
        }
    }

    pub(super) fn flag(self) -> Option<bool> {
        self.varint().map(|value| value != 0)
    }

    pub(super) fn varint(self) -> Option<u64> {
        match self {
            Value::Varint(value) => Some(value),
            _ => None,
        }
    }

    /// An id; a negative one (ten bytes) is none.
    pub(super) fn id(self) -> Option<u32> {
        u32::try_from(self.varint()?)
            .ok()
            .filter(|&id| id <= i32::MAX as u32)
    }

    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

/// The fields of a message: number and value. `None` in place of one that is damaged, after which
/// nothing comes.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = Option<(u64, Value<'_>)>> {
    let mut rest = Some(message);
    std::iter::from_fn(move || {
        let from = rest.filter(|rest| !rest.is_empty())?;
        match field(from) {
            Some((number, value, after)) => {
                rest = Some(after);
                Some(Some((number, value)))
            }
            None => {
                rest = None;
                Some(None)
            }
        }
    })
}

fn field(message: &[u8]) -> Option<(u64, Value<'_>, &[u8])> {
    let (key, rest) = varint(message)?;
    let (value, rest) = match key & 7 {
        0 => {
            let (value, rest) = varint(rest)?;
            (Value::Varint(value), rest)
        }
        1 => {
            let (bytes, rest) = rest.split_first_chunk()?;
            (Value::Fixed64(u64::from_le_bytes(*bytes)), rest)
        }
        2 => {
            let (length, rest) = varint(rest)?;
            let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Value::Bytes(bytes), rest)
        }
        5 => {
            let (bytes, rest) = rest.split_first_chunk()?;
            (Value::Fixed32(u32::from_le_bytes(*bytes)), rest)
        }
        // Groups, which nobody writes.
        _ => return None,
    };
    Some((key >> 3, value, rest))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * at).min(63);
        if byte < 0x80 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind() {
        let message = b"\x08\x96\x01\x12\x02hi\x1d\0\0\x80\x3f\x21\x01\0\0\0\0\0\0\0";
        let found: Vec<_> = fields(message).collect();
        let expected = [
            Some((1, Value::Varint(150))),
            Some((2, Value::Bytes(b"hi"))),
            Some((3, Value::Fixed32(0x3f80_0000))),
            Some((4, Value::Fixed64(1))),
        ];
        assert_eq!(found, expected);
        let values = || expected.iter().flatten().map(|field| field.1);
        assert_eq!(values().filter_map(Value::float).collect::<Vec<_>>(), [1.0]);
        assert_eq!(values().filter_map(Value::text).collect::<Vec<_>>(), ["hi"]);
        let minus_one = Value::Varint(u64::MAX);
        assert_eq!((minus_one.id(), Value::Varint(7).id()), (None, Some(7)));
    }

    #[test]
    fn damage_ends_a_message() {
        for message in [
            &b"\x08"[..],
            b"\x12\x05hi",
            b"\x0b",
            b"\x1d\0",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(fields(message).collect::<Vec<_>>(), [None], "{message:?}");
        }
        assert_eq!(fields(b"").count(), 0);
    }
}
