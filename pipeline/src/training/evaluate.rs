//! What a space is good for, on pairs that were held out: synonyms found, relations and associations told from chance,
//! strength of association, and agreement with people.

mod benchmarks;
mod families;
mod halves;
mod listed;
mod neighbors;

use std::collections::HashMap;
use std::path::PathBuf;

use arrow::array::{Array, AsArray, StringArray};
use arrow::datatypes::Float32Type;
use generel_model::evaluate::{Estimate, GraphEmbedding};
use generel_model::{Embedder, SnpQuery};
use serde::{Deserialize, Serialize};

pub use self::halves::Half;
use self::neighbors::Neighbors;
use super::clusters::key;
use super::pairs::{Kind, Pairs, Split};
use crate::Result;

/// How to evaluate.
#[derive(Debug, Clone, PartialEq)]
pub struct SpaceOptions {
    /// Which of the pairs held out.
    pub half: Half,
    /// Files of pairs of terms and people's ratings.
    pub ratings: Vec<PathBuf>,
    /// Files of pairs that belong together.
    pub listed: Vec<PathBuf>,
    /// Pairs of a relation, and queries of a source, at most.
    pub most: usize,
    /// Resamples of the intervals.
    pub resamples: usize,
    /// Decides which pairs are taken where there are more, and what they are compared with.
    pub seed: u64,
}

/// One measure of one method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The family of tasks: synonyms, relations, SNPs and traits, strength, pairs of a file, people's ratings.
    pub family: String,
    /// What was measured: a source, a relation, a split, a file; `all` for the mean over them.
    pub of: String,
    /// The measure: acc@1, acc@5, auc, spearman.
    pub measure: String,
    /// Who ranked: a model's name, `words`, `graph`, `neighbors`.
    pub method: String,
    /// The figure.
    pub estimate: Estimate,
}

/// A space that is measured.
pub enum Space {
    /// A model, under its name.
    Model(String, Embedder),
    /// Shared words and pieces of words: no model.
    Words,
    /// The graph of what is trained on, factored: no texts.
    Graph,
    /// What is trained on of SNPs near by: nothing is learned.
    Neighbors,
}

impl Space {
    fn name(&self) -> &str {
        match self {
            Self::Model(name, _) => name,
            Self::Words => "words",
            Self::Graph => "graph",
            Self::Neighbors => "neighbors",
        }
    }
}

/// Measures each space on the pairs held out, and on files; `progress` is told of each, in words.
///
/// # Errors
/// When a model fails or a file of ratings cannot be read.
pub async fn evaluate(
    pairs: &Pairs,
    spaces: &[Space],
    options: &SpaceOptions,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Vec<Measured>> {
    let families = families::families(pairs, options, progress)?;
    let mut measured = Vec::new();
    for space in spaces {
        progress(&format!("measuring {}", space.name()));
        let scorer = Scorer::new(space, pairs, &families, options).await?;
        measured.extend(families::measure(&families, &scorer, space.name(), options));
    }
    Ok(measured)
}

/// Scores pairs in one space.
enum Scorer {
    Vectors { texts: HashMap<String, Vec<f32>>, snps: HashMap<String, Vec<f32>> },
    Words,
    Graph { nodes: HashMap<String, u32>, graph: GraphEmbedding },
    Neighbors(Neighbors),
}

impl Scorer {
    async fn new(space: &Space, pairs: &Pairs, families: &families::Families, options: &SpaceOptions) -> Result<Self> {
        match space {
            Space::Model(_, embedder) => Self::of_model(embedder, pairs, families).await,
            Space::Words => Ok(Self::Words),
            Space::Graph => Ok(Self::of_graph(pairs, options.seed)),
            Space::Neighbors => Ok(Self::Neighbors(Neighbors::new(pairs))),
        }
    }

    async fn of_model(embedder: &Embedder, pairs: &Pairs, families: &families::Families) -> Result<Self> {
        let texts: Vec<&str> = families.texts();
        let vectors = embedder.embed(&StringArray::from_iter_values(&texts)).await?;
        let row =
            |i: usize| vectors.is_valid(i).then(|| vectors.value(i).as_primitive::<Float32Type>().values().to_vec());
        let texts = texts.iter().enumerate().filter_map(|(i, t)| Some(((*t).to_string(), row(i)?))).collect();
        // What a file says of an SNP stands behind what the data says.
        let all = families.variants.iter().chain(&pairs.variants);
        let known: HashMap<&str, _> = all.map(|v| (v.rsid.as_str(), v)).collect();
        let queries: Vec<SnpQuery> = families
            .snps()
            .into_iter()
            .map(|rsid| match known.get(rsid) {
                Some(v) => SnpQuery {
                    rsid: rsid.to_string(),
                    genes: v.genes.clone(),
                    chromosome: v.chromosome,
                    position: v.position,
                    consequence: v.consequence.clone(),
                },
                None => SnpQuery { rsid: rsid.to_string(), ..SnpQuery::default() },
            })
            .collect();
        let d = embedder.info().dimension;
        let vectors = match embedder.snp_encoder() {
            Ok(_) => embedder.embed_snps(&queries).await?.0,
            Err(generel_model::Error::NoSnps { .. }) => gene_vectors(embedder, &queries).await?,
            Err(other) => return Err(other.into()),
        };
        let snps = queries.into_iter().zip(vectors.chunks_exact(d)).map(|(q, v)| (q.rsid, v.to_vec())).collect();
        Ok(Self::Vectors { texts, snps })
    }

    fn of_graph(pairs: &Pairs, seed: u64) -> Self {
        let mut nodes: HashMap<String, u32> = HashMap::new();
        let mut node = |name: String| {
            let next = nodes.len() as u32;
            *nodes.entry(name).or_insert(next)
        };
        let mut edges = Vec::new();
        for pair in pairs.pairs.iter().filter(|p| p.split == Split::Train) {
            // Names of one concept are one node: its cluster; an SNP and a gene are their own.
            let (left, right) = match pair.kind {
                Kind::Synonym => continue,
                Kind::Hierarchy | Kind::Relation | Kind::Cooccurrence => {
                    (cluster(pair.left_cluster), cluster(pair.right_cluster))
                }
                Kind::SnpTrait => (pair.left.clone(), cluster(pair.right_cluster)),
                Kind::SnpGene => (pair.left.clone(), format!("gene {}", pair.right)),
            };
            edges.push((node(left), node(right), pair.weight));
        }
        // What an SNP's genes are is known of those held out, too.
        for variant in &pairs.variants {
            for gene in &variant.genes {
                edges.push((node(variant.rsid.clone()), node(format!("gene {gene}")), 1.0));
            }
        }
        let graph = GraphEmbedding::new(nodes.len(), &edges, 128, seed);
        Self::Graph { nodes, graph }
    }

    fn score(&self, left: &families::Side, right: &families::Side) -> f32 {
        match self {
            Self::Vectors { texts, snps } => {
                let vector =
                    |side: &families::Side| if side.is_snp { snps.get(&side.name) } else { texts.get(&side.name) };
                match (vector(left), vector(right)) {
                    (Some(a), Some(b)) => generel_model::search::cosine(a, b).unwrap_or(0.0),
                    _ => 0.0,
                }
            }
            Self::Words if left.is_snp || right.is_snp => 0.0,
            Self::Words => pieces_shared(&left.name, &right.name),
            Self::Neighbors(neighbors) if left.is_snp && !right.is_snp => {
                neighbors.score(&left.name, &right.name, right.cluster)
            }
            Self::Neighbors(_) => 0.0,
            Self::Graph { nodes, graph } => {
                let node = |side: &families::Side| {
                    nodes.get(&if side.is_snp { side.name.clone() } else { cluster(side.cluster) })
                };
                match (node(left), node(right)) {
                    (Some(a), Some(b)) => graph.cosine(*a, *b),
                    _ => 0.0,
                }
            }
        }
    }

    /// Whether the space has anything to say of two texts.
    fn knows_texts(&self) -> bool {
        !matches!(self, Self::Neighbors(_))
    }

    /// Whether the space can tell names apart at all.
    fn knows_names(&self) -> bool {
        !matches!(self, Self::Graph { .. } | Self::Neighbors(_))
    }
}

fn cluster(number: u32) -> String {
    format!("cluster {number}")
}

/// A model without SNPs says of one what it says of its genes.
async fn gene_vectors(embedder: &Embedder, queries: &[SnpQuery]) -> Result<Vec<f32>> {
    let texts: Vec<String> = queries.iter().map(|q| q.genes.join(", ")).collect();
    let vectors = embedder.embed(&StringArray::from_iter_values(&texts)).await?;
    let d = embedder.info().dimension;
    let mut all = Vec::with_capacity(texts.len() * d);
    for i in 0..texts.len() {
        match vectors.is_valid(i) {
            true => all.extend_from_slice(vectors.value(i).as_primitive::<Float32Type>().values()),
            false => all.resize(all.len() + d, 0.0),
        }
    }
    Ok(all)
}

/// Share of pieces of three letters that two texts have in common (Dice), word order aside.
fn pieces_shared(a: &str, b: &str) -> f32 {
    let pieces = |text: &str| -> Vec<[char; 3]> {
        let padded: Vec<char> = format!("  {}  ", key(text)).chars().collect();
        let mut pieces: Vec<[char; 3]> = padded.windows(3).map(|w| [w[0], w[1], w[2]]).collect();
        pieces.sort_unstable();
        pieces.dedup();
        pieces
    };
    let (a, b) = (pieces(a), pieces(b));
    let common = a.iter().filter(|piece| b.binary_search(piece).is_ok()).count();
    2.0 * common as f32 / (a.len() + b.len()).max(1) as f32
}
