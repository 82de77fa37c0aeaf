//! The arithmetic of the CPU backend: matrix products with packed weights, attention, activations, normalization.
//!
//! Every kernel is written once, over the vector operations of [`Simd`], and compiled for each instruction set that it
//! gains from; [`Isa::detect`] says which one this CPU has. All `unsafe` code of the crate's arithmetic is below this
//! module; what it offers takes slices and checks their lengths.
//!
//! Matrix products in 32-bit floats, bfloat16 and 8-bit integers share one loop: each reads *words* of 32 bits, which
//! hold one, two or four numbers along the inner dimension (see [`format`]).

#![allow(unsafe_code)]

mod amx;
mod attention;
mod avx2;
mod avx512;
mod dot;
mod format;
mod gemm;
mod math;
mod matrix;
mod operand;
mod peak;
mod portable;
mod product;
mod rows;
pub(crate) mod scan;
mod simd;
mod split;
pub(crate) mod training;

pub(crate) use attention::{Attention, AttentionScratch, RelativeBias};
pub(crate) use dot::{dot, dots};
pub use format::Precision;
pub(crate) use matrix::{Activation, PackedMatrix};
pub(crate) use operand::Operand;
pub(crate) use peak::{layer_peak_gops, peak_gops};
pub(crate) use product::{ProductRoom, TrainedMatrix};
pub(crate) use rows::{Norm, add_rows, layer_norm, mean_of_rows};

use std::fmt;

use simd::Simd;

/// An instruction set that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Whatever the compiler's target has.
    Portable,
    /// AVX2 and FMA; `vnni`: also AVX-VNNI.
    Avx2 { vnni: bool },
    /// AVX-512 F, BW, DQ and VL; `vnni`, `bf16`: also these extensions; `amx`: also AMX, with 8-bit integers and bfloat16.
    Avx512 { vnni: bool, bf16: bool, amx: bool },
    /// Arrays of sixteen, for tests of what AVX-512 does with tiles and tails.
    #[cfg(test)]
    Wide,
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Portable => f.write_str("portable"),
            Self::Avx2 { vnni } => f.write_str(if *vnni { "AVX2 with VNNI" } else { "AVX2" }),
            Self::Avx512 { amx: true, .. } => f.write_str("AVX-512 with AMX"),
            Self::Avx512 { vnni, bf16, .. } => f.write_str(match (vnni, bf16) {
                (true, true) => "AVX-512 with VNNI and BF16",
                (true, false) => "AVX-512 with VNNI",
                (false, true) => "AVX-512 with BF16",
                (false, false) => "AVX-512",
            }),
            #[cfg(test)]
            Self::Wide => f.write_str("wide"),
        }
    }
}

impl Isa {
    /// The best of this CPU.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl") && has!("fma") {
                return Self::Avx512 { vnni: has!("avx512vnni"), bf16: has!("avx512bf16"), amx: has_amx() };
            }
            if has!("avx2") && has!("fma") {
                return Self::Avx2 { vnni: has!("avxvnni") };
            }
        }
        Self::Portable
    }

    /// Whether products of bfloat16 are faster than those of 32-bit floats: by AMX, and by AVX512-BF16 on AMD's CPUs. On
    /// Intel's the latter does half as many a second as there are of floats (measured on Sapphire Rapids).
    pub(crate) fn gains_from_bf16(self) -> bool {
        match self {
            Self::Avx512 { amx: true, .. } => true,
            Self::Avx512 { bf16: true, .. } => !is_intel(),
            _ => false,
        }
    }

    /// Whether products are made by AMX's tiles.
    pub(crate) fn has_amx(self) -> bool {
        matches!(self, Self::Avx512 { amx: true, .. })
    }

    /// Every instruction set that this CPU can run, the best first: what tests go through.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        let best = Self::detect();
        let mut all = vec![best, Self::Wide];
        match best {
            Self::Avx512 { vnni, bf16, amx } => {
                if amx {
                    all.push(Self::Avx512 { vnni, bf16, amx: false });
                }
                let plain = Self::Avx512 { vnni: false, bf16: false, amx: false };
                all.extend([plain, Self::Avx2 { vnni: false }, Self::Portable]);
            }
            Self::Avx2 { vnni: true } => all.extend([Self::Avx2 { vnni: false }, Self::Portable]),
            Self::Avx2 { vnni: false } => all.push(Self::Portable),
            Self::Portable | Self::Wide => {}
        }
        #[cfg(target_arch = "x86_64")]
        if matches!(best, Self::Avx512 { .. }) && std::arch::is_x86_feature_detected!("avxvnni") {
            all.push(Self::Avx2 { vnni: true });
        }
        all
    }

    /// Floats of a vector.
    fn lanes(self) -> usize {
        match self {
            Self::Avx512 { .. } => 16,
            #[cfg(test)]
            Self::Wide => 16,
            _ => 8,
        }
    }

    /// Runs a kernel compiled for this instruction set.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Self::Portable => kernel.run(portable::Portable::<8>),
            #[cfg(test)]
            Self::Wide => kernel.run(portable::Portable::<16>),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` has found the features on this CPU.
            Self::Avx2 { .. } => unsafe { avx2::run(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx512 { .. } => unsafe { avx512::run(kernel) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => kernel.run(portable::Portable::<8>),
        }
    }
}

fn is_intel() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::x86_64::__cpuid(0).ebx == u32::from_le_bytes(*b"Genu");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(target_arch = "x86_64")]
fn has_amx() -> bool {
    #[cfg(target_os = "linux")]
    return amx::detect();
    #[cfg(not(target_os = "linux"))]
    false
}

/// A piece of arithmetic that can be compiled for any instruction set. `run` must be `#[inline(always)]`, and so must
/// everything that it calls with `simd`: only then does it get the instructions that the caller switched on.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;
    /// The arithmetic.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Memory for vectors: a slice of `f32` or words that begins at a cache line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

impl Aligned {
    /// So many words of 0.
    pub(crate) fn zeroed(len: usize) -> Self {
        Self { lines: vec![Line([0; 16]); len.div_ceil(16)], len }
    }

    /// Makes room for at least so many words; what was in it is of no use afterwards.
    pub(crate) fn reserve(&mut self, len: usize) {
        if len > self.len {
            *self = Self::zeroed(len);
        }
    }

    /// As words.
    pub(crate) fn words(&self) -> &[u32] {
        // SAFETY: a line is sixteen words, and `len` is at most their number.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    /// As words.
    pub(crate) fn words_mut(&mut self) -> &mut [u32] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }

    /// As floats.
    pub(crate) fn floats(&self) -> &[f32] {
        // SAFETY: as above; every bit pattern is a float.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    /// As floats.
    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above; every bit pattern is a float.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
