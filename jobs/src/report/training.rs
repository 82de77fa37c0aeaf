//! The page of a training run: losses and measures by step.

use super::plot::{COLOURS, Plot, plot};
use super::text::escape;
use super::{PAGE_END, nothing, page_start, section};

/// A value at a step.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What has the value: a task, or a measure.
    pub of: String,
    /// The step.
    pub step: u64,
    /// The value.
    pub value: f64,
}

/// Curves of a run as one HTML page that needs nothing else.
pub fn training_page(name: &str, facts: &[(&str, &str)], losses: &[Point], measures: &[Point]) -> String {
    let mut out = String::new();
    page_start(&mut out, &escape(&format!("Training of {name}")), facts);
    out.push_str("</header>\n<main>\n");
    section(&mut out, "losses", "Losses of the tasks", |out| curves(out, "loss", losses));
    section(&mut out, "measures", "Measures of what is held out", |out| curves(out, "measure", measures));
    out.push_str(PAGE_END);
    out
}

/// The points' curves, as many to a plot as there are colours.
fn curves(out: &mut String, up: &str, points: &[Point]) {
    let mut lines: Vec<(&str, Vec<(f64, f64)>)> = Vec::new();
    for point in points.iter().filter(|p| p.value.is_finite()) {
        let at = (point.step as f64, point.value);
        match lines.iter_mut().find(|(of, _)| *of == point.of) {
            Some((_, line)) => line.push(at),
            None => lines.push((&point.of, vec![at])),
        }
    }
    if lines.is_empty() {
        return nothing(out);
    }
    let most =
        |get: fn(&(f64, f64)) -> f64| lines.iter().flat_map(|(_, line)| line.iter().map(get)).fold(0.0, f64::max);
    // A plot without height or width has nothing to show.
    let most = (most(|p| p.0).max(1.0), most(|p| p.1).max(1e-9));
    for some in lines.chunks(COLOURS.len()) {
        plot(out, &Plot { across: "step", up, most, diagonal: false }, some);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_has_its_line_and_its_name_escaped() {
        let point = |of: &str, step, value| Point { of: of.into(), step, value };
        let losses = [point("a & b", 10, 4.0), point("c", 10, 2.0), point("a & b", 20, 1.0), point("c", 20, f64::NAN)];
        let page = training_page("<run>", &[("Steps", "20")], &losses, &[]);
        assert_eq!(page.matches("<polyline").count(), 2);
        assert!(page.contains("a &amp; b") && page.contains("Training of &lt;run&gt;"));
        assert!(page.contains("nothing yet"), "{page}");
    }
}
