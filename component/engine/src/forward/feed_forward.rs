//! The feed-forward sub-layer, without what squared ReLU makes zero.
//!
//! `relu(gate)^2 * up` is zero where the gate is not positive, whatever `up` is: so the gate comes
//! first, and rows of `up` that would meet a zero are not read. Of what goes into `down` still more
//! is zero after quantisation, and those columns need not be read, if the matrix lies by columns:
//! `sparsity` keeps such copies.
//!
//! Exact, to the bit. A row that is left out counts as +0, where the whole product has +0 or -0
//! (`0 * up`): both have the square 0, the magnitude 0 and the int8 value 0, and nothing else is
//! asked of them. `0 * up` could also be NaN, were `up` not finite; `finite` excludes that
//! beforehand, from the activations' scale. Integer sums do not depend on what adds zero.

use sterna_kernels::{QuantizedActivations, Ternary, gelu_mul, relu2_mul, silu_mul};

use super::input::LinearInput;
use super::pass::Pass;
use super::per_token::{quantize_after, quantize_normed, quantize_rows};
use super::products::{columns_product, listed_rows, products};
use super::sub_layers::{FeedForward, LinearView};
use crate::config::Activation;
use crate::error::EngineError;
use crate::matrix::MatrixView;

impl Pass {
    /// `states += post_norm(w_down sub_norm(activation(w_gate x) * w_up x))` with `x =
    /// norm(states)`, and the other norms that are there.
    ///
    /// # Errors
    /// The weights do not fit the shape.
    pub fn feed_forward(&mut self, weights: FeedForward<'_>) -> Result<(), EngineError> {
        weights.check(&self.shape)?;
        self.gate_and_up(&weights)?;
        self.activate(weights.sub_norm, &weights.down);
        self.down(weights.down.weights)?;
        self.add_projected(weights.post_norm);
        Ok(())
    }

    /// `gate, up = w_gate x, w_up x` with `x = norm(states)`; of `up` the rows that count.
    fn gate_and_up(&mut self, weights: &FeedForward<'_>) -> Result<(), EngineError> {
        let (machine, shape, n) = (&self.machine, &self.shape, self.places.len());
        let (w_gate, w_up) = (weights.gate.weights, weights.up.weights);
        let b = self.buffers.of_tokens(shape, n);
        let norm = Some((weights.norm, shape.rms_norm_eps));
        let mut quantize = |linear: &LinearView<'_>, input: &mut LinearInput| {
            quantize_normed(
                machine,
                b.states,
                shape.hidden_size,
                [norm, shape.own_norm(linear)],
                [&mut *b.normed, &mut *b.renormed],
                (input, linear.weights.takes_blocks()),
            );
        };
        quantize(&weights.gate, b.input);
        if shape.input_norm_eps.is_some() {
            products(machine, b.input, [(w_gate, b.gate)])?;
            quantize(&weights.up, b.input);
            return products(machine, b.input, [(w_up, b.up)]);
        }
        // gate and up share one quantised input.
        let sparsity = self
            .sparsity
            .of_layer(self.layer, shape.activation, machine.isa, n);
        let (sparsity, up) = match (sparsity, w_up) {
            (Some(sparsity), MatrixView::Ternary(up)) if finite(&up, &b.input.tokens) => {
                (sparsity, up)
            }
            _ => return products(machine, b.input, [(w_gate, b.gate), (w_up, b.up)]),
        };
        if !sparsity.expects_to_skip_rows() {
            let jobs = [(w_gate, &mut *b.gate), (w_up, b.up)];
            products(machine, b.input, jobs)?;
            sparsity.count_rows(b.gate, shape.ffn_size);
            return Ok(());
        }
        products(machine, b.input, [(w_gate, &mut *b.gate)])?;
        sparsity.count_rows(b.gate, shape.ffn_size);
        let Some(rows) = sparsity.rows_to_read() else {
            return products(machine, b.input, [(w_up, b.up)]);
        };
        b.up.fill(0.0);
        listed_rows(machine, &b.input.tokens, up, rows, b.up)?;
        let read = up.layout().bytes(rows.len(), shape.hidden_size);
        self.sparsity.count_skipped(&up, read);
        Ok(())
    }

    /// `sub_norm(activation(gate) * up)`, quantised: the input of `down`.
    fn activate(&mut self, sub_norm: Option<&[f32]>, down: &LinearView<'_>) {
        let (machine, shape, n) = (&self.machine, &self.shape, self.places.len());
        let (isa, ffn_size) = (machine.isa, shape.ffn_size);
        let sub_norm = sub_norm.map(|norm| (norm, shape.rms_norm_eps));
        let norms = [sub_norm, shape.own_norm(down)];
        let b = self.buffers.of_tokens(shape, n);
        let (gate, up) = (&*b.gate, &*b.up);
        quantize_rows(
            machine,
            (b.input, down.weights.takes_blocks()),
            [n, ffn_size],
            [b.activated, b.normed, b.renormed],
            |token, [activated, normed, renormed], to| {
                let row = token * ffn_size..(token + 1) * ffn_size;
                let (gate, up) = (&gate[row.clone()], &up[row]);
                match shape.activation {
                    Activation::Relu2 => relu2_mul(isa, gate, up, activated),
                    Activation::Silu => silu_mul(isa, gate, up, activated),
                    Activation::GeluTanh => gelu_mul(isa, gate, up, activated),
                }
                quantize_after(isa, activated, norms, [normed, renormed], to);
            },
        );
    }

    /// `projected = w_down x` with the quantised `x`; of `w_down` the columns that count.
    fn down(&mut self, w_down: MatrixView<'_>) -> Result<(), EngineError> {
        let (machine, shape, n) = (&self.machine, &self.shape, self.places.len());
        let b = self.buffers.of_tokens(shape, n);
        let x = &*b.input;
        let columns = match w_down {
            MatrixView::Ternary(down) => {
                self.sparsity
                    .columns(self.layer, shape.activation, machine, down, &x.tokens)
            }
            MatrixView::Grouped(_) => None,
        };
        match columns {
            Some((columns, nonzero)) => {
                columns_product(machine, &x.tokens, columns, nonzero, b.projected)?;
            }
            None => products(machine, x, [(w_down, &mut *b.projected)])?,
        }
        Ok(())
    }
}

/// True if all of `w`'s products with `x` are finite: a sum of `k` products is at most
/// `127 * 2 * k` (code 3 is weight 2), and dividing, multiplying and rounding keep that order.
fn finite(w: &Ternary<'_>, x: &QuantizedActivations) -> bool {
    let most = (254 * x.k()) as f32;
    (0..x.n_tokens()).all(|t| (most / x.scale(t) * w.scale()).is_finite())
}
