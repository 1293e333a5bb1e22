//! The records of `wit/kernels.wit` as they come from an engine: lists stay where they lie in its
//! memory.

use sterna_engine::config::{Activation, RopePairs};
use sterna_engine::forward::{LinearView, PassShape};
use sterna_engine::matrix::{MatrixView, TableView};
use sterna_kernels::{
    Dense, DenseType, GroupCodes, GroupShape, Grouped, KvType, Ternary, TernaryLayout,
};
use wasmtime::component::{ComponentType, Lift, WasmList};
use wasmtime::{Result, StoreContextMut};

use super::state::State;

pub(super) type Ctx<'a> = StoreContextMut<'a, State>;

/// `list<u32>` of float bits in the guest's memory.
pub(super) type Floats = WasmList<u32>;

pub(super) fn floats<'a>(ctx: &'a Ctx<'_>, list: &Floats) -> &'a [f32] {
    bytemuck::cast_slice(list.as_le_slice(ctx))
}

pub(super) fn bits(floats: &[f32]) -> Vec<u32> {
    bytemuck::cast_slice(floats).to_vec()
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "lifted from the guest, by number")]
pub(super) enum WitActivation {
    #[component(name = "relu2")]
    Relu2,
    #[component(name = "silu")]
    Silu,
    #[component(name = "gelu-tanh")]
    GeluTanh,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct Shape {
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
    #[component(name = "rms-norm-eps")]
    rms_norm_eps: f32,
    activation: WitActivation,
    #[component(name = "attention-scale")]
    attention_scale: f32,
    #[component(name = "input-norm-eps")]
    input_norm_eps: Option<f32>,
}

impl Shape {
    /// In the engine's terms; nothing is checked.
    pub(super) fn to_pass(&self) -> PassShape {
        PassShape {
            hidden_size: self.hidden_size as usize,
            ffn_size: self.ffn_size as usize,
            n_layers: self.n_layers as usize,
            n_heads: self.n_heads as usize,
            n_kv_heads: self.n_kv_heads as usize,
            head_dim: self.head_dim as usize,
            rms_norm_eps: self.rms_norm_eps,
            activation: match self.activation {
                WitActivation::Relu2 => Activation::Relu2,
                WitActivation::Silu => Activation::Silu,
                WitActivation::GeluTanh => Activation::GeluTanh,
            },
            attention_scale: self.attention_scale,
            input_norm_eps: self.input_norm_eps,
        }
    }
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "lifted from the guest, by number")]
pub(super) enum WitKvType {
    #[component(name = "float32")]
    Float32,
    #[component(name = "float16")]
    Float16,
    #[component(name = "int8")]
    Int8,
}

impl From<WitKvType> for KvType {
    fn from(ty: WitKvType) -> Self {
        match ty {
            WitKvType::Float32 => KvType::F32,
            WitKvType::Float16 => KvType::F16,
            WitKvType::Int8 => KvType::Int8,
        }
    }
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "lifted from the guest, by number")]
pub(super) enum WitPairs {
    #[component(name = "halves")]
    Halves,
    #[component(name = "adjacent")]
    Adjacent,
}

impl From<WitPairs> for RopePairs {
    fn from(pairs: WitPairs) -> Self {
        match pairs {
            WitPairs::Halves => RopePairs::Halves,
            WitPairs::Adjacent => RopePairs::Adjacent,
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitRotation {
    pub(super) frequencies: WasmList<u64>,
    pub(super) magnitude: f64,
    pub(super) pairs: WitPairs,
    pub(super) local: Option<WasmList<u64>>,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitPlace {
    pub(super) sequence: u32,
    pub(super) position: u32,
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "lifted from the guest, by number")]
pub(super) enum WitLayout {
    #[component(name = "i2-s")]
    I2S,
    #[component(name = "t5")]
    Trits5,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitTernary {
    rows: u32,
    cols: u32,
    scale: f32,
    layout: WitLayout,
    packed: WasmList<u8>,
}

impl WitTernary {
    fn view<'a>(&self, ctx: &'a Ctx<'_>) -> Result<Ternary<'a>> {
        let packed = self.packed.as_le_slice(ctx);
        let layout = match self.layout {
            WitLayout::I2S => TernaryLayout::I2S,
            WitLayout::Trits5 => TernaryLayout::Trits5,
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
pub(super) enum WitCodes {
    #[component(name = "binary")]
    Binary,
    #[component(name = "ternary")]
    Ternary,
    #[component(name = "trits8")]
    Trits8,
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitGrouped {
    rows: u32,
    cols: u32,
    group: u32,
    codes: WitCodes,
    tiles: WasmList<u8>,
}

impl WitGrouped {
    fn view<'a>(&self, ctx: &'a Ctx<'_>) -> Result<Grouped<'a>> {
        let codes = match self.codes {
            WitCodes::Binary => GroupCodes::Binary,
            WitCodes::Ternary => GroupCodes::Ternary,
            WitCodes::Trits8 => GroupCodes::Trits8,
        };
        let [rows, cols, group] = [self.rows, self.cols, self.group].map(|n| n as usize);
        let shape = GroupShape::new(rows, cols, group, codes)?;
        Ok(Grouped::new(shape, self.tiles.as_le_slice(ctx))?)
    }
}

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum Matrix {
    #[component(name = "ternary")]
    Ternary(WitTernary),
    #[component(name = "grouped")]
    Grouped(WitGrouped),
}

impl Matrix {
    /// `[rows, cols]` as it says.
    pub(super) fn shape(&self) -> [usize; 2] {
        let (rows, cols) = match self {
            Matrix::Ternary(w) => (w.rows, w.cols),
            Matrix::Grouped(w) => (w.rows, w.cols),
        };
        [rows as usize, cols as usize]
    }

    /// Borrowed where it lies.
    ///
    /// # Errors
    /// Its bytes are not those of its shape.
    pub(super) fn view<'a>(&self, ctx: &'a Ctx<'_>) -> Result<MatrixView<'a>> {
        match self {
            Matrix::Ternary(w) => w.view(ctx).map(MatrixView::Ternary),
            Matrix::Grouped(w) => w.view(ctx).map(MatrixView::Grouped),
        }
    }
}

#[derive(ComponentType, Lift)]
#[component(record)]
pub(super) struct WitLinear {
    pub(super) weights: Matrix,
    norm: Option<Floats>,
}

impl WitLinear {
    /// Its weights as given, which may be a copy of them, and its norm where it lies.
    pub(super) fn with<'a>(&self, weights: MatrixView<'a>, ctx: &'a Ctx<'_>) -> LinearView<'a> {
        LinearView {
            weights,
            norm: self.norm.as_ref().map(|norm| floats(ctx, norm)),
        }
    }
}

#[derive(ComponentType, Lift, Clone, Copy)]
#[component(enum)]
#[repr(u8)]
#[allow(dead_code, reason = "lifted from the guest, by number")]
pub(super) enum TableType {
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
pub(super) struct WitTable {
    ty: TableType,
    rows: u32,
    cols: u32,
    bytes: WasmList<u8>,
}

impl WitTable {
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

#[derive(ComponentType, Lift)]
#[component(variant)]
pub(super) enum Head {
    #[component(name = "table")]
    Table(WitTable),
    #[component(name = "grouped")]
    Grouped(WitGrouped),
}

impl Head {
    /// `[rows, cols]` as it says.
    pub(super) fn shape(&self) -> [usize; 2] {
        let (rows, cols) = match self {
            Head::Table(w) => (w.rows, w.cols),
            Head::Grouped(w) => (w.rows, w.cols),
        };
        [rows as usize, cols as usize]
    }

    /// Borrowed where it lies.
    ///
    /// # Errors
    /// Its bytes are not those of its shape.
    pub(super) fn view<'a>(&self, ctx: &'a Ctx<'_>) -> Result<TableView<'a>> {
        match self {
            Head::Table(w) => w.view(ctx).map(TableView::Dense),
            Head::Grouped(w) => w.view(ctx).map(TableView::Grouped),
        }
    }
}
