//! Attacks through the kernels that the host lends (wit/kernels.wit).

mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "kernels-borrower",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use bindings::sterna::inference::kernels::{
    Activation, GroupCodes, GroupedParam, HeadParam, KvType, LinearParam, MatrixParam, Pass, Place,
    RopePairs, RotationParam, Shape, TableParam, TableType, TernaryLayout, TernaryParam,
};

/// A shape that fits any file.
fn small() -> Shape {
    Shape {
        hidden_size: 128,
        ffn_size: 128,
        n_layers: 1,
        n_heads: 2,
        n_kv_heads: 1,
        head_dim: 64,
        rms_norm_eps: 1e-5,
        activation: Activation::Relu2,
        attention_scale: 0.125,
        input_norm_eps: None,
    }
}

/// A pass of this shape, whose heads turn by `frequency`.
fn pass(shape: Shape, frequency: f64, max_tokens: u32) -> Pass {
    let frequencies = vec![frequency.to_bits(); shape.head_dim as usize / 2];
    let rotation = RotationParam {
        frequencies: &frequencies,
        magnitude: 1.0,
        pairs: RopePairs::Halves,
        local: None,
    };
    Pass::new(shape, rotation, max_tokens)
}

/// Numbers of a block of that shape's cache.
const BLOCK: usize = 2 * 64 * 64;

/// Their type.
const FLOATS: KvType = KvType::Float32;

fn matrix(rows: u32, cols: u32, scale: f32, packed: &[u8]) -> LinearParam<'_> {
    plain(MatrixParam::Ternary(TernaryParam {
        rows,
        cols,
        scale,
        layout: TernaryLayout::I2S,
        packed,
    }))
}

fn plain(weights: MatrixParam<'_>) -> LinearParam<'_> {
    LinearParam {
        weights,
        norm: None,
    }
}

/// As large as it says or not.
fn grouped(rows: u32, group: u32, tiles: &[u8]) -> GroupedParam<'_> {
    GroupedParam {
        rows,
        cols: 128,
        group,
        codes: GroupCodes::Ternary,
        tiles,
    }
}

/// Bytes of tiles of 128 columns in groups of 128.
fn tile_bytes(rows: usize) -> usize {
    rows.div_ceil(16) * (128 * 16 / 4 + 32)
}

fn begun(max_tokens: u32, values: u32) -> Pass {
    let pass = pass(small(), 1.0, max_tokens);
    let place = Place {
        sequence: 0,
        position: 0,
    };
    pass.begin(&[place], &[values; 128]);
    pass
}

/// Calls that no engine of ours makes.
pub(crate) fn attack(name: &str) {
    let packed = vec![0x55_u8; 128 * 32];
    let norm = [1_f32.to_bits(); 128];
    match name {
        "passes" => {
            let passes: Vec<Pass> = (0..100_000).map(|_| pass(small(), 1.0, 4096)).collect();
            assert!(passes.is_empty(), "all of them were made");
        }
        "passes one after another" => {
            for _ in 0..50 {
                drop(pass(small(), 1.0, 4096));
            }
        }
        "large pass" => drop(pass(small(), 1.0, u32::MAX)),
        "layers" => drop(pass(
            Shape {
                n_layers: 1 << 20,
                ..small()
            },
            1.0,
            1,
        )),
        "large shape" => {
            let size = 1 << 16;
            let shape = Shape {
                hidden_size: size,
                ffn_size: size,
                ..small()
            };
            drop(pass(shape, 1.0, 1));
        }
        "two shapes" => {
            let _first = pass(small(), 1.0, 1);
            drop(pass(
                Shape {
                    ffn_size: 64,
                    ..small()
                },
                1.0,
                1,
            ));
        }
        "empty shape" => drop(pass(
            Shape {
                head_dim: 0,
                n_kv_heads: 0,
                ..small()
            },
            1.0,
            1,
        )),
        "no tokens" => {
            let pass = pass(small(), 1.0, 0);
            pass.begin(&[], &[]);
        }
        "not begun" => {
            let [q, k] = [
                matrix(128, 128, 1.0, &packed),
                matrix(64, 128, 1.0, &packed[..64 * 32]),
            ];
            let v = matrix(64, 128, 1.0, &packed[..64 * 32]);
            pass(small(), 1.0, 4).project(&norm, q, k, v, None, None, false);
        }
        "far position" => {
            let place = Place {
                sequence: u32::MAX,
                position: u32::MAX,
            };
            pass(small(), 1.0, 4).begin(&[place], &norm);
        }
        "logits" => {
            let pass = pass(small(), 1.0, 10_000);
            let place = |position| Place {
                sequence: 0,
                position,
            };
            let places: Vec<Place> = (0..10_000).map(place).collect();
            pass.begin(&places, &vec![0; 10_000 * 128]);
            let rows = 100_000;
            let head = HeadParam::Table(TableParam {
                ty: TableType::Float16,
                rows,
                cols: 128,
                bytes: &vec![0; rows as usize * 256],
            });
            let wanted: Vec<u32> = (0..10_000).collect();
            pass.logits(&wanted, &norm, head);
        }
        "logits of one token" => {
            let wanted = vec![0; 10_000_000];
            let head = HeadParam::Table(TableParam {
                ty: TableType::Float32,
                rows: 1,
                cols: 128,
                bytes: &[0; 512],
            });
            begun(4, 0).logits(&wanted, &norm, head);
        }
        "frequencies" => {
            let rotation = RotationParam {
                frequencies: &vec![0; 100_000],
                magnitude: 1.0,
                pairs: RopePairs::Adjacent,
                local: None,
            };
            drop(Pass::new(small(), rotation, 1));
        }
        "wide heads" => {
            let shape = Shape {
                head_dim: u32::MAX - 1,
                ..small()
            };
            let rotation = RotationParam {
                frequencies: &vec![0; 16 << 20],
                magnitude: 1.0,
                pairs: RopePairs::Adjacent,
                local: None,
            };
            drop(Pass::new(shape, rotation, 1));
        }
        "few tiles" => {
            let head = grouped(1000, 128, &packed);
            begun(4, 0).logits(&[0], &norm, HeadParam::Grouped(head));
        }
        "odd groups" => {
            let head = grouped(16, 48, &packed);
            begun(4, 0).logits(&[0], &norm, HeadParam::Grouped(head));
        }
        "mixed kinds" => {
            let tiles = vec![0x55; tile_bytes(128)];
            let q = plain(MatrixParam::Grouped(grouped(128, 128, &tiles)));
            let kv = || matrix(64, 128, 1.0, &packed[..64 * 32]);
            begun(4, 0).project(&norm, q, kv(), kv(), None, None, false);
        }
        "short head norms" => {
            let kv = || matrix(64, 128, 1.0, &packed[..64 * 32]);
            let q = matrix(128, 128, 1.0, &packed);
            begun(4, 0).project(&norm, q, kv(), kv(), Some(&norm[..3]), None, false);
        }
        "norms of its own" => {
            let kv = || matrix(64, 128, 1.0, &packed[..64 * 32]);
            let q = LinearParam {
                norm: Some(&norm),
                ..matrix(128, 128, 1.0, &packed)
            };
            begun(4, 0).project(&norm, q, kv(), kv(), None, None, false);
        }
        "turns of its own" => {
            let kv = || matrix(64, 128, 1.0, &packed[..64 * 32]);
            let q = matrix(128, 128, 1.0, &packed);
            begun(4, 0).project(&norm, q, kv(), kv(), None, None, true);
        }
        "short post-norm" => {
            let block = vec![0; BLOCK];
            let o = matrix(128, 128, 1.0, &packed);
            begun(4, 0).attend(0, &[&[&block]], FLOATS, None, None, o, Some(&norm[..5]));
        }
        "cache of another type" => {
            let block = vec![0; BLOCK];
            let o = matrix(128, 128, 1.0, &packed);
            begun(4, 0).attend(0, &[&[&block]], KvType::Int8, None, None, o, None);
        }
        "no window" => {
            let block = vec![0; BLOCK];
            let o = matrix(128, 128, 1.0, &packed);
            begun(4, 0).attend(0, &[&[&block]], FLOATS, Some(0), None, o, None);
        }
        "lists in lists" => aliased(&packed),
        "not a number" => not_a_number(&packed),
        other => panic!("no such attack: {other}"),
    }
}

/// Every number that a host gets is none, in matrices of either kind.
fn not_a_number(packed: &[u8]) {
    let nan = [f32::NAN.to_bits(); 128];
    let shape = Shape {
        rms_norm_eps: f32::NAN,
        ..small()
    };
    let pass = pass(shape, f64::NAN, 2);
    let place = |position| Place {
        sequence: 0,
        position,
    };
    let begin = || pass.begin(&[place(0), place(1)], &[f32::NAN.to_bits(); 256]);
    begin();
    layer_of_nothing(&pass, |rows| {
        matrix(rows, 128, f32::INFINITY, &packed[..rows as usize * 32])
    });
    begin();
    let tiles = vec![0xff; tile_bytes(128)];
    layer_of_nothing(&pass, |rows| {
        plain(MatrixParam::Grouped(grouped(
            rows,
            128,
            &tiles[..tile_bytes(rows as usize)],
        )))
    });
    let head = TableParam {
        ty: TableType::Float32,
        rows: 128,
        cols: 128,
        bytes: &[0xff; 128 * 128 * 4],
    };
    pass.logits(&[1, 0], &nan, HeadParam::Table(head));
    let tiles = vec![0xff; tile_bytes(100)];
    pass.logits(&[1, 0], &nan, HeadParam::Grouped(grouped(100, 128, &tiles)));
    pass.state(0, &nan);
}

/// A layer of matrices of so many rows each, whose other numbers are none.
fn layer_of_nothing<'a>(pass: &Pass, matrix: impl Fn(u32) -> LinearParam<'a>) {
    let nan = [f32::NAN.to_bits(); 128];
    let norm = Some(&nan[..64]);
    let (q, k, v) = (matrix(128), matrix(64), matrix(64));
    pass.project(&nan, q, k, v, norm, norm, false);
    let block = vec![f32::NAN.to_bits(); BLOCK];
    pass.attend(
        0,
        &[&[&block]],
        FLOATS,
        Some(1),
        Some(&nan),
        matrix(128),
        Some(&nan),
    );
    let (gate, up, down) = (matrix(128), matrix(128), matrix(128));
    pass.feed_forward(&nan, gate, up, Some(&nan), down, Some(&nan));
}

/// The arguments of `attend` as the canonical ABI lays them out in memory: they are too many to be
/// flattened.
#[repr(C)]
struct AttendArguments {
    this: u32,
    layer: u32,
    cache: *const [u32; 2],
    sequences: u32,
    kv_type: u32,
    window: [u32; 2],
    sub_norm: [u32; 3],
    /// Case, rows, columns, scale, layout.
    o: [u32; 5],
    packed: *const u8,
    packed_len: u32,
    o_norm: [u32; 3],
    post_norm: [u32; 3],
}

#[link(wasm_import_module = "sterna:inference/kernels@0.2.0")]
unsafe extern "C" {
    /// Bindings would copy the lists that this is to be called with.
    #[link_name = "[method]pass.attend"]
    safe fn attend(arguments: &AttendArguments);
}

/// 1.6 MB here, and gigabytes for whoever collects it: 1,000 sequences of the same 200,000 blocks,
/// which are one.
fn aliased(packed: &[u8]) {
    let block = vec![0_u32; BLOCK];
    let lists = |address: usize, len: usize, times: usize| -> Vec<[u32; 2]> {
        vec![[address as u32, len as u32]; times]
    };
    let blocks = lists(block.as_ptr().addr(), BLOCK, 200_000);
    let cache = lists(blocks.as_ptr().addr(), blocks.len(), 1_000);
    let pass = begun(4, 0);
    attend(&AttendArguments {
        this: pass.handle(),
        layer: 0,
        cache: cache.as_ptr(),
        sequences: cache.len() as u32,
        kv_type: FLOATS as u32,
        window: [0; 2],
        sub_norm: [0; 3],
        o: [0, 128, 128, 1.0_f32.to_bits(), 0],
        packed: packed.as_ptr(),
        packed_len: packed.len() as u32,
        o_norm: [0; 3],
        post_norm: [0; 3],
    });
}
