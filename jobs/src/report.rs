//! The report of a run: one HTML page that needs nothing else. Style and charts are inline, there is no script, and
//! every text from outside is escaped. Charts use percentages across and pixels down, so that their text keeps its
//! size on a narrow screen.

/// How many bins the histogram of the scores has.
const BINS: usize = 20;

/// What the page shows.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Title of the page.
    pub title: String,
    /// When the page was made, as a reader should see it.
    pub generated_at: String,
    /// Version of the program.
    pub version: String,
    /// The model that embedded the names.
    pub model: String,
    /// Where the lake is.
    pub lake: String,
    /// The stages of the run, in the order they are to be shown in.
    pub stages: Vec<StageTiming>,
    /// The input files.
    pub files: Vec<FileCounts>,
    /// Name and row count of each table.
    pub tables: Vec<(String, u64)>,
    /// The best mappings, best first.
    pub best: Vec<MappingRow>,
    /// The mappings most in need of a look, most doubtful first.
    pub doubtful: Vec<MappingRow>,
    /// The similarity scores of all best matches.
    pub scores: Vec<f64>,
    /// The question that the run answers.
    pub question: String,
    /// The answer to it.
    pub answer: Vec<AnswerRow>,
    /// Commands to go on with.
    pub next: Vec<String>,
}

/// When a stage ran, in seconds since the start of the run.
#[derive(Debug, Clone, Default)]
pub struct StageTiming {
    /// Name of the stage.
    pub name: String,
    /// Its start.
    pub started_s: f64,
    /// Its end.
    pub ended_s: f64,
    /// What it did, in a few words.
    pub detail: String,
}

/// What became of the rows of an input file.
#[derive(Debug, Clone, Default)]
pub struct FileCounts {
    /// Name of the file.
    pub file: String,
    /// Its format.
    pub format: String,
    /// Rows read.
    pub read: u64,
    /// Rows kept.
    pub kept: u64,
    /// Rows put aside.
    pub quarantined: u64,
    /// Why, or anything else to know.
    pub note: String,
}

/// One mapping.
#[derive(Debug, Clone, Default)]
pub struct MappingRow {
    /// Code of the subject.
    pub subject: String,
    /// Name of the subject.
    pub subject_label: String,
    /// Code of the object.
    pub object: String,
    /// Name of the object.
    pub object_label: String,
    /// Similarity, 0 to 1.
    pub score: f64,
    /// How far the subject's next object is behind; none where there is no other.
    pub margin: Option<f64>,
    /// Whether the subject is also the object's best.
    pub mutual: bool,
    /// How the mapping came about, as a semapv term.
    pub justification: String,
}

/// One row of the answer.
#[derive(Debug, Clone, Default)]
pub struct AnswerRow {
    /// Name of the condition.
    pub condition: String,
    /// Persons that have it.
    pub persons: u64,
    /// The ontology term that condition and traits meet in.
    pub ontology_term: String,
    /// The traits.
    pub traits: String,
    /// How many SNPs are associated.
    pub snps: u64,
    /// The strongest of them.
    pub top_snps: String,
    /// The smallest p value.
    pub best_p: String,
}

impl Report {
    /// The whole page.
    pub fn to_html(&self) -> String {
        let title = escape(if self.title.is_empty() { "Report" } else { &self.title });
        let mut out = String::with_capacity(64 * 1024);
        out.push_str(&format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n"
        ));
        self.header(&mut out, &title);
        out.push_str("<main>\n");
        section(&mut out, "answer", "Answer", |out| self.answer(out));
        section(&mut out, "lake", "What is in the lake", |out| self.tiles(out));
        section(&mut out, "mappings", "Mappings", |out| self.mappings(out));
        section(&mut out, "scores", "Similarity scores", |out| histogram(out, &self.scores));
        section(&mut out, "timeline", "Timeline", |out| timeline(out, &self.stages));
        section(&mut out, "files", "Input files", |out| self.files(out));
        section(&mut out, "next", "Where to go from here", |out| self.next(out));
        out.push_str("</main>\n</body>\n</html>\n");
        out
    }

    fn header(&self, out: &mut String, title: &str) {
        out.push_str(&format!("<header>\n<h1>{title}</h1>\n<dl class=\"facts\">\n"));
        let took = self.stages.iter().map(|s| s.ended_s).filter(|s| s.is_finite()).fold(0.0, f64::max);
        let took = if took > 0.0 { duration(took) } else { String::new() };
        for (name, value) in [
            ("Made", &self.generated_at),
            ("Took", &took),
            ("Version", &self.version),
            ("Model", &self.model),
            ("Lake", &self.lake),
        ] {
            if !value.is_empty() {
                out.push_str(&format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(value)));
            }
        }
        out.push_str(
            "</dl>\n<nav aria-label=\"Sections\"><a href=\"#answer\">Answer</a> <a href=\"#lake\">Lake</a> \
             <a href=\"#mappings\">Mappings</a> <a href=\"#scores\">Scores</a> <a href=\"#timeline\">Timeline</a> \
             <a href=\"#files\">Files</a> <a href=\"#next\">Next</a></nav>\n</header>\n",
        );
    }

    fn answer(&self, out: &mut String) {
        if !self.question.is_empty() {
            out.push_str(&format!("<p class=\"question\">{}</p>\n", escape(&self.question)));
        }
        if self.answer.is_empty() {
            return nothing(out);
        }
        let head = [
            ("Condition", false),
            ("Persons", true),
            ("Ontology term", false),
            ("Traits", false),
            ("SNPs", true),
            ("Strongest SNPs", false),
            ("Best p", true),
        ];
        let rows = self.answer.iter().map(|row| {
            format!(
                "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td>\
                 <td class=\"ids\">{}</td><td class=\"n\">{}</td></tr>\n",
                escape(&row.condition),
                count(row.persons),
                escape(&row.ontology_term),
                escape(&row.traits),
                count(row.snps),
                escape(&row.top_snps),
                escape(&row.best_p),
            )
        });
        table(out, &format!("The answer, {}", plural(self.answer.len(), "row")), &head, rows, "");
    }

    fn tiles(&self, out: &mut String) {
        if self.tables.is_empty() {
            return nothing(out);
        }
        out.push_str("<ul class=\"tiles\" aria-label=\"Rows of each table\">\n");
        for (name, rows) in &self.tables {
            let unit = if *rows == 1 { "row" } else { "rows" };
            out.push_str(&format!(
                "<li><strong>{}</strong><span class=\"unseen\"> {unit} in </span><span>{}</span></li>\n",
                count(*rows),
                escape(name).replace('_', "_<wbr>"),
            ));
        }
        out.push_str("</ul>\n");
    }

    fn mappings(&self, out: &mut String) {
        out.push_str(
            "<p class=\"hint\">Margin: how far the subject’s next object is behind; a small one means that two objects \
             fit about equally well. Mutual: the subject is also the object’s best.</p>\n",
        );
        mapping_table(out, "Best", "best", &self.best);
        mapping_table(out, "Most doubtful", "doubtful", &self.doubtful);
    }

    fn files(&self, out: &mut String) {
        if self.files.is_empty() {
            return nothing(out);
        }
        let head = [
            ("File", false),
            ("Format", false),
            ("Read", true),
            ("Kept", true),
            ("Quarantined", true),
            ("Note", false),
        ];
        let rows = self.files.iter().map(|f| {
            let class = if f.quarantined > 0 { "n warn" } else { "n" };
            format!(
                "<tr><th scope=\"row\" class=\"ids\">{}</th><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
                 <td class=\"{class}\">{}</td><td>{}</td></tr>\n",
                escape(&f.file),
                escape(&f.format),
                count(f.read),
                count(f.kept),
                count(f.quarantined),
                escape(&f.note),
            )
        });
        let sum = |of: fn(&FileCounts) -> u64| count(self.files.iter().map(of).fold(0, u64::saturating_add));
        let foot = format!(
            "<tfoot><tr><th scope=\"row\">Total</th><td></td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td></td></tr></tfoot>\n",
            sum(|f| f.read),
            sum(|f| f.kept),
            sum(|f| f.quarantined),
        );
        let foot = if self.files.len() > 1 { foot.as_str() } else { "" };
        table(out, "Rows read, kept and quarantined, by file", &head, rows, foot);
    }

    fn next(&self, out: &mut String) {
        if self.next.is_empty() {
            return nothing(out);
        }
        for command in &self.next {
            out.push_str(&format!("<pre tabindex=\"0\"><code>{}</code></pre>\n", escape(command)));
        }
    }
}

/// A section with a heading.
fn section(out: &mut String, id: &str, heading: &str, body: impl FnOnce(&mut String)) {
    out.push_str(&format!("<section id=\"{id}\" aria-labelledby=\"{id}-h\">\n<h2 id=\"{id}-h\">{heading}</h2>\n"));
    body(out);
    out.push_str("</section>\n");
}

/// What stands where there is nothing to show.
fn nothing(out: &mut String) {
    out.push_str("<p class=\"nothing\">nothing yet</p>\n");
}

/// A table that scrolls by itself where the screen is narrow. Heads: name, whether numeric. Rows and foot are HTML.
fn table(out: &mut String, caption: &str, head: &[(&str, bool)], rows: impl Iterator<Item = String>, foot: &str) {
    let caption = escape(caption);
    out.push_str(&format!(
        "<div class=\"wide\" role=\"region\" aria-label=\"{caption}\" tabindex=\"0\">\n<table>\n\
         <caption>{caption}</caption>\n<thead><tr>"
    ));
    for (name, numeric) in head {
        let class = if *numeric { " class=\"n\"" } else { "" };
        out.push_str(&format!("<th scope=\"col\"{class}>{}</th>", escape(name)));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str(&row);
    }
    out.push_str(&format!("</tbody>\n{foot}</table>\n</div>\n"));
}

fn mapping_table(out: &mut String, heading: &str, class: &str, mappings: &[MappingRow]) {
    out.push_str(&format!("<h3>{heading}</h3>\n"));
    if mappings.is_empty() {
        return nothing(out);
    }
    let head = [
        ("Subject", false),
        ("Object", false),
        ("Score", false),
        ("Margin", true),
        ("Mutual", false),
        ("Why", false),
    ];
    let rows = mappings.iter().map(|m| {
        format!(
            "<tr class=\"{class}\"><th scope=\"row\">{}</th><td>{}</td><td class=\"score\">{}</td>\
             <td class=\"n\">{}</td><td>{}</td><td title=\"{}\">{}</td></tr>\n",
            named(&m.subject_label, &m.subject),
            named(&m.object_label, &m.object),
            score(m.score),
            m.margin.map_or_else(|| "–".to_string(), |margin| decimals(margin, 3)),
            if m.mutual { "yes" } else { "no" },
            escape(&m.justification),
            escape(reason(&m.justification)),
        )
    });
    table(out, &format!("{heading}, {}", plural(mappings.len(), "mapping")), &head, rows, "");
}

/// A name with its code below.
fn named(label: &str, code: &str) -> String {
    if label.is_empty() {
        return format!("<span class=\"ids\">{}</span>", escape(code));
    }
    format!("{} <span class=\"ids code\">{}</span>", escape(label), escape(code))
}

/// A score as a number and a small bar.
fn score(score: f64) -> String {
    let width = if score.is_finite() { score.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    format!(
        "{} <svg class=\"bar\" width=\"56\" height=\"6\" aria-hidden=\"true\" focusable=\"false\">\
         <rect class=\"track\" width=\"100%\" height=\"6\" rx=\"3\"/>\
         <rect class=\"mark\" width=\"{width:.1}%\" height=\"6\" rx=\"3\"/></svg>",
        decimals(score, 3)
    )
}

/// A justification in plain words; the part after the prefix where there are none.
fn reason(justification: &str) -> &str {
    let term = justification.rsplit_once(':').map_or(justification, |(_, term)| term);
    match term {
        "LexicalMatching" => "same name",
        "SemanticSimilarityThresholdMatching" => "similar names",
        "ManualMappingCuration" => "a curator",
        _ => term,
    }
}

/// The scores counted in bins of equal width.
struct Bins {
    /// Lower end of the first bin: the smallest score, down to a multiple of 0.05. The last bin ends at 1.
    low: f64,
    counts: [u64; BINS],
    /// Scores that are no numbers.
    strange: usize,
}

impl Bins {
    fn of(scores: &[f64]) -> Self {
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
    fn edge(&self, bin: usize) -> f64 {
        self.low + (1.0 - self.low) * bin as f64 / BINS as f64
    }

    /// What a bin covers, in words.
    fn range(&self, bin: usize) -> String {
        format!("{} to {}", decimals(self.edge(bin), 3), decimals(self.edge(bin + 1), 3))
    }
}

fn histogram(out: &mut String, scores: &[f64]) {
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

fn timeline(out: &mut String, stages: &[StageTiming]) {
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

/// Text for HTML, in elements and in quoted attributes. Control characters other than blanks become U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// A text of at most so many characters, with an ellipsis where something is missing.
fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_string();
    }
    // Of less than a word there is nothing to read.
    if room < 8 {
        return String::new();
    }
    let kept: String = text.chars().take(room - 1).collect();
    format!("{}…", kept.trim_end())
}

/// A count with commas between thousands.
fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and its unit.
fn plural(n: usize, unit: &str) -> String {
    format!("{} {unit}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

/// A count in few characters, for an axis.
fn short(n: u64) -> String {
    match n {
        0..=9_999 => count(n),
        10_000..=999_999 => format!("{}k", trimmed(n as f64 / 1e3, 1)),
        _ => format!("{}M", trimmed(n as f64 / 1e6, 2)),
    }
}

/// A number with a fixed number of decimals.
fn decimals(x: f64, places: usize) -> String {
    if x.is_finite() { format!("{x:.places$}") } else { "–".to_string() }
}

/// A number without the zeros at its end.
fn trimmed(x: f64, places: usize) -> String {
    let text = format!("{x:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// A duration as a person reads it.
fn duration(seconds: f64) -> String {
    match seconds {
        s if !s.is_finite() => "–".to_string(),
        s if s < 9.995 => format!("{:.2} s", s.max(0.0)),
        s if s < 59.95 => format!("{s:.1} s"),
        s => {
            let whole = s.round() as u64;
            let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
            if hours > 0 { format!("{hours} h {minutes:02} min") } else { format!("{minutes} min {seconds:02} s") }
        }
    }
}

/// A label on the time axis.
fn tick(seconds: f64, step: f64) -> String {
    if seconds == 0.0 {
        return "0".to_string();
    }
    if step >= 30.0 {
        return format!("{} min", trimmed(seconds / 60.0, 1));
    }
    format!("{} s", trimmed(seconds, 4))
}

/// The smallest of 1, 2, 5 times a power of ten that is not below the given step.
fn nice_step(at_least: f64) -> f64 {
    let magnitude = 10f64.powf(at_least.max(1e-6).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * magnitude)
        .find(|step| *step >= at_least * (1.0 - 1e-9))
        .unwrap_or(10.0 * magnitude)
}

const STYLE: &str = "
:root{--bg:#f7f8f7;--card:#fff;--ink:#1b2326;--soft:#566469;--line:#e1e6e5;--track:#e6ebea;--mark:#14737d;--warn:#9a4f00;--hover:rgba(20,115,125,.08)}
@media (prefers-color-scheme:dark){:root{--bg:#11171a;--card:#182024;--ink:#e5eaeb;--soft:#9badb3;--line:#2a353a;--track:#2a353a;--mark:#52b9c4;--warn:#e3a455;--hover:rgba(82,185,196,.1)}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-behavior:smooth}
body{margin:0 auto;padding:2rem clamp(.9rem,4vw,2.5rem) 4rem;max-width:76rem;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;overflow-wrap:break-word}
h1{margin:0 0 .9rem;font-size:1.7rem;line-height:1.2;letter-spacing:-.015em}
h2{margin:0 0 .8rem;font-size:1.15rem;line-height:1.3;letter-spacing:-.005em}
h3{margin:1.4rem 0 .4rem;font-size:.95rem}
a{color:var(--mark)}
.facts{display:flex;flex-wrap:wrap;gap:.5rem 2rem;margin:0}
.facts div{min-width:0}
.facts dt{color:var(--soft);font-size:.75rem}
.facts dd{margin:0;overflow-wrap:anywhere}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;margin-top:1.1rem;font-size:.9rem}
nav a{padding:.2rem 0}
section{margin-top:1.25rem;padding:1.3rem clamp(.9rem,3vw,1.6rem);background:var(--card);border:1px solid var(--line);border-radius:10px}
.question{margin:0 0 1rem;padding-left:.9rem;border-left:3px solid var(--mark);font-size:1.1rem;line-height:1.45;max-width:46rem;text-wrap:pretty}
.hint,.nothing,caption{color:var(--soft);font-size:.85rem}
.hint{margin:.2rem 0;max-width:46rem}
.nothing{margin:0;font-style:italic}
.wide{overflow-x:auto;margin:0 -.3rem;padding:0 .3rem}
table{width:100%;border-collapse:collapse;font-size:.9rem;line-height:1.4;font-variant-numeric:tabular-nums}
caption{padding:0 0 .4rem;text-align:left}
th,td{padding:.5rem 1.1rem .5rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);min-width:3.2rem}
th:last-child,td:last-child{padding-right:0}
thead th{color:var(--soft);font-size:.78rem;font-weight:500;vertical-align:bottom;white-space:nowrap}
tbody th{font-weight:600;min-width:9rem}
tbody td:not(.n):not(.score):not(:last-child){min-width:5rem}
#mappings thead th:nth-child(1){width:34%}
#mappings thead th:nth-child(2){width:28%}
tbody tr:last-child>*{border-bottom:0}
tbody tr:hover{background:var(--hover)}
tfoot th,tfoot td{border-top:1px solid var(--soft);border-bottom:0;font-weight:600}
.n{text-align:right;white-space:nowrap}
.warn{color:var(--warn);font-weight:600}
.ids{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;font-size:.86em}
.code{display:block;color:var(--soft);font-size:.78rem;font-weight:400;overflow-wrap:anywhere}
.score{white-space:nowrap}
.bar{margin-left:.35rem;vertical-align:.1em}
.doubtful .mark{fill:var(--warn)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.2rem,1fr));gap:.6rem;margin:0;padding:0;list-style:none}
.tiles li{padding:.7rem .85rem;border:1px solid var(--line);border-radius:8px;min-width:0}
.tiles strong{display:block;font-size:1.35rem;line-height:1.25;font-weight:600;font-variant-numeric:tabular-nums;letter-spacing:-.01em}
.tiles span{color:var(--soft);font-size:.82rem}
.unseen,#mappings caption{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.chart{display:block;overflow:visible;font-size:13px;font-variant-numeric:tabular-nums}
.histogram{max-width:50rem}
.chart text{fill:var(--ink)}
.chart .tick,.chart .axis{fill:var(--soft);font-size:12px}
.chart .name{font-weight:600}
.grid{stroke:var(--line);stroke-width:1}
.track{fill:var(--track)}
.mark{fill:var(--mark)}
.hover{fill:transparent}
.bin:hover .hover,.stage:hover .hover{fill:var(--hover)}
details{margin-top:.8rem}
summary{color:var(--soft);font-size:.85rem;cursor:pointer}
details table{width:auto;margin-top:.6rem}
pre{margin:.5rem 0 0;padding:.75rem .9rem;overflow-x:auto;background:var(--bg);border:1px solid var(--line);border-radius:8px;font:.85rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}
pre code{font:inherit;-webkit-user-select:all;user-select:all}
:focus-visible{outline:2px solid var(--mark);outline-offset:2px}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
@media print{body{max-width:none;padding:0;background:#fff}nav{display:none}section{border:0;padding:0;break-inside:auto}.wide,pre{overflow:visible}pre{white-space:pre-wrap}}
";

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Report {
        let mapping = |score: f64, margin: Option<f64>| MappingRow {
            subject: "SNOMED:22298006".into(),
            subject_label: "Myocardial infarction".into(),
            object: "DOID:5844".into(),
            object_label: "myocardial infarction".into(),
            score,
            margin,
            mutual: true,
            justification: "semapv:LexicalMatching".into(),
        };
        Report {
            title: "Demo".into(),
            generated_at: "2025-01-01 00:00 UTC".into(),
            version: "0.1.0".into(),
            model: "all-MiniLM-L6-v2".into(),
            lake: "/data/lake".into(),
            stages: vec![
                StageTiming { name: "ingest".into(), started_s: 0.0, ended_s: 1.5, detail: "10 rows".into() },
                StageTiming { name: "embed".into(), started_s: 1.5, ended_s: 75.0, detail: String::new() },
            ],
            files: vec![FileCounts {
                file: "a.csv".into(),
                read: 1234,
                kept: 1230,
                quarantined: 4,
                ..Default::default()
            }],
            tables: vec![("mappings".into(), 1_234_567)],
            best: vec![mapping(1.0, Some(0.25))],
            doubtful: vec![mapping(0.61, None), mapping(f64::NAN, Some(f64::INFINITY))],
            scores: vec![0.61, 0.7, 0.9999, 1.0],
            question: "Which SNPs?".into(),
            answer: vec![AnswerRow {
                condition: "Asthma".into(),
                persons: 3,
                best_p: "1e-20".into(),
                ..Default::default()
            }],
            next: vec!["generel sql --lake lake -c \"select 1 < 2\"".into()],
        }
    }

    /// Every element that was opened was closed, in order.
    fn assert_balanced(html: &str) {
        let mut open: Vec<&str> = Vec::new();
        let mut rest = html;
        while let Some(at) = rest.find('<') {
            rest = &rest[at + 1..];
            let end = rest.find('>').expect("a tag ends");
            let tag = &rest[..end];
            let name = tag.trim_start_matches('/').split([' ', '/']).next().expect("a name");
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "in {tag:?}");
            } else if !tag.ends_with('/') && !["!DOCTYPE", "meta", "wbr"].contains(&name) {
                open.push(name);
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "still open: {open:?}");
    }

    #[test]
    fn escapes_everything_from_outside() {
        const EVIL: &str = "<script>alert(\"x\" & 'y')</script>";
        let safe = "&lt;script&gt;alert(&quot;x&quot; &amp; &#39;y&#39;)&lt;/script&gt;";
        assert_eq!(escape(EVIL), safe);
        assert_eq!(escape("a\u{0}b\nc\u{7f}"), "a\u{fffd}b\nc\u{fffd}");
        let evil = || EVIL.to_string();
        let mapping = MappingRow {
            subject: evil(),
            subject_label: evil(),
            object: evil(),
            object_label: evil(),
            justification: evil(),
            ..Default::default()
        };
        let html = Report {
            title: evil(),
            generated_at: evil(),
            version: evil(),
            model: evil(),
            lake: evil(),
            stages: vec![StageTiming { name: evil(), detail: evil(), ended_s: 1.0, ..Default::default() }],
            files: vec![FileCounts { file: evil(), format: evil(), note: evil(), ..Default::default() }],
            tables: vec![(evil(), 1)],
            best: vec![mapping.clone()],
            doubtful: vec![MappingRow { subject_label: String::new(), ..mapping }],
            scores: vec![0.5],
            question: evil(),
            answer: vec![AnswerRow {
                condition: evil(),
                ontology_term: evil(),
                traits: evil(),
                top_snps: evil(),
                best_p: evil(),
                ..Default::default()
            }],
            next: vec![evil()],
        }
        .to_html();
        assert!(!html.contains("<script"));
        assert!(!html.contains("alert(\"x"));
        assert!(html.matches("&lt;script&gt;").count() >= 25);
        assert_balanced(&html);
    }

    #[test]
    fn an_empty_report_is_a_page() {
        let html = Report::default().to_html();
        assert!(html.starts_with("<!DOCTYPE html>") && html.ends_with("</html>\n"));
        assert!(html.contains("<title>Report</title>"));
        assert_eq!(html.matches(">nothing yet<").count(), 8);
        assert!(!html.contains("NaN") && !html.contains("inf"));
        assert_balanced(&html);
    }

    #[test]
    fn a_full_report_has_everything() {
        let html = full().to_html();
        for part in
            ["lang=\"en\"", "<caption>", "scope=\"col\"", "scope=\"row\"", "role=\"img\"", "1,234,567", "1 min 15 s"]
        {
            assert!(html.contains(part), "{part}");
        }
        assert!(html.contains("select 1 &lt; 2"));
        assert!(!html.contains("nothing yet") && !html.contains("NaN"));
        assert_eq!(html.matches("<caption>").count(), html.matches("<table>").count());
        assert_balanced(&html);
    }

    #[test]
    fn needs_nothing_from_elsewhere() {
        let html = full().to_html();
        for foreign in ["http", "//", "src=", "url(", "@import", "<link", "<script", "<iframe", "javascript:"] {
            assert!(!html.contains(foreign), "{foreign}");
        }
        assert!(html.matches("href=\"").count() == html.matches("href=\"#").count());
    }

    #[test]
    fn bins_hold_every_score() {
        let scores: Vec<f64> = (0..1000).map(|i| 0.43 + 0.57 * f64::from(i) / 999.0).collect();
        for scores in [
            &scores[..],
            &[1.0, 1.0],
            &[0.6],
            &[1.000_000_1, 0.0],
            &[-0.3, 2.0, -7.0, 1e300],
            &[],
            &[f64::NAN, 0.5, f64::INFINITY, f64::NEG_INFINITY],
        ] {
            let bins = Bins::of(scores);
            assert_eq!(bins.counts.iter().sum::<u64>() as usize + bins.strange, scores.len(), "{scores:?}");
            assert!((bins.edge(BINS) - 1.0).abs() < 1e-12);
        }
        assert_eq!(Bins::of(&scores).strange, 0);
    }

    #[test]
    fn bins_begin_at_the_smallest_score() {
        let bins = Bins::of(&[0.6, 0.62, 0.639, 0.999, 1.0]);
        assert!((bins.low - 0.6).abs() < 1e-12);
        assert_eq!((bins.counts[0], bins.counts[1], bins.counts[19]), (1, 2, 2));
        assert_eq!(bins.range(1), "0.620 to 0.640");
        assert!((Bins::of(&[1.0]).low - 0.95).abs() < 1e-12);
    }

    #[test]
    fn strange_timings_stay_in_the_picture() {
        let stage = |started_s, ended_s| StageTiming { name: "s".into(), started_s, ended_s, detail: String::new() };
        let stages = vec![stage(0.0, 0.0), stage(5.0, 1.0), stage(f64::NAN, f64::INFINITY), stage(-1.0, 3.0)];
        let html = Report { stages, ..Default::default() }.to_html();
        assert!(!html.contains("NaN") && !html.contains("inf") && !html.contains("\"-"));
        let only = Report { stages: vec![stage(0.0, 0.0)], ..Default::default() }.to_html();
        assert_balanced(&only);
    }

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([9_999, 12_500, 2_000_000].map(short), ["9,999", "12.5k", "2M"]);
        assert_eq!(
            [0.0, 1.239, 9.999, 59.97, 75.0, 3_720.0].map(duration),
            ["0.00 s", "1.24 s", "10.0 s", "1 min 00 s", "1 min 15 s", "1 h 02 min"]
        );
        assert_eq!([0.03, 1.0, 3.0, 7.0].map(nice_step), [0.05, 1.0, 5.0, 10.0]);
        assert_eq!(shortened("a long detail of a stage", 10), "a long de…");
        assert_eq!(shortened("a long detail", 3), "");
    }
}
