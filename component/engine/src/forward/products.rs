//! Products of matrices with a batch, cut into tasks for the team's threads.

use sterna_kernels::{
    Dense, DenseInput, NonZero, OutputRows, QuantizedActivations, Ternary, TernaryColumns,
    dense_matmul, grouped_matmul, ternary_columns_matmul, ternary_matmul, ternary_matmul_rows,
};

use super::buffers::Machine;
use super::fit::internal;
use super::input::LinearInput;
use crate::error::EngineError;
use crate::matrix::MatrixView;

/// Rows of a tile of columns: tasks are cut there.
const TILE: usize = 256;

/// Several matrices on one quantised input, each into its `[n_tokens, rows]`, in one fork and join.
pub(super) fn products<const N: usize>(
    machine: &Machine,
    x: &LinearInput,
    jobs: [(MatrixView<'_>, &mut [f32]); N],
) -> Result<(), EngineError> {
    let isa = machine.isa;
    let width = |weights: &MatrixView<'_>| weights.shape()[1];
    let work = jobs.iter().map(|(w, out)| out.len() * width(w)).sum();
    let mut tasks = Vec::new();
    for (weights, out) in jobs {
        let [n_rows, _] = weights.shape();
        let n_tokens = out.len() / n_rows.max(1);
        let out = OutputRows::new(out, n_tokens, n_rows).map_err(internal)?;
        let rows = machine.team.rows_per_task(n_rows, work);
        tasks.extend(out.chunks(rows).into_iter().map(|part| (weights, part)));
    }
    machine
        .team
        .for_each(tasks, work, |(weights, part)| match weights {
            MatrixView::Ternary(w) => ternary_matmul(isa, w, &x.tokens, part),
            MatrixView::Grouped(w) => grouped_matmul(isa, w, &x.blocks, part),
        });
    Ok(())
}

/// The rows `rows` of one matrix, shared among threads by their number and not by where they lie.
pub(super) fn listed_rows(
    machine: &Machine,
    x: &QuantizedActivations,
    w: Ternary<'_>,
    rows: &[u32],
    out: &mut [f32],
) -> Result<(), EngineError> {
    let mut rest = OutputRows::new(out, x.n_tokens(), w.rows()).map_err(internal)?;
    let work = rows.len() * x.n_tokens() * x.k();
    let each = machine.team.rows_per_task(rows.len(), work);
    let mut tasks = Vec::new();
    for rows in rows.chunks(each) {
        let Some(&last) = rows.last() else { continue };
        let (part, after) = rest.split_at(last as usize + 1);
        tasks.push((rows, part));
        rest = after;
    }
    machine.team.for_each(tasks, work, |(rows, part)| {
        ternary_matmul_rows(machine.isa, w, x, rows, part);
    });
    Ok(())
}

/// `down` by columns, of which those listed in `nonzero` are read.
pub(super) fn columns_product(
    machine: &Machine,
    x: &QuantizedActivations,
    columns: TernaryColumns<'_>,
    nonzero: &NonZero,
    out: &mut [f32],
) -> Result<(), EngineError> {
    let n_rows = columns.rows();
    let out = OutputRows::new(out, x.n_tokens(), n_rows).map_err(internal)?;
    let work = nonzero.count() * n_rows;
    let rows = machine.team.rows_per_task(n_rows, work);
    let tasks = out.chunks(rows.next_multiple_of(TILE));
    machine.team.for_each(tasks, work, |part| {
        ternary_columns_matmul(machine.isa, columns, x, nonzero, part);
    });
    Ok(())
}

/// An output head's rows with `n` tokens' states of `width` numbers each.
pub(super) fn head_product(
    machine: &Machine,
    x: &DenseInput,
    head: Dense<'_>,
    n: usize,
    width: usize,
    out: &mut [f32],
) -> Result<(), EngineError> {
    let work = out.len() * width;
    let rows = machine.team.rows_per_task(head.rows(), work);
    let out = OutputRows::new(out, n, head.rows()).map_err(internal)?;
    let tasks = out.chunks(rows);
    machine
        .team
        .for_each(tasks, work, |part| dense_matmul(machine.isa, head, x, part));
    Ok(())
}
