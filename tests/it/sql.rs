//! The `.slt` files of tests/sql, each in a session of its own over an empty lake.

use std::path::Path;
use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::SessionContext;
use generel_pipeline::SessionOptions;
use sqllogictest::{DBOutput, DefaultColumnType, Runner};

use crate::lake::session;
use crate::support::{Place, repository};

struct Engine(Arc<SessionContext>);

#[derive(Debug)]
struct Failed(String);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

#[async_trait::async_trait]
impl sqllogictest::AsyncDB for Engine {
    type Error = Failed;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failed> {
        let failed = |e: datafusion::error::DataFusionError| Failed(e.to_string());
        let batches = self.0.sql(sql).await.map_err(failed)?.collect().await.map_err(failed)?;
        let options = FormatOptions::default().with_null("NULL");
        let mut rows = Vec::new();
        for batch in &batches {
            let columns = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).expect("a formatter"));
            let columns: Vec<_> = columns.collect();
            for row in 0..batch.num_rows() {
                let shown = columns.iter().map(|c| match c.value(row).to_string() {
                    empty if empty.is_empty() => "(empty)".to_string(),
                    value => value,
                });
                rows.push(shown.collect());
            }
        }
        if batches.is_empty() {
            return Ok(DBOutput::StatementComplete(0));
        }
        // A plan is shown line by line.
        let is_plan = sql.trim_start().to_uppercase().starts_with("EXPLAIN");
        if is_plan {
            let lines = rows.iter().map(|row: &Vec<String>| row.join(" "));
            rows = lines.flat_map(|plan| plan.lines().map(|l| vec![l.to_string()]).collect::<Vec<_>>()).collect();
        }
        let types = vec![DefaultColumnType::Any; if is_plan { 1 } else { batches[0].num_columns() }];
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn every_slt_file_holds() {
    let mut files: Vec<_> = std::fs::read_dir(repository().join("tests/sql"))
        .expect("tests/sql")
        .map(|e| e.expect("entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "slt"))
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        run(&file).await;
    }
}

async fn run(file: &Path) {
    let place = Place::new();
    let session = session(&place, SessionOptions::default()).await;
    let ctx = Arc::new(session.ctx().clone());
    let mut runner = Runner::new(|| {
        let ctx = ctx.clone();
        async move { Ok(Engine(ctx)) }
    });
    if let Err(error) = runner.run_file_async(file).await {
        panic!("{}", error.display(false));
    }
}
