//! The page of an evaluation: a table of methods, precision against recall, confidence against accuracy.

use generel_pipeline::align::{Evaluation, Measure, MethodResult, Metrics};

use super::text::{count, escape};
use super::{PAGE_END, page_start, section, table};

/// Sides of a plot, in pixels of its own.
const SIDE: f64 = 320.0;
const LEFT: f64 = 44.0;
const TOP: f64 = 12.0;
/// Colours of the lines, the last method's first.
const COLOURS: [&str; 4] = ["#14737d", "#b4541a", "#6a4fa3", "#7d8a14"];

/// An evaluation, with others beside it, as one HTML page that needs nothing else.
pub fn evaluation_page(evaluation: &Evaluation, others: &[(String, Evaluation)]) -> String {
    let title = format!("Alignment of {} to {}", evaluation.left, evaluation.right);
    let counts = &evaluation.counts;
    let facts = [
        ("Gold", evaluation.gold.join(", ")),
        ("Gold mappings", count(counts.mappings)),
        ("With codes of both sources", count(counts.known)),
        ("Subjects", count(counts.subjects)),
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
        plot(out, "recall", "precision", &lines.collect::<Vec<_>>(), false);
    });
    section(&mut out, "reliability", "Confidence against accuracy", |out| {
        let lines = shown
            .iter()
            .map(|m| (m.method.as_str(), m.all.reliability.iter().map(|b| (b.confidence, b.accuracy)).collect()));
        plot(out, "mean confidence", "share that is right", &lines.collect::<Vec<_>>(), true);
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

/// Lines in the unit square, with the diagonal where both axes mean the same.
fn plot(out: &mut String, across: &str, up: &str, lines: &[(&str, Vec<(f64, f64)>)], diagonal: bool) {
    let x = |v: f64| LEFT + SIDE * v.clamp(0.0, 1.0);
    let y = |v: f64| TOP + SIDE * (1.0 - v.clamp(0.0, 1.0));
    let (width, height) = (LEFT + SIDE + 300.0, TOP + SIDE + 44.0);
    out.push_str(&format!(
        "<svg class=\"chart\" role=\"img\" aria-label=\"{up} against {across}\" viewBox=\"0 0 {width} {height}\" \
         style=\"max-width:{width}px\">\n"
    ));
    for tick in 0..=5 {
        let v = f64::from(tick) / 5.0;
        out.push_str(&format!(
            "<line class=\"grid\" x1=\"{0}\" x2=\"{1}\" y1=\"{2}\" y2=\"{2}\"/><line class=\"grid\" x1=\"{3}\" x2=\"{3}\" y1=\"{4}\" y2=\"{5}\"/>\
             <text class=\"tick\" x=\"{6}\" y=\"{7}\" text-anchor=\"end\">{v:.1}</text>\
             <text class=\"tick\" x=\"{3}\" y=\"{8}\" text-anchor=\"middle\">{v:.1}</text>\n",
            x(0.0), x(1.0), y(v), x(v), y(0.0), y(1.0), LEFT - 6.0, y(v) + 4.0, y(0.0) + 18.0
        ));
    }
    out.push_str(&format!(
        "<text class=\"axis\" x=\"{}\" y=\"{}\" text-anchor=\"middle\">{across}</text>\
         <text class=\"axis\" transform=\"translate(12 {}) rotate(-90)\" text-anchor=\"middle\">{up}</text>\n",
        x(0.5),
        y(0.0) + 38.0,
        y(0.5)
    ));
    if diagonal {
        out.push_str(&format!(
            "<line class=\"grid\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke-dasharray=\"4 4\"/>\n",
            x(0.0),
            y(0.0),
            x(1.0),
            y(1.0)
        ));
    }
    for (i, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[i % COLOURS.len()];
        let path: Vec<String> = points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(*a), y(*b))).collect();
        out.push_str(&format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\n",
            path.join(" ")
        ));
        if diagonal {
            for point in &path {
                let (a, b) = point.split_once(',').unwrap_or_default();
                out.push_str(&format!("<circle cx=\"{a}\" cy=\"{b}\" r=\"3\" fill=\"{colour}\"/>\n"));
            }
        }
        let at = TOP + 14.0 + 22.0 * i as f64;
        out.push_str(&format!(
            "<rect x=\"{}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"{at}\">{}</text>\n",
            LEFT + SIDE + 20.0,
            at - 6.0,
            LEFT + SIDE + 42.0,
            escape(name)
        ));
    }
    out.push_str("</svg>\n");
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
            counts: GoldCounts::default(),
            methods: vec![method],
        };
        let page = evaluation_page(&evaluation, &[("old".into(), evaluation.clone())]);
        assert!(page.contains("l&amp;l") && page.contains("a &lt;b&gt;") && !page.contains("<b>"));
        assert!(page.contains("— old") && page.contains("points=\"124.0,92.0\""), "{page}");
    }
}
