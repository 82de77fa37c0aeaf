//! The table functions `nearest_snps` and `nearest_concepts`.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlanBuilder, lit};
use generel_model::Embedder;
use tokio::sync::OnceCell;

use super::table::SnpTable;
use crate::similarity_join::nearest_rows;
use crate::table_arguments::{Arguments, table};

const SNPS_USAGE: &str = "('text' [, k = 10 [, min_score = -1]])";
const CONCEPTS_USAGE: &str = "('rsid' [, k = 10 [, min_score = -1 [, 'table' = 'embeddings']]])";
/// The table that concepts are looked for in, unless another is named.
const CONCEPTS: &str = "embeddings";

/// `nearest_snps(text, k, min_score)`: the model's SNPs most similar to a text.
#[derive(Debug)]
pub(crate) struct NearestSnps {
    embedder: Embedder,
    /// Computed once for all queries of the session.
    batch: Arc<OnceCell<RecordBatch>>,
}

impl NearestSnps {
    pub(crate) fn new(embedder: Embedder) -> Self {
        Self { embedder, batch: Arc::default() }
    }
}

impl TableFunctionImpl for NearestSnps {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let arguments = Arguments::new("nearest_snps", SNPS_USAGE, args.exprs(), 1, 3)?;
        let text = arguments.text(0)?;
        let embed = crate::embed::udf(self.embedder.clone());
        let query = LogicalPlanBuilder::empty(true)
            .project(vec![lit(text).alias("query"), embed.call(vec![lit(text)]).alias("vector")])?
            .build()?;
        let snps: Arc<dyn TableProvider> = Arc::new(SnpTable::new(self.embedder.clone(), Arc::clone(&self.batch)));
        nearest_rows(query, ("snps", snps), arguments.count(1, 10)?, arguments.score(2, -1.0)?)
    }
}

/// `nearest_concepts(rsid, k, min_score, table)`: the rows of a table most similar to an SNP.
#[derive(Debug)]
pub(crate) struct NearestConcepts {
    embedder: Embedder,
}

impl NearestConcepts {
    pub(crate) fn new(embedder: Embedder) -> Self {
        Self { embedder }
    }
}

impl TableFunctionImpl for NearestConcepts {
    fn call_with_args(&self, args: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        let arguments = Arguments::new("nearest_concepts", CONCEPTS_USAGE, args.exprs(), 1, 4)?;
        let (rsid, name) = (arguments.text(0)?, arguments.optional_text(3)?.unwrap_or(CONCEPTS));
        let embed_snp = super::embed_snp::udf(self.embedder.clone());
        let query = LogicalPlanBuilder::empty(true)
            .project(vec![lit(rsid).alias("query"), embed_snp.call(vec![lit(rsid)]).alias("vector")])?
            .build()?;
        nearest_rows(query, (name, table(args.session(), name)?), arguments.count(1, 10)?, arguments.score(2, -1.0)?)
    }
}
