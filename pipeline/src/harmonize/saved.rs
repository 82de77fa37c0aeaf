//! An index in a lake of its own, small enough to be shipped to where records are harmonized: the concepts and names of the
//! target, their vectors, and what is known of codes; no patients, no associations.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use datafusion::prelude::{Expr, col, lit};
use generel_model::VectorStore;
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, KG_EDGES, MAPPINGS};
use generel_schemas::{Table, sssom};

use super::index::{ConceptIndex, IndexOptions};
use crate::lake::Commit;
use crate::text_columns::text_columns;
use crate::{Error, Result, Session};

/// Vectors of one commit.
const VECTORS_PER_COMMIT: usize = 16 * 1024;

/// What was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedIndex {
    /// The index's version, which is that of the lake it was taken from.
    pub version: String,
    /// Concepts of the target.
    pub concepts: usize,
    /// Its names' vectors.
    pub vectors: usize,
}

/// Puts everything that an index is made from into the lake of another session of the same model, in the place of what was
/// saved there before.
///
/// # Errors
/// When the options name no index of the first lake, the model fails, or a lake cannot be read or written.
pub async fn save_index(
    from: &Session,
    to: &Session,
    options: &IndexOptions,
    run_id: &str,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<SavedIndex> {
    let of_target = |column: &str| col(column).eq(lit(options.target.source()));
    from.refresh().await?;
    let names = from.ctx().table(CONCEPT_NAMES.name).await?.filter(of_target("source"))?;
    if names.limit(0, Some(1))?.count().await? == 0 {
        let target = &options.target;
        return Err(Error::Invalid(format!(
            "source {target} has no concepts in this lake: ingest its ontology or vocabulary"
        )));
    }
    let index = ConceptIndex::load(from, options, run_id, progress).await?;
    let curated: Vec<Expr> = options.curated.iter().map(|name| lit(name.as_str())).collect();
    let mappings = of_target("subject_source")
        .or(of_target("object_source"))
        .or(col("mapping_justification").eq(lit(sssom::MANUAL_CURATION)));
    copy(from, to, &CONCEPTS, None, run_id).await?;
    copy(from, to, &CONCEPT_NAMES, Some(of_target("source")), run_id).await?;
    copy(from, to, &MAPPINGS, Some(mappings), run_id).await?;
    copy(from, to, &KG_EDGES, Some(col("source").in_list(curated, false)), run_id).await?;
    let failed = |e: generel_model::StoreError| Error::Internal(e.to_string());
    let texts = index.texts();
    for piece in texts.chunks(VECTORS_PER_COMMIT) {
        let vectors = from.vectors()?.get_many(piece).await.map_err(failed)?;
        let known: Vec<_> = piece.iter().zip(vectors).filter_map(|(text, v)| Some((Arc::clone(text), v?))).collect();
        to.vectors()?.put_many(&known);
        to.vectors()?.flush(run_id, 1).await?;
    }
    let again = ConceptIndex::load(to, options, run_id, &|_, _| {}).await?;
    if again.version != index.version {
        return Err(Error::Internal(format!("the saved index is {}, not {}", again.version, index.version)));
    }
    Ok(SavedIndex { version: index.version.clone(), concepts: index.concepts(), vectors: texts.len() })
}

/// Copies rows of a table, unit by unit, each in the place of what it was.
async fn copy(from: &Session, to: &Session, table: &'static Table, rows: Option<Expr>, run_id: &str) -> Result<()> {
    let Some(unit_column) = table.unit else {
        return Err(Error::Internal(format!("table {} has no units", table.name)));
    };
    let mut frame = from.ctx().table(table.name).await?;
    if let Some(rows) = rows {
        frame = frame.filter(rows)?;
    }
    let units = frame.clone().select_columns(&[unit_column])?.distinct()?.sort_by(vec![col(unit_column)])?;
    let columns: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
    for batch in units.collect().await? {
        let [units] = text_columns(&batch)?;
        for unit in units.iter().flatten() {
            let of_unit = frame.clone().filter(col(unit_column).eq(lit(unit)))?.select_columns(&columns)?;
            let mut writer = to.lake.writer(table, Some(unit)).await?;
            for batch in of_unit.collect().await? {
                writer.write(as_table(&batch, table)?).await?;
            }
            writer.commit(Commit { replace_unit: true, marks: Vec::new(), run_id: run_id.to_string() }).await?;
        }
    }
    Ok(())
}

/// Rows with the table's own types: queries have views of texts.
fn as_table(batch: &RecordBatch, table: &Table) -> Result<RecordBatch> {
    let schema = table.schema();
    let columns = batch.columns().iter().zip(schema.fields());
    let columns =
        columns.map(|(column, field)| cast(column, field.data_type())).collect::<std::result::Result<_, _>>()?;
    Ok(RecordBatch::try_new(schema, columns)?)
}
