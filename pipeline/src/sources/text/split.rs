//! Where the separators of a text stand: eight bytes at a time, in plain integer arithmetic that compilers vectorize.

const LOW: u64 = 0x0101_0101_0101_0101;
const SEVEN: u64 = 0x7f7f_7f7f_7f7f_7f7f;

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

#[inline(always)]
fn scan<const N: usize>(bytes: &[u8], positions: &mut Vec<u32>, wanted: [u8; N]) {
    let patterns = wanted.map(|byte| u64::from(byte) * LOW);
    let mut words = bytes.chunks_exact(8);
    let mut base = 0u32;
    for word in &mut words {
        // chunks_exact(8) makes the conversion infallible; the fallback is never taken.
        let word = u64::from_le_bytes(word.try_into().unwrap_or([0; 8]));
        let mut found = 0;
        for pattern in patterns {
            found |= zero_bytes(word ^ pattern);
        }
        while found != 0 {
            positions.push(base + found.trailing_zeros() / 8);
            found &= found - 1;
        }
        base += 8;
    }
    for (offset, byte) in words.remainder().iter().enumerate() {
        if wanted.contains(byte) {
            positions.push(base + offset as u32);
        }
    }
}

/// The high bit of each byte that is zero. Exact, unlike the shorter form that errs above a hit.
#[inline(always)]
fn zero_bytes(word: u64) -> u64 {
    !(((word & SEVEN) + SEVEN) | word | SEVEN)
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
            prop_assert_eq!(tabs, plain(b"\t\n"));
            prop_assert_eq!(all, plain(b" \t\n"));
        }
    }
}
