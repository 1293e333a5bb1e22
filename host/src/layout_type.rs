//! The layouts of ternary matrices, as the command line names them: two of matrices with one scale,
//! two of those with a scale for each group.

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sterna_kernels::{GroupCodes, TernaryLayout};

/// A layout of ternary matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LayoutType {
    /// One scale (BitNet): 2 bits a weight, as bitnet.cpp's tools read it.
    #[value(name = "i2_s")]
    I2S,
    /// One scale: 1.67 bits a weight, exactly the same weights: a layout that only Sterna reads, a
    /// sixth smaller. Slower than i2_s wherever it was measured: for a model that else would not
    /// fit (kernels/docs/experiments.md).
    #[value(name = "trits5", alias = "t5")]
    Trits5,
    /// A scale for each group (Bonsai): 2 bits a weight.
    #[value(name = "two-bits")]
    TwoBits,
    /// A scale for each group: 1.625 bits a weight, exactly the same weights
    /// (kernels/docs/layouts.md).
    #[value(name = "trits8")]
    Trits8,
}

impl LayoutType {
    /// The layout of matrices with one scale that it is, if it is one.
    #[must_use]
    pub fn one_scale(self) -> Option<TernaryLayout> {
        match self {
            LayoutType::I2S => Some(TernaryLayout::I2S),
            LayoutType::Trits5 => Some(TernaryLayout::Trits5),
            LayoutType::TwoBits | LayoutType::Trits8 => None,
        }
    }

    /// The codes of matrices with a scale for each group that it is, if it is such.
    #[must_use]
    pub fn groups(self) -> Option<GroupCodes> {
        match self {
            LayoutType::I2S | LayoutType::Trits5 => None,
            LayoutType::TwoBits => Some(GroupCodes::Ternary),
            LayoutType::Trits8 => Some(GroupCodes::Trits8),
        }
    }
}

/// Reads the name of a layout of matrices with one scale.
pub fn one_scale_layout() -> impl TypedValueParser<Value = TernaryLayout> {
    let layouts = LayoutType::value_variants().iter();
    let named = layouts.filter(|layout| layout.one_scale().is_some());
    PossibleValuesParser::new(named.filter_map(LayoutType::to_possible_value)).try_map(|name| {
        let layout = LayoutType::from_str(&name, false)?;
        layout
            .one_scale()
            .ok_or_else(|| format!("{name} has a scale for each group"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_name_still_means_the_same() {
        for name in ["trits5", "t5"] {
            assert_eq!(LayoutType::from_str(name, false), Ok(LayoutType::Trits5));
        }
        let possible = LayoutType::Trits5.to_possible_value().unwrap();
        assert_eq!(possible.get_name(), "trits5");
    }
}
