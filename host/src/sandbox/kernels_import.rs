//! The interface `kernels` (wit/kernels.wit), answered with this machine's kernels and threads.
//!
//! Linked by hand: generated code would copy each list, and these are weights and caches. A `WasmList` is read where it
//! lies in the guest's memory; of a large model's weights there are copies in time (`Copies`). The arithmetic is
//! `sterna_engine::forward::Pass`, the same as for an engine in this process. Whatever does not fit traps the guest.

use sterna_engine::config::Activation;
use sterna_engine::error::EngineError;
use sterna_engine::files::{Copies, Settling};
use sterna_engine::forward::{AttentionOutput, FeedForward, Pass, PassShape, Place, Projection};
use sterna_engine::kv::{BLOCK, Cached, KvShape};
use sterna_engine::optimisations::Optimisations;
use sterna_engine::team::Team;
use sterna_kernels::{Dense, DenseType, Isa, Ternary, TernaryLayout};
use wasmtime::component::{ComponentType, Lift, Linker, Resource, ResourceType, WasmList};
use wasmtime::{Result, StoreContextMut, bail, ensure, format_err};

use super::engine::State;
use crate::weight_pages;

/// The interface's name to the linker.
const INTERFACE: &str = "sterna:inference/kernels@0.1.0";
/// Memory the buffers of one pass may take: a sandbox cannot make the host allocate without limit.
const MAX_BUFFER_BYTES: usize = 2 << 30;

type Ctx<'a> = StoreContextMut<'a, State>;

/// What is lent.
pub(super) struct Lender {
    isa: Option<Isa>,
    team: Team,
    optimisations: Optimisations,
}

impl Lender {
    /// Kernels of `isa` on `team`, with these optimisations; without `isa`, nothing.
    pub(super) fn new(isa: Option<Isa>, team: Team, optimisations: Optimisations) -> Self {
        Lender {
            isa,
            team,
            optimisations,
        }
    }

    fn isa(&self) -> Result<Isa> {
        self.isa.ok_or_else(|| format_err!("no kernels are lent"))
    }

    fn pass(&self, shape: &Shape, max_tokens: u32) -> Result<Lent> {
        let shape = shape.checked()?;
        let max_tokens = max_tokens as usize;
        let bytes = shape
            .floats_per_token()
            .saturating_mul(max_tokens)
            .saturating_mul(size_of::<f32>());
        ensure!(
            bytes <= MAX_BUFFER_BYTES,
            "a pass of {max_tokens} tokens takes {bytes} bytes; at most {MAX_BUFFER_BYTES} are lent"
        );
        // How large these copies are is not known when memory is shared out: the model is the guest's.
        let optimisations = Optimisations {
            down_copy: false,
            ..self.optimisations
        };
        let (isa, team) = (self.isa()?, self.team.clone());
        let budget = weight_pages::copy_budget();
        let how = Settling::of(optimisations, isa, team.threads(), budget);
        Ok(Lent {
            pass: Pass::new(shape, isa, team, max_tokens, optimisations),
            copies: Copies::new(how),
        })
    }
}

/// A pass, and what of the guest's weights this process has in 2 MiB pages of its own.
struct Lent {
    pass: Pass,
    copies: Copies,
}

/// What stands behind the resource `pass`; absent while a call computes with it.
pub(super) struct HostPass(Option<Box<Lent>>);

/// Add the interface.
///
/// # Errors
/// It is there already.
pub(super) fn add_to_linker(linker: &mut Linker<State>) -> Result<()> {
    let mut kernels = linker.instance(INTERFACE)?;
    kernels.func_wrap("available", |ctx: Ctx<'_>, (): ()| {
        Ok((ctx.data().lender.isa.is_some(),))
    })?;
    kernels.func_wrap("isa", |ctx: Ctx<'_>, (): ()| {
        Ok((ctx.data().lender.isa()?.name().to_owned(),))
    })?;
    kernels.resource(
        "pass",
        ResourceType::host::<HostPass>(),
        |mut ctx, handle| {
            let table = &mut ctx.data_mut().table;
            table.delete(Resource::<HostPass>::new_own(handle))?;
            Ok(())
        },
    )?;
    kernels.func_wrap(
        "[constructor]pass",
        |mut ctx: Ctx<'_>, (shape, max_tokens): (Shape, u32)| {
            let pass = ctx.data().lender.pass(&shape, max_tokens)?;
            let table = &mut ctx.data_mut().table;
            Ok((table.push(HostPass(Some(Box::new(pass))))?,))
        },
    )?;
    kernels.func_wrap(
        "[method]pass.begin",
        |ctx: Ctx<'_>, (this, places, states): (Resource<HostPass>, Vec<WitPlace>, Floats)| {
            with_pass(ctx, &this, |Lent { pass, copies }, ctx| {
                if let Some(bytes) = copies.begin() {
                    tracing::info!(bytes, "weights of the baked model copied");
                }
                let places = places.iter().map(|place| Place {
                    sequence: place.sequence as usize,
                    position: place.position as usize,
                });
                let room = pass.begin(places).map_err(fault)?;
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
        |ctx: Ctx<'_>,
         (this, norm, q, k, v): (Resource<HostPass>, Floats, Matrix, Matrix, Matrix)| {
            with_pass(ctx, &this, |Lent { pass, copies }, ctx| {
                let norm = floats(ctx, &norm);
                let [q, k, v] = copies.ternary([q.view(ctx)?, k.view(ctx)?, v.view(ctx)?]);
                let weights = Projection { norm, q, k, v };
                let (keys, values) = pass.project(weights).map_err(fault)?;
                Ok(((bits(keys), bits(values)),))
            })
        },
    )?;
    kernels.func_wrap(
        "[method]pass.attend",
        |mut ctx: Ctx<'_>,
         (this, layer, cache, sub_norm, o): (
            Resource<HostPass>,
            u32,
            WasmList<WasmList<Floats>>,
            Option<Floats>,
            Matrix,
        )| {
            let cache = lift_cache(&mut ctx, &cache)?;
            with_pass(ctx, &this, |Lent { pass, copies }, ctx| {
                let [o] = copies.ternary([o.view(ctx)?]);
                let cache = LentCache::new(pass.shape().kv(), &cache, ctx)?;
                let weights = AttentionOutput {
                    sub_norm: sub_norm.as_ref().map(|norm| floats(ctx, norm)),
                    o,
                };
                pass.attend(layer as usize, &cache, weights).map_err(fault)
            })
        },
    )?;
    kernels.func_wrap(
        "[method]pass.feed-forward",
        |ctx: Ctx<'_>,
         (this, norm, gate, up, sub_norm, down): (
            Resource<HostPass>,
            Floats,
            Matrix,
            Matrix,
            Option<Floats>,
            Matrix,
        )| {
            with_pass(ctx, &this, |Lent { pass, copies }, ctx| {
                let views = [gate.view(ctx)?, up.view(ctx)?, down.view(ctx)?];
                let [gate, up, down] = copies.ternary(views);
                let weights = FeedForward {
                    norm: floats(ctx, &norm),
                    gate,
                    up,
                    sub_norm: sub_norm.as_ref().map(|norm| floats(ctx, norm)),
                    down,
                };
                pass.feed_forward(weights).map_err(fault)
            })
        },
    )?;
    kernels.func_wrap(
        "[method]pass.logits",
        |ctx: Ctx<'_>,
         (this, wanted, norm, head): (Resource<HostPass>, Vec<u32>, Floats, Table)| {
            with_pass(ctx, &this, |Lent { pass, copies }, ctx| {
                let wanted: Vec<usize> = wanted.iter().map(|&token| token as usize).collect();
                let (norm, head) = (floats(ctx, &norm), copies.dense(head.view(ctx)?));
                let logits = pass.logits(&wanted, norm, head).map_err(fault)?;
                Ok((bits(logits),))
            })
        },
    )?;
    kernels.func_wrap(
        "[method]pass.state",
        |ctx: Ctx<'_>, (this, token, norm): (Resource<HostPass>, u32, Floats)| {
            with_pass(ctx, &this, |Lent { pass, .. }, ctx| {
                let state = pass.state(token as usize, floats(ctx, &norm));
                Ok((bits(&state.map_err(fault)?),))
            })
        },
    )?;
    Ok(())
}

/// Compute with a pass while the guest's memory is borrowed: the pass leaves its table meanwhile.
fn with_pass<R>(
    mut ctx: Ctx<'_>,
    this: &Resource<HostPass>,
    compute: impl FnOnce(&mut Lent, &Ctx<'_>) -> Result<R>,
) -> Result<R> {
    let taken = ctx.data_mut().table.get_mut(this)?.0.take();
    let mut lent = taken.ok_or_else(|| format_err!("the pass is in use"))?;
    let computed = compute(&mut lent, &ctx);
    ctx.data_mut().table.get_mut(this)?.0 = Some(lent);
    computed
}

fn fault(error: EngineError) -> wasmtime::Error {
    format_err!("{error}")
}

/// `list<u32>` of float bits in the guest's memory.
type Floats = WasmList<u32>;

fn floats<'a>(ctx: &'a Ctx<'_>, list: &Floats) -> &'a [f32] {
    bytemuck::cast_slice(list.as_le_slice(ctx))
}

fn bits(floats: &[f32]) -> Vec<u32> {
    bytemuck::cast_slice(floats).to_vec()
}

/// Each sequence's blocks of keys and values.
type Blocks = Vec<Vec<Floats>>;

fn lift_cache(ctx: &mut Ctx<'_>, cache: &WasmList<WasmList<Floats>>) -> Result<Blocks> {
    let sequences: Vec<_> = cache.iter(&mut *ctx)?.collect::<Result<_>>()?;
    sequences
        .iter()
        .map(|blocks| blocks.iter(&mut *ctx)?.collect())
        .collect()
}

/// Keys and values where they lie in the guest's memory.
struct LentCache<'a> {
    shape: KvShape,
    sequences: Vec<Vec<&'a [f32]>>,
}

impl<'a> LentCache<'a> {
    fn new(shape: KvShape, blocks: &Blocks, ctx: &'a Ctx<'_>) -> Result<Self> {
        let sequences: Vec<Vec<&[f32]>> = blocks
            .iter()
            .map(|blocks| blocks.iter().map(|block| floats(ctx, block)).collect())
            .collect();
        let expected = shape.block_len();
        match sequences
            .iter()
            .flatten()
            .find(|block| block.len() != expected)
        {
            None => Ok(LentCache { shape, sequences }),
            Some(block) => bail!(
                "a cache block has {} values; the shape needs {expected}",
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

    fn block(&self, sequence: usize, index: usize) -> &[f32] {
        self.sequences[sequence][index]
    }
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "lifted from the guest, by number")]
enum WitActivation {
    #[component(name = "relu2")]
    Relu2,
    #[component(name = "silu")]
    Silu,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct Shape {
    #[component(name = "hidden-size")]
    hidden_size: u32,
    #[component(name = "ffn-size")]
    ffn_size: u32,
    #[component(name = "n-layers")]
    n_layers: u32,
    #[component(name = "n-heads")]
    n_heads: u32,
    #[component(name = "n-kv-heads")]
    n_kv_heads: u32,
    #[component(name = "head-dim")]
    head_dim: u32,
    #[component(name = "rope-theta")]
    rope_theta: f64,
    #[component(name = "rms-norm-eps")]
    rms_norm_eps: f32,
    activation: WitActivation,
}

impl Shape {
    fn checked(&self) -> Result<PassShape> {
        let shape = PassShape {
            hidden_size: self.hidden_size as usize,
            ffn_size: self.ffn_size as usize,
            n_layers: self.n_layers as usize,
            n_heads: self.n_heads as usize,
            n_kv_heads: self.n_kv_heads as usize,
            head_dim: self.head_dim as usize,
            rope_theta: self.rope_theta,
            rms_norm_eps: self.rms_norm_eps,
            activation: match self.activation {
                WitActivation::Relu2 => Activation::Relu2,
                WitActivation::Silu => Activation::Silu,
            },
        };
        shape.check().map_err(|error| format_err!("{error}"))?;
        Ok(shape)
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct WitPlace {
    sequence: u32,
    position: u32,
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "lifted from the guest, by number")]
enum MatrixLayout {
    #[component(name = "i2-s")]
    I2S,
    #[component(name = "t5")]
    T5,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct Matrix {
    rows: u32,
    cols: u32,
    scale: f32,
    layout: MatrixLayout,
    packed: WasmList<u8>,
}

impl Matrix {
    fn view<'a>(&self, ctx: &'a Ctx<'_>) -> Result<Ternary<'a>> {
        let packed = self.packed.as_le_slice(ctx);
        let layout = match self.layout {
            MatrixLayout::I2S => TernaryLayout::I2S,
            MatrixLayout::T5 => TernaryLayout::T5,
        };
        Ok(Ternary::with_layout(
            layout,
            self.rows as usize,
            self.cols as usize,
            packed,
            self.scale,
        )?)
    }
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "lifted from the guest, by number")]
enum TableType {
    #[component(name = "float32")]
    Float32,
    #[component(name = "float16")]
    Float16,
    #[component(name = "bfloat16")]
    Bfloat16,
    #[component(name = "q8-0")]
    Q80,
    #[component(name = "q6-k")]
    Q6K,
}

#[derive(ComponentType, Lift)]
#[component(record)]
struct Table {
    ty: TableType,
    rows: u32,
    cols: u32,
    bytes: WasmList<u8>,
}

impl Table {
    fn view<'a>(&self, ctx: &'a Ctx<'_>) -> Result<Dense<'a>> {
        let ty = match self.ty {
            TableType::Float32 => DenseType::F32,
            TableType::Float16 => DenseType::F16,
            TableType::Bfloat16 => DenseType::Bf16,
            TableType::Q80 => DenseType::Q8_0,
            TableType::Q6K => DenseType::Q6K,
        };
        let bytes = self.bytes.as_le_slice(ctx);
        Ok(Dense::new(
            ty,
            self.rows as usize,
            self.cols as usize,
            bytes,
        )?)
    }
}
