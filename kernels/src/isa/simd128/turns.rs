//! Inner loops as wasm engines like them: several short steps a turn, with a way out after each.
//!
//! Runtimes that interrupt busy guests (wasmtime serve, Spin, our host) look at a counter in each
//! turn of each loop, and the call that follows if time is up keeps no vector register: with one
//! step a turn Cranelift holds all sums on the stack. A plain unrolled body is no remedy: its loads
//! would come first, all alive at once. An exit between two steps is: the sums have to be ready
//! there.

/// Does `$step` with each item of an iterator. Five at a time: a compiler that knows the number of
/// items to be a multiple of 2 or 4 must not find an exit superfluous.
macro_rules! turns {
    ($item:pat in $items:expr => $step:block) => {{
        let mut items = $items;
        loop {
            $crate::isa::simd128::turns::turns!(@one items, $item, $step);
            $crate::isa::simd128::turns::turns!(@one items, $item, $step);
            $crate::isa::simd128::turns::turns!(@one items, $item, $step);
            $crate::isa::simd128::turns::turns!(@one items, $item, $step);
            $crate::isa::simd128::turns::turns!(@one items, $item, $step);
        }
    }};
    (@one $items:ident, $item:pat, $step:block) => {
        let Some($item) = $items.next() else { break };
        $step
    };
}

pub(super) use turns;
