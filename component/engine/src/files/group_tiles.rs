//! Tensors of group-scaled tiles as the kernels read them (kernels/docs/layouts.md): types of this
//! engine's own, for files that are used where they lie. Nobody else reads them; a metadata key has
//! their version.
//!
//! The type's id says the kind of codes and the group: 0x5354_0100 + 16 * codes + group / 64, with
//! codes 1 for binary, 2 for ternary and 3 for ternary in trits8.

use sterna_kernels::{GroupCodes, GroupShape};

use super::Gguf;
use super::gguf::TensorInfo;
use super::own_layout::{self, OwnLayout};
use crate::placement::Bytes;

/// The metadata key that says how tiles are to be read, and the one version there is.
pub(crate) const LAYOUT: OwnLayout = OwnLayout {
    name: "tiles",
    version_key: "sterna.layout.tiles.version",
    version: 1,
    remedy: "convert the file it was made of anew (`sterna convert`)",
};

/// Tiles begin at multiples of it, in bytes, in the file and in memory: a cache line.
pub(crate) const ALIGNMENT: usize = 64;

const FIRST: u32 = 0x5354_0100;
const GROUPS: [usize; 3] = [64, 128, 256];

/// The id of tiles of these codes and this group.
pub(crate) fn id(codes: GroupCodes, group: usize) -> u32 {
    let number = match codes {
        GroupCodes::Binary => 1,
        GroupCodes::Ternary => 2,
        GroupCodes::Trits8 => 3,
    };
    FIRST + 16 * number + (group / 64) as u32
}

/// The codes and the group of a type of tiles; `None` for other types.
pub(crate) fn kind(ty: u32) -> Option<(GroupCodes, usize)> {
    let kinds = GroupCodes::ALL
        .into_iter()
        .flat_map(|codes| GROUPS.map(|group| (codes, group)));
    kinds
        .into_iter()
        .find(|&(codes, group)| id(codes, group) == ty)
}

/// The tiles of a tensor of such a type, where they lie.
///
/// # Errors
/// A sentence for `LoadError::Tensor` where the file's version is another, or they are not aligned,
/// or more or fewer than the shape needs.
pub(super) fn read(gguf: &Gguf, tensor: &TensorInfo, shape: GroupShape) -> Result<Bytes, String> {
    if !tensor.start.is_multiple_of(ALIGNMENT) {
        let remedy = LAYOUT.remedy;
        return Err(format!(
            "begins at byte {} of the file, and tiles begin at multiples of {ALIGNMENT}: {remedy}",
            tensor.start
        ));
    }
    own_layout::read(LAYOUT, gguf, tensor, shape.packed_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_an_id_of_its_own_that_stays() {
        assert_eq!(id(GroupCodes::Binary, 128), 0x5354_0112);
        assert_eq!(id(GroupCodes::Ternary, 64), 0x5354_0121);
        let mut ids = Vec::new();
        for codes in GroupCodes::ALL {
            for group in GROUPS {
                assert_eq!(kind(id(codes, group)), Some((codes, group)));
                ids.push(id(codes, group));
            }
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 3 * GROUPS.len());
        for other in [0, 42, FIRST, FIRST + 16, FIRST + 0x13, 0x5354_0005] {
            assert_eq!(kind(other), None);
        }
    }
}
