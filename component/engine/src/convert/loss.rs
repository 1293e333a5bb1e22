//! What is lost where numbers or scales are stored in another type.

use super::ConvertError;
use crate::files::TableType;

/// A tensor that is not stored exactly as it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Lossy {
    /// Its name in the file.
    pub tensor: String,
    /// The type it had.
    pub from: String,
    /// The type it has.
    pub to: String,
    /// The root of the mean square of the weights' errors, as a share of the weights'.
    pub relative_error: f64,
    /// The largest error of a weight.
    pub largest_error: f32,
}

/// The loss of a tensor.
#[derive(Debug, Default)]
pub(super) struct Loss {
    values: usize,
    inexact: usize,
    /// Finite values that became infinite.
    overflown: usize,
    largest_error: f32,
    squares: f64,
    squares_of_errors: f64,
}

impl Loss {
    /// `n` weights of magnitude `from` have become `to`.
    pub(super) fn add(&mut self, from: f32, to: f32, n: usize) {
        #[allow(clippy::cast_precision_loss, reason = "a count of weights")]
        let count = n as f64;
        self.values += n;
        let square = f64::from(from) * f64::from(from);
        self.squares += square * count;
        if n == 0 || from == to {
            return;
        }
        self.inexact += n;
        if to.is_infinite() && from.is_finite() {
            self.overflown += n;
            return;
        }
        let error = from - to;
        self.squares_of_errors += f64::from(error) * f64::from(error) * count;
        self.largest_error = self.largest_error.max(error.abs());
    }

    /// The root of the mean square of the errors, as a share of the weights'.
    pub(super) fn relative(&self) -> f64 {
        if self.squares == 0.0 {
            return 0.0;
        }
        (self.squares_of_errors / self.squares).sqrt()
    }

    /// The tensor's entry in the report, if it lost anything.
    pub(super) fn report(&self, tensor: &str, from: &str, to: &str) -> Option<Lossy> {
        (self.inexact > 0).then(|| Lossy {
            tensor: tensor.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            relative_error: self.relative(),
            largest_error: self.largest_error,
        })
    }

    /// A note for the user. Rounding is expected of quantised types, and worth a note of floats.
    pub(super) fn note(
        &self,
        tensor: &str,
        from: &str,
        to: TableType,
    ) -> Result<Option<String>, ConvertError> {
        if self.overflown > 0 {
            return Err(ConvertError::Unsupported(format!(
                "tensor `{tensor}`: {} values are too large for {}; choose f32",
                self.overflown,
                to.name()
            )));
        }
        if self.inexact == 0 || to.is_quantised() {
            return Ok(None);
        }
        Ok(Some(format!(
            "tensor `{tensor}`: {} of {} {from} values were rounded to {}, by {:.1e} at most; f32 would hold them exactly",
            self.inexact,
            self.values,
            to.name(),
            self.largest_error
        )))
    }
}
