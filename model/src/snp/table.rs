//! The SNPs of a model in its folder: `snps.safetensors`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use half::bf16;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensorError, SafeTensors};

use super::facts::Facts;
use super::network::EMBEDDING;
use crate::{Error, Result};

/// The file's name in a model's folder.
pub(crate) const FILE: &str = "snps.safetensors";
/// What stands for a fact that is not known.
const UNKNOWN: u8 = u8::MAX;

/// SNPs with what is known of them, and the encoder's weights in bfloat16.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table {
    /// Numbers of the rsIDs.
    pub(crate) rsids: Vec<u64>,
    pub(crate) chromosomes: Vec<u8>,
    pub(crate) positions: Vec<u32>,
    pub(crate) consequences: Vec<u8>,
    /// Where each SNP's genes begin among `gene_places`; one more for the end.
    pub(crate) gene_offsets: Vec<u32>,
    pub(crate) gene_places: Vec<u32>,
    /// Gene symbols.
    pub(crate) genes: Vec<String>,
    /// `[snps, EMBEDDING]`.
    pub(crate) own: Vec<bf16>,
    /// `[genes, EMBEDDING]`.
    pub(crate) gene_embeddings: Vec<bf16>,
    /// Windows of the genome, as [`Facts::loci`] numbers them.
    pub(crate) loci: Vec<u32>,
    /// `[loci, EMBEDDING]`.
    pub(crate) locus_embeddings: Vec<bf16>,
    /// `[HIDDEN, inputs]` and `[HIDDEN]`.
    pub(crate) up: [Vec<bf16>; 2],
    /// `[d, HIDDEN]` and `[d]`.
    pub(crate) down: [Vec<bf16>; 2],
}

impl Table {
    /// Appends an SNP; its embedding must be the next of `own`.
    pub(crate) fn push(&mut self, rsid: &str, facts: &Facts, genes: &[u32]) {
        self.rsids.push(number(rsid).unwrap_or(0));
        self.chromosomes.push(facts.chromosome.unwrap_or(UNKNOWN));
        self.positions.push(facts.position.unwrap_or(0));
        self.consequences.push(facts.consequence.unwrap_or(UNKNOWN));
        if self.gene_offsets.is_empty() {
            self.gene_offsets.push(0);
        }
        self.gene_places.extend_from_slice(genes);
        self.gene_offsets.push(self.gene_places.len() as u32);
    }

    /// What is known of the SNP in a row.
    pub(crate) fn facts(&self, row: usize) -> Facts {
        let known = |x: u8| Some(x).filter(|x| *x != UNKNOWN);
        Facts {
            chromosome: known(self.chromosomes[row]),
            position: Some(self.positions[row]).filter(|p| *p > 0),
            consequence: known(self.consequences[row]),
        }
    }

    /// Places of the row's genes among `genes`.
    pub(crate) fn genes_of(&self, row: usize) -> &[u32] {
        &self.gene_places[self.gene_offsets[row] as usize..self.gene_offsets[row + 1] as usize]
    }

    /// Row of each rsID.
    pub(crate) fn rows(&self) -> HashMap<u64, u32> {
        self.rsids.iter().enumerate().map(|(row, rsid)| (*rsid, row as u32)).collect()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let path = folder.join(FILE);
        let failed = |e: SafeTensorError| Error::folder(&path, e);
        let halves = |v: &[bf16]| (Dtype::BF16, v.iter().flat_map(|x| x.to_le_bytes()).collect());
        let words = |v: &[u32]| (Dtype::U32, v.iter().flat_map(|x| x.to_le_bytes()).collect());
        let all: Vec<(&str, (Dtype, Vec<u8>))> = vec![
            ("rsids", (Dtype::U64, self.rsids.iter().flat_map(|x| x.to_le_bytes()).collect())),
            ("chromosomes", (Dtype::U8, self.chromosomes.clone())),
            ("positions", words(&self.positions)),
            ("consequences", (Dtype::U8, self.consequences.clone())),
            ("gene_offsets", words(&self.gene_offsets)),
            ("gene_places", words(&self.gene_places)),
            ("genes", (Dtype::U8, self.genes.join("\n").into_bytes())),
            ("own", halves(&self.own)),
            ("gene_embeddings", halves(&self.gene_embeddings)),
            ("loci", words(&self.loci)),
            ("locus_embeddings", halves(&self.locus_embeddings)),
            ("up.weight", halves(&self.up[0])),
            ("up.bias", halves(&self.up[1])),
            ("down.weight", halves(&self.down[0])),
            ("down.bias", halves(&self.down[1])),
        ];
        let mut views = BTreeMap::new();
        for (name, (dtype, bytes)) in &all {
            let len = bytes.len() / (dtype.bitsize() / 8);
            views.insert(*name, TensorView::new(*dtype, vec![len], bytes).map_err(failed)?);
        }
        safetensors::serialize_to_file(views, None, &path).map_err(failed)
    }

    /// Reads a model's file.
    ///
    /// # Errors
    /// When it is damaged.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let raw = std::fs::read(&path).map_err(|e| Error::folder(&path, e))?;
        let file = SafeTensors::deserialize(&raw).map_err(|e| Error::folder(&path, e))?;
        let bytes = |name: &str, dtype: Dtype| -> Result<&[u8]> {
            let tensor = file.tensor(name).map_err(|e| Error::folder(&path, e))?;
            if tensor.dtype() != dtype {
                return Err(Error::folder(&path, format!("'{name}' is {:?}, not {dtype:?}", tensor.dtype())));
            }
            Ok(tensor.data())
        };
        let halves = |name: &str| -> Result<Vec<bf16>> {
            Ok(bytes(name, Dtype::BF16)?.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b)).collect())
        };
        let words = |name: &str| -> Result<Vec<u32>> {
            Ok(bytes(name, Dtype::U32)?.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect())
        };
        let genes = std::str::from_utf8(bytes("genes", Dtype::U8)?).map_err(|e| Error::folder(&path, e))?;
        let table = Self {
            rsids: bytes("rsids", Dtype::U64)?.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect(),
            chromosomes: bytes("chromosomes", Dtype::U8)?.to_vec(),
            positions: words("positions")?,
            consequences: bytes("consequences", Dtype::U8)?.to_vec(),
            gene_offsets: words("gene_offsets")?,
            gene_places: words("gene_places")?,
            genes: genes.split('\n').filter(|g| !g.is_empty()).map(str::to_string).collect(),
            own: halves("own")?,
            gene_embeddings: halves("gene_embeddings")?,
            loci: words("loci")?,
            locus_embeddings: halves("locus_embeddings")?,
            up: [halves("up.weight")?, halves("up.bias")?],
            down: [halves("down.weight")?, halves("down.bias")?],
        };
        table
            .check()
            .map_err(|problem| Error::folder(&path, format!("{problem}; the file is damaged, pull the model again")))?;
        Ok(table)
    }

    /// Whether all parts are of one size, and everything that is referred to is there.
    fn check(&self) -> std::result::Result<(), &'static str> {
        let snps = self.rsids.len();
        let same = [self.chromosomes.len(), self.positions.len(), self.consequences.len()].iter().all(|n| *n == snps);
        if !same || self.gene_offsets.len() != snps + 1 || self.own.len() != snps * EMBEDDING {
            return Err("its SNPs have parts of different lengths");
        }
        let rising =
            self.gene_offsets.is_sorted() && self.gene_offsets.last() == Some(&(self.gene_places.len() as u32));
        let known = self.gene_places.iter().all(|g| (*g as usize) < self.genes.len());
        if !rising || !known || self.gene_embeddings.len() != self.genes.len() * EMBEDDING {
            return Err("its genes have parts of different lengths");
        }
        if self.locus_embeddings.len() != self.loci.len() * EMBEDDING {
            return Err("its loci have parts of different lengths");
        }
        Ok(())
    }
}

/// The number of an rsID.
pub(crate) fn number(rsid: &str) -> Option<u64> {
    rsid.strip_prefix("rs")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let half = |n: usize| vec![bf16::from_f32(0.5); n];
        let mut table = Table {
            own: half(2 * EMBEDDING),
            gene_embeddings: half(2 * EMBEDDING),
            loci: vec![1 << 16 | 3],
            locus_embeddings: half(EMBEDDING),
            up: [half(3), half(1)],
            down: [half(2), half(2)],
            genes: vec!["IL23R".into(), "HLA-A".into()],
            ..Table::default()
        };
        table.push("rs7", &Facts { chromosome: Some(1), position: Some(9), consequence: Some(2) }, &[1, 0]);
        table.push("rs8", &Facts::default(), &[]);
        let folder = tempfile::tempdir().unwrap();
        table.write(folder.path()).unwrap();
        let read = Table::read(folder.path()).unwrap();
        assert_eq!(read, table);
        assert_eq!((read.genes_of(0), read.genes_of(1)), (&[1, 0][..], &[][..]));
        assert_eq!((read.facts(1), read.rows()[&7]), (Facts::default(), 0));
        table.gene_places[0] = 9;
        table.write(folder.path()).unwrap();
        assert!(Table::read(folder.path()).unwrap_err().to_string().contains("damaged"));
    }
}
