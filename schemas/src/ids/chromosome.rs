//! Chromosomes, numbered as GWAS-SSF numbers them.

use std::fmt;
use std::str::FromStr;

use crate::error::invalid;
use crate::{Error, Result};

/// A human chromosome: 1–22, 23 = X, 24 = Y, 25 = MT (GWAS-SSF 1.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Chromosome(u8);

impl Chromosome {
    /// The GWAS-SSF number, 1–25.
    pub fn number(self) -> u8 {
        self.0
    }

    /// From the GWAS-SSF number.
    ///
    /// # Errors
    /// When the number is not 1–25.
    pub fn from_number(number: u8) -> Result<Self> {
        match number {
            1..=25 => Ok(Self(number)),
            _ => invalid("chromosome", "expected 1-22, X, Y, MT or 23-25"),
        }
    }
}

impl FromStr for Chromosome {
    type Err = Error;

    /// Accepts `7`, `07`, `chr7`, `X`, `chrX`, `XY`, `Y`, `M`, `MT`, `23`–`25`.
    fn from_str(text: &str) -> Result<Self> {
        let bytes = text.as_bytes();
        let name = if bytes.len() > 3 && bytes[..3].eq_ignore_ascii_case(b"chr") { &text[3..] } else { text };
        let number = match name {
            // The pseudoautosomal regions have X's coordinates.
            "X" | "x" | "XY" | "xy" | "PAR1" | "PAR2" => 23,
            "Y" | "y" => 24,
            "MT" | "M" | "mt" | "Mt" | "m" => 25,
            digits if !digits.is_empty() && digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().unwrap_or(0)
            }
            _ => 0,
        };
        Self::from_number(number)
    }
}

impl fmt::Display for Chromosome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_field() {
        for (text, number) in [
            ("1", 1),
            ("01", 1),
            ("chr22", 22),
            ("Chr1", 1),
            ("X", 23),
            ("chrX", 23),
            ("23", 23),
            ("XY", 23),
            ("MT", 25),
            ("chrM", 25),
        ] {
            assert_eq!(text.parse::<Chromosome>().unwrap().number(), number, "{text}");
        }
        for bad in ["", "0", "26", "300", "-1", "1.0001", "chr", "Z", "1 "] {
            assert!(bad.parse::<Chromosome>().is_err(), "{bad}");
        }
    }

    #[test]
    fn display_round_trips() {
        for number in 1..=25 {
            let chromosome = Chromosome::from_number(number).unwrap();
            assert_eq!(chromosome.to_string().parse::<Chromosome>().unwrap(), chromosome);
        }
    }
}
