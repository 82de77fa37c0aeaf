//! What surrounds the codes of two ontologies: their parents. Cross-references are never looked at.

use datafusion::prelude::{col, lit};
use generel_schemas::tables::{KG_EDGES, SUB_CLASS_OF};

use super::AlignOptions;
use super::evidence::Parents;
use super::names::Names;
use crate::sources::Fingerprint;
use crate::text_columns::text_columns;
use crate::{Result, Session};

/// The same predicate in the words of Biolink, which KGX files have.
const BIOLINK_SUBCLASS_OF: &str = "biolink:subclass_of";

/// The parents of both sides' codes, and what they are a digest of.
#[derive(Debug)]
pub(super) struct Neighbors {
    left: (Parents, Fingerprint),
    right: (Parents, Fingerprint),
}

impl Neighbors {
    /// Loads the `rdfs:subClassOf` edges of both sources.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub(super) async fn load(session: &Session, options: &AlignOptions, left: &Names, right: &Names) -> Result<Self> {
        Ok(Self {
            left: parents(session, options.left.source(), left).await?,
            right: parents(session, options.right.source(), right).await?,
        })
    }

    /// Both sides' parents.
    pub(super) fn parents(&self) -> (&Parents, &Parents) {
        (&self.left.0, &self.right.0)
    }

    /// Changes with any edge.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let both = [&self.left.1, &self.right.1].map(|f| f.as_i64().to_le_bytes());
        Fingerprint::of(&[&both[0], &both[1]])
    }
}

async fn parents(session: &Session, source: &str, names: &Names) -> Result<(Parents, Fingerprint)> {
    let frame = session
        .ctx()
        .table(KG_EDGES.name)
        .await?
        .filter(
            col("source")
                .eq(lit(source))
                .and(col("predicate").in_list(vec![lit(SUB_CLASS_OF), lit(BIOLINK_SUBCLASS_OF)], false)),
        )?
        .select_columns(&["subject", "object"])?
        .distinct()?;
    let numbers = names.numbers();
    let mut edges = Vec::new();
    for batch in frame.collect().await? {
        let [children, parents] = text_columns(&batch)?;
        for (child, parent) in children.iter().zip(&parents) {
            let both = child.and_then(|c| numbers.get(c)).zip(parent.and_then(|p| numbers.get(p)));
            edges.extend(both.map(|(c, p)| (*c, *p)));
        }
    }
    edges.sort_unstable();
    let mut all = Parents::default();
    let mut digest = Vec::with_capacity(16 * edges.len());
    for (child, parent) in edges {
        all.add(child, parent);
        digest.extend([child.to_le_bytes(), parent.to_le_bytes()].concat());
    }
    Ok((all, Fingerprint::of(&[&digest])))
}
