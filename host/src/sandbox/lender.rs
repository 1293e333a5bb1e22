//! The kernels lent to an engine in a sandbox: passes of one shape, which is its model's, within
//! one budget of memory and of work for a call.
//!
//! The engine is code that somebody else wrote. Its calls cannot be interrupted while the host
//! computes for it, and what they make the host hold is this process's memory. So every size is
//! checked against what a model of its file's size can need before anything is allocated, and what
//! does not fit traps the engine.

use sterna_engine::forward::{Pass, PassShape, Rotation};
use sterna_engine::optimisations::Optimisations;
use sterna_engine::placement::{BorrowedCopies, Settling};
use sterna_engine::team::Team;
use sterna_kernels::{Isa, KvType};
use wasmtime::{Result, bail, ensure, format_err};

use crate::memory::weight_pages;

/// Bytes that all passes of an instance may take together, and their logits.
const MOST_BYTES: usize = 1 << 30;
/// Passes at a time; an engine needs one.
const MOST_PASSES: usize = 4;
/// Layers; the largest models have some hundred.
const MOST_LAYERS: usize = 1024;
/// Weights for each byte of the file: the densest layout, binary with a scale for each 256, has
/// seven and a half.
const WEIGHTS_PER_BYTE: u64 = 8;
/// Attention scores of a token at most, for one kv head, which each thread holds: 16 query heads
/// over a million positions.
const MOST_SCORES: usize = 1 << 24;
/// Multiplications of one call at most: a minute or so of a small machine.
const MOST_WORK: u64 = 1 << 42;
/// Sequences of a cache; as many as an engine may be told to run.
const MOST_SEQUENCES: usize = 1 << 16;
/// Blocks of a cache: 64 Mi positions.
const MOST_BLOCKS: usize = 1 << 18;

/// The loans of one instance, present and past.
pub(super) struct Lender {
    isa: Option<Isa>,
    team: Team,
    optimisations: Optimisations,
    /// Bytes of the engine's file.
    app_bytes: u64,
    /// That of the first pass, and so of all.
    shape: Option<PassShape>,
    /// Taken by passes.
    bytes: usize,
    passes: usize,
}

/// A pass, and what of the guest's weights this process has in 2 MiB pages of its own.
pub(super) struct Lent {
    pub(super) pass: Pass,
    pub(super) copies: BorrowedCopies,
    pub(super) max_tokens: usize,
    bytes: usize,
    logits_bytes: usize,
}

impl Lender {
    /// Kernels of `isa` on `team`, with these optimisations; without `isa`, nothing. For an engine
    /// in a file of that size.
    pub(super) fn new(
        isa: Option<Isa>,
        team: Team,
        optimisations: Optimisations,
        app_bytes: u64,
    ) -> Self {
        Lender {
            isa,
            team,
            optimisations,
            app_bytes,
            shape: None,
            bytes: 0,
            passes: 0,
        }
    }

    /// True if it lends.
    pub(super) fn lends(&self) -> bool {
        self.isa.is_some()
    }

    /// The ISA that computes.
    ///
    /// # Errors
    /// Nothing is lent.
    pub(super) fn isa(&self) -> Result<Isa> {
        self.isa.ok_or_else(|| format_err!("no kernels are lent"))
    }

    /// Buffers for `max_tokens` tokens at a time.
    ///
    /// # Errors
    /// The shape is none, another than before, or larger than the file; the rotation is another
    /// shape's; or there are too many passes, or too large ones.
    pub(super) fn pass(
        &mut self,
        shape: PassShape,
        rotation: Rotation,
        max_tokens: u32,
    ) -> Result<Lent> {
        let isa = self.isa()?;
        self.check_shape(&shape)?;
        let fits = rotation.check(shape.head_dim);
        fits.map_err(|error| format_err!("{error}"))?;
        let max_tokens = max_tokens as usize;
        ensure!(
            self.passes < MOST_PASSES,
            "a further pass beside {MOST_PASSES}, which is as many as are lent at a time"
        );
        let bytes = shape.buffer_bytes(max_tokens);
        self.take(bytes)
            .map_err(|error| error.context(format!("a pass of {max_tokens} tokens")))?;
        self.passes += 1;
        self.shape = Some(shape);
        // How large these copies are is not known when memory is shared out: the model is the
        // guest's.
        let optimisations = Optimisations {
            down_copy: false,
            ..self.optimisations
        };
        // Copies are of the file's weights, each once.
        let budget = weight_pages::copy_budget().min(self.app_bytes);
        let how = Settling::of(optimisations, isa, self.team.threads(), budget);
        Ok(Lent {
            pass: Pass::new(
                shape,
                rotation,
                isa,
                self.team.clone(),
                max_tokens,
                optimisations,
            ),
            copies: BorrowedCopies::new(how),
            max_tokens,
            bytes,
            logits_bytes: 0,
        })
    }

    /// Checks that it is a shape of the engine's model, as far as the file's size tells.
    ///
    /// # Errors
    /// It is none, another than before, or larger than the file.
    pub(super) fn check_shape(&self, shape: &PassShape) -> Result<()> {
        shape.check().map_err(|error| format_err!("{error}"))?;
        if let Some(first) = &self.shape {
            ensure!(
                first == shape,
                "a pass of shape {shape:?}; the model's is {first:?}"
            );
        }
        let (layers, weights) = (shape.n_layers, shape.n_weights());
        ensure!(
            layers <= MOST_LAYERS,
            "a model of {layers} layers; at most {MOST_LAYERS}"
        );
        ensure!(
            weights <= self.app_bytes.saturating_mul(WEIGHTS_PER_BYTE),
            "a model of {weights} weights cannot lie in a file of {} bytes",
            self.app_bytes
        );
        Ok(())
    }

    /// Take back what a pass had.
    pub(super) fn give_back(&mut self, lent: &Lent) {
        self.bytes -= lent.bytes + lent.logits_bytes;
        self.passes -= 1;
    }

    fn take(&mut self, bytes: usize) -> Result<()> {
        let left = MOST_BYTES - self.bytes;
        ensure!(
            bytes <= left,
            "{bytes} bytes of buffers are asked for; of {MOST_BYTES} that are lent {left} are left"
        );
        self.bytes += bytes;
        Ok(())
    }

    /// Count the logits of `n_wanted` tokens before there is memory for them: `[n_wanted, rows]`
    /// floats, and the same as they go back.
    ///
    /// # Errors
    /// They are too many.
    pub(super) fn take_logits(
        &mut self,
        lent: &mut Lent,
        n_wanted: usize,
        [rows, cols]: [usize; 2],
    ) -> Result<()> {
        ensure!(
            n_wanted <= lent.max_tokens,
            "logits of {n_wanted} tokens; the pass has {}",
            lent.max_tokens
        );
        check_work(&[n_wanted, rows, cols])?;
        let bytes = n_wanted
            .saturating_mul(rows)
            .saturating_mul(2 * size_of::<f32>());
        if let Some(more) = bytes.checked_sub(lent.logits_bytes) {
            self.take(more)
                .map_err(|error| error.context(format!("logits of {n_wanted} x {rows}")))?;
            lent.logits_bytes = bytes;
        }
        Ok(())
    }
}

impl Lent {
    /// Checks that a batch of tokens at these positions can be computed.
    ///
    /// # Errors
    /// None, too many of them, or further on than any context.
    pub(super) fn check_places(
        &self,
        n: usize,
        positions: impl Iterator<Item = u32>,
    ) -> Result<()> {
        ensure!(
            (1..=self.max_tokens).contains(&n),
            "a batch of {n} tokens; at least 1 and at most {}",
            self.max_tokens
        );
        let shape = self.pass.shape();
        let seen = positions.map(|position| position as usize + 1).max();
        let scores = shape.n_scores(seen.unwrap_or(0));
        ensure!(
            scores <= MOST_SCORES,
            "a position that takes {scores} attention scores; at most {MOST_SCORES}"
        );
        Ok(())
    }

    /// Checks that a cache of sequences of so many blocks each can be what the engine has, whose
    /// memory is of `memory_bytes`. Sequences that begin alike share blocks, so that all of them
    /// together may be more than lies in it.
    ///
    /// # Errors
    /// It cannot: some of a sequence's would have to lie in the same place; or they are more than
    /// are looked at.
    pub(super) fn check_cache(
        &self,
        blocks: &[usize],
        kv_type: KvType,
        memory_bytes: usize,
    ) -> Result<()> {
        let block_bytes = self.pass.shape().kv(kv_type).block_bytes();
        let room = memory_bytes as u64 / block_bytes.max(1);
        let longest = blocks.iter().copied().max().unwrap_or(0);
        ensure!(
            longest as u64 <= room,
            "a sequence of {longest} blocks of {block_bytes} bytes does not lie in {memory_bytes} bytes of memory"
        );
        let all = blocks.iter().fold(0_usize, |all, n| all.saturating_add(*n));
        ensure!(
            all <= MOST_BLOCKS,
            "a cache of {all} blocks; at most {MOST_BLOCKS}, shared ones counted for each sequence"
        );
        Ok(())
    }

    /// Checks the number of a cache's sequences.
    ///
    /// # Errors
    /// Too many.
    pub(super) fn check_sequences(&self, sequences: usize) -> Result<()> {
        ensure!(
            sequences <= MOST_SEQUENCES,
            "a cache of {sequences} sequences; at most {MOST_SEQUENCES}"
        );
        Ok(())
    }

    /// Checks that attention over what the batch sees ends soon.
    ///
    /// # Errors
    /// It is too much for one call.
    pub(super) fn check_attention(&self) -> Result<()> {
        check_work(&[self.pass.n_positions_seen(), 2 * self.pass.shape().q_size()])
    }

    /// Checks that a product of the batch with `[rows, cols]` fits the shape, and ends soon.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn check_matrix(
        &self,
        name: &str,
        is: [usize; 2],
        should_be: [usize; 2],
    ) -> Result<()> {
        if is != should_be {
            bail!("{name} has shape {is:?}; it must be {should_be:?}");
        }
        check_work(&[self.pass.n_tokens(), is[0], is[1]])
    }

    /// Checks that `begin` has come.
    ///
    /// # Errors
    /// Not yet.
    pub(super) fn check_begun(&self) -> Result<()> {
        ensure!(
            self.pass.n_tokens() > 0,
            "a pass without a batch: begin first"
        );
        Ok(())
    }
}

fn check_work(factors: &[usize]) -> Result<()> {
    let product = |product: u64, factor: &usize| product.saturating_mul(*factor as u64);
    let work = factors.iter().fold(1, product);
    ensure!(
        work <= MOST_WORK,
        "a call that takes {work} multiplications; at most {MOST_WORK}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use sterna_engine::config::{Activation, RopePairs};

    use super::*;

    fn lent() -> Lent {
        let shape = PassShape {
            hidden_size: 64,
            ffn_size: 64,
            n_layers: 1,
            n_heads: 1,
            n_kv_heads: 1,
            head_dim: 64,
            rms_norm_eps: 1e-5,
            activation: Activation::Silu,
            attention_scale: 0.125,
            input_norm_eps: None,
        };
        let rotation = Rotation {
            frequencies: vec![1.0; 32],
            magnitude: 1.0,
            pairs: RopePairs::Halves,
            local: None,
        };
        let team = Team::of_caller();
        let mut lender = Lender::new(Some(Isa::SCALAR), team, Optimisations::ALL, 1 << 20);
        lender.pass(shape, rotation, 4).unwrap()
    }

    #[test]
    fn a_cache_may_be_larger_than_the_memory_that_its_sequences_share() {
        let lent = lent();
        for kv_type in KvType::ALL {
            let block_bytes = lent.pass.shape().kv(kv_type).block_bytes() as usize;
            let check = |blocks: &[usize], room: usize| {
                let checked = lent.check_cache(blocks, kv_type, room * block_bytes);
                checked.map_err(|error| error.to_string())
            };
            assert_eq!(check(&[], 0), Ok(()));
            // Each lies in the memory, and all that they share lies there once.
            assert_eq!(check(&[8; 1000], 8), Ok(()));
            assert_eq!(check(&[MOST_BLOCKS / 2; 2], MOST_BLOCKS / 2), Ok(()));
            let too_long = check(&[1, 9, 1], 8).unwrap_err();
            assert!(too_long.contains("9 blocks"), "{too_long}");
            let too_many = check(&[MOST_BLOCKS / 2, MOST_BLOCKS / 2, 1], MOST_BLOCKS);
            let too_many = too_many.unwrap_err();
            assert!(too_many.contains("counted for each sequence"), "{too_many}");
            // Sums that no number holds are too many as well.
            let huge = lent.check_cache(&[usize::MAX, usize::MAX], kv_type, usize::MAX);
            assert!(huge.is_err());
        }
    }
}
