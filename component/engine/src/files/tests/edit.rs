//! Changes to a GGUF's header that keep the rest of the file readable.

use super::*;
use crate::files::Gguf;
use crate::files::gguf_value::ValueType;

/// A GGUF that tests change.
#[derive(Clone)]
pub(super) struct Edited(pub(super) Vec<u8>);

const ALIGNMENT: usize = 32;
/// Magic, version, two counts.
const ENTRIES_AT: usize = 24;

impl Edited {
    /// The fixture, of architecture `bitnet-b1.58`.
    pub(super) fn fixture() -> Self {
        Edited(std::fs::read(fixture("tiny-I2_S.gguf")).unwrap())
    }

    pub(super) fn gguf(&self) -> Gguf {
        Gguf::parse(self.0.clone().into()).unwrap()
    }

    pub(super) fn load(&self) -> Result<Model, LoadError> {
        load_bytes(self.0.clone())
    }

    pub(super) fn refusal(&self) -> String {
        match self.load() {
            Ok(_) => panic!("it loads"),
            Err(error) => error.to_string(),
        }
    }

    /// The offset at which a tensor's entry goes on after its name.
    pub(super) fn entry(&self, tensor: &str) -> usize {
        let name = text(tensor);
        find(&self.0, &name) + name.len()
    }

    /// The position of a tensor's offset: after its sizes and type.
    pub(super) fn offset_at(&self, tensor: &str) -> usize {
        let at = self.entry(tensor);
        let dims = u32::from_le_bytes(self.0[at..at + 4].try_into().unwrap());
        at + 4 + 8 * dims as usize + 4
    }

    pub(super) fn offset(&self, tensor: &str) -> u64 {
        let at = self.offset_at(tensor);
        u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap())
    }

    pub(super) fn set_offset(&mut self, tensor: &str, offset: u64) {
        let at = self.offset_at(tensor);
        self.0[at..at + 8].copy_from_slice(&offset.to_le_bytes());
    }

    /// With one more metadata entry; a value in its bytes.
    pub(super) fn with(mut self, key: &str, ty: ValueType, value: &[u8]) -> Self {
        let entry = entry(key, ty, value);
        self.insert(ENTRIES_AT, &entry);
        self.count(16);
        self
    }

    pub(super) fn with_f32(self, key: &str, value: f32) -> Self {
        self.with(key, ValueType::F32, &value.to_le_bytes())
    }

    pub(super) fn with_u32(self, key: &str, value: u32) -> Self {
        self.with(key, ValueType::U32, &value.to_le_bytes())
    }

    pub(super) fn with_bool(self, key: &str, value: bool) -> Self {
        self.with(key, ValueType::Bool, &[value.into()])
    }

    pub(super) fn with_text(self, key: &str, value: &str) -> Self {
        self.with(key, ValueType::String, &text(value))
    }

    /// With one more tensor of floats, behind all others.
    pub(super) fn with_floats(mut self, name: &str, values: &[f32]) -> Self {
        let gguf = self.gguf();
        let entries = gguf.tensors().iter().map(|t| self.offset_at(&t.name) + 8);
        let end = entries.max().unwrap();
        let first = gguf.tensors().iter().map(|t| t.start).min().unwrap();
        let data_start = end.next_multiple_of(ALIGNMENT);
        assert!(first >= data_start);
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
        let offset = (self.0.len() - data_start) as u64;
        self.0.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        let mut entry = text(name);
        entry.extend(1u32.to_le_bytes());
        entry.extend((values.len() as u64).to_le_bytes());
        entry.extend(0u32.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.insert(end, &entry);
        self.count(8);
        self
    }

    /// Insert into the header, and as much into its entries' end as keeps the data where it is
    /// found.
    fn insert(&mut self, at: usize, bytes: &[u8]) {
        self.0.splice(at..at, bytes.iter().copied());
        let name = format!("test.padding.{}", self.0.len());
        let empty = entry(&name, ValueType::String, &text(""));
        let pad =
            (bytes.len() + empty.len()).next_multiple_of(ALIGNMENT) - bytes.len() - empty.len();
        let padding = entry(&name, ValueType::String, &text(&" ".repeat(pad)));
        self.0.splice(ENTRIES_AT..ENTRIES_AT, padding);
        self.count(16);
    }

    fn count(&mut self, at: usize) {
        let n = u64::from_le_bytes(self.0[at..at + 8].try_into().unwrap());
        self.0[at..at + 8].copy_from_slice(&(n + 1).to_le_bytes());
    }
}

/// Why a file of these bytes is not loaded.
pub(super) fn refusal(path: &Path, bytes: &[u8]) -> String {
    std::fs::write(path, bytes).unwrap();
    load(path).expect_err("a damaged file").to_string()
}

/// Where these bytes are first.
pub(super) fn find(bytes: &[u8], what: &[u8]) -> usize {
    let found = bytes.windows(what.len()).position(|part| part == what);
    found.expect("it is in the file")
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn entry(key: &str, ty: ValueType, value: &[u8]) -> Vec<u8> {
    let mut entry = text(key);
    entry.extend((ty as u32).to_le_bytes());
    entry.extend(value);
    entry
}

#[test]
fn an_edited_file_is_the_same_model() {
    let edited = Edited::fixture()
        .with_u32("test.number", 7)
        .with_text("test.text", "a")
        .with_floats("blk.0.attn_q.bias", &[0.0; 256]);
    let model = edited.load().unwrap();
    assert_same(&model, &Edited::fixture().load().unwrap(), 0.0);
}
