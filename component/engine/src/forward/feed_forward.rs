//! The feed-forward sub-layer, without what squared ReLU makes zero.
//!
//! `relu(gate)^2 * up` is zero where the gate is not positive, whatever `up` is: so the gate comes first, and rows of `up` that
//! would meet a zero are not read. Of what goes into `down` still more is zero after quantisation, and those columns
//! need not be read, if the matrix lies by columns: `zeros` keeps such copies.
//!
//! Exact, to the bit. A row that is left out counts as +0, where the whole product has +0 or -0 (`0 * up`): both have the square
//! 0, the magnitude 0 and the int8 value 0, and nothing else is asked of them. `0 * up` could also be NaN, were `up` not finite;
//! `finite` excludes that beforehand, from the activations' scale. Integer sums do not depend on what adds zero.

use sterna_kernels::{
    OutputRows, QuantizedActivations, Ternary, relu2_mul, rms_norm, silu_mul,
    ternary_columns_matmul, ternary_matmul_rows,
};

use super::pass::{Machine, Pass, PassShape, check_linear, check_norm, internal, linears};
use super::rows::{add_rows, quantize_rows, quantize_states};
use super::weights::FeedForward;
use crate::config::Activation;
use crate::error::EngineError;

/// Rows of a tile of columns: tasks are cut there.
const TILE: usize = 256;

impl Pass {
    /// `states += down(sub_norm(activation(gate(x)) * up(x)))` with `x = norm(states)`.
    ///
    /// # Errors
    /// The weights do not fit the shape.
    pub fn feed_forward(&mut self, weights: FeedForward<'_>) -> Result<(), EngineError> {
        let PassShape {
            hidden_size,
            ffn_size,
            rms_norm_eps,
            activation,
            ..
        } = self.shape;
        check_norm("norm", weights.norm, hidden_size)?;
        if let Some(norm) = weights.sub_norm {
            check_norm("sub-norm", norm, ffn_size)?;
        }
        check_linear("gate", &weights.gate, ffn_size, hidden_size)?;
        check_linear("up", &weights.up, ffn_size, hidden_size)?;
        check_linear("down", &weights.down, hidden_size, ffn_size)?;
        let (machine, n, b) = (&self.machine, self.places.len(), &mut self.buffers);
        let isa = machine.isa;
        // gate and up share one quantised input.
        quantize_states(machine, &self.shape, n, weights.norm, b);
        let (gate, up) = (&mut b.gate[..n * ffn_size], &mut b.up[..n * ffn_size]);
        let zeros = self
            .zeros
            .of_layer(self.layer, activation, isa, n)
            .filter(|_| finite(&weights.up, &b.quantized));
        match zeros {
            Some(zeros) if zeros.expects_to_skip_rows() => {
                linears(machine, &b.quantized, [(weights.gate, &mut *gate)])?;
                zeros.count_rows(gate, ffn_size);
                match zeros.rows_to_read() {
                    Some(rows) => {
                        up.fill(0.0);
                        listed_rows(machine, &b.quantized, weights.up, rows, up)?;
                        let layout = weights.up.layout();
                        let read = layout.bytes(rows.len(), hidden_size);
                        self.zeros.count_skipped(&weights.up, read);
                    }
                    None => linears(machine, &b.quantized, [(weights.up, &mut *up)])?,
                }
            }
            zeros => {
                let jobs = [(weights.gate, &mut *gate), (weights.up, &mut *up)];
                linears(machine, &b.quantized, jobs)?;
                if let Some(zeros) = zeros {
                    zeros.count_rows(gate, ffn_size);
                }
            }
        }
        let (gate, up) = (&*gate, &*up);
        quantize_rows(
            machine,
            &mut b.quantized,
            [n, ffn_size],
            [&mut b.activated, &mut b.normed],
            |token, [activated, normed], to| {
                let row = token * ffn_size..(token + 1) * ffn_size;
                let (gate, up) = (&gate[row.clone()], &up[row]);
                match activation {
                    Activation::Relu2 => relu2_mul(isa, gate, up, activated),
                    Activation::Silu => silu_mul(isa, gate, up, activated),
                }
                match weights.sub_norm {
                    Some(norm) => {
                        rms_norm(isa, activated, norm, rms_norm_eps, normed);
                        to.quantize(isa, normed);
                    }
                    None => to.quantize(isa, activated),
                }
            },
        );
        let projected = &mut b.projected[..n * hidden_size];
        let columns =
            self.zeros
                .columns(self.layer, activation, machine, weights.down, &b.quantized);
        match columns {
            Some((columns, nonzero)) => {
                let out = OutputRows::new(projected, n, hidden_size).map_err(internal)?;
                let work = nonzero.count() * hidden_size;
                let rows = machine.team.rows_per_task(hidden_size, work);
                let tasks = out.chunks(rows.next_multiple_of(TILE));
                machine.team.for_each(tasks, work, |part| {
                    ternary_columns_matmul(isa, columns, &b.quantized, nonzero, part);
                });
            }
            None => linears(machine, &b.quantized, [(weights.down, &mut *projected)])?,
        }
        let states = &mut b.states[..n * hidden_size];
        add_rows(machine, states, projected, hidden_size);
        Ok(())
    }
}

/// Whether all of `w`'s products with `x` are finite: a sum of `k` products is at most `127 * 2 * k` (code 3 is weight 2), and
/// dividing, multiplying and rounding keep that order.
fn finite(w: &Ternary<'_>, x: &QuantizedActivations) -> bool {
    let most = (254 * x.k()) as f32;
    (0..x.n_tokens()).all(|t| (most / x.scale(t) * w.scale()).is_finite())
}

/// The rows `rows` of one matrix, shared among threads by their number and not by where they lie.
fn listed_rows(
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
