//! The crate's one error type.

/// What can be wrong with a value or a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A text is not a valid identifier, number or allele. The text itself is not repeated: it may be patient data.
    #[error("not a valid {kind}: {problem}")]
    Invalid {
        /// What was expected, in the words of the standard ("rsID", "chromosome").
        kind: &'static str,
        /// What is wrong with the text.
        problem: &'static str,
    },
    /// A vector column without `model_id`, or not a vector at all.
    #[error("column '{column}' is {found}, not a typed vector; {hint}")]
    Untyped {
        /// The column.
        column: String,
        /// The Arrow type that was found.
        found: String,
        /// How to restore the type.
        hint: String,
    },
    /// Two vectors of different models meet.
    #[error(
        "vectors of two different models cannot be compared: '{left}' and '{right}'; embed both sides with one model"
    )]
    ModelMismatch {
        /// `model_id` of the left vector.
        left: String,
        /// `model_id` of the right vector.
        right: String,
    },
    /// Two vectors of different lengths meet.
    #[error("vectors of {left} and {right} dimensions cannot be compared")]
    DimensionMismatch {
        /// Dimension of the left vector.
        left: usize,
        /// Dimension of the right vector.
        right: usize,
    },
}

/// A result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

pub(crate) fn invalid<T>(kind: &'static str, problem: &'static str) -> Result<T> {
    Err(Error::Invalid { kind, problem })
}
