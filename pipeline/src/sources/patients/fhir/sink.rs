//! The rows of a file on their way into chunks.

use std::collections::VecDeque;

use generel_schemas::{RejectReason, RejectedRow};

use super::super::super::Chunk;
use super::super::super::output::Output;
use super::super::super::text::delimited::Taken;
use super::events::{Fate, Fault, KINDS, Links, Maker};
use super::resource::{Entry, Resource};
use crate::Result;

/// What stands in quarantine in place of text that may name a person.
const MASK: &str = "***";

/// Counts resources and gathers what they become.
pub(super) struct Sink {
    pub(super) done: VecDeque<Chunk>,
    chunk: Chunk,
    out: Output,
    chunk_rows: u64,
}

impl Sink {
    pub(super) fn new(chunk_rows: u64) -> Self {
        Self { done: VecDeque::new(), chunk: Chunk::default(), out: Output::default(), chunk_rows }
    }

    /// A resource.
    pub(super) fn resource<'r>(
        &mut self,
        maker: &Maker,
        resource: &'r Resource<'r>,
        full_url: Option<&str>,
        links: &Links<'r>,
        line: u64,
    ) -> Result<()> {
        let fate = maker.resource(resource, full_url, links, &mut self.out);
        self.row(fate, resource.kind.get(), line)
    }

    /// An entry of a bundle; `None` where it is no object or cannot be read.
    pub(super) fn entry<'r>(
        &mut self,
        maker: &Maker,
        entry: Option<&'r Entry<'r>>,
        links: &Links<'r>,
        line: u64,
    ) -> Result<()> {
        let Some(entry) = entry else { return self.broken(RejectReason::Malformed, line) };
        match entry.resource.get() {
            Some(resource) => self.resource(maker, resource, entry.full_url.get(), links, line),
            None => self.row(Ok(Taken::Ignored("entry without a resource")), None, line),
        }
    }

    /// Text that is no resource at all.
    pub(super) fn broken(&mut self, reason: RejectReason, line: u64) -> Result<()> {
        let message = match reason {
            RejectReason::TornLine => "the file ends in the middle of the resource",
            RejectReason::InvalidUtf8 => "the row is not UTF-8 text (see --encoding)",
            _ => "expected a FHIR resource as JSON",
        };
        self.row(Err(Fault { column: "", reason, message }), None, line)
    }

    fn row(&mut self, fate: Fate, kind: Option<&str>, line: u64) -> Result<()> {
        self.chunk.rows_read += 1;
        match fate {
            Ok(taken) => self.chunk.take(taken),
            Err(fault) => {
                // Only a name that is a type's own: anything may stand there.
                let kind = kind.and_then(|kind| KINDS.into_iter().find(|known| *known == kind));
                self.chunk.rejected.push(RejectedRow {
                    line,
                    column: Some(fault.column.to_string()).filter(|column| !column.is_empty()),
                    reason: fault.reason,
                    message: fault.message.to_string(),
                    raw: kind.map_or(MASK.to_string(), |k| format!("{{\"resourceType\":\"{k}\",\"id\":\"{MASK}\"}}")),
                });
            }
        }
        if self.chunk.rows_read >= self.chunk_rows {
            self.flush()?;
        }
        Ok(())
    }

    /// Ends the chunk, if it has rows.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.chunk.rows_read > 0 {
            let mut chunk = std::mem::take(&mut self.chunk);
            std::mem::take(&mut self.out).finish_into(&mut chunk)?;
            self.done.push_back(chunk);
        }
        Ok(())
    }
}
