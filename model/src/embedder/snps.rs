//! Vectors of SNPs, by the model's SNP encoder and the vectors of their genes' texts.

use std::sync::Arc;

use super::{CallStats, Embedder, EmbedderOptions, normalize, to_length_1};
use crate::snp::{SnpEncoder, SnpOrigin, SnpQuery};
use crate::{Error, Result};

/// Memory for the whole vectors of genes' texts, where vectors are cut.
const WHOLE_BYTES: usize = 64 << 20;

impl Embedder {
    /// Vectors of SNPs in the texts' space, and where each is from: as [`SnpEncoder::encode`], with the genes' texts embedded here.
    ///
    /// # Errors
    /// When the model has no SNP encoder, and as [`Embedder::embed`].
    pub async fn embed_snps(&self, queries: &[SnpQuery]) -> Result<(Vec<f32>, Vec<Option<SnpOrigin>>)> {
        let d = self.inner.info.dimension;
        if d < self.inner.info.width {
            let (vectors, origins) = Box::pin(self.whole()?.embed_snps(queries)).await?;
            let first = |vector: &[f32]| {
                let mut vector = vector[..d].to_vec();
                to_length_1(&mut vector);
                vector
            };
            return Ok((vectors.chunks_exact(self.inner.info.width).flat_map(first).collect(), origins));
        }
        let encoder = self.snp_encoder()?;
        let mut symbols: Vec<&str> = queries.iter().flat_map(|query| encoder.genes(query)).collect();
        symbols.sort_unstable();
        symbols.dedup();
        let texts: Vec<(String, Arc<str>)> = symbols
            .iter()
            .map(|symbol| ((*symbol).to_string(), Arc::from(normalize(symbol).as_ref())))
            .filter(|(_, text): &(String, Arc<str>)| !text.is_empty())
            .collect();
        let mut distinct: Vec<Arc<str>> = texts.iter().map(|(_, text)| Arc::clone(text)).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let vectors = self.embed_distinct(&distinct, &mut CallStats::default()).await?;
        let gene_texts = texts
            .into_iter()
            .filter_map(|(symbol, text)| Some((symbol, vectors[distinct.binary_search(&text).ok()?].to_vec())))
            .collect();
        encoder.encode(queries, &gene_texts)
    }

    /// Its own weights and cache: gene texts are few.
    fn whole(&self) -> Result<&Self> {
        let info = &self.inner.info;
        let info = info.clone().with_dimension(info.width)?;
        let options = EmbedderOptions { cache_bytes: WHOLE_BYTES, ..self.inner.options.clone() };
        Ok(self.inner.whole.get_or_init(|| Self::new(info, options)))
    }

    /// The model's SNP encoder, read on first use.
    ///
    /// # Errors
    /// When the model has none, or it is damaged.
    pub fn snp_encoder(&self) -> Result<&SnpEncoder> {
        if self.inner.info.dimension < self.inner.info.width {
            return self.whole()?.snp_encoder();
        }
        let read = self.inner.snps.get_or_init(|| SnpEncoder::load(&self.inner.info));
        match read {
            Ok(Some(encoder)) => Ok(encoder),
            Ok(None) => Err(Error::NoSnps { model: self.inner.info.name.clone() }),
            Err(error) => Err(error.clone()),
        }
    }
}
