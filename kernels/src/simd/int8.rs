//! Products of int8 vectors.

/// See [`crate::simd::Simd::int8_dots`]: plain Rust, of which compilers make vectors for
/// any ISA.
#[inline(always)]
pub(crate) fn dots<const Q: usize>(queries: [&[i8]; Q], keys: [&[i8]; 4]) -> [[i32; 4]; Q] {
    let mut dots = [[0; 4]; Q];
    for (query, dots) in queries.iter().zip(&mut dots) {
        for (key, out) in keys.iter().zip(dots) {
            *out = dot(query, key);
        }
    }
    dots
}

/// The sum of a\[i\] * b\[i\], modulo 2^32: it is exact for up to 131071 numbers.
#[inline(always)]
fn dot(a: &[i8], b: &[i8]) -> i32 {
    let mut sum = 0i32;
    for (a, b) in a.iter().zip(b) {
        sum = sum.wrapping_add(i32::from(*a) * i32::from(*b));
    }
    sum
}
