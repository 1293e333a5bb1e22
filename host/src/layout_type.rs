//! The layouts of the layers' ternary matrices, as the command line names them.

use clap::ValueEnum;
use sterna_kernels::TernaryLayout;

/// A layout of ternary matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LayoutType {
    /// 2 bits a weight, as bitnet.cpp's tools read it.
    #[value(name = "i2_s")]
    I2S,
    /// 1.67 bits a weight, exactly the same weights: a layout that only Sterna reads, a sixth
    /// smaller. Slower than i2_s wherever it was measured: for a model that else would not fit
    /// (kernels/docs/experiments.md).
    #[value(name = "trits5", alias = "t5")]
    Trits5,
}

impl From<LayoutType> for TernaryLayout {
    fn from(layout: LayoutType) -> Self {
        match layout {
            LayoutType::I2S => TernaryLayout::I2S,
            LayoutType::Trits5 => TernaryLayout::Trits5,
        }
    }
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
