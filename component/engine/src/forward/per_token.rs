//! The steps between products: each token's row by itself, tokens shared among threads.

use sterna_kernels::{Isa, add_assign, rms_norm, rope_rotate_half};

use super::buffers::Machine;
use super::input::{InputRow, LinearInput};
use crate::config::RopePairs;

/// The number of a product's multiply-adds that take as long as one number of a row does here.
const WORK_PER_NUMBER: usize = 32;

/// Quantise `n` rows of `width` numbers as a linear's input, in blocks or not.
/// `fill(token, scratch, row)` makes the token's row, on any thread; its `scratch` is the token's
/// `[width]` of each of the buffers.
pub(super) fn quantize_rows<const N: usize>(
    machine: &Machine,
    (input, in_blocks): (&mut LinearInput, bool),
    [n, width]: [usize; 2],
    scratch: [&mut [f32]; N],
    fill: impl Fn(usize, [&mut [f32]; N], InputRow<'_>) + Sync,
) {
    let work = n * width * WORK_PER_NUMBER;
    let each = machine.team.per_task(n, work);
    let mut rows = input.rows_to_fill(in_blocks, n, width);
    let mut scratch = scratch.map(|buffer| buffer.chunks_exact_mut(width));
    let mut tasks = Vec::with_capacity(n.div_ceil(each));
    for first in (0..n).step_by(each) {
        let task: Vec<_> = (first..n)
            .zip(rows.by_ref().take(each))
            .map(|(token, row)| {
                let scratch = scratch
                    .each_mut()
                    .map(|buffer| buffer.next().unwrap_or_default());
                (token, scratch, row)
            })
            .collect();
        tasks.push(task);
    }
    machine.team.for_each(tasks, work, |task| {
        task.into_iter()
            .for_each(|(token, scratch, row)| fill(token, scratch, row));
    });
}

/// A norm's weights, and what is added to the mean square inside its root.
pub(super) type Norm<'a> = (&'a [f32], f32);

/// Quantise a row after these norms, one after the other; each has a `scratch` as wide as the row.
pub(super) fn quantize_after(
    isa: Isa,
    x: &[f32],
    norms: [Option<Norm<'_>>; 2],
    [first, second]: [&mut [f32]; 2],
    to: InputRow<'_>,
) {
    match norms {
        [None, None] => to.quantize(isa, x),
        [Some((norm, eps)), None] | [None, Some((norm, eps))] => {
            rms_norm(isa, x, norm, eps, first);
            to.quantize(isa, first);
        }
        [Some((norm, eps)), Some((own, own_eps))] => {
            rms_norm(isa, x, norm, eps, first);
            rms_norm(isa, first, own, own_eps, second);
            to.quantize(isa, second);
        }
    }
}

/// Quantise the rows of `x`, `[n_tokens, width]`, after their norms where there are any, in blocks
/// or not. The second scratch is used by a second norm only.
pub(super) fn quantize_normed(
    machine: &Machine,
    x: &[f32],
    width: usize,
    norms: [Option<Norm<'_>>; 2],
    scratch: [&mut [f32]; 2],
    input: (&mut LinearInput, bool),
) {
    let isa = machine.isa;
    let shape = [x.len() / width, width];
    quantize_rows(machine, input, shape, scratch, |token, scratch, to| {
        let x = &x[token * width..][..width];
        quantize_after(isa, x, norms, scratch, to);
    });
}

/// `x += norm(y)`, both `[n_tokens, width]`; `scratch` as long as they are, at least.
pub(super) fn add_normed_rows(
    machine: &Machine,
    x: &mut [f32],
    y: &[f32],
    (norm, eps): Norm<'_>,
    scratch: &mut [f32],
) {
    let width = norm.len();
    let work = x.len() * WORK_PER_NUMBER;
    let each = machine.team.per_task(x.len() / width, work) * width;
    let rows = x.chunks_mut(each).zip(y.chunks(each));
    let tasks = rows.zip(scratch.chunks_mut(each)).collect();
    machine.team.for_each(
        tasks,
        work,
        |((x, y), scratch): ((&mut [f32], &[f32]), &mut [f32])| {
            let scratch = &mut scratch[..width];
            for (x, y) in x.chunks_exact_mut(width).zip(y.chunks_exact(width)) {
                rms_norm(machine.isa, y, norm, eps, scratch);
                add_assign(machine.isa, x, scratch);
            }
        },
    );
}

/// `x += y`, both `[n_tokens, width]`.
pub(super) fn add_rows(machine: &Machine, x: &mut [f32], y: &[f32], width: usize) {
    let work = x.len() * WORK_PER_NUMBER;
    let each = machine.team.per_task(x.len() / width, work) * width;
    let tasks = x.chunks_mut(each).zip(y.chunks(each)).collect();
    machine
        .team
        .for_each(tasks, work, |(x, y)| add_assign(machine.isa, x, y));
}

/// The steps on the heads of queries and keys between their product and the attention.
pub(super) struct Heads<'a> {
    pub(super) head_dim: usize,
    pub(super) eps: f32,
    /// Of each query head and of each key head, `[head_dim]`.
    pub(super) norms: [Option<&'a [f32]>; 2],
    /// The order of a head's numbers as they come; they leave in halves.
    pub(super) pairs: RopePairs,
    /// cos and sin of each token's angles, `[n_tokens, head_dim / 2]`.
    pub(super) angles: [&'a [f32]; 2],
}

impl Heads<'_> {
    /// Norm and rotate every head of `q` `[n_tokens, n_heads, head_dim]` and `k`
    /// `[n_tokens, n_kv_heads, head_dim]`. `scratch` has a head's width for each token.
    pub(super) fn norm_and_rotate(
        &self,
        machine: &Machine,
        [q, k]: [&mut [f32]; 2],
        n: usize,
        scratch: &mut [f32],
    ) {
        let (q_size, kv_size, half) = (q.len() / n, k.len() / n, self.head_dim / 2);
        let work = (q.len() + k.len()) * WORK_PER_NUMBER;
        let each = machine.team.per_task(n, work);
        let heads = q
            .chunks_mut(each * q_size)
            .zip(k.chunks_mut(each * kv_size));
        let [cos, sin] = self.angles;
        let angles = cos.chunks(each * half).zip(sin.chunks(each * half));
        let scratch = scratch.chunks_mut(each * self.head_dim);
        let tasks = heads.zip(angles).zip(scratch).collect();
        machine
            .team
            .for_each(tasks, work, |(((q, k), (cos, sin)), scratch)| {
                let scratch = &mut scratch[..self.head_dim];
                let angles = cos.chunks_exact(half).zip(sin.chunks_exact(half));
                let rows = q.chunks_exact_mut(q_size).zip(k.chunks_exact_mut(kv_size));
                for (rows, (cos, sin)) in rows.zip(angles) {
                    for (heads, norm) in [rows.0, rows.1].into_iter().zip(self.norms) {
                        for head in heads.chunks_exact_mut(self.head_dim) {
                            if let Some(norm) = norm {
                                rms_norm(machine.isa, head, norm, self.eps, scratch);
                                head.copy_from_slice(scratch);
                            }
                            self.pairs.put_in_halves(head, scratch);
                            rope_rotate_half(machine.isa, head, cos, sin);
                        }
                    }
                }
            });
    }
}
