//! The spellings of a similarity join against the cross join that they say.

use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, Int32Array, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::util::pretty::pretty_format_batches;
use datafusion::common::internal_err;
use datafusion::datasource::MemTable;
use datafusion::error::Result;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::scalar::ScalarValue;
use generel_schemas::vector::{VectorType, item_field};
use proptest::prelude::*;

use super::{PlanSimilarityJoin, UseScore};

const DIMENSION: usize = 3;

/// Stands for `embed`: every text is the same.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OneVector(Signature);

impl ScalarUDFImpl for OneVector {
    fn name(&self) -> &str {
        "embed"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("its type is a field's")
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let vector_type = VectorType { model_id: "m".into(), dimension: DIMENSION };
        Ok(Arc::new(vector_type.to_field("embed", true)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let values = Arc::new(Float32Array::from(vec![1.0, -2.0, 0.5]));
        let vector = FixedSizeListArray::new(item_field(), DIMENSION as i32, values, None);
        Ok(ColumnarValue::Scalar(ScalarValue::FixedSizeList(Arc::new(vector))))
    }
}

/// A session with the functions, and with the rules or without.
fn session(rules: bool, partitions: usize, memory: Option<usize>) -> SessionContext {
    let config = SessionConfig::new().with_target_partitions(partitions).with_batch_size(7);
    let mut runtime = RuntimeEnvBuilder::new();
    if let Some(bytes) = memory {
        runtime = runtime.with_memory_limit(bytes, 1.0);
    }
    let runtime = runtime.build_arc().unwrap();
    let mut builder = SessionStateBuilder::new().with_config(config).with_runtime_env(runtime).with_default_features();
    if rules {
        let all = &mut builder.optimizer().get_or_insert_default().rules;
        let at = all.iter().position(|r| r.name() == "optimize_projections").unwrap();
        all.insert(at, Arc::new(PlanSimilarityJoin::new()));
        all.insert(at + 1, Arc::new(UseScore::new()));
    }
    let ctx = SessionContext::new_with_state(builder.build());
    ctx.register_udf(crate::cosine_similarity::udf());
    ctx.register_udf(ScalarUDF::from(OneVector(Signature::any(1, Volatility::Immutable))));
    ctx.register_udf(crate::as_vector::udf(VectorType { model_id: "m".into(), dimension: DIMENSION }));
    for (name, function) in crate::table_functions() {
        ctx.register_udtf(name, function);
    }
    ctx
}

/// `(id, category, v)`: few directions, so that scores tie; NULL, zero and NaN among them.
fn rows(n: usize, seed: u64, model: &str) -> RecordBatch {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut values = Vec::new();
    for _ in 0..n {
        match rng.u8(..12) {
            0 => values.extend([0.0; DIMENSION]),
            1 => values.extend([f32::NAN; DIMENSION]),
            _ => values.extend((0..DIMENSION).map(|_| rng.i32(-2..3) as f32)),
        }
    }
    let valid: NullBuffer = (0..n).map(|_| rng.u8(..10) > 0).collect();
    let vectors =
        FixedSizeListArray::new(item_field(), DIMENSION as i32, Arc::new(Float32Array::from(values)), Some(valid));
    let categories: StringArray = (0..n).map(|_| [Some("a"), Some("b"), None][rng.usize(..3)]).collect();
    let vector_type = VectorType { model_id: model.to_string(), dimension: DIMENSION };
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int32, false),
        Field::new("category", DataType::Utf8, true),
        vector_type.to_field("v", true),
    ]);
    let ids: Int32Array = (0..n as i32).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(ids), Arc::new(categories), Arc::new(vectors)];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

/// In no order, which must make no difference.
fn register(ctx: &SessionContext, name: &str, rows: RecordBatch, partitions: usize) {
    let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
    fastrand::Rng::with_seed(7).shuffle(&mut order);
    let rows = arrow::compute::take_record_batch(&rows, &arrow::array::UInt32Array::from(order)).unwrap();
    let mut parts = vec![Vec::new(); partitions];
    for (i, at) in (0..rows.num_rows()).step_by(5).enumerate() {
        parts[i % partitions].push(rows.slice(at, 5.min(rows.num_rows() - at)));
    }
    ctx.register_table(name, Arc::new(MemTable::try_new(rows.schema(), parts).unwrap())).unwrap();
}

async fn run(ctx: &SessionContext, sql: &str) -> String {
    let frame = ctx.sql(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let batches = frame.collect().await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let text = pretty_format_batches(&batches).unwrap().to_string();
    if sql.contains("ORDER BY 1") {
        return text;
    }
    let cells = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = text.lines().filter(|l| l.starts_with('|')).skip(1).map(cells).collect();
    lines.sort_unstable();
    lines.join("\n")
}

async fn explained(ctx: &SessionContext, sql: &str) -> String {
    run(ctx, &format!("EXPLAIN {sql} -- ORDER BY 1")).await
}

/// Queries whose rows are certain, for a least cosine and a number of neighbors.
fn queries(t: f64, k: usize) -> Vec<String> {
    let cosine = "cosine_similarity(l.v, r.v)";
    let ranked = |function: &str, partition: &str, order: &str, from: &str| {
        format!(
            "SELECT id, other, score FROM (SELECT l.id AS id, r.id AS other, {cosine} AS score, \
             {function} OVER ({partition} ORDER BY {cosine} DESC{order}) AS place FROM {from}) t WHERE place <= {k}"
        )
    };
    vec![
        format!("SELECT l.id, r.id, {cosine} FROM l JOIN r ON {cosine} >= {t}"),
        format!("SELECT l.id, r.id FROM l, r WHERE {cosine} > {t} AND l.id <> r.id"),
        format!("SELECT l.id, r.id FROM l JOIN r ON l.category = r.category AND {t} <= {cosine}"),
        format!("SELECT l.id, r.id, {cosine} FROM l LEFT JOIN r ON {cosine} >= {t}"),
        format!("SELECT l.id, r.id, {cosine} FROM l LEFT JOIN r ON l.category = r.category AND {cosine} >= {t}"),
        format!("SELECT l.id, r.* FROM l RIGHT JOIN r ON {cosine} > CAST({t} AS FLOAT)"),
        format!("SELECT * FROM l WHERE EXISTS (SELECT 1 FROM r WHERE {cosine} >= {t})"),
        format!(
            "SELECT l.id FROM l WHERE NOT EXISTS (SELECT 1 FROM r WHERE {cosine} >= {t} AND r.category = l.category)"
        ),
        ranked("row_number()", "PARTITION BY l.id", ", r.id", "l CROSS JOIN r"),
        ranked("row_number()", "PARTITION BY r.id", " NULLS LAST, l.id", "l, r"),
        ranked("rank()", "PARTITION BY l.id", " NULLS LAST", "l JOIN r ON l.category = r.category"),
        ranked("rank()", "PARTITION BY l.id", "", "l JOIN r ON l.category = r.category"),
        ranked("row_number()", "", ", l.id, r.id", &format!("l JOIN r ON {cosine} > {t}")),
        format!(
            "SELECT l.id, r.id FROM l CROSS JOIN r \
                 QUALIFY row_number() OVER (PARTITION BY l.id ORDER BY {cosine} DESC NULLS LAST, r.id) <= {k}"
        ),
        format!(
            "WITH pairs AS (SELECT l.id, r.id AS other, {cosine} AS s FROM l, r) \
                 SELECT * FROM pairs QUALIFY row_number() OVER (PARTITION BY id ORDER BY s DESC, other) < {k}"
        ),
        ranked("row_number()", "PARTITION BY l.id", " NULLS LAST, r.id", "l JOIN r ON l.id <> r.id"),
        ranked("row_number()", "PARTITION BY l.id", ", r.id", "l JOIN r ON r.category <> l.category"),
        ranked("rank()", "PARTITION BY r.id", "", "l JOIN r ON l.category = r.category AND l.id <> r.id"),
        ranked(
            "row_number()",
            "PARTITION BY l.id",
            ", r.id",
            &format!("l JOIN r ON {cosine} > {t} AND l.category <> r.category"),
        ),
        // With rules that find nothing to do.
        format!("SELECT l.id, r.id FROM l FULL JOIN r ON {cosine} >= {t}"),
        format!(
            "SELECT l.id, r.id FROM l, r WHERE l.id < r.id \
                 QUALIFY row_number() OVER (PARTITION BY l.id ORDER BY {cosine} DESC, r.id) <= {k}"
        ),
    ]
}

/// The cosine with what [`OneVector`] gives.
const TO_CONSTANT: &str = "cosine_similarity(as_vector(arrow_cast(make_array(1.0, -2.0, 0.5), \
     'FixedSizeList(3, Float32)'), 'm', 3), v)";

/// Queries that leave ties to the operator, and what they are to mean: of equal ones the rows whose columns come first.
fn with_ties(t: f64, k: usize) -> Vec<(String, String)> {
    let cosine = "cosine_similarity(l.v, r.v)";
    let t = t.clamp(-1.0, 1.0);
    let best = |columns: &str, place: &str, condition: &str, k: usize| {
        format!(
            "SELECT {columns} FROM (SELECT l.id AS id, r.id AS other, {cosine} AS score, row_number() OVER \
             (PARTITION BY l.id ORDER BY {cosine} DESC {place}) AS place FROM l JOIN r ON {condition}) p WHERE place <= {k}"
        )
    };
    // The best row of each group of the right side, and the best groups.
    let of_groups = format!(
        "SELECT id, other, score, place FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY score DESC, other) \
         AS place FROM (SELECT *, row_number() OVER (PARTITION BY id, category ORDER BY score DESC, other) AS of_group \
         FROM (SELECT l.id AS id, r.id AS other, r.category AS category, {cosine} AS score FROM l CROSS JOIN r) c \
         WHERE score >= {t}) g WHERE of_group = 1) p WHERE place <= {}",
        k + 1
    );
    let all = "id, other, score, place";
    let function = |more: &str| {
        format!("SELECT left_id, right_id, similarity_score, rank FROM similarity_join('l', 'r', {}, {t}{more})", k + 1)
    };
    let nearest = |condition: &str, order: &str| {
        format!(
            "SELECT * FROM (SELECT id, category, {TO_CONSTANT} AS s FROM l) c {condition} ORDER BY s DESC{order} LIMIT {k}"
        )
    };
    vec![
        (function(""), best(all, ", r.id", &format!("{cosine} >= {t}"), k + 1)),
        (function(", 'category'"), of_groups),
        (
            best("id, other", "", &format!("{cosine} > {t}"), k),
            best("id, other", ", r.id", &format!("{cosine} > {t}"), k),
        ),
        (
            best("id, other", "NULLS LAST", "l.category = r.category", k),
            best("id, other", "NULLS LAST, r.id", "l.category = r.category", k),
        ),
        (best("id, other", "", "l.id <> r.id", k), best("id, other", ", r.id", "l.id <> r.id", k)),
        (nearest("", ""), nearest("", ", id")),
        (
            format!("SELECT id, category, similarity_score FROM nearest('l', 'a text', {}, {t})", k.max(1)),
            nearest(&format!("WHERE s >= {t}"), ", id").replace("LIMIT 0", "LIMIT 1"),
        ),
    ]
}

fn nearest(order: &str, k: usize) -> String {
    format!(
        "SELECT id, s FROM (SELECT id, category, {TO_CONSTANT} AS s FROM l) \
         ORDER BY s DESC{order} LIMIT {k} -- ORDER BY 1"
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn every_spelling_means_the_cross_join(
        n in 0usize..25, m in 0usize..40, seed in any::<u64>(), t in -1.2f64..1.2, k in 0usize..6,
        partitions in 1usize..4
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (plain, ruled) = (session(false, 1, None), session(true, partitions, None));
            for ctx in [&plain, &ruled] {
                register(ctx, "l", rows(n, seed, "m"), partitions);
                register(ctx, "r", rows(m, seed ^ 5, "m"), partitions);
            }
            for sql in queries(t, k) {
                assert_eq!(run(&ruled, &sql).await, run(&plain, &sql).await, "{sql}");
            }
            for (sql, meant) in with_ties(t, k) {
                assert_eq!(run(&ruled, &sql).await, run(&plain, &meant).await, "{sql}\n{meant}");
            }
            for order in [", id", " NULLS LAST, id", " NULLS LAST, category, id"] {
                let sql = nearest(order, k);
                assert_eq!(run(&ruled, &sql).await, run(&plain, &sql).await, "{sql}");
            }
        });
    }
}

#[tokio::test]
async fn every_spelling_is_the_operator() {
    let ctx = session(true, 2, None);
    register(&ctx, "l", rows(10, 1, "m"), 2);
    register(&ctx, "r", rows(10, 2, "m"), 2);
    let all = queries(0.5, 3);
    for sql in &all[..all.len() - 2] {
        let plan = explained(&ctx, sql).await;
        assert!(plan.contains("SimilarityJoinExec"), "{sql}\n{plan}");
        assert!(!plan.contains("NestedLoopJoin") && !plan.contains("CrossJoin"), "{sql}\n{plan}");
    }
    for sql in &all[all.len() - 2..] {
        let plan = explained(&ctx, sql).await;
        assert!(!plan.contains("SimilarityJoinExec"), "{sql}\n{plan}");
    }
    let plan = explained(&ctx, &nearest(" NULLS LAST", 3)).await;
    assert!(plan.contains("SimilarityJoinExec") && plan.contains("streams=right"), "{plan}");
    // The score is the join's: no vector comes out of it.
    for sql in [&all[0], &all[8], &all[14]] {
        let plan = explained(&ctx, sql).await;
        assert!(!plan.contains("cosine_similarity(v@"), "{plan}");
    }
}

#[tokio::test]
async fn vectors_of_two_models_are_refused_whatever_the_spelling() {
    let ctx = session(true, 2, None);
    register(&ctx, "l", rows(10, 1, "one"), 1);
    register(&ctx, "r", rows(10, 2, "two"), 1);
    for sql in queries(0.5, 3) {
        let error = match ctx.sql(&sql).await {
            Ok(frame) => frame.create_physical_plan().await.expect_err(&sql),
            Err(error) => error,
        };
        let error = error.to_string();
        assert!(error.contains("'one'") && error.contains("'two'"), "{sql}: {error}");
    }
}

/// As many batches as there are, and with as little memory as they need.
async fn with_little_memory(n: usize, m: usize, seed: u64, partitions: usize, bytes: usize, queries: &[String]) {
    let (small, large) = (session(true, partitions, Some(bytes)), session(true, partitions, None));
    for ctx in [&small, &large] {
        register(ctx, "l", rows(n, seed, "m"), partitions);
        register(ctx, "r", rows(m, seed ^ 5, "m"), partitions);
    }
    for sql in queries {
        assert_eq!(run(&small, sql).await, run(&large, sql).await, "{sql}");
    }
}

fn unsorted_queries(t: f64, k: usize) -> Vec<String> {
    let mut all = queries(t, k);
    all.truncate(8);
    // A window's sort takes more memory than these joins.
    all.extend(with_ties(t, k).into_iter().map(|(ours, _)| ours).filter(|sql| sql.contains("similarity_join(")));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn what_has_no_room_goes_to_disk_and_means_the_same(
        n in 0usize..25, m in 0usize..40, seed in any::<u64>(), t in -1.2f64..1.2, k in 0usize..6,
        partitions in 1usize..4
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(with_little_memory(n, m, seed, partitions, 8000, &unsorted_queries(t, k)));
    }
}

#[tokio::test]
async fn a_side_larger_than_the_memory() {
    with_little_memory(300, 12_000, 1, 3, 1 << 18, &unsorted_queries(0.999, 3)[2..]).await;
}
