//! The SNP encoder in training.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{Device, Result, Tensor, Var, backprop::GradStore};

use super::data::{SnpFacts, TrainingSet};
use super::parameters::Parameters;
use crate::snp::{EMBEDDING, Facts, HIDDEN, Inputs, Network, inputs, matrix};

/// How often an SNP's own embedding, and its genes', are left out in training, so that an SNP without them gets on too.
const LEFT_OUT: f32 = 0.3;

/// Where the encoder's parameters are, and what never changes.
pub(super) struct SnpEncoder {
    dimension: usize,
    table: Range<usize>,
    genes: Range<usize>,
    up: [Range<usize>; 2],
    down: [Range<usize>; 2],
    /// The SNPs' features, `[snps, Facts::FEATURES]`.
    facts: Vec<f32>,
    genes_of: Vec<Vec<u32>>,
    /// Vectors of the genes' texts, `[genes, dimension]`.
    pub(super) gene_texts: Vec<f32>,
}

/// A batch's SNPs in the graph of its losses.
pub(super) struct Batch {
    /// `[n, dimension]`, rows of length 1.
    pub(super) vectors: Tensor,
    snps: Vec<u32>,
    own: Var,
    genes: Vec<u32>,
    of_genes: Var,
    layers: [Var; 4],
}

impl SnpEncoder {
    /// Adds the parameters, random by the seed.
    pub(super) fn new(set: &TrainingSet, dimension: usize, seed: u64, parameters: &mut Parameters) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut uniform =
            |n: usize, most: f32| -> Vec<f32> { (0..n).map(|_| (random.f32() * 2.0 - 1.0) * most).collect() };
        let (snps, genes, width) = (set.snps.len(), set.genes.len(), inputs(dimension));
        let mut push = |name: &str, shape: &[usize], most: f32| {
            parameters.push(name, shape, &uniform(shape.iter().product(), most))
        };
        let table = push("snp.table", &[snps, EMBEDDING], 0.02);
        let of_genes = push("snp.genes", &[genes, EMBEDDING], 0.02);
        let up =
            [push("snp.up.weight", &[HIDDEN, width], (6.0 / width as f32).sqrt()), push("snp.up.bias", &[HIDDEN], 0.0)];
        let most = (1.0 / HIDDEN as f32).sqrt() / 4.0;
        let down = [push("snp.down.weight", &[dimension, HIDDEN], most), push("snp.down.bias", &[dimension], 0.0)];
        let mut facts = Vec::with_capacity(snps * Facts::FEATURES);
        set.snps.iter().for_each(|snp| snp.numbers().write(&mut facts));
        Self {
            dimension,
            table,
            genes: of_genes,
            up,
            down,
            facts,
            genes_of: set.snps.iter().map(|snp| snp.genes.clone()).collect(),
            gene_texts: vec![0.0; genes * dimension],
        }
    }

    /// All parameters, which lie side by side.
    pub(super) fn range(&self) -> Range<usize> {
        self.table.start..self.down[1].end
    }

    /// Vectors of SNPs, with the graph that leads to the parameters. What is left out depends on the seed alone; nothing
    /// without one.
    ///
    /// # Errors
    /// When candle fails.
    pub(super) fn forward(&self, p: &[f32], snps: Vec<u32>, seed: Option<u64>) -> Result<Batch> {
        let device = &Device::Cpu;
        let mut random = seed.map(fastrand::Rng::with_seed);
        let mut left_out = || random.as_mut().is_some_and(|r| r.f32() < LEFT_OUT);
        let row = |range: &Range<usize>, i: u32| &p[range.start + i as usize * EMBEDDING..][..EMBEDDING];
        let (mut own, mut with_own, mut facts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut places, mut genes, mut shares) = (HashMap::new(), Vec::new(), Vec::new());
        let mut gene_texts = vec![0f32; snps.len() * self.dimension];
        for (i, snp) in snps.iter().enumerate() {
            own.extend_from_slice(row(&self.table, *snp));
            with_own.push(if left_out() { 0f32 } else { 1.0 });
            facts.extend_from_slice(&self.facts[*snp as usize * Facts::FEATURES..][..Facts::FEATURES]);
            let without_genes = left_out();
            let of_snp = &self.genes_of[*snp as usize];
            for gene in of_snp {
                let share = 1.0 / of_snp.len() as f32;
                let place = *places.entry(*gene).or_insert_with(|| {
                    genes.push(*gene);
                    genes.len() - 1
                });
                if !without_genes {
                    shares.push((i, place, share));
                }
                let text = &self.gene_texts[*gene as usize * self.dimension..][..self.dimension];
                for (sum, v) in gene_texts[i * self.dimension..].iter_mut().zip(text) {
                    *sum += share * v;
                }
            }
        }
        // A batch without any gene still has a (zero) row to take the mean of.
        let gene_rows = genes.len().max(1);
        let mut of_genes: Vec<f32> = genes.iter().flat_map(|g| row(&self.genes, *g)).copied().collect();
        of_genes.resize(gene_rows * EMBEDDING, 0.0);
        let mut mean = vec![0f32; snps.len() * gene_rows];
        shares.iter().for_each(|(i, place, share)| mean[i * gene_rows + place] = *share);
        let var = |values: Vec<f32>, columns: usize| Var::from_tensor(&matrix(values, columns, device)?);
        let (own, of_genes) = (var(own, EMBEDDING)?, var(of_genes, EMBEDDING)?);
        let layer = |range: &Range<usize>, shape: &[usize]| {
            Var::from_tensor(&Tensor::from_slice(&p[range.clone()], shape, device)?)
        };
        let layers = [
            layer(&self.up[0], &[HIDDEN, inputs(self.dimension)])?,
            layer(&self.up[1], &[HIDDEN])?,
            layer(&self.down[0], &[self.dimension, HIDDEN])?,
            layer(&self.down[1], &[self.dimension])?,
        ];
        let tensor = |i: usize| layers[i].as_tensor().clone();
        let network = Network { up: (tensor(0), tensor(1)), down: (tensor(2), tensor(3)) };
        let vectors = network.forward(&Inputs {
            own: own.broadcast_mul(&matrix(with_own, 1, device)?)?,
            genes: matrix(mean, gene_rows, device)?.matmul(of_genes.as_tensor())?,
            gene_texts: matrix(gene_texts, self.dimension, device)?,
            facts: matrix(facts, Facts::FEATURES, device)?,
        })?;
        Ok(Batch { vectors, snps, own, genes, of_genes, layers })
    }

    /// Adds a batch's gradients to those of all parameters.
    ///
    /// # Errors
    /// When candle fails.
    pub(super) fn backward(&self, batch: &Batch, store: &GradStore, grads: &mut [f32]) -> Result<()> {
        let mut rows = |var: &Var, places: &[u32], range: &Range<usize>| -> Result<()> {
            let Some(grad) = store.get(var) else { return Ok(()) };
            let grad = grad.flatten_all()?.to_vec1::<f32>()?;
            for (place, grad) in places.iter().zip(grad.chunks_exact(EMBEDDING)) {
                crate::kernels::training::add(
                    &mut grads[range.start + *place as usize * EMBEDDING..][..EMBEDDING],
                    grad,
                );
            }
            Ok(())
        };
        rows(&batch.own, &batch.snps, &self.table)?;
        rows(&batch.of_genes, &batch.genes, &self.genes)?;
        for (var, range) in batch.layers.iter().zip(self.up.iter().chain(&self.down)) {
            if let Some(grad) = store.get(var) {
                crate::kernels::training::add(&mut grads[range.clone()], &grad.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        Ok(())
    }
}

impl SnpFacts {
    /// Place and consequence, as the network takes them.
    pub(super) fn numbers(&self) -> Facts {
        Facts {
            chromosome: self.chromosome,
            position: self.position,
            consequence: self.consequence.as_deref().and_then(Facts::consequence_of),
        }
    }
}
