//! Training: the text encoder and the SNP encoder in one space, by weighted contrastive learning over several tasks.
//!
//! One step: a batch of pairs of every task, drawn by the step's number alone (`batches`); the distinct texts go through
//! the text encoder (`text`: our own forward and backward pass on the CPU, candle on a GPU), SNPs through the SNP encoder (`snp`);
//! the losses (`loss`) give the gradients of the vectors, which go back the same way; AdamW moves the parameters. A run that was killed
//! continues from its last checkpoint and ends with the same weights as one that was not.

mod batches;
mod checkpoint;
mod data;
mod export;
mod hard_negatives;
mod loss;
mod optimizer;
mod options;
mod parameters;
mod snp;
mod step;
mod text;
mod trainer;

pub use data::{SnpFacts, Task, TaskKind, TrainingSet};
pub use options::{Report, TaskOptions, TrainOptions};
pub(crate) use text::{CandleText, Passes, Tape, Weights};
pub use trainer::Trainer;
