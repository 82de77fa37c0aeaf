//! Vectors of SNPs by a trained model.

use std::collections::HashMap;

use candle_core::{Device, Tensor};
use half::bf16;

use super::facts::Facts;
use super::network::{EMBEDDING, HIDDEN, Inputs, Network, inputs, matrix};
use super::table::{FILE, Table, number};
use crate::{ModelInfo, Result};

/// SNPs that go through the network at a time.
const BATCH: usize = 2048;

/// An SNP, and what is known of it where the model has not seen it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SnpQuery {
    /// dbSNP rsID.
    pub rsid: String,
    /// Symbols of the genes that it is in, or near.
    pub genes: Vec<String>,
    /// 1–22, 23 = X, 24 = Y, 25 = MT.
    pub chromosome: Option<u8>,
    /// 1-based position, in bases.
    pub position: Option<u32>,
    /// Functional consequence, a term of the Sequence Ontology.
    pub consequence: Option<String>,
}

/// Where an SNP's vector is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnpOrigin {
    /// The model was trained on the SNP's associations.
    Trained,
    /// The model has not seen the SNP: the vector is that of its genes, place and consequence.
    Inductive,
}

/// A model's SNP encoder.
pub struct SnpEncoder {
    table: Table,
    rows: HashMap<u64, u32>,
    gene_rows: HashMap<String, u32>,
    locus_rows: HashMap<u32, u32>,
    network: Network,
    dimension: usize,
}

impl SnpEncoder {
    /// The SNP encoder of a model; `None` where it has none.
    ///
    /// # Errors
    /// When its file is damaged.
    pub fn load(info: &ModelInfo) -> Result<Option<Self>> {
        if !info.folder.join(FILE).exists() {
            return Ok(None);
        }
        crate::store::check_files(&info.folder)?;
        let table = Table::read(&info.folder)?;
        let d = info.width;
        let device = &Device::Cpu;
        let tensor = |values: &[bf16], shape: &[usize]| Tensor::from_vec(floats(values), shape, device);
        let network = Network {
            up: (tensor(&table.up[0], &[HIDDEN, inputs(d)])?, tensor(&table.up[1], &[HIDDEN])?),
            down: (tensor(&table.down[0], &[d, HIDDEN])?, tensor(&table.down[1], &[d])?),
        };
        let rows = table.rows();
        let gene_rows = table.genes.iter().enumerate().map(|(i, g)| (g.clone(), i as u32)).collect();
        let locus_rows = table.loci.iter().enumerate().map(|(i, locus)| (*locus, i as u32)).collect();
        Ok(Some(Self { table, rows, gene_rows, locus_rows, network, dimension: d }))
    }

    /// The SNPs that the model was trained on, in its own order.
    pub fn rsids(&self) -> impl ExactSizeIterator<Item = String> + '_ {
        self.table.rsids.iter().map(|number| format!("rs{number}"))
    }

    fn row(&self, query: &SnpQuery) -> Option<usize> {
        number(&query.rsid).and_then(|number| self.rows.get(&number)).map(|row| *row as usize)
    }

    /// The genes whose texts' vectors an SNP's takes.
    pub fn genes<'a>(&'a self, query: &'a SnpQuery) -> Vec<&'a str> {
        match self.row(query) {
            Some(row) => self.table.genes_of(row).iter().map(|g| self.table.genes[*g as usize].as_str()).collect(),
            None => query.genes.iter().map(String::as_str).collect(),
        }
    }

    /// Vectors of length 1, `queries × dimension`, and where each is from; `None`, and zeros, for an SNP that the model has
    /// not seen and of which neither genes nor place are known. `gene_texts` has the vectors of the symbols that
    /// [`SnpEncoder::genes`] names.
    ///
    /// # Errors
    /// When the network fails.
    pub fn encode(
        &self,
        queries: &[SnpQuery],
        gene_texts: &HashMap<String, Vec<f32>>,
    ) -> Result<(Vec<f32>, Vec<Option<SnpOrigin>>)> {
        let mut vectors = Vec::with_capacity(queries.len() * self.dimension);
        let mut origins = Vec::with_capacity(queries.len());
        for some in queries.chunks(BATCH) {
            self.encode_batch(some, gene_texts, &mut vectors, &mut origins)?;
        }
        Ok((vectors, origins))
    }

    fn encode_batch(
        &self,
        queries: &[SnpQuery],
        gene_texts: &HashMap<String, Vec<f32>>,
        vectors: &mut Vec<f32>,
        origins: &mut Vec<Option<SnpOrigin>>,
    ) -> Result<()> {
        let (n, d, device) = (queries.len(), self.dimension, &Device::Cpu);
        let (mut own, mut facts) = (vec![0f32; n * EMBEDDING], Vec::with_capacity(n * Facts::FEATURES));
        let (mut genes, mut texts) = (vec![0f32; n * EMBEDDING], vec![0f32; n * d]);
        let mut loci = vec![0f32; n * EMBEDDING];
        let first = origins.len();
        for (i, query) in queries.iter().enumerate() {
            let row = self.row(query);
            let known = match row {
                Some(row) => {
                    let trained = &self.table.own[row * EMBEDDING..][..EMBEDDING];
                    own[i * EMBEDDING..][..EMBEDDING].copy_from_slice(&floats(trained));
                    self.table.facts(row)
                }
                None => Facts {
                    chromosome: query.chromosome,
                    position: query.position,
                    consequence: query.consequence.as_deref().and_then(Facts::consequence_of),
                },
            };
            let symbols = self.genes(query);
            let share = 1.0 / symbols.len().max(1) as f32;
            for symbol in &symbols {
                if let Some(gene) = self.gene_rows.get(*symbol) {
                    let trained = &self.table.gene_embeddings[*gene as usize * EMBEDDING..][..EMBEDDING];
                    add_share(&mut genes[i * EMBEDDING..][..EMBEDDING], trained.iter().map(|v| v.to_f32()), share);
                }
                if let Some(text) = gene_texts.get(*symbol) {
                    add_share(&mut texts[i * d..][..d], text.iter().copied(), share);
                }
            }
            for (locus, share) in known.loci().into_iter().flatten() {
                if let Some(row) = self.locus_rows.get(&locus) {
                    let trained = &self.table.locus_embeddings[*row as usize * EMBEDDING..][..EMBEDDING];
                    add_share(&mut loci[i * EMBEDDING..][..EMBEDDING], trained.iter().map(|v| v.to_f32()), share);
                }
            }
            origins.push(match row {
                Some(_) => Some(SnpOrigin::Trained),
                None if symbols.is_empty() && (known.chromosome.is_none() || known.position.is_none()) => None,
                None => Some(SnpOrigin::Inductive),
            });
            known.write(&mut facts);
        }
        let inputs = Inputs {
            own: matrix(own, EMBEDDING, device)?,
            genes: matrix(genes, EMBEDDING, device)?,
            locus: matrix(loci, EMBEDDING, device)?,
            gene_texts: matrix(texts, d, device)?,
            facts: matrix(facts, Facts::FEATURES, device)?,
        };
        let mut out = self.network.forward(&inputs)?.flatten_all()?.to_vec1::<f32>()?;
        for (vector, origin) in out.chunks_exact_mut(d).zip(&origins[first..]) {
            if origin.is_none() {
                vector.fill(0.0);
            }
        }
        vectors.extend(out);
        Ok(())
    }
}

fn floats(values: &[bf16]) -> Vec<f32> {
    values.iter().map(|v| v.to_f32()).collect()
}

fn add_share(sum: &mut [f32], values: impl Iterator<Item = f32>, share: f32) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value * share;
    }
}
