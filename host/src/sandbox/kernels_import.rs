//! The interface `kernels` (wit/kernels.wit), answered with this machine's kernels and threads.
//!
//! Linked by hand: generated code would copy each list, and these are weights and caches. A
//! `WasmList` is read where it lies in the guest's memory; of a large model's weights there are
//! copies in time (`BorrowedCopies`). The arithmetic is `sterna_engine::forward::Pass`, the same as
//! for an engine in this process. Whatever does not fit traps the guest: sizes are checked
//! (`lender`) before anything is allocated or computed.

use sterna_engine::error::EngineError;
use sterna_engine::forward::{AttentionOutput, FeedForward, Place, Projection, Rotation};
use sterna_engine::kv::{BLOCK, Cached, KvShape};
use sterna_kernels::KvType;
use wasmtime::component::{Linker, Resource, ResourceType, WasmList};
use wasmtime::{Result, bail, ensure, format_err};

use super::lender::Lent;
use super::lifted::{
    Ctx, Floats, Head, Shape, WitKvType, WitLinear, WitPlace, WitRotation, bits, floats,
};
use super::state::State;

/// The interface's name to the linker.
const INTERFACE: &str = "sterna:inference/kernels@0.2.0";

/// The host's side of the resource `pass`; absent while a call computes with it.
pub(super) struct HostPass(Option<Box<Lent>>);

/// What `pass.project` is called with: this, norm, q, k, v, q-norm, k-norm, local.
type ProjectArguments = (
    Resource<HostPass>,
    Floats,
    WitLinear,
    WitLinear,
    WitLinear,
    Option<Floats>,
    Option<Floats>,
    bool,
);

/// What `pass.attend` is called with: this, layer, cache, kv-type, window, sub-norm, o,
/// post-norm.
type AttendArguments = (
    Resource<HostPass>,
    u32,
    WasmList<WasmList<Floats>>,
    WitKvType,
    Option<u32>,
    Option<Floats>,
    WitLinear,
    Option<Floats>,
);

/// Add the interface.
///
/// # Errors
/// It is there already.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    let mut kernels = linker.instance(INTERFACE)?;
    kernels.func_wrap("available", |ctx: Ctx<'_>, (): ()| {
        Ok((ctx.data().lender.lends(),))
    })?;
    kernels.func_wrap("isa", |ctx: Ctx<'_>, (): ()| {
        Ok((ctx.data().lender.isa()?.name().to_owned(),))
    })?;
    kernels.resource(
        "pass",
        ResourceType::host::<HostPass>(),
        |mut ctx, handle| {
            let state = ctx.data_mut();
            let pass = state.table.delete(Resource::<HostPass>::new_own(handle))?;
            if let Some(lent) = pass.0 {
                state.lender.give_back(&lent);
            }
            Ok(())
        },
    )?;
    kernels.func_wrap(
        "[constructor]pass",
        |mut ctx: Ctx<'_>, (shape, rotation, max_tokens): (Shape, WitRotation, u32)| {
            let shape = shape.to_pass();
            ctx.data().lender.check_shape(&shape)?;
            // No more than the shape has, of whatever the list says: the rest is found to be too
            // many all the same.
            let most = shape.head_dim / 2 + 1;
            let frequencies = |list: &WasmList<u64>| -> Vec<f64> {
                let list = list.as_le_slice(&ctx).iter().take(most);
                list.map(|x| f64::from_bits(*x)).collect()
            };
            let rotation = Rotation {
                frequencies: frequencies(&rotation.frequencies),
                magnitude: rotation.magnitude,
                pairs: rotation.pairs.into(),
                local: rotation.local.as_ref().map(frequencies),
            };
            let state = ctx.data_mut();
            let lent = state.lender.pass(shape, rotation, max_tokens)?;
            Ok((state.table.push(HostPass(Some(Box::new(lent))))?,))
        },
    )?;
    kernels.func_wrap(
        "[method]pass.begin",
        |mut ctx: Ctx<'_>,
         (this, places, states): (Resource<HostPass>, WasmList<WitPlace>, Floats)| {
            let n = places.len();
            with_pass(&mut ctx, &this, |lent, ctx| {
                // Before they are collected.
                lent.check_places(n, std::iter::empty())?;
                let places: Vec<WitPlace> = places.iter(&mut *ctx)?.collect::<Result<_>>()?;
                lent.check_places(n, places.iter().map(|place| place.position))?;
                if let Some(bytes) = lent.copies.begin() {
                    tracing::info!(bytes, "weights of the baked model copied");
                }
                let places = places.iter().map(|place| Place {
                    sequence: place.sequence as usize,
                    position: place.position as usize,
                });
                let room = lent.pass.begin(places).map_err(fault)?;
                let states = floats(ctx, &states);
                ensure!(
                    room.len() == states.len(),
                    "states have {} values; the batch needs {}",
                    states.len(),
                    room.len()
                );
                room.copy_from_slice(states);
                Ok(())
            })
        },
    )?;
    kernels.func_wrap(
        "[method]pass.project",
        |mut ctx: Ctx<'_>, (this, norm, q, k, v, q_norm, k_norm, local): ProjectArguments| {
            with_batch(&mut ctx, &this, |lent, ctx| {
                let shape = lent.pass.shape();
                let (hidden, kv) = (shape.hidden_size, shape.kv_size());
                lent.check_matrix("q", q.weights.shape(), [shape.q_size(), hidden])?;
                lent.check_matrix("k", k.weights.shape(), [kv, hidden])?;
                lent.check_matrix("v", v.weights.shape(), [kv, hidden])?;
                let views = [
                    q.weights.view(ctx)?,
                    k.weights.view(ctx)?,
                    v.weights.view(ctx)?,
                ];
                let [w_q, w_k, w_v] = lent.copies.matrices(views);
                let weights = Projection {
                    norm: floats(ctx, &norm),
                    q: q.with(w_q, ctx),
                    k: k.with(w_k, ctx),
                    v: v.with(w_v, ctx),
                    local,
                    q_norm: q_norm.as_ref().map(|norm| floats(ctx, norm)),
                    k_norm: k_norm.as_ref().map(|norm| floats(ctx, norm)),
                };
                let (keys, values) = lent.pass.project(weights).map_err(fault)?;
                Ok(((bits(keys), bits(values)),))
            })
        },
    )?;
    kernels.func_wrap(
        "[method]pass.attend",
        |mut ctx: Ctx<'_>,
         (this, layer, cache, kv_type, window, sub_norm, o, post_norm): AttendArguments| {
            with_batch(&mut ctx, &this, |lent, ctx| {
                lent.check_attention()?;
                let kv_type = kv_type.into();
                let cache = lift_cache(ctx, lent, kv_type, &cache)?;
                let shape = lent.pass.shape();
                let o_shape = [shape.hidden_size, shape.q_size()];
                lent.check_matrix("o", o.weights.shape(), o_shape)?;
                let cache = LentCache::new(shape.kv(kv_type), &cache, ctx)?;
                let [w_o] = lent.copies.matrices([o.weights.view(ctx)?]);
                let weights = AttentionOutput {
                    window: window.map(|positions| positions as usize),
                    sub_norm: sub_norm.as_ref().map(|norm| floats(ctx, norm)),
                    o: o.with(w_o, ctx),
                    post_norm: post_norm.as_ref().map(|norm| floats(ctx, norm)),
                };
                let attended = lent.pass.attend(layer as usize, &cache, weights);
                attended.map_err(fault)
            })
        },
    )?;
    kernels.func_wrap(
        "[method]pass.feed-forward",
        |mut ctx: Ctx<'_>,
         (this, norm, gate, up, sub_norm, down, post_norm): (
            Resource<HostPass>,
            Floats,
            WitLinear,
            WitLinear,
            Option<Floats>,
            WitLinear,
            Option<Floats>,
        )| {
            with_batch(&mut ctx, &this, |lent, ctx| {
                let shape = lent.pass.shape();
                let (hidden, ffn) = (shape.hidden_size, shape.ffn_size);
                lent.check_matrix("gate", gate.weights.shape(), [ffn, hidden])?;
                lent.check_matrix("up", up.weights.shape(), [ffn, hidden])?;
                lent.check_matrix("down", down.weights.shape(), [hidden, ffn])?;
                let views = [
                    gate.weights.view(ctx)?,
                    up.weights.view(ctx)?,
                    down.weights.view(ctx)?,
                ];
                let [w_gate, w_up, w_down] = lent.copies.matrices(views);
                let weights = FeedForward {
                    norm: floats(ctx, &norm),
                    gate: gate.with(w_gate, ctx),
                    up: up.with(w_up, ctx),
                    sub_norm: sub_norm.as_ref().map(|norm| floats(ctx, norm)),
                    down: down.with(w_down, ctx),
                    post_norm: post_norm.as_ref().map(|norm| floats(ctx, norm)),
                };
                lent.pass.feed_forward(weights).map_err(fault)
            })
        },
    )?;
    kernels.func_wrap(
        "[method]pass.logits",
        |mut ctx: Ctx<'_>,
         (this, wanted, norm, head): (Resource<HostPass>, WasmList<u32>, Floats, Head)| {
            let n_wanted = wanted.len();
            with_batch(&mut ctx, &this, |lent, ctx| {
                let [rows, cols] = head.shape();
                let hidden = lent.pass.shape().hidden_size;
                lent.check_matrix("head", [rows, cols], [rows, hidden])?;
                let lender = &mut ctx.data_mut().lender;
                lender.take_logits(lent, n_wanted, [rows, cols])?;
                let wanted = wanted.as_le_slice(&*ctx).iter();
                let wanted: Vec<usize> = wanted.map(|&token| token as usize).collect();
                let norm = floats(ctx, &norm);
                let head = lent.copies.head(head.view(ctx)?);
                let logits = lent.pass.logits(&wanted, norm, head).map_err(fault)?;
                Ok((bits(logits),))
            })
        },
    )?;
    kernels.func_wrap(
        "[method]pass.state",
        |mut ctx: Ctx<'_>, (this, token, norm): (Resource<HostPass>, u32, Floats)| {
            with_batch(&mut ctx, &this, |lent, ctx| {
                let state = lent.pass.state(token as usize, floats(ctx, &norm));
                Ok((bits(&state.map_err(fault)?),))
            })
        },
    )?;
    Ok(())
}

/// Compute with a pass while the guest's memory is borrowed: the pass leaves its table meanwhile.
fn with_pass<R>(
    ctx: &mut Ctx<'_>,
    this: &Resource<HostPass>,
    compute: impl FnOnce(&mut Lent, &mut Ctx<'_>) -> Result<R>,
) -> Result<R> {
    let taken = ctx.data_mut().table.get_mut(this)?.0.take();
    let mut lent = taken.ok_or_else(|| format_err!("the pass is in use"))?;
    let computed = compute(&mut lent, ctx);
    ctx.data_mut().table.get_mut(this)?.0 = Some(lent);
    computed
}

/// The same, once a batch has begun.
fn with_batch<R>(
    ctx: &mut Ctx<'_>,
    this: &Resource<HostPass>,
    compute: impl FnOnce(&mut Lent, &mut Ctx<'_>) -> Result<R>,
) -> Result<R> {
    with_pass(ctx, this, |lent, ctx| {
        lent.check_begun()?;
        compute(lent, ctx)
    })
}

fn fault(error: EngineError) -> wasmtime::Error {
    format_err!("{error}")
}

/// Each sequence's blocks of keys and values.
type Blocks = Vec<Vec<Floats>>;

/// The positions of the blocks. Sequences share blocks, and lists can lie in each other's place, so
/// that they may be far more than the guest has memory: they are counted before they are collected.
fn lift_cache(
    ctx: &mut Ctx<'_>,
    lent: &Lent,
    kv_type: KvType,
    cache: &WasmList<WasmList<Floats>>,
) -> Result<Blocks> {
    let memory_bytes = ctx.data().limiter.bytes();
    lent.check_sequences(cache.len())?;
    // What it would bound are bytes that are read in place; here are a few words for each block
    // that was counted.
    let fuel = ctx.hostcall_fuel();
    ctx.set_hostcall_fuel(usize::MAX);
    let sequences: Vec<_> = cache.iter(&mut *ctx)?.collect::<Result<_>>()?;
    let blocks: Vec<usize> = sequences.iter().map(WasmList::len).collect();
    lent.check_cache(&blocks, kv_type, memory_bytes)?;
    let blocks = sequences
        .iter()
        .map(|blocks| blocks.iter(&mut *ctx)?.collect())
        .collect();
    ctx.set_hostcall_fuel(fuel);
    blocks
}

/// Keys and values where they lie in the guest's memory.
struct LentCache<'a> {
    shape: KvShape,
    sequences: Vec<Vec<&'a [u32]>>,
}

impl<'a> LentCache<'a> {
    fn new(shape: KvShape, blocks: &Blocks, ctx: &'a Ctx<'_>) -> Result<Self> {
        let sequences: Vec<Vec<&[u32]>> = blocks
            .iter()
            .map(|blocks| blocks.iter().map(|block| block.as_le_slice(ctx)).collect())
            .collect();
        let expected = shape.block_words();
        match sequences
            .iter()
            .flatten()
            .find(|block| block.len() != expected)
        {
            None => Ok(LentCache { shape, sequences }),
            Some(block) => bail!(
                "a cache block has {} words; the shape needs {expected}",
                block.len()
            ),
        }
    }
}

impl Cached for LentCache<'_> {
    fn shape(&self) -> KvShape {
        self.shape
    }

    fn positions(&self, sequence: usize) -> usize {
        self.sequences
            .get(sequence)
            .map_or(0, |blocks| blocks.len() * BLOCK)
    }

    fn block(&self, sequence: usize, index: usize) -> &[u32] {
        self.sequences[sequence][index]
    }
}
