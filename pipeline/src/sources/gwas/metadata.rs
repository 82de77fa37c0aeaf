//! What GWAS-SSF says of a whole file, in `<file>-meta.yaml` beside it.

use generel_schemas::gwas_ssf::is_missing;

use super::super::{InputFile, Place, ReadOptions};
use crate::{Error, Result};

/// Longer metadata is none.
const MAX_BYTES: u64 = 4 << 20;

/// The metadata file beside a file: `X.tsv.gz-meta.yaml` or `X.tsv-meta.yaml`.
pub(super) fn beside(place: &Place) -> Result<Option<Place>> {
    let names = [format!("{}-meta.yaml", place.name()), format!("{}-meta.yaml", place.bare_name())];
    // A file that cannot be listed around has no metadata; what is wrong with the file itself is said when it is opened.
    let siblings = place.siblings().unwrap_or_default();
    Ok(names.iter().find_map(|name| siblings.iter().find(|s| s.name() == *name).cloned()))
}

/// What we use of the metadata file; the standard has much more.
#[derive(serde::Deserialize)]
struct Metadata {
    #[serde(default)]
    trait_description: Option<TextOrList>,
    #[serde(default)]
    genome_assembly: Option<String>,
    #[serde(default)]
    ontology_mapping: Option<TextOrList>,
    #[serde(default)]
    gwas_id: Option<String>,
    #[serde(default)]
    samples: Option<Vec<Sample>>,
}

#[derive(serde::Deserialize)]
struct Sample {
    #[serde(default)]
    sample_size: Option<i64>,
}

/// The standard says list, older files have a text.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum TextOrList {
    Text(String),
    List(Vec<String>),
}

impl TextOrList {
    fn joined(&self) -> String {
        match self {
            Self::Text(text) => text.trim().to_string(),
            Self::List(texts) => texts.iter().map(|t| t.trim()).collect::<Vec<_>>().join("; "),
        }
    }

    fn first(&self) -> Option<&str> {
        match self {
            Self::Text(text) => text.split([',', '|', ';']).next(),
            Self::List(texts) => texts.first().map(String::as_str),
        }
    }
}

impl Metadata {
    fn read(place: &Place) -> Result<Self> {
        if place.size()? > MAX_BYTES {
            return Err(Error::format(place.path(), 1, "not GWAS-SSF metadata: larger than 4 MiB"));
        }
        serde_saphyr::from_str(&place.read_to_string(None)?).map_err(|e| {
            // The parser's own message may quote the file.
            let line = e.location().map_or(1, |location| location.line()).max(1);
            let message = "not GWAS-SSF metadata: expected YAML with trait_description as text or list";
            Error::format(place.path(), line, message)
        })
    }
}

/// What holds for all rows of a file: what a person typed first, then the metadata file, then the file's name.
#[derive(Debug, Clone)]
pub(super) struct Study {
    pub(super) study_id: String,
    pub(super) trait_name: Option<String>,
    pub(super) trait_curie: Option<String>,
    pub(super) genome_build: Option<String>,
    pub(super) n: Option<i64>,
}

impl Study {
    /// Reads the file's metadata, if it has any.
    pub(super) fn of(file: &InputFile, options: &ReadOptions) -> Result<Self> {
        let metadata =
            file.companions.iter().find(|c| c.name().ends_with("-meta.yaml")).map(Metadata::read).transpose()?;
        let metadata = metadata.as_ref();
        let stated = |text: &String| !is_missing(text);
        let gwas_id = metadata.and_then(|m| m.gwas_id.clone()).filter(stated);
        let study_id = options.study_id.clone().or(gwas_id).unwrap_or_else(|| study_of(&file.place.bare_name()));
        let trait_name = metadata.and_then(|m| m.trait_description.as_ref()).map(TextOrList::joined).filter(stated);
        let term = metadata.and_then(|m| m.ontology_mapping.as_ref()).and_then(TextOrList::first);
        let curie = term.and_then(|t| t.trim().replace('_', ":").parse::<generel_schemas::ids::Curie>().ok());
        let sizes: Option<i64> =
            metadata.and_then(|m| m.samples.as_ref()).and_then(|s| s.iter().map(|s| s.sample_size).sum());
        let genome_build = metadata.and_then(|m| m.genome_assembly.clone()).filter(stated);
        Ok(Self {
            study_id,
            trait_name: options.trait_name.clone().or(trait_name),
            trait_curie: curie.map(|c| c.to_string()),
            genome_build: options.genome_build.clone().or(genome_build).map(|build| one_spelling(&build)),
            n: sizes.filter(|n| *n > 0),
        })
    }
}

/// A file's name without the endings that only say how it was made: of `plink2.height.glm.linear` the rest tells one
/// phenotype of a run from another.
fn study_of(name: &str) -> String {
    let mut rest = name;
    while let Some((before, ending)) = rest.rsplit_once('.') {
        let made = ENDINGS.iter().any(|known| known.eq_ignore_ascii_case(ending));
        if !made || before.is_empty() {
            break;
        }
        rest = before;
    }
    rest.to_string()
}

/// Endings of summary statistics: of formats, of tools, of GWAS-SSF's harmonised and formatted files.
const ENDINGS: &[&str] = &[
    "tsv",
    "txt",
    "csv",
    "tab",
    "dat",
    "parquet",
    "vcf",
    "tbl",
    "h",
    "f",
    "glm",
    "linear",
    "logistic",
    "firth",
    "hybrid",
    "assoc",
    "qassoc",
    "regenie",
    "sumstats",
    "stats",
    "gwas",
    "imputed_v3",
    "meta",
    "ma",
    "saige",
    "bolt",
    "snp",
    "susie",
    "signif_variant_gene_pairs",
    "allpairs",
    "out",
    "results",
];

/// The Genome Reference Consortium's name of a build that goes by several.
pub(super) fn one_spelling(build: &str) -> String {
    let bare: String = build.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    match bare.as_str() {
        "grch37" | "hg19" | "b37" | "37" | "19" => "GRCh37".to_string(),
        "grch38" | "hg38" | "b38" | "38" => "GRCh38".to_string(),
        "ncbi36" | "hg18" | "b36" | "36" | "18" => "NCBI36".to_string(),
        _ => build.to_string(),
    }
}
