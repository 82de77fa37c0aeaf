//! The score of a pair: the one definition that searches, joins and `cosine_similarity` share, to the bit.

use crate::kernels::dot;

/// Cosine similarity of two vectors of one length, in [-1, 1]: computed in 64-bit floats, in the same order whatever the
/// CPU, and rounded once. `None` where one has no direction: its length is 0 or not finite.
pub fn cosine(a: &[f32], b: &[f32]) -> Option<f32> {
    of_squares(dot(a, b), dot(a, a), dot(b, b))
}

/// The same from `a·b`, `a·a` and `b·b`.
#[inline]
pub(super) fn of_squares(ab: f64, aa: f64, bb: f64) -> Option<f32> {
    let length = (aa * bb).sqrt();
    (length > 0.0 && length.is_finite()).then(|| (ab / length).clamp(-1.0, 1.0) as f32)
}

/// Vectors scaled to length 1, row by row; a row without a direction becomes 0. `squares` holds `|row|²`.
pub(super) fn directions(vectors: &[f32], squares: &[f64], dimension: usize) -> Vec<f32> {
    let mut scaled = Vec::with_capacity(vectors.len());
    for (row, square) in vectors.chunks_exact(dimension).zip(squares) {
        if of_squares(0.0, *square, *square).is_some() {
            // In 64 bits: the inverse of a tiny row's length is beyond what 32 hold.
            let inverse = 1.0 / square.sqrt();
            scaled.extend(row.iter().map(|v| (f64::from(*v) * inverse) as f32));
        } else {
            scaled.resize(scaled.len() + dimension, 0.0);
        }
    }
    scaled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiniest_row_has_its_direction() {
        let rows = [1e-40f32, 0.0, 0.0, 0.0, 3e38, 0.0];
        let squares: Vec<f64> = rows.chunks(2).map(|row| dot(row, row)).collect();
        assert_eq!(directions(&rows, &squares, 2), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn vectors_without_direction_have_no_cosine() {
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]), Some(0.0));
        assert_eq!(cosine(&[3.0, 4.0], &[6.0, 8.0]), Some(1.0));
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 1.0]), None);
        assert_eq!(cosine(&[f32::NAN, 0.0], &[1.0, 1.0]), None);
        assert_eq!(cosine(&[f32::INFINITY, 0.0], &[1.0, 1.0]), None);
        // What squares to nothing in 32 bits still has a direction.
        assert_eq!(cosine(&[1e-30, 0.0], &[1e30, 0.0]), Some(1.0));
    }
}
