//! dbSNP reference SNP identifiers.

use std::fmt;
use std::str::FromStr;

use crate::error::invalid;
use crate::{Error, Result};

/// A dbSNP rsID such as `rs429358`. Merged ids are left as they are: only the syntax is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rsid(u64);

impl Rsid {
    /// The number after `rs`.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl Rsid {
    /// Whether a text is an rsID in its one spelling: `rs`, then a number without leading zeros.
    #[inline]
    pub fn is_canonical(text: &str) -> bool {
        match text.as_bytes() {
            [b'r', b's', b'1'..=b'9', rest @ ..] => rest.len() < 19 && rest.iter().all(u8::is_ascii_digit),
            _ => false,
        }
    }
}

impl FromStr for Rsid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = match text.as_bytes() {
            [b'r' | b'R', b's' | b'S', ..] => &text[2..],
            _ => return invalid("rsID", "it must begin with rs"),
        };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return invalid("rsID", "rs must be followed by digits only");
        }
        match digits.parse() {
            Ok(0) | Err(_) => invalid("rsID", "the number is out of range"),
            Ok(number) => Ok(Self(number)),
        }
    }
}

impl fmt::Display for Rsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rs{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_catalogs_really_contain() {
        for bad in ["s11144790", "chr22:40779964", "SNP_A-2171106", "APOE-E4", "NR", "rs", "rs12a", "rs0", "rs-1", ""] {
            assert!(bad.parse::<Rsid>().is_err(), "{bad}");
        }
        assert_eq!("RS7412".parse::<Rsid>().unwrap().to_string(), "rs7412");
    }

    proptest! {
        #[test]
        fn round_trips(n in 1u64..u64::MAX) {
            prop_assert_eq!(Rsid::is_canonical(&format!("rs{n}")), n < 10_u64.pow(19));
            let others = [format!("rs0{n}"), format!("rs{n}a")];
            prop_assert!(!others.iter().any(|text| Rsid::is_canonical(text)));
            prop_assert_eq!(format!("rs{n}").parse::<Rsid>().unwrap().number(), n);
        }
    }
}
