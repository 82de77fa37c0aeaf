//! The SNP encoder in training.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{Device, Result, Tensor, Var, backprop::GradStore};

use super::data::{SnpFacts, TrainingSet};
use super::parameters::Parameters;
use crate::snp::{EMBEDDING, Facts, HIDDEN, Inputs, Network, inputs, matrix};

/// How often an SNP's own embedding is left out in training, so that an SNP without one gets on too, and none is learned by
/// heart alone.
const OWN_LEFT_OUT: f32 = 0.6;
/// How often its genes' are.
const GENES_LEFT_OUT: f32 = 0.3;

/// Where the encoder's parameters are, and what never changes.
pub(super) struct SnpEncoder {
    dimension: usize,
    table: Range<usize>,
    genes: Range<usize>,
    loci: Range<usize>,
    up: [Range<usize>; 2],
    down: [Range<usize>; 2],
    /// The SNPs' features, `[snps, Facts::FEATURES]`.
    facts: Vec<f32>,
    genes_of: Vec<Vec<u32>>,
    /// Windows of the genome that any SNP is in, as [`Facts::loci`] numbers them.
    pub(super) windows: Vec<u32>,
    /// The windows of each SNP by their places, and its shares of them.
    pub(super) loci_of: Vec<Vec<(u32, f32)>>,
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
    loci: Vec<u32>,
    of_loci: Var,
    layers: [Var; 4],
}

impl SnpEncoder {
    /// Adds the parameters, random by the seed.
    pub(super) fn new(set: &TrainingSet, dimension: usize, seed: u64, parameters: &mut Parameters) -> Self {
        let loci: Vec<Option<[(u32, f32); 2]>> = set.snps.iter().map(|snp| snp.numbers().loci()).collect();
        let mut windows: Vec<u32> = loci.iter().flatten().flatten().map(|(window, _)| *window).collect();
        windows.sort_unstable();
        windows.dedup();
        let place = |window: &u32| windows.binary_search(window).unwrap_or_default() as u32;
        let loci_of = loci
            .iter()
            .map(|two| two.iter().flatten().map(|(window, share)| (place(window), *share)).collect())
            .collect();
        let (snps, genes, width) = (set.snps.len(), set.genes.len(), inputs(dimension));
        let mut push = |name: &str, shape: &[usize]| parameters.push(name, shape, &vec![0.0; shape.iter().product()]);
        let table = push("snp.table", &[snps, EMBEDDING]);
        let of_genes = push("snp.genes", &[genes, EMBEDDING]);
        let of_loci = push("snp.loci", &[windows.len(), EMBEDDING]);
        let up = [push("snp.up.weight", &[HIDDEN, width]), push("snp.up.bias", &[HIDDEN])];
        let down = [push("snp.down.weight", &[dimension, HIDDEN]), push("snp.down.bias", &[dimension])];
        let mut facts = Vec::with_capacity(snps * Facts::FEATURES);
        set.snps.iter().for_each(|snp| snp.numbers().write(&mut facts));
        let encoder = Self {
            dimension,
            table,
            genes: of_genes,
            loci: of_loci,
            up,
            down,
            facts,
            genes_of: set.snps.iter().map(|snp| snp.genes.clone()).collect(),
            windows,
            loci_of,
            gene_texts: vec![0.0; genes * dimension],
        };
        encoder.begin(seed, &mut parameters.values);
        encoder
    }

    /// Sets all parameters to what training begins with, random by the seed.
    pub(super) fn begin(&self, seed: u64, p: &mut [f32]) {
        let mut random = fastrand::Rng::with_seed(seed);
        let width = inputs(self.dimension) as f32;
        for (range, most) in [
            (&self.table, 0.02),
            (&self.genes, 0.02),
            (&self.loci, 0.02),
            (&self.up[0], (1.0 / width).sqrt()),
            (&self.up[1], 0.0),
            (&self.down[0], (1.0 / HIDDEN as f32).sqrt() / 4.0),
            (&self.down[1], 0.0),
        ] {
            p[range.clone()].iter_mut().for_each(|x| *x = (random.f32() * 2.0 - 1.0) * most);
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
        let mut left_out = |share: f32| random.as_mut().is_some_and(|r| r.f32() < share);
        let row = |range: &Range<usize>, i: u32| &p[range.start + i as usize * EMBEDDING..][..EMBEDDING];
        let (mut own, mut with_own, mut facts) = (Vec::new(), Vec::new(), Vec::new());
        let (mut genes, mut loci) = (Shares::default(), Shares::default());
        let mut gene_texts = vec![0f32; snps.len() * self.dimension];
        for (i, snp) in snps.iter().enumerate() {
            own.extend_from_slice(row(&self.table, *snp));
            with_own.push(if left_out(OWN_LEFT_OUT) { 0f32 } else { 1.0 });
            facts.extend_from_slice(&self.facts[*snp as usize * Facts::FEATURES..][..Facts::FEATURES]);
            let without_genes = left_out(GENES_LEFT_OUT);
            let of_snp = &self.genes_of[*snp as usize];
            for gene in of_snp {
                let share = 1.0 / of_snp.len() as f32;
                if !without_genes {
                    genes.add(i, *gene, share);
                }
                let text = &self.gene_texts[*gene as usize * self.dimension..][..self.dimension];
                for (sum, v) in gene_texts[i * self.dimension..].iter_mut().zip(text) {
                    *sum += share * v;
                }
            }
            self.loci_of[*snp as usize].iter().for_each(|(window, share)| loci.add(i, *window, *share));
        }
        let var = |values: Vec<f32>| Var::from_tensor(&matrix(values, EMBEDDING, device)?);
        let own = var(own)?;
        let (of_genes, gene_shares) = (var(genes.rows(|g| row(&self.genes, g)))?, genes.matrix(snps.len(), device)?);
        let (of_loci, locus_shares) = (var(loci.rows(|w| row(&self.loci, w)))?, loci.matrix(snps.len(), device)?);
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
            genes: gene_shares.matmul(of_genes.as_tensor())?,
            locus: locus_shares.matmul(of_loci.as_tensor())?,
            gene_texts: matrix(gene_texts, self.dimension, device)?,
            facts: matrix(facts, Facts::FEATURES, device)?,
        })?;
        Ok(Batch { vectors, snps, own, genes: genes.all, of_genes, loci: loci.all, of_loci, layers })
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
        rows(&batch.of_loci, &batch.loci, &self.loci)?;
        for (var, range) in batch.layers.iter().zip(self.up.iter().chain(&self.down)) {
            if let Some(grad) = store.get(var) {
                crate::kernels::training::add(&mut grads[range.clone()], &grad.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        Ok(())
    }
}

/// What a batch's SNPs have shares of: genes, or windows.
#[derive(Default)]
struct Shares {
    /// All of them, each once.
    all: Vec<u32>,
    places: HashMap<u32, usize>,
    /// SNP, place among all, share.
    shares: Vec<(usize, usize, f32)>,
}

impl Shares {
    fn add(&mut self, snp: usize, of: u32, share: f32) {
        let next = self.all.len();
        let place = *self.places.entry(of).or_insert(next);
        if place == next {
            self.all.push(of);
        }
        self.shares.push((snp, place, share));
    }

    /// Their embeddings; a batch without any still has a (zero) row.
    fn rows<'a>(&self, row: impl Fn(u32) -> &'a [f32]) -> Vec<f32> {
        let mut rows: Vec<f32> = self.all.iter().flat_map(|of| row(*of)).copied().collect();
        rows.resize(self.all.len().max(1) * EMBEDDING, 0.0);
        rows
    }

    /// `[snps, rows]`.
    fn matrix(&self, snps: usize, device: &Device) -> Result<Tensor> {
        let rows = self.all.len().max(1);
        let mut values = vec![0f32; snps * rows];
        self.shares.iter().for_each(|(snp, place, share)| values[snp * rows + place] += share);
        matrix(values, rows, device)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// SNPs that share a gene and a place, one without either.
    fn set() -> TrainingSet {
        let snp = |i: u32, position: Option<u32>, genes: &[u32]| SnpFacts {
            rsid: format!("rs{i}"),
            chromosome: position.map(|_| 3),
            position,
            genes: genes.to_vec(),
            consequence: (i == 0).then(|| "missense_variant".to_string()),
        };
        TrainingSet {
            snps: vec![
                snp(0, Some(70_000), &[0, 1]),
                snp(1, Some(130_000), &[1]),
                snp(2, None, &[]),
                snp(3, Some(9_000_000), &[2]),
            ],
            genes: (0..3).map(|g| format!("GENE{g}")).collect(),
            ..TrainingSet::default()
        }
    }

    /// The slope of a random combination of the vectors along a random direction of each tensor, against differences. A
    /// sum that two SNPs share, or a row that goes to the wrong place, would show.
    #[test]
    fn gradients_agree_with_differences() {
        let (set, d) = (set(), 6);
        let mut parameters = Parameters::default();
        let mut encoder = SnpEncoder::new(&set, d, 3, &mut parameters);
        let mut random = fastrand::Rng::with_seed(11);
        let mut values = |n: usize| -> Vec<f32> { (0..n).map(|_| random.f32() * 2.0 - 1.0).collect() };
        encoder.gene_texts = values(3 * d);
        // What begins at zero is moved, so that every slope is of some size.
        let p: Vec<f32> =
            parameters.values.iter().zip(values(parameters.values.len())).map(|(p, v)| p + 0.1 * v).collect();
        let snps = vec![3, 0, 1, 2];
        for seed in [None, Some(5)] {
            let wanted = values(snps.len() * d);
            let of = |p: &[f32]| encoder.forward(p, snps.clone(), seed).unwrap();
            let loss = |batch: &Batch| {
                let wanted = matrix(wanted.clone(), d, &Device::Cpu).unwrap();
                batch.vectors.mul(&wanted).unwrap().sum_all().unwrap()
            };
            let batch = of(&p);
            let mut grads = vec![0.0; p.len()];
            encoder.backward(&batch, &loss(&batch).backward().unwrap(), &mut grads).unwrap();
            for (tensor, range) in parameters.ranges() {
                let direction = values(range.len());
                let step = 1e-2 / (range.len() as f32).sqrt();
                let at = |sign: f32| {
                    let mut moved = p.clone();
                    moved[range.clone()].iter_mut().zip(&direction).for_each(|(p, d)| *p += sign * step * d);
                    f64::from(loss(&of(&moved)).to_scalar::<f32>().unwrap())
                };
                let difference = (at(1.0) - at(-1.0)) / f64::from(2.0 * step);
                let slope: f64 = grads[range].iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
                let error = (slope - difference).abs();
                assert!(error < 2e-3 + 1e-2 * difference.abs(), "{seed:?} {tensor}: {slope} {difference}");
            }
        }
    }
}
