//! The names of a side with their vectors as a table, while they are searched.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float32Type, Int32Type, Schema};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use futures::StreamExt;
use generel_schemas::tables::EMBEDDINGS;
use generel_udfs::{GenerelOptions, recall_of_sample};

use super::similar_names::{Limits, Side};
use crate::{Error, Result, Session};

/// Two names by number, and their cosine.
type ScoredPair = ((usize, usize), Option<f32>);
/// Of the exact neighbors of a sample of names, those that were found, and all.
pub(super) type Sample = [u64; 2];

/// A registered table and, of its rows, the views with the names that are `open` or `known`, and those that are `new`.
pub(super) struct VectorTable {
    table: String,
    open: bool,
    known: bool,
    new: bool,
}

const VIEWS: [(&str, &str); 3] = [("open", "open"), ("known", "NOT open"), ("new", "new")];

impl VectorTable {
    /// Registers a side, in the order of its names, so that ties fall the same way every time.
    ///
    /// # Errors
    /// When a query fails.
    pub(super) async fn register(session: &Session, side: &str, of: &Side<'_>) -> Result<Self> {
        let ctx = session.ctx();
        let table = format!("generel_align_{side}");
        let raw = format!("{table}_names");
        let open: Vec<bool> = of.lists.iter().map(Option::is_none).collect();
        let batch = with_flags(of.names.keys(of.words.iter().map(|w| w.key.as_str()))?, &open, &of.new)?;
        ctx.deregister_table(raw.as_str())?;
        ctx.register_table(raw.as_str(), Arc::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))?;
        let sql = format!(
            "SELECT n.name_no, n.code_no, n.words, n.open, n.new, e.vector FROM {raw} n JOIN {} e ON e.key = n.text \
             ORDER BY n.name_no",
            EMBEDDINGS.name
        );
        let joined = ctx.sql(&sql).await?.collect().await?;
        ctx.deregister_table(raw.as_str())?;
        let Some(schema) = joined.first().map(RecordBatch::schema) else {
            return Err(Error::Internal("the names just embedded have no vectors".into()));
        };
        ctx.deregister_table(table.as_str())?;
        ctx.register_table(table.as_str(), Arc::new(MemTable::try_new(schema, vec![joined])?))?;
        for (view, rows) in VIEWS {
            let view = format!("{table}_{view}");
            ctx.deregister_table(view.as_str())?;
            let rows = ctx.sql(&format!("SELECT name_no, code_no, vector FROM {table} WHERE {rows}")).await?;
            ctx.register_table(view.as_str(), rows.into_view())?;
        }
        Ok(Self { open: open.contains(&true), known: open.contains(&false), new: of.new.contains(&true), table })
    }

    /// Own and other names by number, and their cosine: for open names the best of all others, of `codes` codes; for
    /// known names the best that are new. Also the recall of a sample, where the search is approximate.
    ///
    /// # Errors
    /// When a query fails.
    pub(super) async fn nearest(
        &self,
        session: &Session,
        other: &Self,
        codes: usize,
        limits: Limits,
    ) -> Result<(Vec<(usize, usize, f32)>, Sample)> {
        let (own, others, min_score) = (&self.table, &other.table, limits.min_score);
        let ctx = with_recall(session.ctx(), limits.recall)?;
        let search = |own: String, others: String| {
            format!(
                "SELECT left_name_no, right_name_no, similarity_score \
                 FROM similarity_join('{own}', '{others}', {codes}, {min_score:?}, 'code_no')"
            )
        };
        let (mut found, mut sample) = (Vec::new(), Sample::default());
        if self.open {
            (found, sample) = pairs(&ctx, &search(format!("{own}_open"), others.clone())).await?;
        }
        if self.known && other.new {
            let (more, of_more) = pairs(&ctx, &search(format!("{own}_known"), format!("{others}_new"))).await?;
            found.extend(more);
            sample = [sample[0] + of_more[0], sample[1] + of_more[1]];
        }
        Ok((found.into_iter().filter_map(|((a, b), cosine)| Some((a, b, cosine?))).collect(), sample))
    }

    /// Names of the same words of which one is new, and their cosine.
    ///
    /// # Errors
    /// When a query fails.
    pub(super) async fn same_words(&self, session: &Session, other: &Self) -> Result<Vec<ScoredPair>> {
        let sql = format!(
            "SELECT l.name_no, r.name_no, cosine_similarity(l.vector, r.vector) FROM {} l JOIN {} r \
             ON l.words = r.words WHERE l.words <> '' AND (l.new OR r.new)",
            self.table, other.table
        );
        Ok(pairs(session.ctx(), &sql).await?.0)
    }

    /// Forgets the table.
    ///
    /// # Errors
    /// When the catalog fails.
    pub(super) fn deregister(self, session: &Session) -> Result<()> {
        for (view, _) in VIEWS {
            session.ctx().deregister_table(format!("{}_{view}", self.table))?;
        }
        session.ctx().deregister_table(self.table.as_str())?;
        Ok(())
    }
}

fn with_flags(batch: RecordBatch, open: &[bool], new: &[bool]) -> Result<RecordBatch> {
    let mut fields = batch.schema().fields().to_vec();
    let mut columns = batch.columns().to_vec();
    for (name, flags) in [("open", open), ("new", new)] {
        fields.push(Arc::new(Field::new(name, DataType::Boolean, false)));
        columns.push(Arc::new(BooleanArray::from(flags.to_vec())));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// The rows of a query of two numbers and a score.
async fn pairs(ctx: &SessionContext, sql: &str) -> Result<(Vec<ScoredPair>, Sample)> {
    let mut all = Vec::new();
    let plan = ctx.sql(sql).await?.create_physical_plan().await?;
    let mut stream = execute_stream(Arc::clone(&plan), ctx.task_ctx())?;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let numbers = |column: usize| cast(batch.column(column), &DataType::Int32);
        let (a, b) = (numbers(0)?, numbers(1)?);
        let (a, b) = (a.as_primitive::<Int32Type>(), b.as_primitive::<Int32Type>());
        let scores = batch.column(2).as_primitive::<Float32Type>();
        all.extend((0..batch.num_rows()).map(|row| {
            let score = scores.is_valid(row).then(|| scores.value(row));
            ((a.value(row) as usize, b.value(row) as usize), score)
        }));
    }
    Ok((all, recall_of_sample(&plan)))
}

/// The same session, but with another recall.
fn with_recall(ctx: &SessionContext, recall: f64) -> Result<SessionContext> {
    let mut config = ctx.copied_config();
    let options = config.options_mut().extensions.get_mut::<GenerelOptions>();
    options.ok_or_else(|| Error::Internal("the session has not GENEREL's options".into()))?.similarity_recall = recall;
    let state = SessionStateBuilder::new_from_existing(ctx.state()).with_config(config).build();
    Ok(SessionContext::new_with_state(state))
}
