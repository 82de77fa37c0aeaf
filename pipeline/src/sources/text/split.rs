//! Where the separators of a text stand: 64 bytes at a time, with AVX2 where the processor has it, else in plain integer
//! arithmetic.

/// Appends the positions of each `delimiter` and each line break.
pub(crate) fn separators(bytes: &[u8], delimiter: u8, positions: &mut Vec<u32>) {
    scan(bytes, positions, [delimiter, b'\n']);
}

/// Appends the positions of each `delimiter`, each `quote` and each line break.
pub(crate) fn separators_and_quotes(bytes: &[u8], delimiter: u8, quote: u8, positions: &mut Vec<u32>) {
    scan(bytes, positions, [delimiter, quote, b'\n']);
}

/// Appends the positions of each blank, tab and line break.
pub(crate) fn blanks(bytes: &[u8], positions: &mut Vec<u32>) {
    scan(bytes, positions, [b' ', b'\t', b'\n']);
}

fn scan<const N: usize>(bytes: &[u8], positions: &mut Vec<u32>, wanted: [u8; N]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("bmi1") {
        #[allow(unsafe_code, reason = "the processor was asked whether it has the instructions")]
        // SAFETY: it has both features that the function needs.
        return unsafe { avx2::scan(bytes, positions, wanted) };
    }
    blocks(bytes, positions, wanted, |block| portable(block, wanted));
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        _mm256_cmpeq_epi8, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set_epi64x, _mm256_set1_epi8,
        _mm256_setzero_si256,
    };

    #[target_feature(enable = "avx2,bmi1")]
    pub(super) fn scan<const N: usize>(bytes: &[u8], positions: &mut Vec<u32>, wanted: [u8; N]) {
        super::blocks(bytes, positions, wanted, |block| mask(block, wanted));
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1")]
    pub(super) fn mask<const N: usize>(block: &[u8; 64], wanted: [u8; N]) -> u64 {
        let mut found = 0;
        let (words, _) = block.as_chunks::<8>();
        for (at, four) in words.as_chunks::<4>().0.iter().enumerate() {
            let [a, b, c, d] = four.map(i64::from_le_bytes);
            let bytes = _mm256_set_epi64x(d, c, b, a);
            let mut hits = _mm256_setzero_si256();
            for byte in wanted {
                hits = _mm256_or_si256(hits, _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte.cast_signed())));
            }
            found |= u64::from(_mm256_movemask_epi8(hits).cast_unsigned()) << (32 * at);
        }
        found
    }
}

/// Goes over all blocks, of which `mask` has a bit for each byte that is wanted.
#[inline(always)]
fn blocks<const N: usize>(bytes: &[u8], positions: &mut Vec<u32>, wanted: [u8; N], mask: impl Fn(&[u8; 64]) -> u64) {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let mut base = 0u32;
    for block in blocks {
        let mut found = mask(block);
        // Room for all at once: to ask for it at each one would cost more than to find it.
        let (mut these, mut count) = ([0u32; 64], 0);
        while found != 0 {
            these[count & 63] = base + found.trailing_zeros();
            found &= found - 1;
            count += 1;
        }
        positions.extend_from_slice(&these[..count.min(64)]);
        base += 64;
    }
    for (offset, byte) in rest.iter().enumerate() {
        if wanted.contains(byte) {
            positions.push(base + offset as u32);
        }
    }
}

/// A bit for each byte that is one of the wanted.
#[inline(always)]
fn portable<const N: usize>(block: &[u8; 64], wanted: [u8; N]) -> u64 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let mut found = 0;
    for (at, word) in block.as_chunks::<8>().0.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // The high bit of each byte that is zero; exact, unlike the shorter form that errs above a hit.
        let zeros = |word: u64| !(((word & SEVEN) + SEVEN) | word | SEVEN);
        let hits = wanted.iter().fold(0, |hits, byte| hits | zeros(word ^ (u64::from(*byte) * LOW)));
        // The eight bits side by side.
        let bits = (hits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        found |= bits << (8 * at);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_a_plain_loop_finds(bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), proptest::sample::select(b"\t\n \x08\x0b\x80\x89\x8a".to_vec())], 0..200)
        ) {
            let plain = |wanted: &[u8]| -> Vec<u32> {
                (0..bytes.len() as u32).filter(|at| wanted.contains(&bytes[*at as usize])).collect()
            };
            let (mut tabs, mut all, mut three) = (Vec::new(), Vec::new(), Vec::new());
            separators(&bytes, b'\t', &mut tabs);
            separators_and_quotes(&bytes, b'\t', b' ', &mut three);
            blanks(&bytes, &mut all);
            prop_assert_eq!(&three, &all);
            let mut found = Vec::new();
            blocks(&bytes, &mut found, *b"\t \n", |block| portable(block, *b"\t \n"));
            prop_assert_eq!(&found, &all);
            prop_assert_eq!(tabs, plain(b"\t\n"));
            prop_assert_eq!(all, plain(b" \t\n"));
        }
    }
}
