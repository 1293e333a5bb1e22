//! The values of GGUF metadata.
//!
//! Arrays stay as bytes of the file until they are asked for: a vocabulary has hundreds of
//! thousands of entries, and most arrays are never read.

use crate::placement::Bytes;

/// GGUF's value types, with their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the format's own")]
pub enum ValueType {
    U8 = 0,
    I8 = 1,
    U16 = 2,
    I16 = 3,
    U32 = 4,
    I32 = 5,
    F32 = 6,
    Bool = 7,
    String = 8,
    Array = 9,
    U64 = 10,
    I64 = 11,
    F64 = 12,
}

impl ValueType {
    /// The type of an id.
    pub fn from_id(id: u32) -> Option<Self> {
        use ValueType::{Array, Bool, F32, F64, I8, I16, I32, I64, String, U8, U16, U32, U64};
        const ALL: [ValueType; 13] = [
            U8, I8, U16, I16, U32, I32, F32, Bool, String, Array, U64, I64, F64,
        ];
        ALL.get(usize::try_from(id).ok()?).copied()
    }

    /// Bytes of a value; `None` for strings and arrays.
    pub fn fixed_bytes(self) -> Option<usize> {
        match self {
            ValueType::U8 | ValueType::I8 | ValueType::Bool => Some(1),
            ValueType::U16 | ValueType::I16 => Some(2),
            ValueType::U32 | ValueType::I32 | ValueType::F32 => Some(4),
            ValueType::U64 | ValueType::I64 | ValueType::F64 => Some(8),
            ValueType::String | ValueType::Array => None,
        }
    }
}

/// A metadata value.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are the format's own")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    U64(u64),
    I64(i64),
    F32(f32),
    F64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

impl Value {
    /// The scalar of type `ty` in exactly its bytes. A bool is any byte, true where not zero.
    pub(super) fn scalar(ty: ValueType, bytes: &[u8]) -> Option<Value> {
        Some(match ty {
            ValueType::U8 => Value::U8(u8::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I8 => Value::I8(i8::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U16 => Value::U16(u16::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I16 => Value::I16(i16::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U32 => Value::U32(u32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I32 => Value::I32(i32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::U64 => Value::U64(u64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::I64 => Value::I64(i64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::F32 => Value::F32(f32::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::F64 => Value::F64(f64::from_le_bytes(bytes.try_into().ok()?)),
            ValueType::Bool => Value::Bool(*bytes.first()? != 0),
            ValueType::String | ValueType::Array => return None,
        })
    }

    /// An integer of any width, if this is one.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Value::U8(n) => Some(n.into()),
            Value::I8(n) => Some(n.into()),
            Value::U16(n) => Some(n.into()),
            Value::I16(n) => Some(n.into()),
            Value::U32(n) => Some(n.into()),
            Value::I32(n) => Some(n.into()),
            Value::I64(n) => Some(n),
            Value::U64(n) => i64::try_from(n).ok(),
            _ => None,
        }
    }

    /// An integer that is not negative and fits.
    pub fn as_usize(&self) -> Option<usize> {
        self.as_i64().and_then(|n| usize::try_from(n).ok())
    }

    /// A float of either width.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Value::F32(x) => Some(x.into()),
            Value::F64(x) => Some(x),
            _ => None,
        }
    }

    /// A bool.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Value::Bool(b) => Some(b),
            _ => None,
        }
    }

    /// A text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// An array.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Value::Array(array) => Some(array),
            _ => None,
        }
    }
}

/// An array of strings or scalars, still in the file's bytes.
#[derive(Clone, Debug)]
pub struct Array {
    element: ValueType,
    len: usize,
    data: Bytes,
}

impl Array {
    /// `data` holds `len` elements; the reader has walked them.
    pub(super) fn new(element: ValueType, len: usize, data: Bytes) -> Self {
        Array { element, len, data }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it has no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its elements, if they are strings.
    pub fn strings(&self) -> Option<Vec<String>> {
        if self.element != ValueType::String {
            return None;
        }
        let mut rest: &[u8] = &self.data;
        let mut strings = Vec::with_capacity(self.len);
        for _ in 0..self.len {
            let (length, after) = rest.split_first_chunk::<8>()?;
            let (text, after) =
                after.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
            strings.push(std::str::from_utf8(text).ok()?.to_owned());
            rest = after;
        }
        Some(strings)
    }

    /// Its elements, if they are scalars.
    pub fn scalars(&self) -> Option<Vec<Value>> {
        let size = self.element.fixed_bytes()?;
        self.data
            .chunks_exact(size)
            .map(|bytes| Value::scalar(self.element, bytes))
            .collect()
    }

    /// Its elements, if they are floats.
    pub fn floats(&self) -> Option<Vec<f32>> {
        let float = |value: &Value| value.as_f64().map(|float| float as f32);
        self.scalars()?.iter().map(float).collect()
    }

    /// Its elements, if they are bytes, signed or not.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let is_byte = matches!(self.element, ValueType::U8 | ValueType::I8);
        is_byte.then(|| self.data.to_vec())
    }

    /// Its elements, if they are integers.
    pub fn integers(&self) -> Option<Vec<i64>> {
        self.scalars()?.iter().map(Value::as_i64).collect()
    }
}
