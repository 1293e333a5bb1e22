//! Which blocks a GGUF's quantised tensors are made of: two ids have two meanings, one has two
//! sizes. And whether the scales of a matrix's blocks are one scale.

use half::f16;

use super::floats::Floats;
use super::ggml_type::{self, id as ty};
use super::gguf::TensorInfo;
use super::gguf_weights::{GgufWeights, float_type};
use super::group_blocks::{self, BlockFormat};
use super::group_grid::Q4_0_BYTES;
use super::names::{Part, TensorId};
use super::source::{PARTS, linear_shape};
use crate::config::{GENERAL_ARCHITECTURE, ModelConfig, QWEN3};
use crate::files::Value;

/// True if the blocks of these bytes have several scales.
type Several = dyn Fn(&[u8]) -> bool;

/// Metadata keys of PrismML's files begin so.
const PRISM: &str = "prism.";

impl GgufWeights {
    /// The format of a tensor whose type is made of blocks with a scale each; `None` for other
    /// types.
    ///
    /// # Errors
    /// A sentence where the type's id has two meanings, and nothing in the file says which.
    pub(super) fn block_format(&self, tensor: &TensorInfo) -> Result<Option<BlockFormat>, String> {
        let prism = |format: BlockFormat| {
            let fits = self.fills(tensor, self.gguf.room(tensor), format);
            if self.is_prism() && fits {
                return Ok(Some(format));
            }
            Err(ggml_type::refuse_ambiguous(tensor.ty))
        };
        match tensor.ty {
            ty::Q1_0 => Ok(Some(group_blocks::Q1_0)),
            ty::Q2_0 => {
                let group = self.q2_0_group.get_or_init(|| self.find_q2_0_group());
                group.clone().map(|group| Some(group_blocks::q2_0(group)))
            }
            ty::TQ1_0 => Ok(Some(group_blocks::TQ1_0)),
            ty::TQ2_0 => Ok(Some(group_blocks::TQ2_0)),
            ty::PQ2_0 => prism(group_blocks::q2_0(128)),
            ty::PTQ1_0 => prism(group_blocks::PTQ1_0),
            _ => Ok(None),
        }
    }

    /// The ids 142 and 143 are PrismML's in its own architecture and files; elsewhere they may be
    /// ik_llama.cpp's of old.
    fn is_prism(&self) -> bool {
        let architecture = self.gguf.get(GENERAL_ARCHITECTURE).and_then(Value::as_str);
        let mut keys = self.gguf.metadata().map(|(key, _)| key);
        architecture == Some(QWEN3) || keys.any(|key| key.starts_with(PRISM))
    }

    /// True if a tensor in this format is as large as its room in the file, in bytes, but for
    /// padding.
    fn fills(&self, tensor: &TensorInfo, room: usize, format: BlockFormat) -> bool {
        let inner = tensor.ne.first().and_then(|&n| usize::try_from(n).ok());
        let row = inner.and_then(|cols| format.row_bytes(cols));
        let rows = tensor.ne.iter().skip(1).product::<u64>() as usize;
        let n_bytes = row.and_then(|row| row.checked_mul(rows));
        n_bytes.is_some_and(|n| n <= room && room - n < self.gguf.alignment())
    }

    /// The group of the file's Q2_0 tensors: the type's id has been written with 64 and with 128,
    /// which take different room.
    fn find_q2_0_group(&self) -> Result<usize, String> {
        let tensors: Vec<_> = (self.gguf.tensors().iter().zip(self.gguf.rooms()))
            .filter(|(tensor, _)| tensor.ty == ty::Q2_0)
            .collect();
        let fits = |group: &usize| {
            let format = group_blocks::q2_0(*group);
            tensors
                .iter()
                .all(|&(tensor, room)| self.fills(tensor, room, format))
        };
        let groups: Vec<usize> = [64, 128].into_iter().filter(fits).collect();
        match groups[..] {
            [group] => Ok(group),
            _ => Err(format!(
                "is Q2_0, whose groups are of 64 or of 128 weights, and the sizes of this file's \
                 tensors fit {}: use another file of this model",
                if groups.is_empty() { "neither" } else { "both" }
            )),
        }
    }

    /// True if some linear has several scales, or the model was trained with float activations all
    /// the same: a TriLM, and no BitNet. Architecture `llama` has both.
    ///
    /// Of floats the first block is looked at; what is read of other types are their scales.
    pub(crate) fn has_scales_of_groups(&self, config: &ModelConfig) -> bool {
        let linears = PARTS.into_iter().filter_map(|part| {
            let (rows, cols) = linear_shape(config, part)?;
            Some((part, rows, cols))
        });
        let mut all = (0..config.n_layers).flat_map(|index| {
            let linears = linears.clone();
            linears.map(move |(part, rows, cols)| (index, part, [rows, cols]))
        });
        let several = all.any(|(index, part, shape)| {
            let tensor = self.gguf.tensor(&TensorId::Block(index, part).gguf());
            tensor.is_some_and(|tensor| self.has_several_scales(tensor, shape, index == 0))
        });
        several || self.is_trilm() && self.has_blocks_or_floats(config)
    }

    /// TriLM's tokenizer is GPT-NeoX's, which llama.cpp's converter calls `olmo`; the small ones
    /// have one scale a matrix.
    fn is_trilm(&self) -> bool {
        let text = |key| self.gguf.get(key).and_then(Value::as_str);
        let pre = text("tokenizer.ggml.pre").unwrap_or_default();
        let name = text("general.name").unwrap_or_default().to_lowercase();
        ["olmo", "gpt-neox"].contains(&pre) || name.contains("trilm")
    }

    /// True if its first linear has another type than those that hold one scale.
    fn has_blocks_or_floats(&self, config: &ModelConfig) -> bool {
        let first = (config.n_layers > 0).then(|| TensorId::Block(0, Part::Q).gguf());
        let first = first.and_then(|name| self.gguf.tensor(&name));
        first.is_some_and(|tensor| !ggml_type::HAVE_ONE_SCALE.contains(&tensor.ty))
    }

    fn has_several_scales(
        &self,
        tensor: &TensorInfo,
        [rows, cols]: [usize; 2],
        floats_too: bool,
    ) -> bool {
        if let Some(ty) = float_type(tensor.ty) {
            let n_bytes = rows.checked_mul(cols * ty.bytes());
            let bytes = n_bytes.and_then(|n| self.gguf.data(tensor, n));
            let several = |bytes| has_several_magnitudes(&Floats { ty, bytes }, rows, cols);
            return floats_too && bytes.is_some_and(several);
        }
        let (row_bytes, several): (_, Box<Several>) = match tensor.ty {
            ty::Q4_0 => {
                let blocks = cols.is_multiple_of(32).then(|| cols / 32 * Q4_0_BYTES);
                let d = |block: &[u8; Q4_0_BYTES]| f16::from_le_bytes([block[0], block[1]]);
                let several = move |bytes: &[u8]| differ(bytes.as_chunks().0.iter().map(d));
                (blocks, Box::new(several))
            }
            _ => match self.block_format(tensor) {
                Ok(Some(format)) => {
                    let several = move |bytes: &[u8]| differ(format.scales(bytes));
                    (format.row_bytes(cols), Box::new(several))
                }
                // Whoever loads it says what is wrong.
                Ok(None) | Err(_) => return false,
            },
        };
        let bytes = row_bytes
            .and_then(|n| n.checked_mul(rows))
            .and_then(|n| self.gguf.data(tensor, n));
        bytes.is_some_and(|bytes| several(&bytes))
    }
}

/// True if two of these are not 0 and differ by more than a sign.
fn differ(scales: impl Iterator<Item = f16>) -> bool {
    let mut magnitudes = scales
        .map(|d| d.to_bits() & 0x7fff)
        .filter(|&bits| bits != 0);
    let first = magnitudes.next();
    magnitudes.any(|bits| Some(bits) != first)
}

fn has_several_magnitudes(weights: &Floats, rows: usize, cols: usize) -> bool {
    let (mut row, mut magnitude) = (vec![0f32; cols], 0f32);
    (0..rows).any(|index| {
        weights.read(index * cols, &mut row);
        row.iter().map(|w| w.abs()).any(|abs| {
            if magnitude == 0.0 {
                magnitude = abs;
            }
            abs != 0.0 && abs != magnitude
        })
    })
}
