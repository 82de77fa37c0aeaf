//! Everything that extends DataFusion: `embed`, `embed_snp`, `cosine_similarity`, `concept_similarity`, `as_vector`, the small
//! helpers for identifiers, the table functions `similarity_join`, `nearest`, `nearest_snps` and `nearest_concepts`, their
//! operator, and its codec.
//!
//! This crate knows nothing of files, Kafka or the command line. What it adds to a session are values:
//! [`functions`], [`table_functions`], and [`register_all`] that puts them into any [`SessionContext`].
//!
//! ```no_run
//! use datafusion::prelude::SessionContext;
//! use generel_model::{Embedder, EmbedderOptions, store::ModelStore};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let info = ModelStore::new("/path/to/models").info("all-MiniLM-L6-v2")?;
//! let ctx = SessionContext::new();
//! generel_udfs::register_all(&ctx, Embedder::new(info, EmbedderOptions::default()))?;
//! ctx.sql("SELECT concept_similarity('heart attack', 'myocardial infarction')").await?.show().await?;
//! # Ok(())
//! # }
//! ```

mod as_vector;
mod codec;
mod concept_similarity;
mod cosine_similarity;
mod embed;
mod embedding;
mod error;
mod identifiers;
mod rules;
mod similarity_join;
mod snp;
mod table_arguments;
mod vectors;

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;
use generel_model::Embedder;

pub use codec::GenerelPhysicalCodec;
pub use embedding::{EmbedExec, HoistEmbed, PlanEmbed};
pub use similarity_join::{
    GenerelOptions, PlanSimilarityJoin, SimilarityDevice, SimilarityIndexStore, SimilarityIndexes, SimilarityJoinExec,
    SimilarityJoinOptions, UseScore, recall_of_sample,
};
pub use vectors::to_fixed_size;

/// The functions that need no model.
pub fn identifier_functions() -> Vec<ScalarUDF> {
    vec![identifiers::normalize_rsid(), identifiers::normalize_allele(), identifiers::curie()]
}

/// Every scalar function, for one model.
pub fn functions(embedder: &Embedder) -> Vec<ScalarUDF> {
    let mut all = identifier_functions();
    all.extend([
        embed::udf(embedder.clone()),
        snp::embed_snp::udf(embedder.clone()),
        snp::embed_snp::origin(embedder.clone()),
        concept_similarity::udf(embedder.clone()),
        cosine_similarity::udf(),
        as_vector::udf(embedder.info().vector_type()),
    ]);
    all
}

/// The table functions that need no model of their own.
pub fn table_functions() -> Vec<(&'static str, Arc<dyn TableFunctionImpl>)> {
    vec![
        ("similarity_join", Arc::new(similarity_join::SimilarityJoinFunction)),
        ("nearest", Arc::new(similarity_join::NearestFunction)),
    ]
}

/// The table functions of one model's SNPs.
pub fn snp_table_functions(embedder: &Embedder) -> Vec<(&'static str, Arc<dyn TableFunctionImpl>)> {
    vec![
        ("nearest_snps", Arc::new(snp::functions::NearestSnps::new(embedder.clone()))),
        ("nearest_concepts", Arc::new(snp::functions::NearestConcepts::new(embedder.clone()))),
    ]
}

/// Registers everything in a session, in place: functions, table functions, and the rules that plan `embed` and
/// similarity joins.
///
/// # Errors
/// When the session's rules cannot be replaced.
pub fn register_all(ctx: &SessionContext, embedder: Embedder) -> datafusion::error::Result<()> {
    for function in functions(&embedder) {
        ctx.register_udf(function);
    }
    for (name, function) in table_functions().into_iter().chain(snp_table_functions(&embedder)) {
        ctx.register_udtf(name, function);
    }
    // Joins search where the model runs.
    let device = SimilarityDevice(embedder.device().clone());
    ctx.state_ref().write().config_mut().set_extension(Arc::new(device));
    rules::register(ctx, &embedder)
}
