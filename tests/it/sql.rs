//! The `.slt` files of tests/sql, each in a session of its own over an empty lake.

use std::path::Path;
use std::sync::Arc;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::SessionContext;
use generel_model::store::{MINILM, ModelStore};
use generel_model::train::{SnpFacts, Task, TaskKind, TaskOptions, TrainOptions, Trainer, TrainingSet};
use generel_model::{Device, Precision};
use generel_pipeline::SessionOptions;
use sqllogictest::{DBOutput, DefaultColumnType, Runner};

use crate::lake::session_of;
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
    // What is about SNPs needs a model that has some.
    let model = match file.file_stem().is_some_and(|n| n == "embed_snp") {
        true => model_with_snps(&place),
        false => MINILM.to_string(),
    };
    let session = session_of(&place, &model, SessionOptions::default()).await;
    let ctx = Arc::new(session.ctx().clone());
    let mut runner = Runner::new(|| {
        let ctx = ctx.clone();
        async move { Ok(Engine(ctx)) }
    });
    if let Err(error) = runner.run_file_async(file).await {
        panic!("{}", error.display(false));
    }
}

/// A model of a few thousand weights, trained here on five SNPs and four traits.
fn model_with_snps(place: &Place) -> String {
    let start = repository().join("model/tests/fixtures/tiny/roberta-mean");
    let start = ModelStore::new("no-store").info(start.to_str().expect("UTF-8")).expect("a model");
    let traits = ["coronary heart disease", "hair color", "height", "asthma"];
    let snps = [("rs1333049", 0), ("rs10757274", 0), ("rs12913832", 1), ("rs1042725", 2), ("rs7216389", 3)];
    let genes = ["CDKN2B", "CDKN2B", "HERC2", "HMGA2", "ORMDL3"];
    let fact = |i: usize| SnpFacts {
        rsid: snps[i].0.to_string(),
        chromosome: Some(1 + i as u8),
        position: Some(1000 * i as u32 + 1),
        genes: vec![i as u32],
        consequence: Some("intron".into()),
    };
    let set = TrainingSet {
        texts: traits.map(str::to_string).to_vec(),
        entities: vec![0, 1, 2, 3],
        snps: (0..snps.len()).map(fact).collect(),
        genes: genes.map(str::to_string).to_vec(),
        tasks: vec![Task {
            name: "snp_trait".into(),
            kind: TaskKind::SnpText,
            left: (0..5).collect(),
            right: snps.map(|(_, of)| of).to_vec(),
            weights: vec![1.0; 5],
        }],
        ..TrainingSet::default()
    };
    let options = TrainOptions {
        seed: 1,
        steps: 40,
        snp_steps: 160,
        warm_up: 10,
        tasks: vec![TaskOptions { name: "snp_trait".into(), batch: 5, weight: 1.0, temperature: 0.1 }],
        learning_rate: 1e-3,
        snp_learning_rate: 5e-3,
        weight_decay: 0.0,
        precision: Precision::F32,
        max_tokens: 16,
        nested_dimensions: Vec::new(),
        average: 0.5,
        keep: 0.5,
        hard_negatives: false,
        gradient_cache: false,
        checkpoint_every: 1000,
        report_every: 1000,
    };
    let mut trainer = Trainer::new(&start, set, options, &place.path("run"), &Device::default()).expect("a run");
    trainer.run(&mut |_| std::ops::ControlFlow::Continue(())).expect("steps");
    let model = place.path("with-snps");
    trainer.export(&model).expect("a model");
    model.to_str().expect("UTF-8").to_string()
}
