//! The lake from inside: typed vectors survive Delta, and a memory limit is a message.

use arrow::array::AsArray;
use generel_model::store::{MINILM, ModelStore};
use generel_model::{Embedder, EmbedderOptions, Precision};
use generel_pipeline::{Lake, Session, SessionOptions, embed_texts};
use generel_schemas::vector::VectorType;

use crate::support::{Place, models};

pub async fn session(place: &Place, options: SessionOptions) -> Session {
    session_of(place, MINILM, options).await
}

pub async fn session_of(place: &Place, model: &str, options: SessionOptions) -> Session {
    let (info, _) = ModelStore::new(models()).pull(model).expect("a model");
    // The same on every machine.
    let info = info.with_precision(Some(Precision::F32));
    let lake = Lake::create(place.path("lake").to_str().expect("UTF-8")).expect("a lake");
    Session::open(lake, Some(Embedder::new(info, EmbedderOptions::default())), &options).await.expect("a session")
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|t| (*t).to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_keep_their_type_and_bits_through_delta() {
    let place = Place::new();
    let session = session(&place, SessionOptions::default()).await;
    let all = texts(&["heart attack", "fracture of wrist"]);
    let report = embed_texts(&session, &all, "run", &|_, _| {}).await.expect("embedded");
    assert_eq!((report.texts, report.embedded), (2, 2));
    assert_eq!(embed_texts(&session, &all, "run", &|_, _| {}).await.expect("embedded").embedded, 0);
    let table = session.ctx().table("embeddings").await.expect("table");
    let field = table.schema().field_with_unqualified_name("vector").expect("vector");
    let embedder = session.embedder().expect("a model");
    assert_eq!(VectorType::from_field(field).expect("typed"), embedder.info().vector_type());
    let stored = session
        .ctx()
        .sql("select vector from embeddings where key = 'heart attack'")
        .await
        .expect("query")
        .collect()
        .await
        .expect("rows");
    let stored = stored[0].column(0).as_fixed_size_list().value(0);
    let fresh = embedder.embed_one("heart attack").await.expect("vector").expect("not empty");
    assert_eq!(stored.as_primitive::<arrow::datatypes::Float32Type>().values().to_vec(), fresh);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_beyond_the_memory_limit_says_so() {
    let place = Place::new();
    let options = SessionOptions { memory_bytes: 4096, ..SessionOptions::default() };
    let session = session(&place, options).await;
    embed_texts(&session, &texts(&["a", "b", "c"]), "run", &|_, _| {}).await.expect("embedded");
    let query = "select * from similarity_join('embeddings', 'embeddings', 1)";
    let error = session.ctx().sql(query).await.expect("plan").collect().await.expect_err("no room").to_string();
    assert!(error.contains("SimilarityJoinExec"), "{error}");
}
