//! Files that a person writes: YAML with `${ENV}` substitution, errors with line and column, nothing of the environment in
//! them.

use std::path::Path;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use crate::exit::UsageError;

/// Reads a file.
///
/// # Errors
/// With file, line and column when it is not valid.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    parse(&text, |name| std::env::var(name).ok()).map_err(|e| UsageError(format!("{}: {e}", path.display())).into())
}

/// Parses a file's text, with variables from somewhere.
pub(crate) fn parse<T: DeserializeOwned>(
    text: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> std::result::Result<T, String> {
    let values = std::cell::RefCell::new(Vec::new());
    let text = substitute(text, |name| {
        let value = variable(name);
        values.borrow_mut().extend(value.clone().filter(|v| !v.is_empty()));
        value
    })?;
    // An error can quote the line that it is about, and that may hold what came from the environment.
    serde_saphyr::from_str(&text)
        .map_err(|e| values.into_inner().iter().fold(e.to_string(), |e, value| e.replace(value, "…")))
}

/// Replaces `${NAME}`; `$$` is a dollar sign.
fn substitute(text: &str, variable: impl Fn(&str) -> Option<String>) -> std::result::Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(tail) = after.strip_prefix('$') {
                out.push('$');
                rest = tail;
            } else if let Some((name, tail)) = after.strip_prefix('{').and_then(|a| a.split_once('}')) {
                let value = variable(name)
                    .ok_or_else(|| format!("line {}: ${{{name}}} is not set in the environment", number + 1))?;
                out.push_str(&value);
                rest = tail;
            } else {
                out.push('$');
                rest = after;
            }
        }
        out.push_str(rest);
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dollar_alone_stays() {
        assert_eq!(substitute("a $$ b $c", |_| None).unwrap(), "a $ b $c\n");
    }
}
