//! Tensors as ranges of a file: inside it, and none over another.
//!
//! A tool that writes a tensor twice or miscounts an offset makes files whose every tensor can be
//! read, and whose numbers mean nothing. Gaps are fine: they are padding.

use std::ops::Range;

/// The byte range of one tensor, for [`check`].
#[derive(Clone, Debug)]
pub(super) struct Span<'a> {
    pub(super) name: &'a str,
    /// Bytes of the file (or of its data section, for all of them alike).
    pub(super) bytes: Range<u64>,
}

/// Check that every span ends within `len` bytes and none meets another.
///
/// # Errors
/// A sentence for `LoadError::Damaged` that names the tensors.
pub(super) fn check(mut spans: Vec<Span<'_>>, len: u64) -> Result<(), String> {
    let last = spans.iter().max_by_key(|span| span.bytes.end);
    if let Some(last) = last.filter(|last| last.bytes.end > len) {
        return Err(format!(
            "it is cut short: tensor `{}` ends at byte {}, the file has {len}. Download it anew",
            last.name, last.bytes.end
        ));
    }
    spans.sort_by_key(|span| span.bytes.start);
    // In this order whoever overlaps anybody overlaps the one that reaches farthest so far.
    let mut farthest: Option<&Span<'_>> = None;
    for span in &spans {
        if let Some(before) = farthest.filter(|before| before.bytes.end > span.bytes.start) {
            return Err(format!(
                "tensors `{}` (bytes {} to {}) and `{}` (bytes {} to {}) overlap: one of them is \
                 not what it says",
                before.name,
                before.bytes.start,
                before.bytes.end,
                span.name,
                span.bytes.start,
                span.bytes.end
            ));
        }
        if farthest.is_none_or(|before| before.bytes.end <= span.bytes.end) {
            farthest = Some(span);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(ranges: &[Range<u64>], len: u64) -> Result<(), String> {
        let names: Vec<String> = (0..ranges.len()).map(|i| format!("t{i}")).collect();
        let spans = names.iter().zip(ranges).map(|(name, bytes)| Span {
            name,
            bytes: bytes.clone(),
        });
        check(spans.collect(), len)
    }

    #[test]
    fn gaps_and_neighbours_are_fine_in_any_order() {
        checked(&[64..96, 0..32, 32..64, 100..101], 200).unwrap();
        checked(&[], 0).unwrap();
    }

    #[test]
    fn any_overlap_is_named() {
        for ranges in [
            [0..32, 31..40, 50..60],
            [0..100, 10..20, 30..40],
            [50..60, 0..100, 200..201],
            [8..16, 100..110, 8..16],
        ] {
            let error = checked(&ranges, 500).unwrap_err();
            assert!(error.contains("overlap") && error.contains("`t"), "{error}");
        }
    }

    /// Against the definition, for every way to lay three short tensors.
    #[test]
    fn all_layouts_of_three_are_judged_right() {
        let ranges: Vec<Range<u64>> = (0..5)
            .flat_map(|start| (start + 1..=5).map(move |end| start..end))
            .collect();
        for a in &ranges {
            for b in &ranges {
                for c in &ranges {
                    let meet = |x: &Range<u64>, y: &Range<u64>| x.start < y.end && y.start < x.end;
                    let expected = meet(a, b) || meet(b, c) || meet(a, c);
                    let found = checked(&[a.clone(), b.clone(), c.clone()], 5).is_err();
                    assert_eq!(found, expected, "{a:?} {b:?} {c:?}");
                }
            }
        }
    }

    #[test]
    fn past_the_end_is_named_with_both_sizes() {
        let error = checked(&[0..10, 20..31], 30).unwrap_err();
        for part in ["`t1`", "31", "30", "cut short"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
