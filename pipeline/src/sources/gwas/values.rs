//! Values of the genetics formats: numbers, places, alleles, p values.

use std::borrow::Cow;

use generel_schemas::ids::{Chromosome, Rsid, normalize_allele};
use generel_schemas::{RejectReason, parse_f64, pvalue};

use super::super::text::delimited::{Kept, Refused};

/// Chromosome 1 has 249 million bases; anything far beyond is no position on a human chromosome.
const MAX_POSITION: i64 = 400_000_000;
/// Floats beyond it have no integer precision left.
const MAX_COUNT: f64 = 9_007_199_254_740_992.0;

/// Why a value cannot be taken, and what was expected; never the value.
pub(super) type Refusal = (RejectReason, &'static str);
/// A value, or why there is none.
pub(super) type Parsed<T> = std::result::Result<T, Refusal>;

/// The refusal as that of a row's column.
pub(super) fn at<T>(column: usize, parsed: Parsed<T>) -> Kept<T> {
    parsed.map_err(|(reason, message)| Refused::column(column, reason, message))
}

/// A finite number: `.04`, `+1.5`, `1e-5`.
#[inline]
pub(super) fn number(text: &str) -> Parsed<f64> {
    parse_f64(text).ok_or((RejectReason::InvalidNumber, "expected a finite number"))
}

/// A number that cannot be below zero: a ratio, a standard error.
#[inline]
pub(super) fn not_negative(text: &str) -> Parsed<f64> {
    match number(text)? {
        value if value >= 0.0 => Ok(value),
        _ => Err((RejectReason::InvalidNumber, "expected a number of at least 0")),
    }
}

/// A ratio of odds or hazards: above zero.
#[inline]
pub(super) fn ratio(text: &str) -> Parsed<f64> {
    match number(text)? {
        value if value > 0.0 => Ok(value),
        _ => Err((RejectReason::InvalidNumber, "expected a ratio above 0")),
    }
}

/// A frequency, 0–1.
#[inline]
pub(super) fn frequency(text: &str) -> Parsed<f64> {
    match number(text)? {
        value if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err((RejectReason::InvalidNumber, "expected a frequency from 0 to 1")),
    }
}

/// A sample size; meta-analyses also write effective sizes such as `50508.1`, which are rounded.
#[inline]
pub(super) fn sample_size(text: &str) -> Parsed<i64> {
    match integer(text) {
        Some(count) if count >= 0 => Ok(count),
        Some(_) => Err((RejectReason::InvalidNumber, "expected a sample size")),
        None => match number(text) {
            Ok(value) if (0.0..=MAX_COUNT).contains(&value) => Ok(value.round() as i64),
            _ => Err((RejectReason::InvalidNumber, "expected a sample size")),
        },
    }
}

/// A 1-based position; tools that keep every column as float write `12345.0` or `1.5e+07`.
#[inline]
pub(super) fn position(text: &str) -> Parsed<i64> {
    let value = integer(text).or_else(|| match number(text) {
        Ok(value) if value.fract() == 0.0 && value.abs() <= MAX_COUNT => Some(value as i64),
        _ => None,
    });
    match value {
        Some(value) if (1..=MAX_POSITION).contains(&value) => Ok(value),
        _ => Err((RejectReason::InvalidPosition, "expected a position from 1 to 400000000")),
    }
}

/// Digits only, which almost every integer is.
#[inline]
fn integer(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.is_empty() || bytes.len() > 18 {
        return text.parse().ok();
    }
    let mut value = 0i64;
    for byte in bytes {
        let digit = byte.wrapping_sub(b'0');
        if digit >= 10 {
            return text.parse().ok();
        }
        value = value * 10 + i64::from(digit);
    }
    Some(value)
}

/// A chromosome as GWAS-SSF numbers it.
#[inline]
pub(super) fn chromosome(text: &str) -> Parsed<i32> {
    match text.parse::<Chromosome>() {
        Ok(chromosome) => Ok(i32::from(chromosome.number())),
        Err(_) => Err((RejectReason::InvalidChromosome, "expected 1-22, X, Y, XY, MT or 23-25")),
    }
}

/// A chromosome as PLINK numbers it: 25 is the pseudoautosomal part of X, 26 the mitochondria.
#[inline]
pub(super) fn plink_chromosome(text: &str) -> Parsed<i32> {
    match text {
        "25" => Ok(23),
        "26" => Ok(25),
        text => chromosome(text),
    }
}

/// An allele in upper case. `D` and `I`, PLINK's and Haploview's words for indels, are symbolic alleles.
#[inline]
pub(super) fn allele(text: &str) -> Parsed<Cow<'_, str>> {
    match text {
        "A" | "C" | "G" | "T" => Ok(Cow::Borrowed(text)),
        "D" | "d" => Ok(Cow::Borrowed("<DEL>")),
        "I" | "i" => Ok(Cow::Borrowed("<INS>")),
        text => normalize_allele(text)
            .map_err(|_| (RejectReason::InvalidAllele, "expected letters of ACGTN or a symbolic allele like <DEL>")),
    }
}

/// An allele in PLINK's numeric coding: 1, 2, 3, 4 for A, C, G, T.
pub(super) fn numeric_allele(text: &str) -> Parsed<Cow<'_, str>> {
    match text {
        "1" => Ok(Cow::Borrowed("A")),
        "2" => Ok(Cow::Borrowed("C")),
        "3" => Ok(Cow::Borrowed("G")),
        "4" => Ok(Cow::Borrowed("T")),
        text => allele(text),
    }
}

/// The allele on the other strand, base by base in reverse; symbolic alleles have no strand.
pub(super) fn complement(allele: &str) -> String {
    if allele.starts_with('<') || matches!(allele, "*" | "-") {
        return allele.to_string();
    }
    let other = |base| match base {
        'A' => 'T',
        'C' => 'G',
        'G' => 'C',
        'T' => 'A',
        base => base,
    };
    allele.chars().rev().map(other).collect()
}

/// A p value as −log10, read from its decimal text.
#[inline]
pub(super) fn p_value(text: &str) -> Parsed<f64> {
    pvalue::neg_log10(text).map_err(|error| match error {
        generel_schemas::Error::Invalid { problem, .. } if problem != "not a decimal number" => {
            (RejectReason::PValueOutOfRange, problem)
        }
        _ => (RejectReason::InvalidNumber, "expected a p value as a decimal number"),
    })
}

/// A stated −log10 of a p value.
#[inline]
pub(super) fn neg_log10(text: &str) -> Parsed<f64> {
    match number(text) {
        Ok(value) if value >= 0.0 => Ok(value),
        Ok(_) => Err((RejectReason::PValueOutOfRange, "negative: a p value above 1")),
        Err(refusal) => Err(refusal),
    }
}

/// A stated ln of a p value, which some tools write for small ones.
pub(super) fn from_ln_p(text: &str) -> Parsed<f64> {
    match number(text) {
        Ok(value) if value <= 0.0 => Ok(-value / std::f64::consts::LN_10 + 0.0),
        Ok(_) => Err((RejectReason::PValueOutOfRange, "above 0: a p value above 1")),
        Err(refusal) => Err(refusal),
    }
}

/// −log10 of the two-sided p value of a z statistic; exact where p is below 1e-308, by the continued fraction of
/// Mills' ratio (Abramowitz & Stegun 26.2.14).
pub(super) fn from_z(z: f64) -> f64 {
    let z = z.abs();
    if z < 3.0 {
        // Plus zero: no effect at all is 0, not -0.
        return -(2.0 * upper_tail_series(z)).log10() + 0.0;
    }
    // Q(z) = φ(z) / (z + 1/(z + 2/(z + 3/(z + …))))
    let fraction = (1..=200).rev().fold(z, |inner, k| z + f64::from(k) / inner);
    let ln_density = -0.5 * z * z - 0.5 * (2.0 * std::f64::consts::PI).ln();
    -(std::f64::consts::LN_2 + ln_density - fraction.ln()) / std::f64::consts::LN_10
}

/// Q(z) for small z: 1/2 − φ(z) (z + z³/3 + z⁵/15 + …) (Abramowitz & Stegun 26.2.11).
fn upper_tail_series(z: f64) -> f64 {
    let (mut term, mut sum, mut k) = (z, z, 1.0);
    while term > sum * 1e-17 && k < 400.0 {
        k += 2.0;
        term *= z * z / k;
        sum += term;
    }
    0.5 - sum * (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt()
}

/// An rsID in its one spelling, without a copy where the text already has it.
#[inline]
pub(super) fn rsid(text: &str) -> Option<Cow<'_, str>> {
    if Rsid::is_canonical(text) {
        return Some(Cow::Borrowed(text));
    }
    text.parse::<Rsid>().ok().map(|id| Cow::Owned(id.to_string()))
}

/// Chromosome, position, and the alleles where they are named: reference first.
type VariantParts<'a> = (i32, i64, Option<(&'a str, &'a str)>);

/// `1:12345:A:G`, `chr1_12345_A_G_b38`, `X-12345-A-AT`: chromosome, position, reference and other allele.
pub(super) fn variant_parts(text: &str) -> Option<VariantParts<'_>> {
    let mut parts = text.split([':', '_', '-', '/']);
    let place = (chromosome(parts.next()?).ok()?, position(parts.next()?).ok()?);
    let alleles = match (parts.next(), parts.next()) {
        (Some(a), Some(b)) if allele(a).is_ok() && allele(b).is_ok() => Some((a, b)),
        _ => None,
    };
    Some((place.0, place.1, alleles))
}

/// `chr1_13550_G_A_b38`, as GTEx writes variants.
pub(super) fn build_suffix(variant: &str) -> Option<&'static str> {
    match variant.rsplit('_').next()? {
        "b37" => Some("GRCh37"),
        "b38" => Some("GRCh38"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reason<T>(parsed: Parsed<T>) -> Option<RejectReason> {
        parsed.err().map(|(reason, _)| reason)
    }

    #[test]
    fn numbers_as_tools_write_them() {
        for (text, expected) in [(".04", 0.04), ("+1.5", 1.5), ("1e-5", 1e-5), ("-3", -3.0)] {
            assert_eq!(number(text), Ok(expected), "{text}");
        }
        for bad in ["nan", "NaN", "inf", "-Inf", "Infinity", "1e999", "", "1,5", "x"] {
            assert_eq!(reason(number(bad)), Some(RejectReason::InvalidNumber), "{bad}");
        }
        assert_eq!(not_negative("0"), Ok(0.0));
        assert_eq!(reason(not_negative("-0.1")), Some(RejectReason::InvalidNumber));
        assert_eq!(reason(ratio("0")), Some(RejectReason::InvalidNumber));
        assert_eq!(frequency("1"), Ok(1.0));
        assert_eq!(reason(frequency("1.01")), Some(RejectReason::InvalidNumber));
        assert_eq!(sample_size("50508.6"), Ok(50_509));
        assert_eq!(sample_size("1e5"), Ok(100_000));
        for bad in ["-1", "-1.5", "many", "1e30"] {
            assert_eq!(reason(sample_size(bad)), Some(RejectReason::InvalidNumber), "{bad}");
        }
    }

    #[test]
    fn places_and_alleles() {
        assert_eq!(position("12345.0"), Ok(12_345));
        assert_eq!(position("400000000"), Ok(400_000_000));
        for bad in ["0", "-5", "400000001", "1.5", "123,456", "abc", "1e300", "99999999999999999999"] {
            assert_eq!(reason(position(bad)), Some(RejectReason::InvalidPosition), "{bad}");
        }
        assert_eq!((chromosome("01"), chromosome("chrX"), chromosome("XY")), (Ok(1), Ok(23), Ok(23)));
        assert_eq!((chromosome("25"), plink_chromosome("25"), plink_chromosome("26")), (Ok(25), Ok(23), Ok(25)));
        assert_eq!(reason(chromosome("6;6")), Some(RejectReason::InvalidChromosome));
        assert_eq!(allele("ac").as_deref(), Ok("AC"));
        assert_eq!((allele("D").as_deref(), numeric_allele("4").as_deref()), (Ok("<DEL>"), Ok("T")));
        assert_eq!(reason(allele("E4")), Some(RejectReason::InvalidAllele));
        assert_eq!((complement("ACT").as_str(), complement("<DEL>").as_str()), ("AGT", "<DEL>"));
        assert_eq!(variant_parts("chr1_13550_G_A_b38"), Some((1, 13_550, Some(("G", "A")))));
        assert_eq!(variant_parts("X:5"), Some((23, 5, None)));
        assert_eq!(variant_parts("rs5"), None);
    }

    #[test]
    fn p_values_tell_no_number_from_out_of_range() {
        assert_eq!(p_value("1e-400"), Ok(400.0));
        for bad in ["2", "0", "-0.1", "5E12"] {
            assert_eq!(reason(p_value(bad)), Some(RejectReason::PValueOutOfRange), "{bad}");
        }
        assert_eq!(reason(p_value("low")), Some(RejectReason::InvalidNumber));
        assert_eq!(reason(neg_log10("-1")), Some(RejectReason::PValueOutOfRange));
        assert_eq!(from_ln_p("-2.302585092994046"), Ok(1.0));
    }

    /// Reference: 50-digit arithmetic (mpmath), `-log10(erfc(z/sqrt(2)))`.
    #[test]
    fn z_statistics_become_p_values_without_underflow() {
        for (z, expected) in [
            (0.0, 0.0),
            (1.0, 0.498_515_545_827_989_3),
            (1.959_963_984_540_054, 1.301_029_995_663_981),
            (2.99, 2.554_430_904_241_053),
            (-3.0, 2.568_669_040_265_388),
            (-5.45, 7.297_829_600_181_437),
            (40.0, 349.135_976_463_681_7),
        ] {
            let found = from_z(z);
            assert!((found - expected).abs() < 1e-11, "{z}: {found} {expected}");
        }
    }

    #[test]
    fn rsids_keep_their_one_spelling() {
        assert_eq!(rsid("RS7").as_deref(), Some("rs7"));
        assert_eq!(rsid("rs007").as_deref(), Some("rs7"));
        assert_eq!(rsid("7:1:A:G"), None);
    }

    proptest! {
        #[test]
        fn texts_never_panic(text in "\\PC{0,30}") {
            let _ = (number(&text), position(&text), sample_size(&text), chromosome(&text), allele(&text));
            let _ = (p_value(&text), rsid(&text), variant_parts(&text), from_ln_p(&text));
        }
    }
}
