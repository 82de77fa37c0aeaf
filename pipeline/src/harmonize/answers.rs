//! What the mentions of a batch mean. Each of its texts and codes is looked up once, for what all threads remember is
//! shared between them, which costs; what was never answered is asked for together, for the model is faster with many texts.

use std::sync::Arc;

use hashbrown::HashMap;

use super::answer::Answer;
use super::harmonizer::Open;
use super::index::ConceptIndex;
use super::mentions::{Said, write_key};
use super::plan::Plan;
use crate::Result;

/// The answers that a batch has met so far.
pub(super) struct Answers {
    numbers: HashMap<Box<str>, u32>,
    /// By their numbers; the first is that of a place where a record says nothing.
    all: Vec<Arc<Answer>>,
    key: String,
    mentions: u64,
    asked: u64,
}

/// What was not answered before: the numbers that its answers will have.
#[derive(Default)]
pub(super) struct Asked<'a> {
    said: Vec<Said<'a>>,
    numbers: Vec<u32>,
}

impl Asked<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.said.is_empty()
    }
}

impl Answers {
    pub(super) fn new() -> Self {
        let all = vec![Arc::clone(Answer::absent())];
        Self { numbers: HashMap::new(), all, key: String::new(), mentions: 0, asked: 0 }
    }

    /// The number of each mention's answer, one record after another; what is to be asked for is added.
    pub(super) fn look<'a>(
        &mut self,
        plan: &'a Plan,
        index: &ConceptIndex,
        open: &'a [Open<'_>],
        asked: &mut Asked<'a>,
    ) -> Vec<u32> {
        let mut numbers = Vec::with_capacity(open.len());
        for record in open {
            for mention in &record.found.mentions {
                let vocabulary = plan.fields[mention.field].vocabulary.as_deref();
                let said = Said::of(mention, &record.found, &record.record, vocabulary);
                if said.is_empty() {
                    numbers.push(0);
                    continue;
                }
                write_key(&said, &mut self.key);
                let known = self.numbers.get(self.key.as_str()).copied();
                numbers.push(known.unwrap_or_else(|| {
                    let number = self.all.len() as u32;
                    let remembered = index.remembered(&self.key);
                    if remembered.is_none() {
                        asked.said.push(said);
                        asked.numbers.push(number);
                    }
                    self.all.push(remembered.unwrap_or_else(|| Arc::clone(Answer::absent())));
                    self.numbers.insert(self.key.as_str().into(), number);
                    number
                }));
            }
        }
        numbers
    }

    /// Has what was not answered before answered.
    ///
    /// # Errors
    /// When the model fails.
    pub(super) async fn ask(&mut self, index: &ConceptIndex, asked: &Asked<'_>) -> Result<()> {
        self.asked += asked.said.len() as u64;
        for (answer, number) in index.answer(&asked.said).await?.into_iter().zip(&asked.numbers) {
            self.all[*number as usize] = answer;
        }
        Ok(())
    }

    /// The answers of these numbers.
    pub(super) fn of(&mut self, numbers: &[u32]) -> Vec<&Arc<Answer>> {
        self.mentions += numbers.iter().filter(|number| **number > 0).count() as u64;
        numbers.iter().map(|number| &self.all[*number as usize]).collect()
    }

    /// Mentions that say something, and how many of them had been answered before.
    pub(super) fn counts(&self) -> [u64; 2] {
        [self.mentions, self.mentions.saturating_sub(self.asked)]
    }
}
