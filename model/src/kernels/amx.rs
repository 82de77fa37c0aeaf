//! AMX: matrix products of whole tiles of 16 rows of 64 bytes, for CPUs that have it beside AVX-512.
//!
//! Operands and weights are in the layout of the other kernels: a tile of words of activations, and one of a panel of
//! weights, are what the instructions take. The compiler has no stable functions for them, so they are written out.
//!
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.

#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

/// Rows of a tile, and words of a tile's row.
pub(super) const SIDE: usize = super::matrix::TILE_WORDS;
/// Rows and columns of the block that a step makes: two tiles each.
pub(super) const BLOCK: usize = super::matrix::TILE_ROWS;

/// Whether this CPU has AMX with both kinds of numbers, as all with AMX have had so far, and this process may use it. Asks
/// the operating system for the tiles: they are 8 KiB of state a thread, which it only keeps for those who ask.
pub(super) fn detect() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| {
        const TILE_DATA: libc::c_long = 18;
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        /// Bits of XCR0: tile configuration and tile data.
        const TILES: u64 = 0b11 << 17;
        if !std::arch::is_x86_feature_detected!("xsave") || __cpuid(0).eax < 7 {
            return false;
        }
        let features = __cpuid_count(7, 0).edx;
        let has = |bit: u32| features >> bit & 1 == 1;
        // Tiles, bfloat16, 8-bit integers.
        // SAFETY: the CPU has XSAVE, and the operating system uses it.
        if ![24, 22, 25].into_iter().all(has) || unsafe { xcr0() } & TILES != TILES {
            return false;
        }
        // SAFETY: a system call with numbers for arguments.
        unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
    })
}

/// # Safety
/// The CPU has XSAVE and the operating system has switched it on.
#[target_feature(enable = "xsave")]
unsafe fn xcr0() -> u64 {
    // SAFETY: the caller's.
    unsafe { _xgetbv(0) }
}

/// All eight tiles configured to 16 rows of 64 bytes, on this thread, until dropped.
pub(super) struct Tiles(());

impl Tiles {
    /// # Safety
    /// [`detect`] has found AMX.
    pub(super) unsafe fn configure() -> Self {
        #[repr(C, align(64))]
        struct Configuration {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            row_bytes: [u16; 16],
            rows: [u8; 16],
        }
        let mut configuration =
            Configuration { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        configuration.row_bytes[..8].fill(64);
        configuration.rows[..8].fill(SIDE as u8);
        // SAFETY: 64 bytes in the form that the instruction reads.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly)) };
        Self(())
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: configured before. Tiles in use would be saved at every switch of threads.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Words of activations and of a panel, and where their products go.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// `[rows, depth]`, 16 rows or 32.
    pub(super) a: *const u32,
    /// `[depth, 32]`.
    pub(super) b: *const u32,
    /// Words, a multiple of 16.
    pub(super) depth: usize,
    /// `[rows, 32]`: floats or 32-bit integers.
    pub(super) out: *mut f32,
}

macro_rules! multiply {
    ($step:expr, $instruction:literal, 32) => {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{a} + {row}]",
            "tileloadd tmm6, [{b} + {panel}]",
            "tileloadd tmm7, [{b} + {panel} + 64]",
            concat!($instruction, " tmm0, tmm4, tmm6"),
            "tileloadd tmm5, [{below} + {row}]",
            concat!($instruction, " tmm1, tmm4, tmm7"),
            concat!($instruction, " tmm2, tmm5, tmm6"),
            concat!($instruction, " tmm3, tmm5, tmm7"),
            "add {a}, 64",
            "add {below}, 64",
            "add {b}, 2048",
            "dec {left}",
            "jnz 2b",
            "tilestored [{out} + {panel}], tmm0",
            "tilestored [{out} + {panel} + 64], tmm1",
            "add {out}, 2048",
            "tilestored [{out} + {panel}], tmm2",
            "tilestored [{out} + {panel} + 64], tmm3",
            a = inout(reg) $step.a => _,
            below = inout(reg) $step.a.wrapping_add(SIDE * $step.depth) => _,
            b = inout(reg) $step.b => _,
            row = in(reg) 4 * $step.depth,
            panel = in(reg) 4 * BLOCK,
            left = inout(reg) $step.depth / SIDE => _,
            out = inout(reg) $step.out => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        )
    };
    ($step:expr, $instruction:literal, 16) => {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "2:",
            "tileloadd tmm4, [{a} + {row}]",
            "tileloadd tmm6, [{b} + {panel}]",
            "tileloadd tmm7, [{b} + {panel} + 64]",
            concat!($instruction, " tmm0, tmm4, tmm6"),
            concat!($instruction, " tmm1, tmm4, tmm7"),
            "add {a}, 64",
            "add {b}, 2048",
            "dec {left}",
            "jnz 2b",
            "tilestored [{out} + {panel}], tmm0",
            "tilestored [{out} + {panel} + 64], tmm1",
            a = inout(reg) $step.a => _,
            b = inout(reg) $step.b => _,
            row = in(reg) 4 * $step.depth,
            panel = in(reg) 4 * BLOCK,
            left = inout(reg) $step.depth / SIDE => _,
            out = in(reg) $step.out,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        )
    };
}

/// Products of pairs of bfloat16, as floats.
///
/// # Safety
/// Tiles are configured, the CPU has AMX-BF16, and `step` points to what it says, with `rows` rows rounded up to whole
/// tiles.
pub(super) unsafe fn multiply_pairs(_: &Tiles, step: Step, rows: usize) {
    debug_assert!(step.depth.is_multiple_of(SIDE) && step.depth > 0);
    // SAFETY: the caller's.
    unsafe { if rows > SIDE { multiply!(step, "tdpbf16ps", 32) } else { multiply!(step, "tdpbf16ps", 16) } }
}

/// Products of floats that are split into three bfloat16 ([`split`](super::split)), as floats: `a` are tiles of 16 rows,
/// those of one 16 rows after another, `row_depth` words a row. With `add` they are added to what is in `out`.
///
/// # Safety
/// As [`multiply_pairs`], with a depth of three times whole tiles.
pub(super) unsafe fn multiply_split(_: &Tiles, step: Step, row_depth: usize, add: bool, rows: usize) {
    debug_assert!(step.depth.is_multiple_of(SIDE * super::split::PARTS) && step.depth > 0);
    // The first parts' products come first; what is in the registers is used before another is loaded.
    macro_rules! multiply {
        ($below:tt $add:tt) => {
            asm!(
                multiply!(@begin $below $add),
                "2:",
                "tileloadd tmm6, [{b} + {panel}]",
                "tileloadd tmm7, [{b} + {panel} + 64]",
                multiply!(@a $below ""),
                multiply!(@products $below),
                multiply!(@a $below " + 2048"),
                multiply!(@products $below),
                multiply!(@a $below " + 1024"),
                multiply!(@products $below),
                "tileloadd tmm6, [{b} + {panel} + 2048]",
                "tileloadd tmm7, [{b} + {panel} + 2112]",
                multiply!(@products $below),
                multiply!(@a $below ""),
                multiply!(@products $below),
                "tileloadd tmm6, [{b} + {panel} + 4096]",
                "tileloadd tmm7, [{b} + {panel} + 4160]",
                multiply!(@products $below),
                "add {a}, 3072",
                "add {below}, 3072",
                "add {b}, 6144",
                "dec {left}",
                "jnz 2b",
                "tilestored [{out} + {panel}], tmm0",
                "tilestored [{out} + {panel} + 64], tmm1",
                multiply!(@store $below),
                a = inout(reg) step.a => _,
                below = inout(reg) step.a.wrapping_add(SIDE * row_depth) => _,
                b = inout(reg) step.b => _,
                row = in(reg) 4 * SIDE,
                panel = in(reg) 4 * BLOCK,
                left = inout(reg) step.depth / (SIDE * super::split::PARTS) => _,
                out = in(reg) step.out,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            )
        };
        (@begin $below:tt false) => {
            "tilezero tmm0\ntilezero tmm1\ntilezero tmm2\ntilezero tmm3"
        };
        (@begin true true) => {
            concat!(
                multiply!(@begin false true),
                "\ntileloadd tmm2, [{out} + {panel} + 2048]\ntileloadd tmm3, [{out} + {panel} + 2112]"
            )
        };
        (@begin false true) => {
            "tileloadd tmm0, [{out} + {panel}]\ntileloadd tmm1, [{out} + {panel} + 64]"
        };
        (@a true $part:literal) => {
            concat!("tileloadd tmm4, [{a} + {row}", $part, "]\ntileloadd tmm5, [{below} + {row}", $part, "]")
        };
        (@a false $part:literal) => {
            concat!("tileloadd tmm4, [{a} + {row}", $part, "]")
        };
        (@products true) => {
            "tdpbf16ps tmm0, tmm4, tmm6\ntdpbf16ps tmm1, tmm4, tmm7\ntdpbf16ps tmm2, tmm5, tmm6\ntdpbf16ps tmm3, tmm5, tmm7"
        };
        (@products false) => {
            "tdpbf16ps tmm0, tmm4, tmm6\ntdpbf16ps tmm1, tmm4, tmm7"
        };
        (@store true) => {
            "tilestored [{out} + {panel} + 2048], tmm2\ntilestored [{out} + {panel} + 2112], tmm3"
        };
        (@store false) => {
            ""
        };
    }
    // SAFETY: the caller's.
    unsafe {
        match (rows > SIDE, add) {
            (true, false) => multiply!(true false),
            (true, true) => multiply!(true true),
            (false, false) => multiply!(false false),
            (false, true) => multiply!(false true),
        }
    }
}

/// Products of four 8-bit integers, activations unsigned and weights signed; the sums as floats.
///
/// # Safety
/// As [`multiply_pairs`], with AMX-INT8; and the CPU has AVX-512 F.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn multiply_quads(_: &Tiles, step: Step, rows: usize) {
    debug_assert!(step.depth.is_multiple_of(SIDE) && step.depth > 0);
    // SAFETY: the caller's.
    unsafe {
        if rows > SIDE {
            multiply!(step, "tdpbusd", 32)
        } else {
            multiply!(step, "tdpbusd", 16)
        }
        for at in (0..rows.next_multiple_of(SIDE) * BLOCK).step_by(SIDE) {
            let p = step.out.add(at);
            _mm512_storeu_ps(p, _mm512_cvtepi32_ps(_mm512_loadu_si512(p.cast())));
        }
    }
}

/// So many times four products of tiles, whatever is in them: what the unit can do.
///
/// # Safety
/// Tiles are configured, and the CPU has the instructions.
pub(super) unsafe fn products(_: &Tiles, integers: bool, times: usize) {
    macro_rules! products {
        ($instruction:literal) => {
            asm!(
                "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
                "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
                "2:",
                concat!($instruction, " tmm0, tmm4, tmm6"),
                concat!($instruction, " tmm1, tmm4, tmm7"),
                concat!($instruction, " tmm2, tmm5, tmm6"),
                concat!($instruction, " tmm3, tmm5, tmm7"),
                "dec {left}",
                "jnz 2b",
                left = inout(reg) times => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, nomem)
            )
        };
    }
    // SAFETY: the caller's; `times` is not 0.
    unsafe { if integers { products!("tdpbusd") } else { products!("tdpbf16ps") } }
}
