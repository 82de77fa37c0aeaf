//! How alike two texts are, character by character: a column of Levenshtein's matrix at a time in the bits of a word
//! (Myers 1999, Hyyrö 2003). Names are compared by the million.

/// 1 less Levenshtein's distance for each character of the longer text; 1 for two empty ones.
pub(super) fn similarity(a: &str, b: &str) -> f64 {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    if short.len() > u64::BITS as usize || !a.is_ascii() || !b.is_ascii() {
        return strsim::normalized_levenshtein(a, b);
    }
    if long.is_empty() {
        return 1.0;
    }
    1.0 - distance(short.as_bytes(), long.as_bytes()) as f64 / long.len() as f64
}

/// Of ASCII texts, the one of 64 characters at most.
fn distance(short: &[u8], long: &[u8]) -> usize {
    if short.is_empty() {
        return long.len();
    }
    // Where each character stands.
    let mut places = [0u64; 128];
    for (i, byte) in short.iter().enumerate() {
        places[usize::from(byte & 127)] |= 1 << i;
    }
    let last = 1u64 << (short.len() - 1);
    // In which rows a column is one more, or one less, than the row above.
    let (mut more, mut less) = (u64::MAX, 0u64);
    let mut distance = short.len();
    for byte in long {
        let equal = places[usize::from(byte & 127)];
        let vertical = equal | less;
        let horizontal = ((equal & more).wrapping_add(more) ^ more) | equal;
        let (mut up, mut down) = (less | !(horizontal | more), more & horizontal);
        distance += usize::from(up & last != 0);
        distance -= usize::from(down & last != 0);
        up = up << 1 | 1;
        down <<= 1;
        more = down | !(vertical | up);
        less = up & vertical;
    }
    distance
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_the_whole_matrix_says(a in "[ab c]{0,70}", b in "[ab cé]{0,70}", c in "\\PC{0,20}") {
            for (a, b) in [(&a, &b), (&b, &a), (&a, &c), (&a, &a)] {
                prop_assert_eq!(similarity(a, b), strsim::normalized_levenshtein(a, b));
            }
        }
    }
}
