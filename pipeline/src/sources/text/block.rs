//! Rows with as many fields as the header and without quotes, which almost all are: a grid that can be read column by
//! column.

use super::super::output::Output;

/// Rows of a block at most: what is read of them stays in the nearest caches.
const ROWS: usize = 1024;

/// Some such rows.
pub(crate) struct Block<'a> {
    text: &'a str,
    /// Where each field ends, row after row.
    ends: &'a [u32],
    columns: usize,
    /// Where the first row begins.
    start: u32,
    /// 1-based line of the first row.
    line: u64,
}

impl<'a> Block<'a> {
    /// The rows from `start` on, where the separators' `positions` begin, as long as they have `columns` fields. `None`
    /// where the first has not. The text ends with a line break, and its separators are single bytes.
    pub(super) fn of(text: &'a str, start: u32, line: u64, positions: &'a [u32], columns: usize) -> Option<Self> {
        let ends_line = |end: &u32| text.as_bytes()[*end as usize] == b'\n';
        let fits = |row: &&[u32]| {
            row.split_last().is_some_and(|(last, others)| ends_line(last) && !others.iter().any(ends_line))
        };
        // A line without text has one field, and is no row.
        let rows = if columns < 2 { 0 } else { positions.chunks_exact(columns).take(ROWS).take_while(fits).count() };
        (rows > 0).then(|| Self { text, ends: &positions[..rows * columns], columns, start, line })
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.ends.len() / self.columns
    }

    /// The fields of a column, one a row, as they stand.
    #[inline]
    pub(crate) fn column(&self, column: usize) -> impl Iterator<Item = &'a str> {
        let last = column + 1 == self.columns;
        (0..self.rows()).map(move |row| {
            let at = row * self.columns + column;
            let field = &self.text[self.begin(at) as usize..self.ends[at] as usize];
            if last { field.strip_suffix('\r').unwrap_or(field) } else { field }
        })
    }

    /// Where a field begins: behind the end of the one before it, of this row or the one above.
    #[inline]
    fn begin(&self, field: usize) -> u32 {
        if field == 0 { self.start } else { self.ends[field - 1] + 1 }
    }

    /// Takes every row by itself; none otherwise.
    pub(crate) fn one_by_one(&self, out: &mut Output, one: &mut dyn FnMut(usize, &mut Output)) -> u64 {
        (0..self.rows()).for_each(|row| one(row, out));
        0
    }

    /// A row's text, line and fields by where they stand in the text.
    pub(super) fn cut(&self, row: usize, fields: &mut Vec<(u32, u32)>) -> (&'a str, u64) {
        let at = row * self.columns;
        let start = self.begin(at);
        let text = &self.text[start as usize..self.ends[at + self.columns - 1] as usize];
        let text = text.strip_suffix('\r').unwrap_or(text);
        fields.clear();
        let mut from = 0;
        for end in &self.ends[at..at + self.columns] {
            // The last field ends before the carriage return.
            let end = (end - start).min(text.len() as u32);
            fields.push((from, end));
            from = end + 1;
        }
        (text, self.line + row as u64)
    }
}
