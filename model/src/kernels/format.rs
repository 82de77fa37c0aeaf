//! What a word of 32 bits holds in a matrix product, and how two vectors of words meet.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::simd::Simd;

/// The numbers that the encoder's matrix products are made of. Part of a model's identity: vectors of two precisions
/// are close, not equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// Weights and activations rounded to bfloat16, sums in 32-bit floats.
    Bf16,
    /// Weights in 8-bit integers with a scale for each output; activations in 7 bits with a scale and zero for each token,
    /// but for the few that stand out, which are multiplied as floats; sums in 32-bit integers.
    Int8,
}

impl Precision {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Int8];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|p| p.name() == text);
        found.ok_or_else(|| format!("'{text}' is no precision; known: auto, f32, bf16, int8"))
    }
}

/// How words meet: `step` adds the products of their numbers to an accumulator.
pub(super) trait Format<S: Simd> {
    /// An accumulator for each lane.
    type Acc: Copy;
    /// Numbers of a word.
    const NUMBERS: usize;
    /// All 0.
    fn zero(s: S) -> Self::Acc;
    /// `acc + a · b`, lane by lane.
    fn step(s: S, acc: Self::Acc, a: S::I, b: S::I) -> Self::Acc;
    /// The sums as floats.
    fn floats(s: S, acc: Self::Acc) -> S::F;
}

/// One 32-bit float.
pub(super) struct Float;

impl<S: Simd> Format<S> for Float {
    type Acc = S::F;
    const NUMBERS: usize = 1;

    #[inline(always)]
    fn zero(s: S) -> S::F {
        s.splat(0.0)
    }
    #[inline(always)]
    fn step(s: S, acc: S::F, a: S::I, b: S::I) -> S::F {
        s.fma(s.as_floats(a), s.as_floats(b), acc)
    }
    #[inline(always)]
    fn floats(_: S, acc: S::F) -> S::F {
        acc
    }
}
