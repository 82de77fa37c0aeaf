//! Words and numbers for people: escaped, shortened, rounded.

/// Text for HTML, in elements and in quoted attributes. Control characters other than blanks become U+FFFD.
pub(super) fn escape(text: &str) -> String {
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
pub(super) fn shortened(text: &str, room: usize) -> String {
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
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and its unit.
pub(super) fn plural(n: usize, unit: &str) -> String {
    format!("{} {unit}{}", count(n as u64), if n == 1 { "" } else { "s" })
}

/// A count in few characters, for an axis.
pub(super) fn short(n: u64) -> String {
    match n {
        0..=9_999 => count(n),
        10_000..=999_999 => format!("{}k", trimmed(n as f64 / 1e3, 1)),
        _ => format!("{}M", trimmed(n as f64 / 1e6, 2)),
    }
}

/// A number with a fixed number of decimals.
pub(super) fn decimals(x: f64, places: usize) -> String {
    if x.is_finite() { format!("{x:.places$}") } else { "–".to_string() }
}

/// A number without the zeros at its end.
pub(super) fn trimmed(x: f64, places: usize) -> String {
    let text = format!("{x:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// A duration as a person reads it.
pub(super) fn duration(seconds: f64) -> String {
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
pub(super) fn tick(seconds: f64, step: f64) -> String {
    if seconds == 0.0 {
        return "0".to_string();
    }
    if step >= 30.0 {
        return format!("{} min", trimmed(seconds / 60.0, 1));
    }
    format!("{} s", trimmed(seconds, 4))
}

/// The smallest of 1, 2, 5 times a power of ten that is not below the given step.
pub(super) fn nice_step(at_least: f64) -> f64 {
    let magnitude = 10f64.powf(at_least.max(1e-6).log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|factor| factor * magnitude)
        .find(|step| *step >= at_least * (1.0 - 1e-9))
        .unwrap_or(10.0 * magnitude)
}
