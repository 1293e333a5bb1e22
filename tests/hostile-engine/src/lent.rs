//! Attacks through the kernels that the host lends (wit/kernels.wit).

mod bindings {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "kernels-borrower",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use bindings::sterna::inference::kernels::{
    Activation, Pass, Place, Shape, TableParam, TableType, TernaryLayout, TernaryParam,
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
        rope_theta: 1e4,
        rms_norm_eps: 1e-5,
        activation: Activation::Relu2,
    }
}

/// Numbers of a block of that shape's cache.
const BLOCK: usize = 2 * 64 * 64;

fn matrix(rows: u32, cols: u32, packed: &[u8]) -> TernaryParam<'_> {
    TernaryParam {
        rows,
        cols,
        scale: 1.0,
        layout: TernaryLayout::I2S,
        packed,
    }
}

fn begun(max_tokens: u32, values: u32) -> Pass {
    let pass = Pass::new(small(), max_tokens);
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
            let passes: Vec<Pass> = (0..100_000).map(|_| Pass::new(small(), 4096)).collect();
            assert!(passes.is_empty(), "all of them were made");
        }
        "passes one after another" => {
            for _ in 0..50 {
                drop(Pass::new(small(), 4096));
            }
        }
        "large pass" => drop(Pass::new(small(), u32::MAX)),
        "layers" => drop(Pass::new(
            Shape {
                n_layers: 1 << 20,
                ..small()
            },
            1,
        )),
        "large shape" => {
            let size = 1 << 16;
            let shape = Shape {
                hidden_size: size,
                ffn_size: size,
                ..small()
            };
            drop(Pass::new(shape, 1));
        }
        "two shapes" => {
            let _first = Pass::new(small(), 1);
            drop(Pass::new(
                Shape {
                    ffn_size: 64,
                    ..small()
                },
                1,
            ));
        }
        "empty shape" => drop(Pass::new(
            Shape {
                head_dim: 0,
                n_kv_heads: 0,
                ..small()
            },
            1,
        )),
        "no tokens" => {
            let pass = Pass::new(small(), 0);
            pass.begin(&[], &[]);
        }
        "not begun" => {
            let [q, k] = [
                matrix(128, 128, &packed),
                matrix(64, 128, &packed[..64 * 32]),
            ];
            let v = matrix(64, 128, &packed[..64 * 32]);
            Pass::new(small(), 4).project(&norm, q, k, v);
        }
        "far position" => {
            let place = Place {
                sequence: u32::MAX,
                position: u32::MAX,
            };
            Pass::new(small(), 4).begin(&[place], &norm);
        }
        "logits" => {
            let pass = Pass::new(small(), 10_000);
            let place = |position| Place {
                sequence: 0,
                position,
            };
            let places: Vec<Place> = (0..10_000).map(place).collect();
            pass.begin(&places, &vec![0; 10_000 * 128]);
            let rows = 100_000;
            let head = TableParam {
                ty: TableType::Float16,
                rows,
                cols: 128,
                bytes: &vec![0; rows as usize * 256],
            };
            let wanted: Vec<u32> = (0..10_000).collect();
            pass.logits(&wanted, &norm, head);
        }
        "logits of one token" => {
            let wanted = vec![0; 10_000_000];
            let head = TableParam {
                ty: TableType::Float32,
                rows: 1,
                cols: 128,
                bytes: &[0; 512],
            };
            begun(4, 0).logits(&wanted, &norm, head);
        }
        "lists in lists" => aliased(&packed),
        "not a number" => not_a_number(&packed),
        other => panic!("no such attack: {other}"),
    }
}

/// Every number that a host gets is none.
fn not_a_number(packed: &[u8]) {
    let nan = [f32::NAN.to_bits(); 128];
    let shape = Shape {
        rope_theta: f64::NAN,
        rms_norm_eps: f32::NAN,
        ..small()
    };
    let pass = Pass::new(shape, 2);
    let place = |position| Place {
        sequence: 0,
        position,
    };
    pass.begin(&[place(0), place(1)], &[f32::NAN.to_bits(); 256]);
    let infinite = |rows: u32| TernaryParam {
        scale: f32::INFINITY,
        ..matrix(rows, 128, &packed[..rows as usize * 32])
    };
    pass.project(&nan, infinite(128), infinite(64), infinite(64));
    let block = vec![f32::NAN.to_bits(); BLOCK];
    pass.attend(0, &[&[&block]], Some(&nan), infinite(128));
    pass.feed_forward(
        &nan,
        infinite(128),
        infinite(128),
        Some(&nan),
        infinite(128),
    );
    let head = TableParam {
        ty: TableType::Float32,
        rows: 128,
        cols: 128,
        bytes: &[0xff; 128 * 128 * 4],
    };
    pass.logits(&[1, 0], &nan, head);
    pass.state(0, &nan);
}

#[link(wasm_import_module = "sterna:inference/kernels@0.1.0")]
unsafe extern "C" {
    /// As the canonical ABI flattens it. Bindings would copy the lists that this is to be called
    /// with.
    #[link_name = "[method]pass.attend"]
    safe fn attend(
        this: u32,
        layer: u32,
        cache: *const [u32; 2],
        sequences: u32,
        has_norm: u32,
        norm: *const u32,
        norm_len: u32,
        rows: u32,
        cols: u32,
        scale: f32,
        layout: u32,
        packed: *const u8,
        packed_len: u32,
    );
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
    attend(
        pass.handle(),
        0,
        cache.as_ptr(),
        cache.len() as u32,
        0,
        std::ptr::null(),
        0,
        128,
        128,
        1.0,
        0,
        packed.as_ptr(),
        packed.len() as u32,
    );
}
