//! Compact identifiers, one spelling a prefix.

use std::fmt;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::error::invalid;
use crate::{Error, Result};

/// A prefix, the spellings met in the wild, and what it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    /// Bioregistry's preferred spelling.
    pub preferred: &'static str,
    /// Other spellings, compared without case.
    pub aliases: &'static [&'static str],
    /// What a local id is appended to.
    pub uri: &'static str,
}

const fn prefix(preferred: &'static str, aliases: &'static [&'static str], uri: &'static str) -> Prefix {
    Prefix { preferred, aliases, uri }
}

/// The prefixes of this field (Bioregistry's preferred spellings), with aliases found in real files.
pub const PREFIXES: &[Prefix] = &[
    prefix("MONDO", &[], "http://purl.obolibrary.org/obo/MONDO_"),
    prefix("DOID", &[], "http://purl.obolibrary.org/obo/DOID_"),
    prefix("HP", &["hpo"], "http://purl.obolibrary.org/obo/HP_"),
    prefix("EFO", &[], "http://www.ebi.ac.uk/efo/EFO_"),
    prefix("UBERON", &[], "http://purl.obolibrary.org/obo/UBERON_"),
    prefix("CL", &[], "http://purl.obolibrary.org/obo/CL_"),
    prefix("GO", &[], "http://purl.obolibrary.org/obo/GO_"),
    prefix("CHEBI", &[], "http://purl.obolibrary.org/obo/CHEBI_"),
    prefix("mesh", &["msh", "mesh_descriptor"], "http://id.nlm.nih.gov/mesh/"),
    prefix("ncit", &["nci", "nci_thesaurus", "ncithesaurus"], "http://purl.obolibrary.org/obo/NCIT_"),
    prefix("icd10cm", &["icd10_cm", "icd-10-cm"], "https://icd.codes/icd10cm/"),
    prefix("icd10", &["icd-10"], "https://icd.who.int/browse10/2019/en#/"),
    prefix(
        "icd9cm",
        &["icd9_cm", "icd-9-cm", "mthicd9", "icd9proc"],
        "http://bioportal.bioontology.org/ontologies/ICD9CM?p=classes&conceptid=",
    ),
    prefix("snomedct", &["snomed", "snomedct_us", "sctid", "snomed_ct"], "http://snomed.info/id/"),
    prefix("umls", &["umls_cui", "cui"], "https://uts.nlm.nih.gov/uts/umls/concept/"),
    prefix("omim", &["mim", "omim_ps"], "https://omim.org/entry/"),
    prefix("orphanet.ordo", &["ordo", "orphanet", "orpha"], "http://www.orpha.net/ORDO/Orphanet_"),
    prefix("gard", &[], "https://rarediseases.info.nih.gov/diseases/"),
    prefix("meddra", &["mdr"], "http://purl.bioontology.org/ontology/MEDDRA/"),
    prefix("rxnorm", &["rxnorm_extension"], "http://purl.bioontology.org/ontology/RXNORM/"),
    prefix("loinc", &["lnc"], "https://loinc.org/rdf/"),
    prefix("cvx", &[], "http://hl7.org/fhir/sid/cvx/"),
    prefix("dbsnp", &[], "https://www.ncbi.nlm.nih.gov/snp/"),
    prefix("oboInOwl", &[], "http://www.geneontology.org/formats/oboInOwl#"),
    prefix("skos", &[], "http://www.w3.org/2004/02/skos/core#"),
    prefix("semapv", &[], "https://w3id.org/semapv/vocab/"),
    prefix("sssom", &[], "https://w3id.org/sssom/"),
    prefix("rdfs", &[], "http://www.w3.org/2000/01/rdf-schema#"),
    prefix("icd10pcs", &["icd10_pcs", "icd-10-pcs"], "http://purl.bioontology.org/ontology/ICD10PCS/"),
    prefix("cpt", &["cpt4"], "http://purl.bioontology.org/ontology/CPT/"),
    prefix("hcpcs", &[], "http://purl.bioontology.org/ontology/HCPCS/"),
    prefix("atc", &[], "http://www.whocc.no/atc_ddd_index/?code="),
    prefix("ndfrt", &["ndf-rt"], "http://purl.bioontology.org/ontology/NDFRT/"),
    prefix("sty", &[], "http://purl.bioontology.org/ontology/STY/"),
    prefix("omop", &[], "https://athena.ohdsi.org/search-terms/terms/"),
    prefix("ncbigene", &["entrez", "entrezgene", "ncbi_gene"], "https://www.ncbi.nlm.nih.gov/gene/"),
    prefix("drugbank", &[], "https://go.drugbank.com/drugs/"),
    prefix("reactome", &[], "https://reactome.org/content/detail/"),
    prefix("wikipathways", &[], "https://www.wikipathways.org/pathways/"),
    prefix("biolink", &[], "https://w3id.org/biolink/vocab/"),
    prefix("rdf", &[], "http://www.w3.org/1999/02/22-rdf-syntax-ns#"),
    prefix("owl", &[], "http://www.w3.org/2002/07/owl#"),
    prefix("dc", &[], "http://purl.org/dc/elements/1.1/"),
    prefix("dcterms", &[], "http://purl.org/dc/terms/"),
    prefix("hgnc", &[], "https://identifiers.org/hgnc:"),
    prefix("ensembl", &[], "https://www.ensembl.org/id/"),
    prefix("uniprot", &["uniprotkb", "swissprot"], "http://purl.uniprot.org/uniprot/"),
    prefix("pubmed", &["pmid"], "http://www.ncbi.nlm.nih.gov/pubmed/"),
    prefix("FMA", &[], "http://purl.org/sig/ont/fma/fma"),
    prefix("NCBITaxon", &[], "http://purl.obolibrary.org/obo/NCBITaxon_"),
];

/// A compact identifier in its one spelling, `prefix:local`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Curie {
    prefix: String,
    local: String,
}

impl Curie {
    /// Builds a CURIE; a known alias becomes the preferred prefix, an unknown prefix stays as it is.
    ///
    /// # Errors
    /// When prefix or local id is empty or has blanks.
    pub fn new(prefix: &str, local: &str) -> Result<Self> {
        if prefix.is_empty() || local.is_empty() {
            return invalid("CURIE", "expected prefix:local");
        }
        if !prefix.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
            return invalid("CURIE", "the prefix has a character outside A-Z a-z 0-9 . _ -");
        }
        if local.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return invalid("CURIE", "the local id has a blank");
        }
        let prefix = known(prefix).map_or_else(|| prefix.to_string(), |p| p.preferred.to_string());
        Ok(Self { prefix, local: local.to_string() })
    }

    /// The prefix in its preferred spelling.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The part after the colon.
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The part after the colon as it was before [`source_curie`] encoded it.
    pub fn decoded_local(&self) -> String {
        percent_decode_str(&self.local).decode_utf8_lossy().into_owned()
    }

    /// What the prefix expands to, where the prefix is known.
    pub fn uri_prefix(&self) -> Option<&'static str> {
        known(&self.prefix).map(|p| p.uri)
    }
}

/// The prefix of this spelling, whatever its case; `SNOMEDCT_US_2025_09_01` and `NCI2004_11_17` name a release with it.
pub fn known(prefix: &str) -> Option<&'static Prefix> {
    exactly(prefix).or_else(|| exactly(without_release(prefix)?))
}

/// What stands before a year at the end of a prefix.
fn without_release(prefix: &str) -> Option<&str> {
    let at = prefix
        .as_bytes()
        .windows(4)
        .position(|year| (year.starts_with(b"19") || year.starts_with(b"20")) && year.iter().all(u8::is_ascii_digit))?;
    let (before, release) = (prefix.get(..at)?, prefix.get(at + 4..)?);
    let parts = release.strip_prefix('_').unwrap_or(release).split('_').all(|part| part.len() <= 3);
    Some(before.trim_end_matches('_')).filter(|before| parts && !before.is_empty())
}

fn exactly(prefix: &str) -> Option<&'static Prefix> {
    PREFIXES
        .iter()
        .find(|p| p.preferred.eq_ignore_ascii_case(prefix) || p.aliases.iter().any(|a| a.eq_ignore_ascii_case(prefix)))
}

/// The CURIE of a code as a source says it: that of its vocabulary where this is one, else one under the source's name.
pub fn code_curie(source: &str, vocabulary: Option<&str>, code: &str) -> Curie {
    match vocabulary.map(|vocabulary| Curie::new(vocabulary, code)) {
        Some(Ok(curie)) => curie,
        _ => source_curie(source, code),
    }
}

/// A CURIE for a code or a free text of a source that no registry knows: `gwas_catalog:Type%202%20diabetes`.
///
/// Total: every character that a CURIE cannot hold is percent-encoded, so distinct texts stay distinct.
pub fn source_curie(source: &str, code: &str) -> Curie {
    const KEEP: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
    let prefix: String =
        source.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
    let prefix = if prefix.is_empty() { "source".to_string() } else { prefix };
    Curie { prefix, local: utf8_percent_encode(code, KEEP).to_string() }
}

impl FromStr for Curie {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some((prefix, local)) if !local.starts_with("//") => Self::new(prefix, local),
            _ => invalid("CURIE", "expected prefix:local"),
        }
    }
}

impl fmt::Display for Curie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.prefix, self.local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_spelling_a_prefix() {
        for (text, expected) in [
            ("MSH:D003924", "mesh:D003924"),
            ("MESH:D003924", "mesh:D003924"),
            ("NCI:C1234", "ncit:C1234"),
            ("SNOMEDCT_US:44054006", "snomedct:44054006"),
            ("ORDO:68", "orphanet.ordo:68"),
            ("hp:0000118", "HP:0000118"),
            ("Fyler:4876", "Fyler:4876"),
        ] {
            assert_eq!(text.parse::<Curie>().unwrap().to_string(), expected);
        }
        for bad in ["no colon", "http://example.org", ":x", "x:", "a b:c", "HP:00 01"] {
            assert!(bad.parse::<Curie>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_code_is_its_vocabularys_or_the_sources_own() {
        let of = |vocabulary, code| code_curie("hospital", vocabulary, code).to_string();
        assert_eq!(of(Some("SNOMED"), "44054006"), "snomedct:44054006");
        assert_eq!(of(None, "two words"), "hospital:two%20words");
        assert_eq!(of(Some("My Codes"), "1"), "hospital:1");
    }

    proptest! {
        #[test]
        fn source_curies_parse_and_stay_distinct(a in "\\PC{1,20}", b in "\\PC{1,20}") {
            let (x, y) = (source_curie("my traits", &a), source_curie("my traits", &b));
            prop_assert_eq!(x.to_string().parse::<Curie>().unwrap(), x.clone());
            prop_assert_eq!(a == b, x == y);
            prop_assert_eq!(x.decoded_local(), a);
        }

        #[test]
        fn display_round_trips(prefix in "[A-Za-z][A-Za-z0-9_]{0,8}", local in "[A-Za-z0-9_.]{1,12}") {
            let curie = Curie::new(&prefix, &local).unwrap();
            prop_assert_eq!(curie.to_string().parse::<Curie>().unwrap(), curie);
        }
    }
}
