//! Lines against two axes.

use super::text::{escape, trimmed};

/// Sides of a plot, in pixels of its own.
const SIDE: f64 = 320.0;
const LEFT: f64 = 44.0;
const TOP: f64 = 12.0;
/// Colours of the lines, the last method's first.
pub(super) const COLOURS: [&str; 6] = ["#14737d", "#b4541a", "#6a4fa3", "#7d8a14", "#a3325f", "#55606b"];

/// What a plot's axes are.
pub(super) struct Plot<'a> {
    /// What goes across, from 0.
    pub(super) across: &'a str,
    /// What goes up, from 0; what is below is drawn at 0.
    pub(super) up: &'a str,
    /// The ends of both.
    pub(super) most: (f64, f64),
    /// Whether both mean the same, so that the diagonal says something.
    pub(super) diagonal: bool,
}

impl<'a> Plot<'a> {
    /// Two shares.
    pub(super) fn unit(across: &'a str, up: &'a str) -> Self {
        Self { across, up, most: (1.0, 1.0), diagonal: false }
    }
}

/// Lines, each with its name.
pub(super) fn plot(out: &mut String, axes: &Plot, lines: &[(&str, Vec<(f64, f64)>)]) {
    let Plot { across, up, most, diagonal } = *axes;
    // The grid is in shares of the axes.
    let x = |v: f64| LEFT + SIDE * v.clamp(0.0, 1.0);
    let y = |v: f64| TOP + SIDE * (1.0 - v.clamp(0.0, 1.0));
    let label = |v: f64| if v >= 10.0 { format!("{v:.0}") } else { trimmed(v, 2) };
    let (width, height) = (LEFT + SIDE + 300.0, TOP + SIDE + 44.0);
    out.push_str(&format!(
        "<svg class=\"chart\" role=\"img\" aria-label=\"{up} against {across}\" viewBox=\"0 0 {width} {height}\" \
         style=\"max-width:{width}px\">\n"
    ));
    for tick in 0..=5 {
        let v = f64::from(tick) / 5.0;
        out.push_str(&format!(
            "<line class=\"grid\" x1=\"{0}\" x2=\"{1}\" y1=\"{2}\" y2=\"{2}\"/><line class=\"grid\" x1=\"{3}\" x2=\"{3}\" y1=\"{4}\" y2=\"{5}\"/>\
             <text class=\"tick\" x=\"{6}\" y=\"{7}\" text-anchor=\"end\">{9}</text>\
             <text class=\"tick\" x=\"{3}\" y=\"{8}\" text-anchor=\"middle\">{10}</text>\n",
            x(0.0), x(1.0), y(v), x(v), y(0.0), y(1.0), LEFT - 6.0, y(v) + 4.0, y(0.0) + 18.0, label(v * most.1), label(v * most.0)
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
        let path: Vec<String> =
            points.iter().map(|(a, b)| format!("{:.1},{:.1}", x(a / most.0), y(b / most.1))).collect();
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
