//! The lake's rows that pairs are made of, by SQL.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type};
use generel_model::normalize;

use super::DataOptions;
use crate::cooccurrence::UNIT;
use crate::text_columns::text_columns;
use crate::{Result, Session};

/// Names of a concept, the label first.
pub(super) struct Concept {
    /// The code's CURIE, or the source and the code.
    pub(super) id: String,
    pub(super) source: String,
    pub(super) names: Vec<String>,
}

/// An edge between two named things.
pub(super) struct Edge {
    pub(super) source: String,
    pub(super) predicate: String,
    /// Identifier and name.
    pub(super) subject: (String, String),
    pub(super) object: (String, String),
    /// How much more common than by chance, of edges that were counted from patients.
    pub(super) cooccurrence: Option<f64>,
}

/// An association of an SNP and a trait.
pub(super) struct Association {
    pub(super) source: String,
    pub(super) rsid: String,
    pub(super) trait_name: String,
    pub(super) neg_log_10_p: f64,
    /// |log odds ratio|: the units of a beta are its trait's own.
    pub(super) effect: Option<f64>,
    pub(super) chromosome: Option<u8>,
    pub(super) position: Option<u32>,
    pub(super) genes: String,
    pub(super) consequence: Option<String>,
}

/// Everything that pairs are made of, in a fixed order.
#[derive(Default)]
pub(super) struct Gathered {
    pub(super) concepts: Vec<Concept>,
    pub(super) edges: Vec<Edge>,
    pub(super) associations: Vec<Association>,
    /// SNPs and the genes whose expression they are associated with (eQTLs): the trait's name is the gene's.
    pub(super) expressions: Vec<Association>,
}

const NAMES: &str = "SELECT source, code, name FROM concept_names \
    WHERE name_type IN ('label', 'exact') AND language LIKE 'en%' AND {sources} \
    ORDER BY source, code, CASE name_type WHEN 'label' THEN 0 ELSE 1 END, name";
/// Cross-references, mappings and former ids are no relations: they say that two codes are the same, which is what alignments
/// are measured by.
const EDGES: &str = "SELECT source, predicate, subject, subject_name, object, object_name, \
    CASE WHEN starts_with(input_id, '{unit}') THEN weight END AS cooccurrence FROM kg_edges \
    WHERE predicate NOT LIKE 'skos:%' AND predicate NOT LIKE 'owl:%' AND predicate NOT LIKE 'not:%' \
    AND predicate NOT LIKE 'oboInOwl:%' AND predicate NOT LIKE 'IAO:%' AND predicate NOT LIKE '%same_as%' \
    AND predicate NOT LIKE '%_match' AND {sources} ORDER BY 1, 2, 3, 5, 4, 6, 7";
const LABELS: &str = "SELECT curie, name FROM concepts WHERE name IS NOT NULL AND NOT obsolete ORDER BY curie, name";
const OBSOLETE: &str = "SELECT source, code FROM concepts WHERE obsolete";
const ASSOCIATIONS: &str = "SELECT source, rsid, trait, mapped_gene, consequence, trait_curie, neg_log_10_p_value, \
    abs(ln(odds_ratio)) AS effect, chromosome, base_pair_location FROM gwas_associations \
    WHERE rsid IS NOT NULL AND trait IS NOT NULL AND neg_log_10_p_value >= {p} AND {sources} \
    ORDER BY source, rsid, trait, neg_log_10_p_value DESC, mapped_gene, chromosome, base_pair_location";

/// What a trait that is a gene is called by, and what Ensembl's ids of human genes begin with.
const GENE: &str = "ensembl:";
const GENE_ID: &str = "ENSG";

/// Reads the lake.
///
/// # Errors
/// When a table cannot be read.
pub(super) async fn gather(session: &Session, options: &DataOptions) -> Result<Gathered> {
    let mut gathered = Gathered::default();
    let obsolete: std::collections::HashSet<(String, String)> =
        rows::<2>(session, OBSOLETE, options).await?.into_iter().map(|(_, [s, c])| (s, c)).collect();
    for (_, [source, code, name]) in rows::<3>(session, NAMES, options).await? {
        let name = normalize(&name).into_owned();
        if name.is_empty() || obsolete.contains(&(source.clone(), code.clone())) {
            continue;
        }
        // A CURIE is one concept whichever source names it; other codes are their source's own.
        let id = if code.contains(':') { code } else { format!("{source}/{code}") };
        match gathered.concepts.last_mut() {
            Some(last) if last.id == id && last.source == source => {
                if !last.names.contains(&name) {
                    last.names.push(name);
                }
            }
            _ => gathered.concepts.push(Concept { id, source, names: vec![name] }),
        }
    }
    let mut labels: HashMap<String, String> = HashMap::new();
    for (_, [curie, name]) in rows::<2>(session, LABELS, options).await? {
        labels.entry(curie).or_insert_with(|| normalize(&name).into_owned());
    }
    for (numbers, [source, predicate, subject, subject_name, object, object_name]) in
        rows::<6>(session, EDGES, options).await?
    {
        if options.predicates.get(&predicate) == Some(&0.0) || subject == object {
            continue;
        }
        let named = |id: String, name: String| -> Option<(String, String)> {
            let name = if name.is_empty() { labels.get(&id).cloned()? } else { normalize(&name).into_owned() };
            Some((id, name))
        };
        if let (Some(subject), Some(object)) = (named(subject, subject_name), named(object, object_name))
            && subject.1 != object.1
        {
            gathered.edges.push(Edge {
                source,
                predicate,
                subject,
                object,
                cooccurrence: numbers[0].filter(|w| w.is_finite()),
            });
        }
    }
    gathered.edges.dedup_by(|a, b| a.predicate == b.predicate && a.subject == b.subject && a.object == b.object);
    let query = ASSOCIATIONS.replace("{p}", &options.min_neg_log_10_p.to_string());
    for (numbers, [source, rsid, trait_name, genes, consequence, curie]) in rows::<6>(session, &query, options).await? {
        let is_gene = curie.starts_with(GENE);
        let name = match is_gene {
            false => normalize(&trait_name).into_owned(),
            // A gene's id is no text that says anything.
            true if genes.is_empty() || genes.starts_with(GENE_ID) => match labels.get(&curie) {
                Some(label) => label.clone(),
                None => continue,
            },
            true => genes.clone(),
        };
        let all = if is_gene { &mut gathered.expressions } else { &mut gathered.associations };
        all.push(Association {
            source,
            rsid,
            trait_name: name,
            neg_log_10_p: numbers[0].unwrap_or_default(),
            effect: numbers[1].filter(|e| e.is_finite()),
            chromosome: numbers[2].map(|c| c as u8),
            position: numbers[3].map(|p| p as u32),
            // That an SNP goes with a gene's expression does not place it there.
            genes: if is_gene { String::new() } else { genes },
            consequence: Some(consequence).filter(|c| !c.is_empty()),
        });
    }
    Ok(gathered)
}

/// Whether the lake has the sources and predicates that the options name.
///
/// # Errors
/// When it has not, with those that it has.
pub(super) async fn check(session: &Session, options: &DataOptions) -> Result<()> {
    let sources = "SELECT DISTINCT source FROM (SELECT source FROM concept_names UNION ALL SELECT source FROM kg_edges \
        UNION ALL SELECT source FROM gwas_associations)";
    session.known("data.sources", "source", sources, options.sources.iter()).await?;
    let predicates = "SELECT DISTINCT predicate FROM kg_edges";
    session.known("data.predicates", "predicate", predicates, options.predicates.keys()).await
}

/// A query's rows: the numbers behind the first `N` columns, and those as texts, NULL as nothing.
async fn rows<const N: usize>(
    session: &Session,
    query: &str,
    options: &DataOptions,
) -> Result<Vec<(Vec<Option<f64>>, [String; N])>> {
    let sources = match options.sources.as_slice() {
        [] => "true".to_string(),
        some => {
            let quoted: Vec<String> = some.iter().map(|s| format!("'{}'", s.replace('\'', "''"))).collect();
            format!("source IN ({})", quoted.join(", "))
        }
    };
    let mut all = Vec::new();
    let query = query.replace("{sources}", &sources).replace("{unit}", UNIT);
    for batch in session.ctx().sql(&query).await?.collect().await? {
        let texts = text_columns::<N>(&batch)?;
        let numbers = numbers(&batch, N)?;
        for i in 0..batch.num_rows() {
            let cells = std::array::from_fn(|c| {
                let column = &texts[c];
                if column.is_null(i) { String::new() } else { column.value(i).to_string() }
            });
            all.push((numbers.iter().map(|n| n[i]).collect(), cells));
        }
    }
    Ok(all)
}

fn numbers(batch: &RecordBatch, first: usize) -> Result<Vec<Vec<Option<f64>>>> {
    let mut columns = Vec::new();
    for array in &batch.columns()[first..] {
        let array = arrow::compute::cast(array, &DataType::Float64)?;
        columns.push(array.as_primitive::<Float64Type>().iter().collect());
    }
    Ok(columns)
}
