//! What is written is read back, what is kept is shared, and what is full makes room.

use sterna_kernels::KvBuffer;

use sterna_kernels::{KvRows, KvType};

use super::*;

const SHAPE: KvShape = KvShape {
    n_layers: 2,
    n_kv_heads: 3,
    head_dim: 5,
    ty: KvType::F32,
};

fn row(position: usize, layer: usize) -> (Vec<f32>, Vec<f32>) {
    let value = |i: usize| (position * 1000 + layer * 100 + i) as f32;
    (
        (0..15).map(value).collect(),
        (0..15).map(|i| -value(i)).collect(),
    )
}

#[test]
fn reads_back_what_was_written_across_blocks() {
    for ty in KvType::ALL {
        reads_back(KvShape { ty, ..SHAPE });
    }
}

fn reads_back(shape: KvShape) {
    let mut kv = KvCache::new(shape, 2);
    for position in 0..150 {
        kv.reserve(1, position + 1).unwrap();
        for layer in 0..2 {
            let (keys, values) = row(position, layer);
            kv.write(Isa::SCALAR, 1, layer, position, &keys, &values);
        }
    }
    for layer in 0..2 {
        for kv_head in 0..3 {
            let rows = |which: fn((KvRows<'_>, KvRows<'_>)) -> Vec<f32>| -> Vec<f32> {
                kv.read(1, layer, kv_head, 131).flat_map(which).collect()
            };
            let keys = rows(|(keys, _)| keys.to_f32(5));
            let values = rows(|(_, values)| values.to_f32(5));
            assert_eq!(keys.len(), 131 * 5);
            for position in 0..131 {
                let (want_keys, want_values) = row(position, layer);
                for (is, want) in [(&keys, want_keys), (&values, want_values)] {
                    let (is, want) = (&is[position * 5..][..5], &want[kv_head * 5..][..5]);
                    let stored = KvBuffer::store(Isa::SCALAR, shape.ty, want, 5).to_f32();
                    assert_eq!(is, stored, "{shape:?}");
                }
            }
        }
    }
}

#[test]
fn int8_and_f16_take_a_quarter_and_a_half() {
    // BitNet b1.58 2B-4T.
    let mib = |ty| {
        let shape = KvShape {
            n_layers: 30,
            n_kv_heads: 5,
            head_dim: 128,
            ty,
        };
        shape.block_bytes() as f64 * 64.0 / f64::from(1 << 20)
    };
    assert_eq!(KvType::ALL.map(mib), [600.0, 300.0, 152.34375]);
}

#[test]
fn blocks_come_with_use_and_are_recycled() {
    let mut kv = KvCache::new(SHAPE, 2);
    assert_eq!(kv.allocated_bytes(), 0);
    kv.reserve(0, 1).unwrap();
    kv.reserve(0, 64).unwrap();
    assert_eq!(kv.used_bytes(), SHAPE.block_bytes());
    kv.reserve(0, 65).unwrap();
    kv.reserve(1, 64).unwrap();
    assert_eq!(kv.used_bytes(), 3 * SHAPE.block_bytes());
    kv.free(0);
    assert_eq!(kv.used_bytes(), SHAPE.block_bytes());
    kv.reserve(1, 192).unwrap();
    assert_eq!(kv.allocated_bytes(), 3 * SHAPE.block_bytes());
    kv.free(1);
    assert_eq!(
        (kv.used_bytes(), kv.allocated_bytes()),
        (0, 3 * SHAPE.block_bytes())
    );
}

/// Fill `sequence` with `tokens` and keep its full blocks.
fn fill(kv: &mut KvCache, sequence: usize, salt: &[u32], tokens: &[u32]) {
    let from = kv.attach(sequence, salt, tokens);
    kv.reserve(sequence, tokens.len()).unwrap();
    for (position, &token) in tokens.iter().enumerate().skip(from) {
        let (keys, values) = row(position * 7 + token as usize, 1);
        kv.write(Isa::SCALAR, sequence, 1, position, &keys, &values);
    }
    kv.keep(sequence, salt, tokens);
}

fn contents(kv: &KvCache, sequence: usize) -> Vec<Vec<u32>> {
    kv.blocks(sequence).map(<[u32]>::to_vec).collect()
}

#[test]
fn what_is_kept_is_shared_by_those_that_begin_alike() {
    let mut kv = KvCache::new(SHAPE, 3);
    let tokens: Vec<u32> = (0..150).collect();
    fill(&mut kv, 0, &[], &tokens);
    let filled = contents(&kv, 0);
    // Beside it, and after its end.
    for _ in 0..2 {
        assert_eq!(kv.attach(1, &[], &tokens[..127]), 64);
        assert_eq!(kv.attach(1, &[], &tokens), 128);
        assert_eq!(contents(&kv, 1), filled[..2]);
        assert!(kv.shares(1, 1, 128) && !kv.shares(1, 2, 64));
        kv.free(1);
        kv.free(0);
    }
    assert_eq!(
        (kv.used_bytes(), kv.idle_bytes()),
        (0, 2 * SHAPE.block_bytes())
    );
    // Another token, or another salt.
    let other: Vec<u32> = tokens.iter().map(|&token| token ^ (token / 63)).collect();
    assert_eq!(kv.attach(1, &[], &other), 0);
    assert_eq!(kv.attach(1, &[7], &tokens), 0);
    assert_eq!(kv.attach(1, &[], &[]), 0);
}

#[test]
fn two_that_fill_the_same_block_end_up_with_one() {
    let mut kv = KvCache::new(SHAPE, 2);
    let tokens: Vec<u32> = (0..70).collect();
    // Both begin before either is done.
    for sequence in [0, 1] {
        kv.reserve(sequence, 70).unwrap();
        for position in 0..70 {
            let (keys, values) = row(position, 0);
            kv.write(Isa::SCALAR, sequence, 0, position, &keys, &values);
        }
    }
    assert_eq!(kv.used_bytes(), 4 * SHAPE.block_bytes());
    kv.keep(0, &[], &tokens);
    kv.keep(1, &[], &tokens);
    assert_eq!(kv.used_bytes(), 3 * SHAPE.block_bytes());
    assert!(kv.shares(0, 1, 64));
    assert_eq!(contents(&kv, 0)[0], contents(&kv, 1)[0]);
    kv.free(0);
    kv.free(1);
    assert_eq!(kv.idle_bytes(), SHAPE.block_bytes());
}

#[test]
fn kept_blocks_make_room_and_used_ones_do_not() {
    let mut kv = KvCache::new(SHAPE, 2).with_limit(4);
    let tokens: Vec<u32> = (0..128).collect();
    fill(&mut kv, 0, &[], &tokens);
    kv.free(0);
    fill(&mut kv, 0, &[1], &tokens[..64]);
    assert_eq!(
        (kv.n_available(), kv.idle_bytes()),
        (3, 2 * SHAPE.block_bytes())
    );
    kv.reserve(1, 192).unwrap();
    assert_eq!((kv.n_available(), kv.idle_bytes()), (0, 0));
    assert!(kv.reserve(1, 193).is_err());
    kv.free(0);
    kv.reserve(1, 193).unwrap();
    assert_eq!(kv.allocated_bytes(), 4 * SHAPE.block_bytes());
    kv.free(1);
    assert_eq!((kv.n_available(), kv.attach(0, &[], &tokens)), (4, 0));
}

#[test]
fn where_memory_is_short_kept_blocks_leave_some() {
    let mut kv = KvCache::new(SHAPE, 2);
    let tokens: Vec<u32> = (0..1024).collect();
    fill(&mut kv, 0, &[], &tokens);
    // As if there had been no memory for a seventeenth.
    kv.short_at = 16;
    assert_eq!((kv.n_allocated(), kv.n_available()), (16, 0));
    kv.free(0);
    assert_eq!((kv.n_allocated(), kv.n_available()), (14, 16));
    assert_eq!(kv.allocated_bytes(), 14 * SHAPE.block_bytes());
    assert_eq!(kv.attach(0, &[], &tokens), 14 * BLOCK);
    // All of it is there for those that run.
    kv.reserve(0, 1024).unwrap();
    assert_eq!(
        (kv.n_allocated(), kv.used_bytes()),
        (16, 16 * SHAPE.block_bytes())
    );
}
