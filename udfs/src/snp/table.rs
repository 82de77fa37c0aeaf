//! The SNPs that a model was trained on, as a table: `rsid`, and its vector.

use std::sync::Arc;

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use generel_model::{Embedder, SnpQuery};
use tokio::sync::OnceCell;

use super::embed_snp::to_vectors;
use crate::error::execution;

/// Name of the column of rsIDs.
const RSID: &str = "rsid";

/// Vectors are computed by the first scan.
#[derive(Debug)]
pub(super) struct SnpTable {
    embedder: Embedder,
    schema: SchemaRef,
    batch: Arc<OnceCell<RecordBatch>>,
}

impl SnpTable {
    pub(super) fn new(embedder: Embedder, batch: Arc<OnceCell<RecordBatch>>) -> Self {
        let vector = embedder.info().vector_type().to_field("vector", false);
        let schema = Arc::new(Schema::new(vec![Field::new(RSID, DataType::Utf8, false), vector]));
        Self { embedder, schema, batch }
    }

    async fn compute(&self) -> Result<RecordBatch> {
        let rsids: Vec<String> = self.embedder.snp_encoder().map_err(execution)?.rsids().collect();
        let queries: Vec<SnpQuery> =
            rsids.iter().map(|rsid| SnpQuery { rsid: rsid.clone(), ..SnpQuery::default() }).collect();
        let (vectors, _) = self.embedder.embed_snps(&queries).await.map_err(execution)?;
        let vectors = to_vectors(&self.embedder, vectors, None)?;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), vec![Arc::new(StringArray::from(rsids)), Arc::new(vectors)])?)
    }
}

#[async_trait]
impl TableProvider for SnpTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let batch = self.batch.get_or_try_init(|| self.compute()).await?;
        let plan =
            MemorySourceConfig::try_new_exec(&[vec![batch.clone()]], Arc::clone(&self.schema), projection.cloned())?;
        Ok(plan)
    }
}
