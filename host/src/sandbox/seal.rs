//! The seal of a precompiled engine (.cwasm): digests over all of the file, written by
//! `sterna bake --aot` at its end.
//!
//! A precompiled file is machine code with tables that wasmtime trusts: one wrong bit in it crashes
//! the process, or worse. So nothing of it is used before its digest is checked. The model's data,
//! nearly all of the file, is another matter: wasmtime only copies it into the sandbox's memory,
//! where any bytes are safe, and wrong ones only make wrong tokens. Reading a gigabyte before the
//! first token would cost what mapping the file saves, so a large model's data has a digest of its
//! own, which is checked while the server already serves ([`SealedFile::check_data`]); a small
//! one's is checked first.
//!
//! Layout: what wasmtime wrote (`elf_bytes`), then the [`Seal`], whose digest covers all before it
//! but the data. The seal protects against damage, not against an attacker: anybody can compute a
//! digest (SECURITY.md).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use blake3::Hasher;
use object::{Object, ObjectSection};

/// First bytes of a seal; the number is the version of this format.
const MAGIC: &[u8; 16] = b"sterna-cwasm-1\n\0";
/// Bytes of a digest.
const DIGEST: usize = blake3::OUT_LEN;
/// Magic, three numbers, two digests.
const SEAL_BYTES: usize = MAGIC.len() + 3 * 8 + 2 * DIGEST;
/// The section of wasmtime's file that initial memory comes from.
const DATA_SECTION: &str = ".rodata.wasm";
/// Data up to this size is checked before it is used: that takes a few milliseconds.
const AT_ONCE_BYTES: u64 = 16 << 20;
/// Bytes that are read at a time.
const STEP: usize = 256 << 10;
/// A check in the background rests for this multiple of the time it worked: it takes a fifth of one
/// CPU.
const REST: u32 = 4;

/// The seal at the end of a precompiled file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seal {
    /// Bytes of wasmtime's file, which is the rest.
    elf_bytes: u64,
    /// The range of the model's data in it.
    data: Range<u64>,
    data_digest: [u8; DIGEST],
}

/// A precompiled file whose code and tables are those that were written.
#[derive(Debug)]
pub(super) struct SealedFile {
    file: File,
    seal: Seal,
}

/// Seal what wasmtime compiled ahead of time.
///
/// # Errors
/// It is no ELF file.
pub fn seal(mut compiled: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let data = data_range(&compiled)?;
    let elf_bytes = compiled.len() as u64;
    let (start, end) = (as_index(data.start)?, as_index(data.end)?);
    let seal = Seal {
        elf_bytes,
        data_digest: blake3::hash(&compiled[start..end]).into(),
        data,
    };
    let fields = seal.fields();
    let mut hasher = Hasher::new();
    hasher.update(&compiled[..start]).update(&compiled[end..]);
    hasher.update(&fields);
    compiled.extend(fields);
    compiled.extend(hasher.finalize().as_bytes());
    Ok(compiled)
}

fn data_range(elf: &[u8]) -> anyhow::Result<Range<u64>> {
    let file = object::File::parse(elf).context("cannot read what wasmtime compiled")?;
    let section = file.section_by_name(DATA_SECTION);
    let Some((start, len)) = section.and_then(|section| section.file_range()) else {
        return Ok(0..0);
    };
    Ok(start..start + len)
}

fn as_index(at: u64) -> anyhow::Result<usize> {
    usize::try_from(at).context("too large for this machine")
}

impl Seal {
    /// All but the digest over everything.
    fn fields(&self) -> Vec<u8> {
        let numbers = [self.elf_bytes, self.data.start, self.data.end];
        let mut fields = MAGIC.to_vec();
        fields.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        fields.extend(self.data_digest);
        fields
    }

    /// The seal of a file of `file_bytes`, and its digest over everything else.
    fn parse(bytes: &[u8; SEAL_BYTES], file_bytes: u64) -> anyhow::Result<(Seal, [u8; DIGEST])> {
        let (magic, rest) = bytes.split_at(MAGIC.len());
        ensure!(
            magic == MAGIC,
            "it does not end as this version of `sterna bake --aot` ends its files: it is cut short, something was appended, or \
             another version wrote it"
        );
        let (numbers, digests) = rest.split_at(3 * 8);
        let mut numbers = numbers
            .as_chunks()
            .0
            .iter()
            .copied()
            .map(u64::from_le_bytes);
        let mut next = || numbers.next().unwrap_or_default();
        let (elf_bytes, start, end) = (next(), next(), next());
        let mut digests = digests.as_chunks().0.iter().copied();
        let mut digest = || digests.next().unwrap_or_default();
        let seal = Seal {
            elf_bytes,
            data: start..end,
            data_digest: digest(),
        };
        ensure!(
            Some(file_bytes) == elf_bytes.checked_add(SEAL_BYTES as u64)
                && start <= end
                && end <= elf_bytes,
            "it is damaged: its seal is of a file of another size"
        );
        Ok((seal, digest()))
    }
}

impl SealedFile {
    /// Open a precompiled file and check all of it but a large model's data.
    ///
    /// # Errors
    /// It cannot be read, has no seal, or is not what was sealed.
    pub(super) fn open(path: &Path) -> anyhow::Result<SealedFile> {
        let mut file = File::open(path).context("cannot open it")?;
        let len = file.metadata().context("cannot read it")?.len();
        let Some(seal_at) = len.checked_sub(SEAL_BYTES as u64) else {
            bail!("it is too short to be one that `sterna bake --aot` wrote");
        };
        let mut bytes = [0; SEAL_BYTES];
        file.seek(SeekFrom::Start(seal_at))
            .and_then(|_| file.read_exact(&mut bytes))
            .context("cannot read it")?;
        let (seal, digest) = Seal::parse(&bytes, len)?;
        let mut hasher = Hasher::new();
        for range in [0..seal.data.start, seal.data.end..seal.elf_bytes] {
            read(&mut file, range, |bytes, _| {
                hasher.update(bytes);
            })?;
        }
        hasher.update(&seal.fields());
        ensure!(
            hasher.finalize() == digest,
            "it is damaged: its code is not what `sterna bake --aot` wrote"
        );
        let mut sealed = SealedFile { file, seal };
        if sealed.is_small() {
            sealed.check_all_data()?;
        }
        Ok(sealed)
    }

    /// True if `open` has checked everything.
    pub(super) fn is_small(&self) -> bool {
        self.seal.data.end - self.seal.data.start <= AT_ONCE_BYTES
    }

    /// Check the model's data as fast as possible.
    ///
    /// # Errors
    /// It cannot be read, or is not what was sealed.
    pub(super) fn check_all_data(&mut self) -> anyhow::Result<()> {
        self.check_data(|_| ())
    }

    /// Check the model's data in a fifth of one CPU's time.
    ///
    /// # Errors
    /// It cannot be read, or is not what was sealed.
    pub(super) fn check_data_beside_work(&mut self) -> anyhow::Result<()> {
        self.check_data(|worked| std::thread::sleep(worked * REST))
    }

    fn check_data(&mut self, rest: impl Fn(Duration)) -> anyhow::Result<()> {
        let mut hasher = Hasher::new();
        read(&mut self.file, self.seal.data.clone(), |bytes, since| {
            hasher.update(bytes);
            rest(since.elapsed());
        })?;
        ensure!(
            hasher.finalize() == self.seal.data_digest,
            "it is damaged: the model's data in it is not what `sterna bake --aot` wrote"
        );
        Ok(())
    }

    /// True if `path` still is the file that was checked.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let identity = |data: std::fs::Metadata| (data.dev(), data.ino(), data.len());
        let opened = self.file.metadata().map(identity).ok();
        opened.is_some() && opened == path.metadata().map(identity).ok()
    }
}

/// Read a part of a file, piece by piece. Each comes with the time its reading began.
fn read(
    file: &mut File,
    range: Range<u64>,
    mut each: impl FnMut(&[u8], Instant),
) -> anyhow::Result<()> {
    // Not mapped: pages that were only looked at once are not to count as this process's.
    let mut buffer = vec![0; STEP];
    let mut left = range.end - range.start;
    file.seek(SeekFrom::Start(range.start))
        .context("cannot read it")?;
    while left > 0 {
        let began = Instant::now();
        let most = usize::try_from(left).unwrap_or(STEP).min(STEP);
        let piece = &mut buffer[..most];
        file.read_exact(piece).context("cannot read it")?;
        each(piece, began);
        left -= most as u64;
    }
    Ok(())
}
