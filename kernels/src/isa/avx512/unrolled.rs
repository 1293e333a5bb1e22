//! Software pipelining of straight code: the unpacking of the next weights stands between
//! multiplications by these, so that none waits for it.
//!
//! Loops are written out, since LLVM keeps those with large bodies, and registers that an index
//! chooses are then an array in memory.

use std::arch::asm;
use std::arch::x86_64::__m512i;

/// The body for each of the numbers 0 to 7 that are below the limit, which a const tells.
macro_rules! unrolled {
    ($i:ident < $limit:expr => $body:block) => {
        unrolled!(@each $i, $limit, $body, 0 1 2 3 4 5 6 7)
    };
    (@each $i:ident, $limit:expr, $body:block, $($number:literal)*) => {
        $(#[allow(clippy::out_of_bounds_indexing, reason = "not where the number is below the limit")] {
            const $i: usize = $number;
            if $i < $limit {
                $body
            }
        })*
    };
}

pub(super) use unrolled;

/// True if task number `task` of `tasks` is done behind the multiplications by token `t` of `n`:
/// they are spread evenly.
pub(super) const fn is_after(task: usize, tasks: usize, t: usize, n: usize) -> bool {
    tasks * t / n <= task && task < tasks * (t + 1) / n
}

/// The same, but computed where this stands among other assembly. LLVM would gather what is alike.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn pin(mut value: __m512i) -> __m512i {
    // SAFETY: no instruction.
    unsafe {
        asm!("/* {0} */", inout(zmm_reg) value, options(nomem, nostack, preserves_flags));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once() {
        for (tasks, n) in [(4, 1), (4, 2), (4, 5), (4, 8), (8, 3), (8, 4)] {
            for task in 0..tasks {
                let times = (0..n).filter(|t| is_after(task, tasks, *t, n)).count();
                assert_eq!(times, 1, "task {task} of {tasks}, {n} tokens");
            }
        }
    }

    #[test]
    fn the_numbers_below_the_limit_in_their_order() {
        let mut seen = Vec::new();
        unrolled!(I < 5 => { seen.push(I) });
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }
}
