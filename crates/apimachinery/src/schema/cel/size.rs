//! Ranges of sizes and costs, for estimates.

/// The cost of reading one byte of a text.
pub(super) const BYTE: f64 = 0.1;
/// The cost of one byte of a pattern, for each byte of the text.
pub(super) const PATTERN_BYTE: f64 = 0.25;

/// From the least to the most; sums and products stop at the largest number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Range {
    pub(super) const ZERO: Self = Self::new(0, 0);
    pub(super) const ONE: Self = Self::new(1, 1);
    pub(super) const UNKNOWN: Self = Self::new(0, u64::MAX);

    pub(super) const fn new(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    pub(super) const fn fixed(value: u64) -> Self {
        Self::new(value, value)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self::new(self.min.saturating_add(other.min), self.max.saturating_add(other.max))
    }

    pub(super) fn times(self, other: Self) -> Self {
        Self::new(self.min.saturating_mul(other.min), self.max.saturating_mul(other.max))
    }

    /// Multiplied by a factor, rounded up.
    pub(super) fn scaled(self, factor: f64) -> Self {
        Self::new(scaled(self.min, factor), scaled(self.max, factor))
    }

    /// What holds both ranges.
    pub(super) fn or(self, other: Self) -> Self {
        Self::new(self.min.min(other.min), self.max.max(other.max))
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts to integers saturate")]
fn scaled(value: u64, factor: f64) -> u64 {
    (value as f64 * factor).ceil() as u64
}

/// `left / right`, rounded up; the most when there is nothing to divide by.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts to integers saturate")]
pub(super) fn quotient(left: u64, right: u64) -> u64 {
    (left as f64 / right as f64).ceil() as u64
}
