//! Embeddings of a graph's nodes without any text, to compare with: the positive pointwise mutual information of
//! neighbours, factored (Levy and Goldberg 2014).

use rayon::prelude::*;

/// Rounds of the factorization.
const ROUNDS: usize = 6;

/// A vector for each node of a graph.
#[derive(Debug, Clone)]
pub struct GraphEmbedding {
    vectors: Vec<f32>,
    dimension: usize,
}

impl GraphEmbedding {
    /// Factors the graph of `nodes` nodes with these undirected, weighted edges, by power iterations on a random start.
    pub fn new(nodes: usize, edges: &[(u32, u32, f32)], dimension: usize, seed: u64) -> Self {
        let dimension = dimension.min(nodes.max(1));
        let rows = ppmi(nodes, edges);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut basis: Vec<f32> = (0..nodes * dimension).map(|_| random.f32() - 0.5).collect();
        let mut values = vec![1f32; dimension];
        for _ in 0..ROUNDS {
            basis = multiply(&rows, &basis, dimension);
            values = orthonormalize(&mut basis, nodes, dimension);
        }
        // Vectors are scaled by the root of what the matrix does to their direction.
        for row in basis.chunks_exact_mut(dimension) {
            for (v, scale) in row.iter_mut().zip(&values) {
                *v *= scale.abs().sqrt();
            }
        }
        Self { vectors: basis, dimension }
    }

    /// Cosine of two nodes; 0 for a node without edges.
    pub fn cosine(&self, a: u32, b: u32) -> f32 {
        let row = |node: u32| &self.vectors[node as usize * self.dimension..][..self.dimension];
        crate::search::cosine(row(a), row(b)).unwrap_or(0.0)
    }
}

type Rows = Vec<Vec<(u32, f32)>>;

fn ppmi(nodes: usize, edges: &[(u32, u32, f32)]) -> Rows {
    let mut rows: Rows = vec![Vec::new(); nodes];
    for (a, b, weight) in edges {
        rows[*a as usize].push((*b, *weight));
        rows[*b as usize].push((*a, *weight));
    }
    let degrees: Vec<f32> = rows.iter().map(|row| row.iter().map(|(_, w)| w).sum()).collect();
    let total: f32 = degrees.iter().sum();
    for (node, row) in rows.iter_mut().enumerate() {
        row.sort_by_key(|(other, _)| *other);
        for (other, weight) in row.iter_mut() {
            *weight = (*weight * total / (degrees[node] * degrees[*other as usize]).max(1e-9)).ln().max(0.0);
        }
        // A node is its own neighbour: else the two sides of a bipartite graph never meet.
        row.push((node as u32, 1.0));
    }
    rows
}

fn multiply(rows: &Rows, basis: &[f32], dimension: usize) -> Vec<f32> {
    let mut out = vec![0f32; basis.len()];
    out.par_chunks_mut(dimension).zip(rows.par_iter()).for_each(|(out, row)| {
        for (other, weight) in row {
            for (o, b) in out.iter_mut().zip(&basis[*other as usize * dimension..][..dimension]) {
                *o += weight * b;
            }
        }
    });
    out
}

/// Makes columns orthonormal (Gram and Schmidt); the lengths that they had.
fn orthonormalize(basis: &mut [f32], nodes: usize, dimension: usize) -> Vec<f32> {
    let mut columns: Vec<Vec<f32>> =
        (0..dimension).map(|c| (0..nodes).map(|r| basis[r * dimension + c]).collect()).collect();
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
    let mut lengths = Vec::with_capacity(dimension);
    for c in 0..dimension {
        let (done, rest) = columns.split_at_mut(c);
        let column = &mut rest[0];
        for before in done.iter() {
            let along = dot(before, column) as f32;
            column.iter_mut().zip(before).for_each(|(v, b)| *v -= along * b);
        }
        let length = dot(column, column).sqrt() as f32;
        column.iter_mut().for_each(|v| *v /= length.max(1e-12));
        lengths.push(length);
    }
    for (c, column) in columns.iter().enumerate() {
        column.iter().enumerate().for_each(|(r, v)| basis[r * dimension + c] = *v);
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_of_one_part_are_near() {
        // Two cliques of five, joined by nothing.
        let edges: Vec<(u32, u32, f32)> = (0..2u32)
            .flat_map(|part| (0..5).flat_map(move |a| (a + 1..5).map(move |b| (5 * part + a, 5 * part + b, 1.0))))
            .collect();
        let graph = GraphEmbedding::new(10, &edges, 4, 1);
        assert!(graph.cosine(0, 4) > graph.cosine(0, 5) + 0.3, "{} {}", graph.cosine(0, 4), graph.cosine(0, 5));
    }
}
