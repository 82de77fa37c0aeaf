//! Decimal numbers in text: read once into integers, so that no number is rounded before it has to be.

/// Powers of ten that an f64 holds exactly.
pub(crate) const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// `digits * 10^exponent`, negative or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Decimal {
    pub(crate) negative: bool,
    pub(crate) digits: u64,
    pub(crate) exponent: i64,
}

/// Reads `[+-]digits[.digits][e[+-]digits]`. Digits beyond the nineteenth are cut off.
#[inline]
pub(crate) fn read(text: &str) -> Option<Decimal> {
    let bytes = text.as_bytes();
    let (negative, mut at) = match bytes.first()? {
        b'-' => (true, 1),
        b'+' => (false, 1),
        _ => (false, 0),
    };
    let (mut digits, mut exponent) = (0u64, 0i64);
    let start = at;
    while let Some(digit) = digit(bytes, at) {
        if digits < FULL {
            digits = digits * 10 + digit;
        } else {
            exponent += 1;
        }
        at += 1;
    }
    let mut read = at - start;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        let start = at;
        while let Some(digit) = digit(bytes, at) {
            if digits < FULL {
                digits = digits * 10 + digit;
                exponent -= 1;
            }
            at += 1;
        }
        read += at - start;
    }
    if read == 0 {
        return None;
    }
    match bytes.get(at) {
        None => {}
        Some(b'e' | b'E') => exponent = exponent.saturating_add(power(&bytes[at + 1..])?),
        Some(_) => return None,
    }
    Some(Decimal { negative, digits, exponent })
}

/// More digits than these have no room.
const FULL: u64 = 1_000_000_000_000_000_000;

#[inline(always)]
fn digit(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at).map(|byte| u64::from(byte.wrapping_sub(b'0'))).filter(|digit| *digit < 10)
}

fn power(bytes: &[u8]) -> Option<i64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0i64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit >= 10 {
            return None;
        }
        value = value.saturating_mul(10).saturating_add(i64::from(digit));
    }
    Some(if negative { -value } else { value })
}

/// The f64 nearest to a decimal text; `None` where it is no decimal number or not finite.
///
/// Short numbers, which almost all are, take one exact multiplication or division (Clinger 1990); the rest goes through
/// the standard library.
#[inline]
pub fn parse_f64(text: &str) -> Option<f64> {
    let Decimal { negative, digits, exponent } = read(text)?;
    let value = if digits < 1 << 53 && (-22..=22).contains(&exponent) {
        let power = POWERS[exponent.unsigned_abs() as usize];
        let value = if exponent < 0 { digits as f64 / power } else { digits as f64 * power };
        if negative { -value } else { value }
    } else {
        text.parse().ok()?
    };
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_no_decimal_number() {
        for text in ["", "-", ".", "+.", "e5", "1e", "1e+", "1.2.3", "0x1", "inf", "NaN", "1_0", "1 ", "1e999", "1e5x"]
        {
            assert_eq!(parse_f64(text), None, "{text}");
        }
        assert_eq!(parse_f64("-.5"), Some(-0.5));
        assert_eq!(parse_f64("5."), Some(5.0));
    }

    proptest! {
        #[test]
        fn is_the_standard_library_s_number(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            for text in [format!("{value}"), format!("{value:e}"), format!("{value:.3}")] {
                prop_assert_eq!(parse_f64(&text).map(f64::to_bits), text.parse::<f64>().ok().map(f64::to_bits));
            }
        }

        #[test]
        fn short_numbers_too(text in "[+-]?[0-9]{0,21}(\\.[0-9]{0,6})?([eE][+-]?[0-9]{1,3})?") {
            let expected = text.parse::<f64>().ok().filter(|v| v.is_finite());
            prop_assert_eq!(parse_f64(&text).map(f64::to_bits), expected.map(f64::to_bits), "{}", text);
        }
    }
}
