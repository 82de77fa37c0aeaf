//! The model that comes with the program, as one who has just got it uses it.

use crate::support::{Place, Ran, repository};

/// A command as it is where nobody has named a model.
fn generel(place: &Place, arguments: &[&str]) -> Ran {
    let mut command = place.command(arguments);
    // A store of its own, as of one who has never run it, from which nothing can be fetched.
    command.env_remove("GENEREL_MODEL").env("GENEREL_MODELS", place.path("models")).env("PIP_NO_INDEX", "1");
    let ran = Ran::of(command);
    assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
    ran
}

#[test]
fn concepts_and_snps_are_in_one_space_without_a_download() {
    let place = Place::new();
    assert!(generel(&place, &["model", "list"]).stdout.starts_with("generel\tcomes with the program"));
    let shown = generel(&place, &["model", "show"]).stdout;
    assert!(shown.contains("name       generel") && shown.contains("dimension  384"), "{shown}");
    generel(&place, &["model", "verify"]);

    let catalog = repository().join("jobs/sample/gwas_catalog_v1.0.1_2015-06-08.tsv.gz");
    let catalog = catalog.to_str().expect("UTF-8");
    generel(&place, &["ingest", "--source", "gwas", catalog, "--max-rejects", "10"]);
    let value = |sql: &str| -> String {
        let ran = generel(&place, &["sql", "--output", "csv", "-c", sql]);
        ran.stdout.lines().nth(1).unwrap_or_default().to_string()
    };
    let nearer = "select concept_similarity('heart attack', 'myocardial infarction') > concept_similarity('heart attack', 'asthma')";
    assert_eq!(value(nearer), "true");
    assert_eq!(value("select snp_origin('rs1333049')"), "trained");
    assert_eq!(value("select snp_origin('rs1', 'PCSK9')"), "inductive");
    assert_eq!(value("select snp_origin('rs1') is null"), "true");
    // Found by its place and gene alone, where it has never been seen.
    let closer = "select cosine_similarity(embed_snp('rs1', 'TCF7L2', 10, 112998590), embed('type 2 diabetes')) \
                  > cosine_similarity(embed_snp('rs1', 'TCF7L2', 10, 112998590), embed('psoriasis'))";
    assert_eq!(value(closer), "true");
    let near = std::fs::read_to_string(repository().join("jobs/sample/near.sql")).expect("the demo's query");
    let ran = generel(&place, &["sql", "--output", "csv", "-c", &near.replace("{term}", "coronary artery disease")]);
    assert_eq!(ran.stdout.lines().count(), 6, "{}", ran.stdout);
    assert!(ran.stdout.contains("oronary"), "the SNPs near it are its own: {}", ran.stdout);
}
