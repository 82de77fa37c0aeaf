//! The SNP encoder's network: what is known of an SNP becomes a vector in the texts' space.

use candle_core::{D, Device, Result, Tensor};

use super::facts::Facts;
/// Components of the trained embedding of an SNP, a gene, a locus.
pub(crate) const EMBEDDING: usize = 32;
/// Width of the hidden layer.
pub(crate) const HIDDEN: usize = 256;

/// The network's inputs for `n` SNPs.
pub(crate) struct Inputs {
    /// `[n, EMBEDDING]`: the SNP's own embedding, 0 for one that has none.
    pub(crate) own: Tensor,
    /// `[n, EMBEDDING]`: the mean of its genes' embeddings, 0 without one.
    pub(crate) genes: Tensor,
    /// `[n, EMBEDDING]`: its place between the embeddings of two windows of the genome, 0 without one.
    pub(crate) locus: Tensor,
    /// `[n, d]`: the mean of its genes' texts' vectors, 0 without one.
    pub(crate) gene_texts: Tensor,
    /// `[n, Facts::FEATURES]`: chromosome, position, consequence.
    pub(crate) facts: Tensor,
}

/// The two layers.
pub(crate) struct Network {
    /// `[HIDDEN, inputs(d)]` and `[HIDDEN]`.
    pub(crate) up: (Tensor, Tensor),
    /// `[d, HIDDEN]` and `[d]`.
    pub(crate) down: (Tensor, Tensor),
}

/// Width of the network's input, for vectors of `d` components.
pub(crate) fn inputs(d: usize) -> usize {
    3 * EMBEDDING + d + Facts::FEATURES
}

impl Network {
    /// `[n, d]`, rows of length 1.
    ///
    /// # Errors
    /// When shapes do not fit together.
    pub(crate) fn forward(&self, x: &Inputs) -> Result<Tensor> {
        let input = Tensor::cat(&[&x.own, &x.genes, &x.locus, &x.gene_texts, &x.facts], 1)?;
        let hidden = linear(&input, &self.up)?.gelu_erf()?;
        unit(&linear(&hidden, &self.down)?)
    }
}

/// Rows scaled to length 1.
///
/// # Errors
/// When candle fails.
pub(crate) fn unit(x: &Tensor) -> Result<Tensor> {
    x.broadcast_div(&x.sqr()?.sum_keepdim(D::Minus1)?.affine(1.0, 1e-12)?.sqrt()?)
}

fn linear(x: &Tensor, (weight, bias): &(Tensor, Tensor)) -> Result<Tensor> {
    x.matmul(&weight.t()?)?.broadcast_add(bias)
}

/// A matrix from rows of floats.
///
/// # Errors
/// When the number of floats is another.
pub(crate) fn matrix(values: Vec<f32>, columns: usize, device: &Device) -> Result<Tensor> {
    let rows = values.len() / columns.max(1);
    Tensor::from_vec(values, (rows, columns), device)
}
