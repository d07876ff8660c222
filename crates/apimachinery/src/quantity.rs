//! Quantities: amounts with a suffix (`100m`, `1Gi`), in their canonical form.
//!
//! The rules are those of `k8s.io/apimachinery/pkg/api/resource`: the number
//! is kept exactly down to a billionth (below, it is rounded up), and written
//! with the largest suffix that leaves a whole number.

/// What Kubernetes says of a text that is no quantity.
pub const NO_QUANTITY: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Billionths in one.
const NANO: i128 = 1_000_000_000;

/// How an amount is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `Ki`, `Mi`, …
    Binary,
    /// `m`, `k`, `M`, …
    Decimal,
    /// `e3`, `e6`, …
    Exponent,
}

/// An amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    nanos: i128,
    form: Form,
}

impl Quantity {
    /// Reads a quantity; `None` for texts that are none.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let (base, power, form) = scale(suffix)?;
        let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
        let scaled = digits.checked_mul(NANO)?;
        // Everything that multiplies first, then what divides, rounding up.
        let up = base.checked_pow(power.max(0).unsigned_abs())?;
        let scaled = scaled.checked_mul(up)?;
        let places = u32::try_from(fraction.len()).ok()?;
        let divisor =
            10_i128.checked_pow(places)?.checked_mul(base.checked_pow(power.min(0).unsigned_abs())?)?;
        let nanos = scaled / divisor + i128::from(scaled % divisor != 0);
        Some(Self { nanos: if negative { -nanos } else { nanos }, form })
    }

    /// The amount in billionths.
    pub fn nanos(self) -> i128 {
        self.nanos
    }

    /// Whether the amount is less than nothing.
    pub fn is_negative(self) -> bool {
        self.nanos < 0
    }

    /// Whether there are no parts of one.
    pub fn is_whole(self) -> bool {
        self.nanos % NANO == 0
    }
}

/// Base and power of a suffix.
fn scale(suffix: &str) -> Option<(i128, i32, Form)> {
    let found = match suffix {
        "n" => (10, -9, Form::Decimal),
        "u" => (10, -6, Form::Decimal),
        "m" => (10, -3, Form::Decimal),
        "" => (10, 0, Form::Decimal),
        "k" => (10, 3, Form::Decimal),
        "M" => (10, 6, Form::Decimal),
        "G" => (10, 9, Form::Decimal),
        "T" => (10, 12, Form::Decimal),
        "P" => (10, 15, Form::Decimal),
        "E" => (10, 18, Form::Decimal),
        "Ki" => (1024, 1, Form::Binary),
        "Mi" => (1024, 2, Form::Binary),
        "Gi" => (1024, 3, Form::Binary),
        "Ti" => (1024, 4, Form::Binary),
        "Pi" => (1024, 5, Form::Binary),
        "Ei" => (1024, 6, Form::Binary),
        other => {
            let power: i32 = other.strip_prefix(['e', 'E'])?.parse().ok()?;
            (10, (-18..=18).contains(&power).then_some(power)?, Form::Exponent)
        }
    };
    Some(found)
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let binary = self.form == Form::Binary && self.is_whole() && self.nanos.abs() >= 1024 * NANO;
        if binary {
            let (mut value, mut power) = (self.nanos / NANO, 0);
            while power < 6 && value % 1024 == 0 {
                value /= 1024;
                power += 1;
            }
            return write!(f, "{value}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][power]);
        }
        let (mut value, mut power) = (self.nanos, 0);
        while value != 0 && power < 9 && value % 1000 == 0 {
            value /= 1000;
            power += 1;
        }
        match (value, self.form, power) {
            (0, ..) => f.write_str("0"),
            (_, Form::Exponent, 3) => write!(f, "{value}"),
            (_, Form::Exponent, _) => write!(f, "{value}e{}", (i64::try_from(power).unwrap_or(0) - 3) * 3),
            (_, Form::Decimal | Form::Binary, _) => {
                write!(f, "{value}{}", ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][power])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_written_in_one_way() {
        for (text, expected) in [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1.5Gi", "1536Mi"),
            ("512Ki", "512Ki"),
            ("0.5Ki", "512"),
            ("1000", "1k"),
            ("100M", "100M"),
            ("1e3", "1e3"),
            ("1E6", "1e6"),
            ("12e0", "12"),
            ("-0.1", "-100m"),
            ("+1", "1"),
            ("0", "0"),
            ("0Gi", "0"),
            ("1.", "1"),
            (".5", "500m"),
            ("0.0000000001", "1n"),
            ("2E", "2E"),
        ] {
            assert_eq!(Quantity::parse(text).map(|q| q.to_string()).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "-", "1x", "1.2.3", ".", "Gi", "1 Gi", "1e"] {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
    }
}
