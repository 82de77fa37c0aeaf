//! `generel train` and `generel eval space`: killed and begun again, a run ends where an undisturbed one does.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Place, Ran, repository};

/// The sample's Disease Ontology and GWAS Catalog, and a train file for a model of a few thousand weights.
fn place() -> Place {
    let place = Place::new();
    let sample = repository().join("jobs/sample");
    for (source, file) in [("doid", "doid-2016.obo.gz"), ("gwas", "gwas_catalog_v1.0.1_2015-06-08.tsv.gz")] {
        let file = sample.join(file);
        assert_eq!(
            place.generel(&["ingest", "--source", source, file.to_str().expect("UTF-8"), "--max-rejects", "10"]).code,
            0
        );
    }
    for run in ["whole", "killed"] {
        let model = repository().join("model/tests/fixtures/tiny/roberta-mean");
        place.write(
            &format!("{run}.yaml"),
            format!(
                "name: test\nmodel: {}\nfolder: {run}\ndata: {{ min_neg_log_10_p: 7.3 }}\ntrain:\n  steps: 30\n  snp_steps: 20\n  warm_up: 5\n  learning_rate: 0.001\n  nested_dimensions: [16]\n  \
                 checkpoint_every: 5\n  report_every: 5\n  evaluate_every: 20\n  tasks:\n    synonym: {{ batch: 16 }}\n    hierarchy: {{ batch: 8 }}\n    snp_trait: {{ batch: 16 }}\n    snp_gene: {{ batch: 8 }}\n",
                model.display()
            ),
        );
    }
    place
}

/// The train file says with which model it begins.
fn command(place: &Place, arguments: &[&str]) -> Command {
    let mut command = place.command(&[&["train"], arguments].concat());
    command.env_remove("GENEREL_MODEL");
    command
}

fn train(place: &Place, arguments: &[&str]) -> Ran {
    Ran::of(command(place, arguments))
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "snps.safetensors"]
        .map(|file| std::fs::read(folder.join("model").join(file)).expect(file))
        .to_vec()
}

#[test]
fn a_killed_run_ends_where_an_undisturbed_one_does() {
    let place = place();
    let read = |file: &str| std::fs::read_to_string(place.path(file)).expect(file);
    place.write("none.yaml", read("whole.yaml").replace("synonym:", "synonyms:"));
    train(&place, &["none.yaml"]).fails_with(2, &["no task 'synonyms'", "synonym, hierarchy"]);
    place.write("none.yaml", read("whole.yaml").replace("data: {", "data: { sources: [nobody],"));
    train(&place, &["none.yaml"]).fails_with(2, &["data.sources", "'nobody'", "doid, gwas"]);
    let prepared = train(&place, &["whole.yaml", "--prepare"]);
    assert_eq!(prepared.code, 0, "{}", prepared.stderr);
    assert!(prepared.stderr.contains("no leak: none of"), "{}", prepared.stderr);
    let whole = train(&place, &["whole.yaml"]);
    assert_eq!(whole.code, 0, "{}", whole.stderr);

    let mut child = command(&place, &["killed.yaml"]).stderr(Stdio::null()).spawn().expect("a process");
    let (began, checkpoint) = (Instant::now(), place.path("killed/checkpoints/step-0000005"));
    while !checkpoint.exists() {
        assert!(began.elapsed() < Duration::from_secs(300), "no checkpoint");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("an end");
    let rest = train(&place, &["killed.yaml"]);
    assert_eq!(rest.code, 0, "{}", rest.stderr);
    assert!(!rest.stderr.contains("step 0 of"), "it went on: {}", rest.stderr);
    assert_eq!(files(&place.path("whole")), files(&place.path("killed")), "other weights");
    let losses = |run: &str| {
        let log = std::fs::read_to_string(place.path(&format!("{run}/log.csv"))).expect("a log");
        // The seconds are another matter.
        log.lines()
            .map(|l| l.split(',').enumerate().filter(|(i, _)| *i != 1).map(|(_, c)| c.to_string()).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    };
    assert_eq!(losses("whole"), losses("killed"), "other losses");

    let measures = read("whole/measures.csv");
    for step in ["20,", "40,", "50,"] {
        assert!(
            measures.lines().any(|l| l.starts_with(step) && l.contains("synonyms,all,acc@1")),
            "{step}: {measures}"
        );
    }
    assert_eq!(measures, read("killed/measures.csv"), "other measures");
    assert!(read("killed/curves.html").contains("<polyline"));
    let manifest: serde_json::Value = serde_json::from_str(&read("killed/run.json")).expect("JSON");
    assert_eq!(manifest["train"]["seed"], 1);
    assert!(manifest["data"]["tables"]["gwas_associations"].is_number(), "{manifest}");
    assert!(manifest["went_on"][0]["step"].is_number() && manifest["model"]["folder"].is_null(), "{manifest}");
    // A model is for all to read, and what a checkpoint has lost is told.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |file: &str| std::fs::metadata(place.path(file)).expect(file).permissions().mode();
        assert_eq!(mode("whole/model/model-00001-of-00002.safetensors"), mode("whole/log.csv"));
    }
    let state = place.path("killed/checkpoints/step-0000050/state.safetensors");
    let mut bytes = std::fs::read(&state).expect("a checkpoint");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&state, bytes).expect("a file");
    train(&place, &["killed.yaml"]).fails_with(1, &["step-0000050", "is damaged", "remove"]);
    // The data stays as it was made, and one is told.
    let elsewhere = train(&place, &["whole.yaml", "--lake", "nowhere"]);
    assert!(elsewhere.code == 0 && elsewhere.stderr.contains("the lake nowhere is not there"), "{}", elsewhere.stderr);
    let other = read("whole.yaml").replace("7.3", "8");
    place.write("other.yaml", other);
    train(&place, &["other.yaml"]).fails_with(2, &["whole/data", "other options"]);

    place.write("ratings.csv", "term1,term2,score\nasthma,bronchitis,3\nasthma,acne,1\nacne,rosacea,3\nflu,acne,0.5\n");
    let arguments =
        ["eval", "space", "--data", "whole/data", "--model", "whole/model", "--most", "50", "--bootstrap", "20"];
    // Two relations of the lake's own names, and SNPs that nobody has seen.
    let names =
        ["asthma", "acne", "gout", "rosacea", "influenza", "psoriasis", "scurvy", "rickets", "measles", "mumps"];
    let pair = |i: usize| {
        let (left, right) = (names[i % 10], names[(i + 1 + i / 10) % 10]);
        format!("{left}\tchronic {right}\t{}\n", if i < 40 { "near" } else { "far" })
    };
    place.write("texts.tsv", format!("left\tright\trelation\n{}", (0..80).map(pair).collect::<String>()));
    let association = |i: usize| {
        format!(
            "rs{},{},1.{i},1e-{},GENE{i},{},{}\n",
            9_000_000_000 + i as u64,
            names[i % 10],
            i + 5,
            1 + i % 22,
            1000 * i
        )
    };
    let snps: String = (10..50).map(association).collect();
    place.write("snps.csv", format!("rsid,trait,odds_ratio,p_value,genes,chromosome,base_pair_location\n{snps}"));
    let files = ["--ratings", "ratings.csv", "--pairs", "texts.tsv", "--pairs", "snps.csv"];
    let more = [&files[..], &["--json", "space.json", "--page", "space.html"]].concat();
    let ran = place.generel(&[&arguments[..], &more[..]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for words in [
        "synonyms",
        "relations, pairs unseen",
        "SNP and trait",
        "strength",
        "people's ratings",
        "acc@1",
        "graph",
        "texts ",
        "snps: -log10 p",
    ] {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    assert!(std::fs::read_to_string(place.path("space.html")).expect("a page").contains("SNPs unseen"));
    assert!(std::fs::read_to_string(place.path("space.json")).expect("JSON").contains("\"measure\": \"auc\""));
    // Files alone: nothing of the data, and baselines that know files.
    let alone = place.generel(&[&["eval", "space", "--model", "whole/model", "--details"][..], &files].concat());
    assert_eq!(alone.code, 0, "{}", alone.stderr);
    for words in ["texts: far", "texts: near", "snps: |log odds ratio|", "ratings", "words"] {
        assert!(alone.stdout.contains(words), "{words}: {}", alone.stdout);
    }
    assert!(!alone.stdout.contains("synonyms") && !alone.stdout.contains("graph"), "{}", alone.stdout);
    place.generel(&["eval", "space", "--model", "whole/model"]).fails_with(2, &["required"]);
    place.write("broken.csv", "left,right\nasthma,\nacne,rosacea\n");
    let broken = ["eval", "space", "--model", "whole/model", "--pairs", "broken.csv"];
    assert!(place.generel(&broken).stderr.contains("broken.csv: 1 rows left out"), "{broken:?}");
    place.write("broken.csv", "left,right,p_value\nasthma,acne,low\n");
    place.generel(&broken).fails_with(1, &["broken.csv:2", "'pvalue' is no number: 'low'"]);
}

#[test]
fn what_is_wrong_with_a_train_file_is_said() {
    let place = Place::new();
    place.write("train.yaml", "name: x\nfolder: run\ntrain: { steps: ten }\n");
    place.generel(&["train", "train.yaml"]).fails_with(2, &["train.yaml", "3"]);
    place.write("train.yaml", "name: x\nfolder: run\n");
    place.generel(&["train", "train.yaml"]).fails_with(1, &["lake"]);
    assert!(place.generel(&["train-schema"]).stdout.contains("\"held_out_concepts\""));
    place.generel(&["eval", "space", "--data", "nowhere", "--model", "x"]).fails_with(1, &["nowhere"]);
}
