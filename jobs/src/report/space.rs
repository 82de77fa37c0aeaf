//! The page of a space's evaluation: a table a family, the methods side by side.

use generel_pipeline::training::evaluate::Measured;

use super::text::{count, escape};
use super::{PAGE_END, page_start, section, table};

/// All measures as one HTML page that needs nothing else.
pub fn space_page(measured: &[Measured]) -> String {
    let methods = distinct(measured.iter().map(|m| m.method.as_str()));
    let mut out = String::new();
    page_start(&mut out, "What the space is good for", &[("Methods", methods.join(", ").as_str())]);
    out.push_str("</header>\n<main>\n");
    for (i, family) in distinct(measured.iter().map(|m| m.family.as_str())).into_iter().enumerate() {
        let of_family: Vec<&Measured> = measured.iter().filter(|m| m.family == family).collect();
        section(&mut out, &format!("family-{i}"), &escape(family), |out| {
            let mut head = vec![("Of", false), ("Measure", false), ("n", true)];
            head.extend(methods.iter().map(|m| (*m, true)));
            let lines = distinct_pairs(&of_family);
            let rows = lines.iter().map(|(of, measure)| {
                let same = |method: &str| {
                    of_family.iter().find(|m| m.of == *of && m.measure == *measure && m.method == method)
                };
                let n = methods.iter().find_map(|m| same(m)).map_or(0, |m| m.estimate.n as u64);
                let cells: String = methods
                    .iter()
                    .map(|method| {
                        let cell = same(method).map_or("–".to_string(), |m| {
                            format!("{:.3} ({:.3}–{:.3})", m.estimate.value, m.estimate.low, m.estimate.high)
                        });
                        format!("<td class=\"n\">{cell}</td>")
                    })
                    .collect();
                format!(
                    "<tr><th scope=\"row\">{}</th><td>{measure}</td><td class=\"n\">{}</td>{cells}</tr>\n",
                    escape(of),
                    count(n)
                )
            });
            table(out, "With 95 % intervals", &head, rows.collect::<Vec<_>>().into_iter(), "");
        });
    }
    out.push_str(PAGE_END);
    out
}

fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all: Vec<&str> = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

fn distinct_pairs<'a>(measured: &[&'a Measured]) -> Vec<(&'a str, &'a str)> {
    let mut all: Vec<(&str, &str)> = Vec::new();
    for m in measured {
        let line = (m.of.as_str(), m.measure.as_str());
        if !all.contains(&line) {
            all.push(line);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use generel_model::evaluate::Estimate;

    #[test]
    fn methods_stand_side_by_side_and_names_are_escaped() {
        let of = |method: &str, value: f64| Measured {
            family: "relations <x>".into(),
            of: "a & b".into(),
            measure: "auc".into(),
            method: method.into(),
            estimate: Estimate { value, low: value, high: value, n: 1234 },
        };
        let page = space_page(&[of("one", 0.5), of("two", 0.75)]);
        assert!(page.contains("a &amp; b") && page.contains("relations &lt;x&gt;"));
        assert!(page.contains("0.500 (0.500–0.500)</td><td class=\"n\">0.750"), "{page}");
    }
}
