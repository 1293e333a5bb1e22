//! A linear's input in int8, in the form its matrices take: with a scale for each token, or for
//! each 32 numbers.

use sterna_kernels::{BlockActivations, BlockRowToFill, Isa, QuantizedActivations, RowToFill};

/// Both forms; a sub-layer fills the one it needs.
pub(super) struct LinearInput {
    /// For ternary matrices with one scale, as they were trained.
    pub(super) tokens: QuantizedActivations,
    /// For group-scaled ones, which were trained with float activations.
    pub(super) blocks: BlockActivations,
}

/// One token's place in either.
pub(super) enum InputRow<'a> {
    Token(RowToFill<'a>),
    Blocks(BlockRowToFill<'a>),
}

impl LinearInput {
    /// Room for ternary matrices' inputs of up to `max_tokens` rows of `widest` numbers; that for
    /// group-scaled ones' comes with the first.
    pub(super) fn with_capacity(max_tokens: usize, widest: usize) -> Self {
        LinearInput {
            tokens: QuantizedActivations::with_capacity(max_tokens, widest),
            blocks: BlockActivations::default(),
        }
    }

    /// `n` rows of `width` numbers that are yet to be filled.
    pub(super) fn rows_to_fill(
        &mut self,
        in_blocks: bool,
        n: usize,
        width: usize,
    ) -> impl Iterator<Item = InputRow<'_>> {
        let LinearInput { tokens, blocks } = self;
        let tokens = (!in_blocks).then(|| tokens.rows_to_fill(n, width));
        let blocks = in_blocks.then(|| blocks.rows_to_fill(n, width));
        let tokens = tokens.into_iter().flatten().map(InputRow::Token);
        tokens.chain(blocks.into_iter().flatten().map(InputRow::Blocks))
    }
}

impl InputRow<'_> {
    /// Fill it with `x`.
    pub(super) fn quantize(self, isa: Isa, x: &[f32]) {
        match self {
            InputRow::Token(row) => row.quantize(isa, x),
            InputRow::Blocks(row) => row.quantize(isa, x),
        }
    }
}
