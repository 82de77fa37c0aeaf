//! P values as −log10, read exactly from decimal text.
//!
//! `1e-400` is below the smallest f64 and `3E-971` occurs in the GWAS Catalog, so the mantissa and the exponent are
//! read apart and only the logarithm is ever a float.

use crate::Result;
use crate::decimal::{self, Decimal, POWERS};
use crate::error::invalid;

const KIND: &str = "p value";

/// Reads a decimal p value and returns −log10(p), in [0, ∞).
///
/// Accepts what a float parser accepts, without `inf` and `nan`: `0.05`, `.04`, `5e-8`, `3E-971`, `1`.
///
/// # Errors
/// When the text is not a decimal number, or the number is outside (0, 1].
pub fn neg_log10(text: &str) -> Result<f64> {
    let Some(Decimal { negative, digits, exponent }) = decimal::read(text) else { return Err(not_a_number()) };
    if digits == 0 {
        return invalid(KIND, "zero; the tool that wrote it underflowed, give neg_log_10_p_value instead");
    }
    if negative {
        return invalid(KIND, "negative");
    }
    // Leading digit before the point, so that what is added to the exponent is in [0, 1).
    let power = i64::from(digits.ilog10());
    let exponent = exponent.saturating_add(power);
    let mantissa = digits as f64 / POWERS[power as usize];
    if exponent > 0 || (exponent == 0 && digits != 10u64.pow(power as u32)) {
        return invalid(KIND, "greater than 1");
    }
    Ok((-(exponent as f64) - mantissa.log10()).max(0.0))
}

fn not_a_number() -> crate::Error {
    crate::Error::Invalid { kind: KIND, problem: "not a decimal number" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_what_f64_cannot() {
        for (text, expected) in [
            ("1e-400", 400.0),
            ("3E-971", 970.522_878_745_280_3),
            ("5e-8", 7.301_029_995_663_981),
            (".04", 1.397_940_008_672_037_6),
            ("0.05", 1.301_029_995_663_981_2),
            ("0.0000500E+2", 2.301_029_995_663_981),
            ("500e-10", 7.301_029_995_663_981),
            ("1", 0.0),
            ("1.000", 0.0),
            ("+0.1", 1.0),
        ] {
            let got = neg_log10(text).unwrap();
            assert!((got - expected).abs() < 1e-12, "{text}: {got} != {expected}");
        }
    }

    #[test]
    fn refuses_what_is_not_a_probability() {
        for text in [
            "2", "1.0001", "5E12", "0", "0e-5", "-0.1", "", ".", "NS", "1e", "1e-", "e5", "1.2.3", "inf", "NaN", "0x1",
            "1 e5",
        ] {
            assert!(neg_log10(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_f64_where_f64_can(mantissa in 1.0f64..10.0, exponent in -300i32..-1) {
            let text = format!("{mantissa}e{exponent}");
            let p: f64 = text.parse().unwrap();
            prop_assert!((neg_log10(&text).unwrap() + p.log10()).abs() < 1e-9);
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = neg_log10(&text);
        }
    }
}
