//! Charts as inline SVG: the histogram of the scores and the timeline of the stages.

use super::text::{count, decimals, duration, escape, nice_step, plural, short, shortened, tick};
use super::{StageTiming, nothing, table};

/// How many bins the histogram of the scores has.
pub(super) const BINS: usize = 20;

/// The scores counted in bins of equal width.
pub(super) struct Bins {
    /// Lower end of the first bin: the smallest score, down to a multiple of 0.05. The last bin ends at 1.
    pub(super) low: f64,
    pub(super) counts: [u64; BINS],
    /// Scores that are no numbers.
    pub(super) strange: usize,
}

impl Bins {
    pub(super) fn of(scores: &[f64]) -> Self {
        let finite = || scores.iter().copied().filter(|s| s.is_finite());
        let smallest = finite().fold(1.0, f64::min);
        // The small addition: 0.6 * 20 is a little more or less than 12 in binary.
        let low = ((smallest * 20.0 + 1e-9).floor() / 20.0).clamp(-1.0, 0.95);
        let mut counts = [0; BINS];
        for score in finite() {
            // A cast from a float saturates: what lies outside falls into the first or the last bin.
            let bin = ((score - low) / (1.0 - low) * BINS as f64 + 1e-9) as usize;
            counts[bin.min(BINS - 1)] += 1;
        }
        Self { low, counts, strange: scores.len() - finite().count() }
    }

    /// The lower end of a bin.
    pub(super) fn edge(&self, bin: usize) -> f64 {
        self.low + (1.0 - self.low) * bin as f64 / BINS as f64
    }

    /// What a bin covers, in words.
    pub(super) fn range(&self, bin: usize) -> String {
        format!("{} to {}", decimals(self.edge(bin), 3), decimals(self.edge(bin + 1), 3))
    }
}

pub(super) fn histogram(out: &mut String, scores: &[f64]) {
    let bins = Bins::of(scores);
    let counted = scores.len() - bins.strange;
    if counted == 0 {
        return nothing(out);
    }
    const TOP: f64 = 24.0;
    const HEIGHT: f64 = 200.0;
    const LEFT: f64 = 9.0;
    const WIDTH: f64 = 90.0;
    let most = bins.counts.iter().copied().max().unwrap_or(0).max(1);
    let step = (nice_step(most as f64 / 4.0).round() as u64).max(1);
    let ceiling = most.div_ceil(step) * step;
    let bottom = TOP + HEIGHT;
    let y = |n: u64| bottom - HEIGHT * n as f64 / ceiling as f64;
    let fullest = bins.counts.iter().position(|n| *n == most).unwrap_or(0);

    out.push_str(&format!(
        "<svg class=\"chart histogram\" role=\"img\" aria-labelledby=\"hist-t hist-d\" width=\"100%\" height=\"{}\">\n\
         <title id=\"hist-t\">Histogram of similarity scores</title>\n\
         <desc id=\"hist-d\">{} in {BINS} bins from {} to 1. Most, {}, are from {}.</desc>\n",
        bottom + 44.0,
        plural(counted, "score"),
        decimals(bins.low, 2),
        count(most),
        bins.range(fullest),
    ));
    for i in 0..=ceiling / step {
        let (n, line) = (i * step, y(i * step));
        out.push_str(&format!(
            "<line class=\"grid\" x1=\"{LEFT}%\" x2=\"{}%\" y1=\"{line:.1}\" y2=\"{line:.1}\"/>\
             <text class=\"tick\" x=\"{}%\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT + WIDTH,
            LEFT - 1.0,
            line + 4.0,
            short(n),
        ));
    }
    let slot = WIDTH / BINS as f64;
    for (bin, n) in bins.counts.iter().enumerate() {
        let x = LEFT + slot * bin as f64;
        // A bin that is not empty shows, however low it is.
        let height = if *n == 0 { 0.0 } else { (bottom - y(*n)).max(1.5) };
        out.push_str(&format!(
            "<g class=\"bin\"><title>{}: {}</title>\
             <rect class=\"hover\" x=\"{x:.2}%\" y=\"{TOP}\" width=\"{slot:.2}%\" height=\"{HEIGHT}\"/>\
             <rect class=\"mark\" x=\"{:.2}%\" y=\"{:.1}\" width=\"{:.2}%\" height=\"{height:.1}\"/></g>\n",
            bins.range(bin),
            plural(*n as usize, "score"),
            x + slot * 0.07,
            bottom - height,
            slot * 0.86,
        ));
    }
    for bin in (0..=BINS).step_by(BINS / 4) {
        let anchor = if bin == BINS { "end" } else { "middle" };
        out.push_str(&format!(
            "<text class=\"tick\" x=\"{:.2}%\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>\n",
            LEFT + slot * bin as f64,
            bottom + 18.0,
            decimals(bins.edge(bin), 3),
        ));
    }
    out.push_str(&format!(
        "<text class=\"axis\" x=\"0\" y=\"12\">mappings</text>\
         <text class=\"axis\" x=\"{}%\" y=\"{:.1}\" text-anchor=\"middle\">similarity score</text>\n</svg>\n",
        LEFT + WIDTH / 2.0,
        bottom + 38.0,
    ));
    if bins.strange > 0 {
        out.push_str(&format!("<p class=\"hint\">Left out, no number: {}.</p>\n", plural(bins.strange, "score")));
    }
    out.push_str("<details><summary>In numbers</summary>\n");
    let rows = bins.counts.iter().enumerate().map(|(bin, n)| {
        format!("<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td></tr>\n", bins.range(bin), count(*n))
    });
    table(out, "Mappings by similarity score", &[("Score", false), ("Mappings", true)], rows, "");
    out.push_str("</details>\n");
}

pub(super) fn timeline(out: &mut String, stages: &[StageTiming]) {
    const ROW: f64 = 42.0;
    const SHOWN: usize = 44;
    if stages.is_empty() {
        return nothing(out);
    }
    let seconds = |s: f64| if s.is_finite() { s.max(0.0) } else { 0.0 };
    let spans: Vec<(f64, f64)> =
        stages.iter().map(|s| (seconds(s.started_s), seconds(s.ended_s).max(seconds(s.started_s)))).collect();
    let total = spans.iter().map(|(_, to)| *to).fold(0.0, f64::max).max(1e-3);
    // Steps in minutes where the run took some: halves or wholes, not 50 or 100 seconds.
    let step = match total / 5.0 {
        s if s > 20.0 => 60.0 * nice_step(s / 60.0),
        s => nice_step(s),
    };
    let bottom = ROW * stages.len() as f64 + 4.0;
    out.push_str(&format!(
        "<svg class=\"chart timeline\" role=\"img\" aria-labelledby=\"time-t time-d\" width=\"100%\" height=\"{}\">\n\
         <title id=\"time-t\">Timeline of the stages</title>\n<desc id=\"time-d\">{} in {}: {}.</desc>\n",
        bottom + 24.0,
        plural(stages.len(), "stage"),
        duration(total),
        stages
            .iter()
            .zip(&spans)
            .map(|(stage, (from, to))| format!("{} {}", escape(&stage.name), duration(to - from)))
            .collect::<Vec<_>>()
            .join(", "),
    ));
    for i in 0..=(total / step + 1e-9) as u32 {
        let at = f64::from(i) * step;
        let x = at / total * 100.0;
        // A label at the end would stick out.
        let anchor = match x {
            x if x < 4.0 => "start",
            x if x > 94.0 => "end",
            _ => "middle",
        };
        out.push_str(&format!(
            "<line class=\"grid\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"0\" y2=\"{bottom}\"/>\
             <text class=\"tick\" x=\"{x:.2}%\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>\n",
            bottom + 17.0,
            tick(at, step),
        ));
    }
    for (row, (stage, (from, to))) in stages.iter().zip(&spans).enumerate() {
        let top = ROW * row as f64;
        // Even an instant shows, and inside the picture.
        let width = ((to - from) / total * 100.0).max(0.5);
        let x = (from / total * 100.0).min(100.0 - width);
        let (name, detail) = (escape(&stage.name), escape(&stage.detail));
        let colon = if detail.is_empty() { "" } else { ": " };
        let room = SHOWN.saturating_sub(stage.name.chars().count());
        out.push_str(&format!(
            "<g class=\"stage\"><title>{name}, {} to {}{colon}{detail}</title>\
             <rect class=\"hover\" x=\"0\" y=\"{top}\" width=\"100%\" height=\"{ROW}\"/>\
             <text x=\"0\" y=\"{}\"><tspan class=\"name\">{name}</tspan><tspan class=\"tick\" dx=\"8\">{}</tspan></text>\
             <text class=\"tick\" x=\"100%\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect class=\"track\" x=\"0\" y=\"{}\" width=\"100%\" height=\"8\" rx=\"4\"/>\
             <rect class=\"mark\" x=\"{x:.2}%\" y=\"{}\" width=\"{width:.2}%\" height=\"8\" rx=\"4\"/></g>\n",
            duration(*from),
            duration(*to),
            top + 16.0,
            escape(&shortened(&stage.detail, room)),
            top + 16.0,
            duration(to - from),
            top + 23.0,
            top + 23.0,
        ));
    }
    out.push_str("</svg>\n<details><summary>In numbers</summary>\n");
    let head = [("Stage", false), ("Started", true), ("Took", true), ("Detail", false)];
    let rows = stages.iter().zip(&spans).map(|(stage, (from, to))| {
        format!(
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>\n",
            escape(&stage.name),
            duration(*from),
            duration(to - from),
            escape(&stage.detail),
        )
    });
    table(out, "When each stage ran", &head, rows, "");
    out.push_str("</details>\n");
}
