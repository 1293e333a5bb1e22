//! Reading GGUF, versions 2 and 3, little-endian:
//! <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
//!
//! The header comes from outside, so every number in it is checked before it is used: counts
//! against the bytes that are left (each entry has a least size, so no count makes us allocate more
//! than a small multiple of the file), lengths and offsets against the file's end and against each
//! other, sums against overflow.

use std::collections::BTreeMap;
use std::ops::Range;

use super::ggml_type;
use super::gguf_value::{Array, Value, ValueType};
use super::ranges::{self, Span};
use super::stored_tensor::StoredTensor;
use crate::placement::Bytes;

/// One tensor as the header describes it.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Sizes in GGUF's order: `ne[0]` is contiguous, so a matrix `[out, in]` is `[in, out]` here.
    pub ne: Vec<u64>,
    /// The ggml type id.
    pub ty: u32,
    /// Which of the model's files it is in: 0 where there is one.
    pub part: usize,
    /// The start of its data in the file: behind the header, in no other tensor, not past the end.
    pub start: usize,
}

impl TensorInfo {
    /// Number of elements. Checked against overflow when the header was read.
    pub fn elements(&self) -> u64 {
        self.ne.iter().product()
    }

    /// Name, type and shape, outermost size first; trailing sizes of 1 mean nothing in ggml.
    pub(crate) fn stored(&self) -> StoredTensor {
        let least = self.ne.iter().rposition(|&n| n != 1).map_or(0, |at| at + 1);
        let sizes = self.ne.iter().take(least.max(2)).rev();
        StoredTensor {
            name: self.name.clone(),
            ty: ggml_type::name(self.ty).to_owned(),
            shape: sizes
                .map(|&n| usize::try_from(n).unwrap_or(usize::MAX))
                .collect(),
        }
    }

    /// Its bytes in the file. Of a type whose size is unknown at least one is its own.
    fn span(&self) -> Span<'_> {
        let start = self.start as u64;
        let n_bytes = ggml_type::n_bytes(self.ty, &self.ne).map_or(1, |n| n as u64);
        Span {
            name: &self.name,
            bytes: start..start.saturating_add(n_bytes),
        }
    }
}

/// A GGUF file: its metadata, and its tensors as ranges of the file. Trees rather than hash maps:
/// nothing that is loaded before a snapshot (`wit/bake.wit`) may draw hash keys, which all
/// instances would share.
#[derive(Clone, Debug)]
pub struct Gguf {
    /// Tensors begin at multiples of it, in bytes.
    alignment: usize,
    /// The file, or all files of a model in parts.
    parts: Vec<Bytes>,
    metadata: BTreeMap<String, Value>,
    tensors: Vec<TensorInfo>,
    by_name: BTreeMap<String, usize>,
}

const MAGIC: &[u8; 4] = b"GGUF";
const DEFAULT_ALIGNMENT: usize = 32;
const MAX_ALIGNMENT: usize = 1 << 16;
const MAX_NAME_BYTES: usize = 1 << 10;
const MAX_DIMS: usize = 4;
/// Least size of a metadata entry: key length, type, one byte of value.
const MIN_ENTRY_BYTES: usize = 8 + 4 + 1;
/// Least size of a tensor's entry: name length, number of sizes, one size, type, offset.
const MIN_TENSOR_BYTES: usize = 8 + 4 + 8 + 4 + 8;

impl Gguf {
    /// True if these bytes begin as a GGUF file does.
    pub fn has_magic(bytes: &[u8]) -> bool {
        bytes.starts_with(MAGIC)
    }

    /// Read the header.
    ///
    /// # Errors
    /// A sentence that says where the header is wrong, for `LoadError::Damaged`.
    pub fn parse(bytes: Bytes) -> Result<Gguf, String> {
        let mut reader = Reader {
            bytes: &bytes,
            at: 0,
        };
        if reader.take(4, "the magic")? != MAGIC {
            return Err("it does not begin with `GGUF`".into());
        }
        let version = reader.u32("the version")?;
        match version {
            2 | 3 => {}
            1 => {
                return Err(
                    "GGUF version 1 is not supported; convert it anew with a current tool".into(),
                );
            }
            _ if (1..=3).contains(&version.swap_bytes()) => {
                return Err(
                    "a big-endian GGUF is not supported; convert it to little-endian".into(),
                );
            }
            _ => {
                return Err(format!(
                    "GGUF version {version} is not supported; versions 2 and 3 are"
                ));
            }
        }
        let n_tensors = reader.count(MIN_TENSOR_BYTES, "the number of tensors")?;
        let n_entries = reader.count(MIN_ENTRY_BYTES, "the number of metadata entries")?;

        let mut metadata = BTreeMap::new();
        for index in 0..n_entries {
            let key = reader.name(&format!("the key of metadata entry {index}"))?;
            let value = reader.value(&bytes, &key)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(format!("metadata key `{key}` occurs twice"));
            }
        }
        let alignment = match metadata.get("general.alignment") {
            None => DEFAULT_ALIGNMENT,
            Some(value) => value
                .as_usize()
                .filter(|&a| a.is_power_of_two() && (8..=MAX_ALIGNMENT).contains(&a))
                .ok_or("`general.alignment` is no power of two from 8 to 65536")?,
        };

        let mut tensors = Vec::with_capacity(n_tensors.min(1024));
        for index in 0..n_tensors {
            tensors.push(reader.tensor(index)?);
        }
        let data_start = reader
            .at
            .checked_next_multiple_of(alignment)
            .ok_or("the header is too long")?;
        let mut by_name = BTreeMap::new();
        for (index, tensor) in tensors.iter_mut().enumerate() {
            // `start` still counts from the beginning of the data section.
            let offset = tensor.start;
            tensor.start = data_start
                .checked_add(offset)
                .ok_or_else(|| format!("tensor `{}` has an impossible offset", tensor.name))?;
            if !offset.is_multiple_of(alignment) {
                return Err(format!(
                    "tensor `{}` is not aligned to {alignment} bytes",
                    tensor.name
                ));
            }
            if by_name.insert(tensor.name.clone(), index).is_some() {
                return Err(format!("tensor `{}` occurs twice", tensor.name));
            }
        }
        let spans = tensors.iter().map(TensorInfo::span).collect();
        ranges::check(spans, bytes.len() as u64)?;
        Ok(Gguf {
            alignment,
            parts: vec![bytes],
            metadata,
            tensors,
            by_name,
        })
    }

    /// One model of its parts, in their order: the metadata of the first, the tensors of all.
    ///
    /// # Errors
    /// A sentence for `LoadError::Damaged`: two parts hold a tensor of the same name.
    pub(crate) fn join(parts: Vec<Gguf>) -> Result<Gguf, String> {
        let mut parts = parts.into_iter();
        let mut whole = parts.next().ok_or("it has no parts")?;
        for other in parts {
            let (part, before) = (whole.parts.len(), whole.tensors.len());
            whole.parts.extend(other.parts);
            for (index, mut tensor) in other.tensors.into_iter().enumerate() {
                tensor.part = part;
                let name = tensor.name.clone();
                whole.tensors.push(tensor);
                if whole.by_name.insert(name.clone(), before + index).is_some() {
                    return Err(format!("tensor `{name}` is in two of its parts"));
                }
            }
        }
        Ok(whole)
    }

    /// The value of a metadata key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// Every metadata entry, by key.
    pub fn metadata(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.metadata
            .iter()
            .map(|(key, value)| (key.as_str(), value))
    }

    /// The tensors in the file's order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Tensors begin at multiples of it, in bytes.
    pub(crate) fn alignment(&self) -> usize {
        self.alignment
    }

    /// A tensor by name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.by_name
            .get(name)
            .and_then(|&index| self.tensors.get(index))
    }

    /// Bytes from a tensor's start to the next one's, or to the end of the file.
    pub(crate) fn room(&self, tensor: &TensorInfo) -> usize {
        let same = self
            .tensors
            .iter()
            .filter(|other| other.part == tensor.part);
        let next = same
            .map(|other| other.start)
            .filter(|&start| start > tensor.start)
            .min();
        let end = || self.parts.get(tensor.part).map_or(0, |file| file.len());
        next.unwrap_or_else(end).saturating_sub(tensor.start)
    }

    /// As [`Gguf::room`], of every tensor, in the file's order.
    pub(crate) fn rooms(&self) -> Vec<usize> {
        let mut starts: Vec<Vec<usize>> = self.parts.iter().map(|file| vec![file.len()]).collect();
        for tensor in &self.tensors {
            if let Some(starts) = starts.get_mut(tensor.part) {
                starts.push(tensor.start);
            }
        }
        starts.iter_mut().for_each(|starts| starts.sort_unstable());
        let room = |tensor: &TensorInfo| {
            let starts = starts.get(tensor.part)?;
            let next = starts.get(starts.partition_point(|&start| start <= tensor.start))?;
            Some(next - tensor.start)
        };
        let rooms = self.tensors.iter().map(room);
        rooms.map(Option::unwrap_or_default).collect()
    }

    /// The number of files it is in.
    pub(crate) fn n_parts(&self) -> usize {
        self.parts.len()
    }

    /// Bytes of all its files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.parts.iter().map(|file| file.len() as u64).sum()
    }

    /// The first `n_bytes` of a tensor's data, or `None` where the file ends before.
    pub fn data(&self, tensor: &TensorInfo, n_bytes: usize) -> Option<Bytes> {
        let end = tensor.start.checked_add(n_bytes)?;
        self.parts.get(tensor.part)?.slice(tensor.start..end)
    }
}

/// A cursor over the header. `what` names the thing being read, for errors.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn skip(&mut self, n: usize, what: &str) -> Result<Range<usize>, String> {
        let end = self
            .at
            .checked_add(n)
            .filter(|&end| end <= self.bytes.len());
        let end =
            end.ok_or_else(|| format!("the file ends in {what}, at byte {}", self.bytes.len()))?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8], String> {
        let range = self.skip(n, what)?;
        Ok(&self.bytes[range])
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let bytes = self.take(N, what)?;
        bytes
            .try_into()
            .map_err(|_| format!("the file ends in {what}"))
    }

    fn u32(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, String> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A number of entries of at least `min_bytes` each: no more than the rest of the file can
    /// hold.
    fn count(&mut self, min_bytes: usize, what: &str) -> Result<usize, String> {
        let n = self.u64(what)?;
        let most = self.left() / min_bytes;
        usize::try_from(n)
            .ok()
            .filter(|&n| n <= most)
            .ok_or_else(|| format!("{what} is {n}, the rest of the file holds {most} at most"))
    }

    fn string(&mut self, limit: usize, what: &str) -> Result<&'a str, String> {
        let length = self.count(1, &format!("the length of {what}"))?;
        if length > limit {
            return Err(format!(
                "{what} is {length} bytes long, the limit is {limit}"
            ));
        }
        std::str::from_utf8(self.take(length, what)?).map_err(|_| format!("{what} is not UTF-8"))
    }

    fn name(&mut self, what: &str) -> Result<String, String> {
        self.string(MAX_NAME_BYTES, what).map(str::to_owned)
    }

    fn value(&mut self, file: &Bytes, key: &str) -> Result<Value, String> {
        let what = format!("metadata key `{key}`");
        let ty = ValueType::from_id(self.u32(&what)?)
            .ok_or_else(|| format!("{what} has an unknown type"))?;
        match ty {
            ValueType::String => Ok(Value::String(self.string(usize::MAX, &what)?.to_owned())),
            ValueType::Array => {
                let element = ValueType::from_id(self.u32(&what)?)
                    .filter(|&element| element != ValueType::Array)
                    .ok_or_else(|| format!("{what} is an array of an unsupported type"))?;
                let least = element.fixed_bytes().unwrap_or(8);
                let len = self.count(least, &format!("the length of {what}"))?;
                let start = self.at;
                match element.fixed_bytes() {
                    Some(size) => self.at += len * size,
                    None => {
                        for _ in 0..len {
                            self.string(usize::MAX, &what)?;
                        }
                    }
                }
                let data = file
                    .slice(start..self.at)
                    .ok_or_else(|| format!("the file ends in {what}"))?;
                Ok(Value::Array(Array::new(element, len, data)))
            }
            _ => {
                let size = ty
                    .fixed_bytes()
                    .ok_or_else(|| format!("{what} has an unknown type"))?;
                let bytes = self.take(size, &what)?;
                Value::scalar(ty, bytes).ok_or_else(|| format!("{what} is damaged"))
            }
        }
    }

    fn tensor(&mut self, index: usize) -> Result<TensorInfo, String> {
        let name = self.name(&format!("the name of tensor {index}"))?;
        let what = format!("tensor `{name}`");
        let dims = usize::try_from(self.u32(&what)?).unwrap_or(usize::MAX);
        if dims == 0 || dims > MAX_DIMS {
            return Err(format!(
                "{what} has {dims} dimensions, 1 to {MAX_DIMS} are allowed"
            ));
        }
        let mut ne = Vec::with_capacity(dims);
        let mut elements = 1u64;
        for _ in 0..dims {
            let n = self.u64(&what)?;
            elements = elements
                .checked_mul(n)
                .filter(|&elements| n > 0 && elements <= 1 << 56)
                .ok_or_else(|| format!("{what} has an impossible size"))?;
            ne.push(n);
        }
        let ty = self.u32(&what)?;
        let offset = self.u64(&what)?;
        let start = usize::try_from(offset)
            .map_err(|_| format!("{what} begins past the end of the file"))?;
        Ok(TensorInfo {
            name,
            ne,
            ty,
            part: 0,
            start,
        })
    }
}
