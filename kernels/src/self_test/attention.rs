//! Keys and values of every type: stored, and met by queries.

use super::{Fill, same};
use crate::rng::Rng;
use crate::{
    Isa, KvBuffer, KvType, QuantizedQueries, Queries, SelfTestError, attention_mix,
    attention_scores,
};

/// Storing, scores and mix of a few heads over `n` positions.
pub(crate) fn attention(
    isa: Isa,
    rng: &mut Rng,
    head_dim: usize,
    n: usize,
    fill: Fill,
) -> Result<(), SelfTestError> {
    let (n_queries, stride) = (1 + rng.below(7), n + rng.below(3));
    let q = Fill::Uniform.values(rng, n_queries * head_dim);
    let rows = fill.values(rng, n * head_dim);
    for ty in KvType::ALL {
        let shape = || {
            let ty = ty.name();
            format!("{n_queries} heads, head_dim {head_dim}, {n} positions in {ty}, {fill:?}")
        };
        let run = |isa| {
            let cache = KvBuffer::store(isa, ty, &rows, head_dim);
            let mut quantized = QuantizedQueries::default();
            let queries = match ty {
                KvType::F32 | KvType::F16 => Queries::Floats(&q),
                KvType::Int8 => {
                    quantized.quantize(isa, &q, head_dim);
                    quantized.heads(0..n_queries)
                }
            };
            let (cache, next) = (cache.rows(), Some(cache.rows()));
            // What lies between the rows must stay as it is.
            let mut scores = vec![-7.0; n_queries * stride];
            attention_scores(
                isa,
                head_dim,
                queries,
                cache,
                next,
                0.088,
                stride,
                &mut scores,
            );
            let mut mixed = q.clone();
            attention_mix(isa, head_dim, &scores, stride, cache, next, &mut mixed);
            (scores, mixed)
        };
        let (expected, actual) = (run(Isa::SCALAR), run(isa));
        same(isa, "attention_scores", &shape, &expected.0, &actual.0)?;
        same(isa, "attention_mix", &shape, &expected.1, &actual.1)?;
        let stored = |isa| KvBuffer::store(isa, ty, &rows, head_dim).to_f32();
        same(
            isa,
            "store_kv_row",
            &shape,
            &stored(Isa::SCALAR),
            &stored(isa),
        )?;
    }
    Ok(())
}
