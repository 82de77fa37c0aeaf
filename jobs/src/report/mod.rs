//! The report of a run: one HTML page that needs nothing else. Style and charts are inline, there is no script, and
//! every text from outside is escaped. Charts use percentages across and pixels down, so that their text keeps its
//! size on a narrow screen.

mod charts;
mod evaluation;
mod plot;
mod space;
mod text;
mod training;

use charts::{histogram, timeline};
pub use evaluation::evaluation_page;
pub use space::space_page;
use text::{count, decimals, duration, escape, plural};
pub use training::{Point, training_page};

const STYLE: &str = include_str!("style.css");

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
    /// SNPs near the term in the space, each with the association that is known.
    pub near: Vec<String>,
}

impl Report {
    /// The whole page.
    pub fn to_html(&self) -> String {
        let title = escape(if self.title.is_empty() { "Report" } else { &self.title });
        let mut out = String::with_capacity(64 * 1024);
        self.header(&mut out, &title);
        out.push_str("<main>\n");
        section(&mut out, "answer", "Answer", |out| self.answer(out));
        section(&mut out, "lake", "What is in the lake", |out| self.tiles(out));
        section(&mut out, "mappings", "Mappings", |out| self.mappings(out));
        section(&mut out, "scores", "Similarity scores", |out| histogram(out, &self.scores));
        section(&mut out, "timeline", "Timeline", |out| timeline(out, &self.stages));
        section(&mut out, "files", "Input files", |out| self.files(out));
        section(&mut out, "next", "Where to go from here", |out| self.next(out));
        out.push_str(PAGE_END);
        out
    }

    fn header(&self, out: &mut String, title: &str) {
        let took = self.stages.iter().map(|s| s.ended_s).filter(|s| s.is_finite()).fold(0.0, f64::max);
        let took = if took > 0.0 { duration(took) } else { String::new() };
        let facts = [
            ("Made", self.generated_at.as_str()),
            ("Took", &took),
            ("Version", &self.version),
            ("Model", &self.model),
            ("Lake", &self.lake),
        ];
        page_start(out, title, &facts);
        out.push_str(
            "<nav aria-label=\"Sections\"><a href=\"#answer\">Answer</a> <a href=\"#lake\">Lake</a> \
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
        if self.answer.iter().any(|row| !row.near.is_empty()) {
            let head = [("Ontology term", false), ("SNPs nearest to it, and their association", false)];
            let rows = self.answer.iter().map(|row| {
                let near: String = row.near.iter().map(|snp| format!("<li>{}</li>", escape(snp))).collect();
                format!("<tr><th scope=\"row\">{}</th><td><ul>{near}</ul></td></tr>\n", escape(&row.ontology_term))
            });
            table(
                out,
                "The same from the space: what the model has learned, from this catalog among others",
                &head,
                rows,
                "",
            );
        }
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

/// The page down to the facts below its title, which is escaped already; empty ones are left out.
fn page_start(out: &mut String, title: &str, facts: &[(&str, &str)]) {
    out.push_str(&format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n<dl class=\"facts\">\n"
    ));
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        out.push_str(&format!("<div><dt>{name}</dt><dd>{}</dd></div>\n", escape(value)));
    }
    out.push_str("</dl>\n");
}

/// What ends a page.
const PAGE_END: &str = "</main>\n</body>\n</html>\n";

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
    let head =
        [("Subject", false), ("Object", false), ("Score", false), ("Margin", true), ("Mutual", false), ("Why", false)];
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

#[cfg(test)]
mod tests {
    use super::charts::{BINS, Bins};
    use super::text::{nice_step, short, shortened};
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
                near: vec![evil()],
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
