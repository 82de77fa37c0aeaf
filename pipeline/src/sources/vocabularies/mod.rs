//! Vocabularies and terminologies: everything whose main content is `concepts`, `concept_names` and the maps between
//! codes.

mod bioportal;
pub(super) mod curies;
mod icd;
mod icd_gem;
mod omop_concepts;
mod omop_vocabulary;
mod phecode;
mod umls;

pub(super) use bioportal::BioPortalCsv;
pub(super) use icd::Icd;
pub(super) use icd_gem::IcdGem;
pub(super) use omop_vocabulary::OmopVocabulary;
pub(super) use phecode::Phecode;
pub(super) use umls::Umls;

use super::recognize::Head;
use super::text::delimited::Dialect;

/// Language of names where a file does not say.
pub(super) const ENGLISH: &str = "en";

/// Tabs where the header has any, commas otherwise. Quotes quote in comma-separated text, and in tab-separated text
/// only where the header's names are quoted too.
pub(super) fn dialect(head: &Head) -> Dialect {
    match separator(head) {
        '\t' => Dialect { quoted: head.header().starts_with('"'), ..Dialect::TSV },
        _ => Dialect::CSV,
    }
}

/// What separates the header's names.
pub(super) fn separator(head: &Head) -> char {
    if head.header().contains('\t') { '\t' } else { ',' }
}
