//! Plans travel: every kind of plan goes through protobuf and gives the same rows.

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;
use datafusion_proto::bytes::{
    physical_plan_from_bytes_with_extension_codec, physical_plan_to_bytes_with_extension_codec,
};
use generel_pipeline::SessionOptions;
use generel_udfs::{GenerelPhysicalCodec, register_all};

use crate::lake::session;
use crate::support::Place;

#[tokio::test(flavor = "multi_thread")]
async fn the_join_and_the_functions_survive_protobuf() {
    let place = Place::new();
    let session = session(&place, SessionOptions::default()).await;
    let ctx = session.ctx();
    let names = "create table names as select name, embed(name) as vector from (values ('heart attack'), ('wrist fracture'), ('flu')) t(name)";
    ctx.sql(names).await.expect("plan").collect().await.expect("table");
    let codec = GenerelPhysicalCodec::new(session.embedder().expect("a model").clone());
    for query in [
        "select left_name, right_name, rank from similarity_join('names', 'names', 2) order by left_name, rank",
        "select name, rank from nearest('names', 'influenza', 2) order by rank",
        "select name, round(cosine_similarity(embed(name), embed('influenza')), 3) as s from names order by name",
    ] {
        let plan = ctx.sql(query).await.expect(query).create_physical_plan().await.expect(query);
        let rows = collect(plan.clone(), ctx.task_ctx()).await.expect(query);
        let bytes = physical_plan_to_bytes_with_extension_codec(plan, &codec).expect(query);
        let back = physical_plan_from_bytes_with_extension_codec(&bytes, &ctx.task_ctx(), &codec).expect(query);
        assert_eq!(rows, collect(back, ctx.task_ctx()).await.expect(query), "{query}");
    }
}

/// A context that knows nothing of a lake.
#[tokio::test(flavor = "multi_thread")]
async fn any_context_takes_the_functions_and_the_rules() {
    let place = Place::new();
    let embedder = session(&place, SessionOptions::default()).await.embedder().expect("a model").clone();
    let ctx = SessionContext::new();
    register_all(&ctx, embedder).expect("registered");
    let said = async |sql: &str| {
        let batches = ctx.sql(sql).await.expect(sql).collect().await.expect(sql);
        pretty_format_batches(&batches).expect(sql).to_string()
    };
    let names = "(VALUES ('heart attack', 1), ('flu', 2), ('wrist fracture', 3)) t(name, code)";
    let nearest =
        format!("SELECT name FROM {names} ORDER BY cosine_similarity(embed(name), embed('influenza')) DESC LIMIT 1");
    assert!(said(&nearest).await.contains("| flu  |"), "{}", said(&nearest).await);
    let plan = said(&format!("EXPLAIN SELECT embed(name), embed('x') FROM {names} ORDER BY code LIMIT 2")).await;
    assert!(plan.contains("EmbedExec") && plan.contains("x once"), "{plan}");
}
