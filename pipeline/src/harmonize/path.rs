//! Field paths: the part of JSONPath (RFC 9535) that names places, `$.a.b`, `$['a b']`, `$.list[0]`, `$.list[*].a`.

use std::fmt;
use std::str::FromStr;

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// The member of this name.
    Member(String),
    /// The element at this place, from 0.
    Element(usize),
    /// Every element, or every member's value.
    Every,
}

/// A place in a record, or several places.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldPath {
    steps: Vec<Step>,
}

impl FieldPath {
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// This path, then further members.
    pub(crate) fn then(&self, members: &[&str]) -> Self {
        let further = members.iter().map(|m| match *m {
            "*" => Step::Every,
            name => Step::Member(name.to_string()),
        });
        Self { steps: self.steps.iter().cloned().chain(further).collect() }
    }

    /// The path up to its last `[*]`; nothing of a path that names one place.
    pub(crate) fn repeated(&self) -> &[Step] {
        let last = self.steps.iter().rposition(|step| *step == Step::Every);
        last.map_or(&[], |last| &self.steps[..=last])
    }
}

impl FromStr for FieldPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = |at: usize, what: &str| {
            format!("'{text}', character {}: {what}; a path is like $.a.b, $['a b'], $.list[0] or $.list[*].a", at + 1)
        };
        let mut rest = text.strip_prefix('$').ok_or_else(|| problem(0, "expected $"))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let at = text.len() - rest.len();
            if rest.starts_with("..") {
                return Err(problem(at, "descendants (..) are not supported"));
            } else if let Some(after) = rest.strip_prefix(".*") {
                steps.push(Step::Every);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                if end == 0 {
                    return Err(problem(at + 1, "expected a member's name"));
                }
                steps.push(Step::Member(after[..end].to_string()));
                rest = &after[end..];
            } else if let Some(after) = rest.strip_prefix("[*]") {
                steps.push(Step::Every);
                rest = after;
            } else if let Some(after) = rest.strip_prefix("['").or_else(|| rest.strip_prefix("[\"")) {
                let quote = &rest[1..2];
                let end = after.find(&format!("{quote}]")).ok_or_else(|| problem(at, "the bracket is not closed"))?;
                steps.push(Step::Member(after[..end].to_string()));
                rest = &after[end + 2..];
            } else if let Some(after) = rest.strip_prefix('[') {
                let end = after.find(']').ok_or_else(|| problem(at, "the bracket is not closed"))?;
                let place =
                    after[..end].parse().map_err(|_| problem(at + 1, "expected a number, * or a quoted name"))?;
                steps.push(Step::Element(place));
                rest = &after[end + 1..];
            } else {
                return Err(problem(at, "expected . or ["));
            }
        }
        Ok(Self { steps })
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for step in &self.steps {
            match step {
                Step::Every => f.write_str("[*]")?,
                Step::Element(place) => write!(f, "[{place}]")?,
                Step::Member(name) if name.contains(['.', '[', ' ', '\'']) || name.is_empty() => {
                    let quote = if name.contains('\'') { '"' } else { '\'' };
                    write!(f, "[{quote}{name}{quote}]")?;
                }
                Step::Member(name) => write!(f, ".{name}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_parse_and_display() {
        for text in ["$", "$.a.b", "$['a b'].c", "$.list[0]", "$.list[*].a", "$[\"it's\"]", "$[*]"] {
            assert_eq!(text.parse::<FieldPath>().unwrap().to_string(), text);
        }
        assert_eq!("$.a.*".parse::<FieldPath>().unwrap().to_string(), "$.a[*]");
    }

    #[test]
    fn mistakes_say_where() {
        for (text, words) in [
            ("a.b", "character 1: expected $"),
            ("$..a", "character 2: descendants"),
            ("$.a[?(@.b)]", "character 5: expected a number"),
            ("$.a['b", "character 4: the bracket is not closed"),
            ("$.", "character 3: expected a member's name"),
            ("$a", "character 2: expected . or ["),
        ] {
            let problem = text.parse::<FieldPath>().unwrap_err();
            assert!(problem.contains(words), "{problem}");
        }
    }
}
