//! Vectors of SNPs, by the model's SNP encoder and the vectors of their genes' texts.

use std::sync::Arc;

use super::{CallStats, Embedder, EmbedderOptions, first, normalize};
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
        let info = &self.inner.info;
        if info.is_cut() {
            let (vectors, origins) = Box::pin(self.whole().embed_snps(queries)).await?;
            let cut = vectors.chunks_exact(info.width).flat_map(|vector| first(vector, info.dimension).to_vec());
            return Ok((cut.collect(), origins));
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
        // Nobody has asked for them: they stay out of the lake's table of vectors, and out of searches in it.
        let vectors = self.embed_distinct(&distinct, false, &mut CallStats::default()).await?;
        let gene_texts = texts
            .into_iter()
            .filter_map(|(symbol, text)| Some((symbol, vectors[distinct.binary_search(&text).ok()?].to_vec())))
            .collect();
        encoder.encode(queries, &gene_texts)
    }

    /// Its own weights and cache: gene texts are few.
    fn whole(&self) -> &Self {
        self.inner.whole.get_or_init(|| {
            let options = EmbedderOptions { cache_bytes: WHOLE_BYTES, ..self.inner.options.clone() };
            Self::new(self.inner.info.clone().whole(), options)
        })
    }

    /// The model's SNP encoder, read on first use.
    ///
    /// # Errors
    /// When the model has none, or it is damaged.
    pub fn snp_encoder(&self) -> Result<&SnpEncoder> {
        if self.inner.info.is_cut() {
            return self.whole().snp_encoder();
        }
        let read = self.inner.snps.get_or_init(|| SnpEncoder::load(&self.inner.info));
        match read {
            Ok(Some(encoder)) => Ok(encoder),
            Ok(None) => Err(Error::NoSnps { model: self.inner.info.name.clone() }),
            Err(error) => Err(error.clone()),
        }
    }
}
