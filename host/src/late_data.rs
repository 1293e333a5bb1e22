//! What is in a module's memory, put into a component as data segments: piece by piece on its way
//! to a file, so that a model of a gigabyte is in memory once.
//!
//! The module is in the component, or in a component in it, verbatim. Every section around it grows
//! with it; all others stay as they are. Formats: the core specification's section 5.5, and the
//! component model's `Binary.md`.

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::Range;

use anyhow::{Context, bail, ensure};
use wasm_encoder::{ConstExpr, Encode};
use wasmparser::BinaryReader;

/// Memory is looked at in blocks of so many bytes: those of zeros are left out.
const BLOCK: usize = 4096;
/// Segments at most: every engine takes more.
const MOST_SEGMENTS: usize = 10_000;

/// Magic and version, of a module and of a component.
const HEADER_BYTES: usize = 8;

// Ids of sections: of a component, and of a module.
const CORE_MODULE: u8 = 1;
const COMPONENT: u8 = 4;
const MEMORY: u8 = 5;
const DATA: u8 = 11;
const DATA_COUNT: u8 = 12;

/// A memory's contents.
pub struct LateData<'a> {
    memory: &'a [u8],
    /// Where it is not all zeros.
    segments: Vec<Range<usize>>,
}

impl<'a> LateData<'a> {
    /// Those of `memory`, from address 0 on.
    #[must_use]
    pub fn of(memory: &'a [u8]) -> Self {
        let mut block = BLOCK;
        loop {
            let segments = nonzero(memory, block);
            if segments.len() <= MOST_SEGMENTS {
                return LateData { memory, segments };
            }
            block *= 2;
        }
    }

    /// `component` with these contents in the memory of `module`, which is in it.
    ///
    /// # Errors
    /// It is not in it, or is none that this can be put into.
    pub fn put_into<'b>(&self, component: &'b [u8], module: &'b [u8]) -> anyhow::Result<Pieces<'b>>
    where
        'a: 'b,
    {
        self.component(component, module)?
            .context("the module is not in the component")
    }

    /// `None` where `module` is not in `component`.
    fn component<'b>(
        &self,
        component: &'b [u8],
        module: &'b [u8],
    ) -> anyhow::Result<Option<Pieces<'b>>>
    where
        'a: 'b,
    {
        let mut pieces = Pieces::header(component)?;
        let mut found = false;
        for section in sections(component)? {
            let grown = match section.id {
                CORE_MODULE if section.payload == module => Some(self.module(module)?),
                COMPONENT => self.component(section.payload, module)?,
                _ => None,
            };
            match grown {
                Some(grown) => {
                    found = true;
                    pieces.section(section.id, grown)?;
                }
                None => pieces.push(section.whole),
            }
        }
        Ok(found.then_some(pieces))
    }

    fn module<'b>(&self, module: &'b [u8]) -> anyhow::Result<Pieces<'b>>
    where
        'a: 'b,
    {
        let mut pieces = Pieces::header(module)?;
        let mut added = false;
        for section in sections(module)? {
            match section.id {
                DATA_COUNT => {
                    let (count, _) = counted(section.payload)?;
                    let mut grown = Pieces::default();
                    grown.own(encoded(&(count + self.count()?)));
                    pieces.section(DATA_COUNT, grown)?;
                }
                DATA => {
                    added = true;
                    pieces.section(DATA, self.data_section(section.payload)?)?;
                }
                _ => pieces.push(section.whole),
            }
        }
        ensure!(added, "the module has no data section");
        Ok(pieces)
    }

    /// Active segments behind those that are there.
    fn data_section<'b>(&self, payload: &'b [u8]) -> anyhow::Result<Pieces<'b>>
    where
        'a: 'b,
    {
        let (count, rest) = counted(payload)?;
        let mut grown = Pieces::default();
        grown.own(encoded(&(count + self.count()?)));
        grown.push(rest);
        for segment in &self.segments {
            let bytes = &self.memory[segment.clone()];
            // 0: active, of memory 0.
            let mut head = vec![0];
            let address = u32::try_from(segment.start)?.cast_signed();
            ConstExpr::i32_const(address).encode(&mut head);
            u32::try_from(bytes.len())?.encode(&mut head);
            grown.own(head);
            grown.push(bytes);
        }
        Ok(grown)
    }

    fn count(&self) -> anyhow::Result<u32> {
        Ok(u32::try_from(self.segments.len())?)
    }
}

/// Runs of blocks that are not all zeros.
fn nonzero(memory: &[u8], block: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, bytes) in memory.chunks(block).enumerate() {
        if bytes.iter().fold(0, |any, byte| any | byte) == 0 {
            continue;
        }
        let start = index * block;
        let end = start + bytes.len();
        match runs.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => runs.push(start..end),
        }
    }
    runs
}

/// The one module directly in `component` that has a memory of its own.
///
/// # Errors
/// There is none, or there are several.
pub fn module_with_memory(component: &[u8]) -> anyhow::Result<&[u8]> {
    let mut found = Vec::new();
    for section in sections(component)? {
        if section.id == CORE_MODULE && sections(section.payload)?.iter().any(|s| s.id == MEMORY) {
            found.push(section.payload);
        }
    }
    match found[..] {
        [module] => Ok(module),
        _ => bail!(
            "the component has {} modules with a memory; one is supported",
            found.len()
        ),
    }
}

/// A section of a module or component.
struct Section<'a> {
    id: u8,
    /// With its id and size.
    whole: &'a [u8],
    payload: &'a [u8],
}

fn sections(binary: &[u8]) -> anyhow::Result<Vec<Section<'_>>> {
    let mut rest = binary.get(HEADER_BYTES..).context("it is cut short")?;
    let mut sections = Vec::new();
    while !rest.is_empty() {
        let mut reader = BinaryReader::new(rest, 0);
        let id = reader.read_u8()?;
        let size = reader.read_var_u32()? as usize;
        let start = reader.original_position();
        let end = start.checked_add(size).filter(|&end| end <= rest.len());
        let (whole, others) = rest.split_at(end.context("it is cut short")?);
        sections.push(Section {
            id,
            whole,
            payload: &whole[start..],
        });
        rest = others;
    }
    Ok(sections)
}

/// A vector's count, and what follows.
fn counted(payload: &[u8]) -> anyhow::Result<(u32, &[u8])> {
    let mut reader = BinaryReader::new(payload, 0);
    let count = reader.read_var_u32()?;
    Ok((count, &payload[reader.original_position()..]))
}

fn encoded(value: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    bytes
}

/// A file's bytes, of which the large ones are somebody else's.
#[derive(Default)]
pub struct Pieces<'a> {
    pieces: Vec<Cow<'a, [u8]>>,
    len: u64,
}

impl<'a> Pieces<'a> {
    fn header(binary: &'a [u8]) -> anyhow::Result<Self> {
        let mut pieces = Pieces::default();
        pieces.push(binary.get(..HEADER_BYTES).context("it is cut short")?);
        Ok(pieces)
    }

    fn push(&mut self, bytes: &'a [u8]) {
        self.len += bytes.len() as u64;
        self.pieces.push(bytes.into());
    }

    fn own(&mut self, bytes: Vec<u8>) {
        self.len += bytes.len() as u64;
        self.pieces.push(bytes.into());
    }

    fn section(&mut self, id: u8, payload: Pieces<'a>) -> anyhow::Result<()> {
        let size = u32::try_from(payload.len).context("a section of more than 4 GiB")?;
        self.own([vec![id], encoded(&size)].concat());
        self.len += payload.len;
        self.pieces.extend(payload.pieces);
        Ok(())
    }

    /// Bytes of all pieces.
    #[must_use]
    pub fn n_bytes(&self) -> u64 {
        self.len
    }

    /// Write them one after the other.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        self.pieces
            .iter()
            .try_for_each(|piece| out.write_all(piece))
    }
}

#[cfg(test)]
mod tests {
    use wasm_encoder::{
        CodeSection, Component, CustomSection, DataCountSection, DataSection, MemorySection,
        MemoryType, Module, RawSection,
    };

    use super::*;

    fn module(with_memory: bool) -> Vec<u8> {
        let mut module = Module::new();
        if with_memory {
            let mut memories = MemorySection::new();
            memories.memory(MemoryType {
                minimum: 20,
                maximum: None,
                memory64: false,
                shared: false,
                page_size_log2: None,
            });
            module.section(&memories);
            module.section(&DataCountSection { count: 1 });
            module.section(&CodeSection::new());
            let mut data = DataSection::new();
            data.passive(*b"there before");
            module.section(&data);
        }
        module.section(&CustomSection {
            name: "name".into(),
            data: b"last"[..].into(),
        });
        module.finish()
    }

    fn nest(id: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        let mut component = Component::new();
        for data in parts {
            component.section(&RawSection { id, data });
        }
        component.finish()
    }

    fn written(pieces: &Pieces<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        pieces.write(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, pieces.n_bytes());
        bytes
    }

    /// The segments of the one module in a component, as wasmtime reads them.
    fn segments(component: &[u8]) -> Vec<(Option<u64>, Vec<u8>)> {
        let mut found = Vec::new();
        for payload in wasmparser::Parser::new(0).parse_all(component) {
            let wasmparser::Payload::DataSection(data) = payload.unwrap() else {
                continue;
            };
            for segment in data {
                let segment = segment.unwrap();
                let address = match segment.kind {
                    wasmparser::DataKind::Passive => None,
                    wasmparser::DataKind::Active { offset_expr, .. } => {
                        let mut reader = offset_expr.get_operators_reader();
                        let wasmparser::Operator::I32Const { value } = reader.read().unwrap()
                        else {
                            panic!("no constant")
                        };
                        Some(u64::from(value.cast_unsigned()))
                    }
                };
                found.push((address, segment.data.to_vec()));
            }
        }
        found
    }

    #[test]
    fn contents_reach_a_module_however_deep_it_lies() {
        let mut memory = vec![0; 20 << 16];
        memory[5..8].fill(7);
        memory[3 * BLOCK..5 * BLOCK].fill(9);
        *memory.last_mut().unwrap() = 1;
        let data = LateData::of(&memory);
        let engine = nest(CORE_MODULE, &[module(false), module(true)]);
        let app = nest(
            COMPONENT,
            &[nest(CORE_MODULE, &[module(false)]), engine.clone()],
        );
        let target = module_with_memory(&engine).unwrap();
        assert_eq!(target, module(true));
        for component in [&engine, &app] {
            let whole = written(&data.put_into(component, target).unwrap());
            let valid = wasmparser::Validator::new().validate_all(&whole);
            valid.unwrap();
            let segments = segments(&whole);
            assert_eq!(segments[0], (None, b"there before".to_vec()));
            let mut filled = vec![0; memory.len()];
            for (address, bytes) in &segments[1..] {
                let address = usize::try_from(address.unwrap()).unwrap();
                filled[address..address + bytes.len()].copy_from_slice(bytes);
            }
            assert!(filled == memory);
            assert_eq!(segments.len(), 4, "blocks of zeros are left out");
        }
    }

    #[test]
    fn there_are_never_too_many_segments() {
        let mut memory = vec![0; 30_000 * 2 * BLOCK];
        for block in memory.chunks_mut(2 * BLOCK) {
            block[1] = 1;
        }
        let data = LateData::of(&memory);
        assert!(data.segments.len() <= MOST_SEGMENTS);
        assert_eq!(data.segments.first(), Some(&(0..memory.len())));
    }

    #[test]
    fn what_it_cannot_be_put_into_is_refused() {
        let memory = vec![1; BLOCK];
        let data = LateData::of(&memory);
        let none = nest(CORE_MODULE, &[module(false)]);
        assert!(module_with_memory(&none).is_err());
        let two = nest(CORE_MODULE, &[module(true), module(true)]);
        assert!(module_with_memory(&two).is_err());
        let engine = nest(CORE_MODULE, &[module(true)]);
        let target = module_with_memory(&engine).unwrap();
        assert!(data.put_into(&none, target).is_err());
        for len in 0..engine.len() {
            assert!(data.put_into(&engine[..len], target).is_err(), "{len}");
        }
    }
}
