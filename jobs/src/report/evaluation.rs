//! The page of an evaluation: a table of methods, precision against recall, confidence against accuracy.

use generel_pipeline::align::{Evaluation, Measure, MethodResult, Metrics};

use super::plot::{COLOURS, Plot, plot};
use super::text::{count, escape};
use super::{PAGE_END, page_start, section, table};

/// An evaluation, with others beside it, as one HTML page that needs nothing else.
pub fn evaluation_page(evaluation: &Evaluation, others: &[(String, Evaluation)]) -> String {
    let title = format!("Alignment of {} to {}", evaluation.left, evaluation.right);
    let counts = &evaluation.counts;
    let facts = [
        ("Gold", evaluation.gold.join(", ")),
        ("Gold mappings", count(counts.mappings)),
        ("With codes of both sources", count(counts.known)),
        (if evaluation.held_out { "Subjects held out" } else { "Subjects" }, count(counts.subjects)),
        ("Hard subjects", count(counts.hard_subjects)),
        ("Model", evaluation.model_id.clone()),
        ("Stored weights", evaluation.weights.clone()),
    ];
    let facts: Vec<(&str, &str)> = facts.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut out = String::new();
    page_start(&mut out, &escape(&title), &facts);
    out.push_str("</header>\n<main>\n");
    section(&mut out, "all", "All subjects", |out| methods(out, evaluation, others, |m| &m.all));
    section(&mut out, "hard", "Hard subjects: no equal name", |out| methods(out, evaluation, others, |m| &m.hard));
    let shown: Vec<&MethodResult> = evaluation.methods.iter().rev().take(COLOURS.len()).collect();
    section(&mut out, "curve", "Precision against recall of the best objects", |out| {
        let lines =
            shown.iter().map(|m| (m.method.as_str(), m.all.curve.iter().map(|p| (p.recall, p.precision)).collect()));
        plot(out, &Plot::unit("recall", "precision"), &lines.collect::<Vec<_>>());
    });
    section(&mut out, "reliability", "Confidence against accuracy", |out| {
        let lines = shown
            .iter()
            .map(|m| (m.method.as_str(), m.all.reliability.iter().map(|b| (b.confidence, b.accuracy)).collect()));
        let axes = Plot { diagonal: true, ..Plot::unit("mean confidence", "share that is right") };
        plot(out, &axes, &lines.collect::<Vec<_>>());
    });
    out.push_str(PAGE_END);
    out
}

fn methods(
    out: &mut String,
    evaluation: &Evaluation,
    others: &[(String, Evaluation)],
    of: impl Fn(&MethodResult) -> &Metrics,
) {
    let head = [
        ("Method", false),
        ("hits@1 (95 %)", true),
        ("hits@5", true),
        ("hits@10", true),
        ("MRR", true),
        ("AUPRC (95 %)", true),
        ("best F1", true),
        ("precision", true),
        ("recall", true),
        ("calibration error", true),
    ];
    let mut rows = Vec::new();
    for method in &evaluation.methods {
        rows.push(row(&method.method, of(method)));
        for (name, other) in others {
            let same = other.methods.iter().filter(|m| m.method == method.method);
            rows.extend(same.map(|m| row(&format!("— {name}"), of(m))));
        }
    }
    let subjects = evaluation.methods.first().map_or(0, |m| of(m).subjects);
    table(out, &format!("{} subjects", count(subjects)), &head, rows.into_iter(), "");
}

fn row(name: &str, m: &Metrics) -> String {
    let range = |m: &Measure| format!("{:.3} ({:.3}–{:.3})", m.value, m.low, m.high);
    let cells = [
        range(&m.hits_at_1),
        format!("{:.3}", m.hits_at_5.value),
        format!("{:.3}", m.hits_at_10.value),
        format!("{:.3}", m.mean_reciprocal_rank.value),
        range(&m.average_precision),
        format!("{:.3}", m.best_f1),
        format!("{:.3}", m.best.precision),
        format!("{:.3}", m.best.recall),
        m.calibration().map_or("–".to_string(), |error| format!("{error:.3}")),
    ];
    let cells: String = cells.iter().map(|c| format!("<td class=\"n\">{c}</td>")).collect();
    format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escape(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use generel_pipeline::align::{CurvePoint, GoldCounts, ReliabilityBin};

    #[test]
    fn the_page_has_every_method_and_escapes_names() {
        let metrics = Metrics {
            subjects: 7,
            curve: vec![CurvePoint { threshold: 0.5, precision: 0.75, recall: 0.25 }],
            reliability: vec![ReliabilityBin { confidence: 0.5, accuracy: 1.0, subjects: 7 }],
            ..Metrics::default()
        };
        let method = MethodResult { method: "a <b>".into(), all: metrics.clone(), hard: metrics };
        let evaluation = Evaluation {
            left: "l&l".into(),
            right: "r".into(),
            model_id: "m".into(),
            weights: "w".into(),
            gold: vec!["g".into()],
            held_out: false,
            counts: GoldCounts::default(),
            methods: vec![method],
        };
        let page = evaluation_page(&evaluation, &[("old".into(), evaluation.clone())]);
        assert!(page.contains("l&amp;l") && page.contains("a &lt;b&gt;") && !page.contains("<b>"));
        assert!(page.contains("— old") && page.contains("points=\"124.0,92.0\""), "{page}");
    }
}
