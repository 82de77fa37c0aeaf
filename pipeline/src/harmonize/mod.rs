//! Harmonizing: records that carry other people's codes and texts in, the same records in one vocabulary out.
//!
//! Batch to batch, without Kafka: [`Harmonizer`] decodes messages, finds what their fields mention, asks the
//! concept index once for each distinct mention, and writes rows and output messages. The same messages, model and index
//! give the same output.

mod answer;
mod answers;
mod decode;
mod extract;
mod harmonized;
mod harmonizer;
mod index;
mod known;
mod mentions;
mod messages;
mod path;
mod plan;
mod reject;
mod render;
mod rows;
mod saved;

pub use decode::{Format, Registry};
pub use harmonized::{Counts, Dead, Harmonized};
pub use harmonizer::{Harmonizer, HarmonizerOptions};
pub(crate) use index::ConceptIndex;
pub use index::IndexOptions;
pub use messages::{Header, Message, Messages};
pub use path::FieldPath;
pub use plan::{FieldOptions, Vocabulary, fhir_fields};
pub use reject::{Reason, Rejected, Stage};
pub use rows::Shape;
pub use saved::{SavedIndex, save_index};

/// The words of outcomes, in the order of [`Counts::outcomes`].
pub(crate) fn outcomes() -> [&'static str; 4] {
    answer::Outcome::ALL.map(answer::Outcome::as_str)
}
