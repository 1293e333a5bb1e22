//! int16 values by their two bytes, for loops that multiply bytes.

use crate::aligned::Aligned;

/// value = 256 * high + low
pub(crate) fn split(values: &[i16], high: &mut Aligned<i8>, low: &mut Aligned<i8>) {
    high.reset(values.len());
    low.reset(values.len());
    for ((low, high), v) in low.iter_mut().zip(high.iter_mut()).zip(values) {
        *low = *v as i8;
        *high = ((v - i16::from(*low)) >> 8) as i8;
    }
}
