//! Alignments measured against mappings that are known to be right, and weights fitted on them.

use serde_json::Value;

use crate::align::{DISEASES, SITES, align, obo};
use crate::support::{MODEL, Place, models, pull};

/// Terms of both sources have the same numbers; every fifth is called otherwise on the right.
const TERMS: usize = SITES.len() * DISEASES.len();

/// An aligned lake, and its gold: SSSOM with prefixes of its own, one mapping denied, one of codes that nobody has.
fn place() -> Place {
    let place = Place::new();
    pull(&place);
    align(&place, &obo("A", |t| t % 7 != 0, |_| false), &obo("B", |_| true, |t| t % 5 == 0));
    let mut gold =
        "# mapping_set_id: https://example.org/gold\n# curie_map:\n#   up: http://purl.obolibrary.org/obo/A_\n\
                    subject_id\tpredicate_id\tpredicate_modifier\tobject_id\n"
            .to_string();
    for term in 1..TERMS {
        gold += &format!("up:{term}\tskos:exactMatch\t\tB:{term}\n");
    }
    gold += "A:1\tskos:exactMatch\tNot\tB:2\nA:1\tskos:broadMatch\t\tB:3\nX:1\tskos:exactMatch\t\tB:4\n";
    place.write("gold.sssom.tsv", gold);
    place
}

fn evaluated(place: &Place, more: &[&str]) -> (String, String) {
    let fixed = ["eval", "alignment", "--left", "a", "--right", "b", "--gold", "gold.sssom.tsv", "--bootstrap", "100"];
    let ran = place.generel(&[&fixed[..], more].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    (ran.stdout, ran.stderr)
}

#[test]
fn what_is_measured_is_what_align_does() {
    let place = place();
    let (text, said) = evaluated(&place, &["--json", "one.json", "--page", "one.html"]);
    let one: Value = serde_json::from_slice(&std::fs::read(place.path("one.json")).expect("results")).expect("JSON");
    let known = (1..TERMS).filter(|t| t % 7 != 0).count();
    let counts = &one["counts"];
    // Neither denied mappings nor broader ones are right.
    assert_eq!(
        (&counts["mappings"], &counts["known"], &counts["subjects"]),
        (&json(TERMS), &json(known), &json(known))
    );
    assert!(said.contains(&format!("{TERMS} gold mappings, {known} between codes")), "{said}");

    let methods = one["methods"].as_array().expect("methods");
    let names: Vec<&str> = methods.iter().filter_map(|m| m["method"].as_str()).collect();
    assert_eq!(names.first().zip(names.last()), Some((&"equal names", &"align, with its stored weights")));
    for method in methods {
        for measure in ["hits_at_1", "hits_at_10", "mean_reciprocal_rank", "average_precision"] {
            let [value, low, high] = ["value", "low", "high"].map(|part| number(&method["all"][measure][part]));
            assert!(0.0 <= low && low <= value && value <= high && high <= 1.0, "{method}");
        }
    }
    // The same, from the table.
    let right = "select count(*) from mappings where rank = 1 and subject_id <> 'A:0' \
                 and replace(subject_id, 'A:', 'B:') = object_id";
    let right: f64 = place.value(right).parse().expect("a number");
    let hits = |method: usize| number(&methods[method]["all"]["hits_at_1"]["value"]);
    assert!(
        (hits(methods.len() - 1) - right / known as f64).abs() < 1e-9,
        "{} {right} {known}",
        hits(methods.len() - 1)
    );
    assert!(right > 0.9 * known as f64 && hits(methods.len() - 1) >= hits(0), "{text}");
    // Who has no equal name is hard: the names of a fifth differ.
    let hard = (1..TERMS).filter(|t| t % 7 != 0 && t % 5 == 0).count();
    assert!(counts["hard_subjects"].as_u64().is_some_and(|n| n as usize <= hard), "{counts}");

    let page = std::fs::read_to_string(place.path("one.html")).expect("a page");
    assert!(page.contains("<svg") && names.iter().all(|name| page.contains(name)), "{page}");
    let (text, _) = evaluated(&place, &["--compare", "one.json"]);
    assert_eq!(text.lines().filter(|line| line.starts_with("  one ")).count(), names.len(), "{text}");
    let (json, _) = evaluated(&place, &["--json", "-"]);
    assert_eq!(serde_json::from_str::<Value>(&json).expect("JSON alone"), one, "the same every time");
}

#[test]
fn subjects_that_a_training_held_out_can_be_measured_alone() {
    let place = place();
    place.write("train.yaml", "name: t\nfolder: run\ndata: { held_out_concepts: 0.3 }\n");
    assert_eq!(place.generel(&["train", "train.yaml", "--prepare"]).code, 0);
    let (_, said) = evaluated(&place, &["--held-out", "run/data"]);
    let of = |what: &str| -> usize {
        let before = said.split(what).next().and_then(|text| text.rsplit(' ').find(|word| !word.is_empty()));
        before.and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{what}: {said}"))
    };
    let (known, held_out) = (of(" between codes"), of(" subjects"));
    // Three in ten, by hash.
    assert!((known / 6..known / 2).contains(&held_out), "{said}");
    place.write("train.yaml", "name: t\nfolder: none\ndata: { held_out_concepts: 0.0 }\n");
    assert_eq!(place.generel(&["train", "train.yaml", "--prepare"]).code, 0);
    let eval = ["eval", "alignment", "--left", "a", "--right", "b", "--gold", "gold.sssom.tsv", "--held-out"];
    place.generel(&[&eval[..], &["none/data"]].concat()).fails_with(2, &["none of the subjects", "held out"]);
    place.generel(&[&eval[..], &["missing"]].concat()).fails_with(1, &["missing"]);
}

#[test]
fn gold_that_cannot_be_used_is_said_to_be() {
    let place = place();
    let eval = |gold: &str| {
        place.generel(&["eval", "alignment", "--left", "a", "--right", "b", "--gold", gold, "--bootstrap", "10"])
    };
    place.write("other.tsv", "subject_id\tobject_id\nQ:1\tR:1\n");
    eval("other.tsv").fails_with(2, &["none of 1 mappings is between codes of the two sources", "Q:1 → R:1", "A:"]);
    place.write("torn.tsv", "subject_id\tobject_id\nA:1\n");
    eval("torn.tsv").fails_with(2, &["torn.tsv", "line 2", "object_id is empty"]);
    eval("missing.tsv").fails_with(1, &["missing.tsv"]);
    place.write("no.json", "{}");
    place
        .generel(&[
            "eval",
            "alignment",
            "--left",
            "a",
            "--right",
            "b",
            "--gold",
            "gold.sssom.tsv",
            "--compare",
            "no.json",
        ])
        .fails_with(2, &["no.json", "not the results of an evaluation"]);
}

#[test]
fn fitted_weights_are_those_that_align_takes() {
    let place = place();
    // A store of the same model, whose weights are nobody else's.
    let (model, own) = (models().join(MODEL), place.path("models").join(MODEL));
    for file in crate::servers::files_below(&model) {
        let copy = own.join(file.strip_prefix(&model).expect("below it"));
        std::fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        if file.file_name().is_none_or(|name| name != "alignment.json") {
            std::fs::hard_link(&file, &copy).or_else(|_| std::fs::copy(&file, &copy).map(|_| ())).expect("a copy");
        }
    }
    let run = |arguments: &[&str]| {
        let mut command = place.command(arguments);
        command.env("GENEREL_MODELS", place.path("models"));
        let ran = crate::support::Ran::of(command);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran
    };
    let confidence = "select sum(confidence) from mappings where rank = 1";
    let before = place.value(confidence);
    assert!(run(&["align", "--left", "a", "--right", "b"]).stderr.contains("nothing to do"));
    let ran = run(&["eval", "fit", "--pair", "a", "b", "gold.sssom.tsv"]);
    assert!(ran.stderr.contains("right and") && ran.stderr.contains("alignment.json"), "{}", ran.stderr);
    let fitted: Value =
        serde_json::from_slice(&std::fs::read(own.join("alignment.json")).expect("weights")).expect("JSON");
    assert_eq!(fitted["fitted_on"], "a to b");
    assert_eq!(fitted["model_id"], place.value("select max(model_id) from mappings"));
    // Other weights are a reason to align again.
    assert!(!run(&["align", "--left", "a", "--right", "b"]).stderr.contains("nothing to do"));
    assert_ne!(place.value(confidence), before);
}

fn json(number: usize) -> Value {
    Value::from(number)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}
