//! What a graph's nodes are called and what they are, for files of edges that only have ids.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::super::text::delimited::{Delimited, Dialect};
use super::super::{InputFile, Place, ReadOptions};
use crate::Result;

/// Nodes by the id that edges use.
#[derive(Default)]
pub(super) struct Nodes(HashMap<Box<str>, Node>);

struct Node {
    name: Box<str>,
    category: Arc<str>,
}

impl Nodes {
    /// Reads a file of nodes; none where it has no such columns, since it only explains the edges.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn load(place: &Place, dialect: Dialect, options: &ReadOptions, category: &str) -> Result<Self> {
        let delimited = Delimited::open(&InputFile::open(place)?, options, dialect)?;
        let header = &delimited.header;
        let (Some(id), Some(name)) = (header.find(&["id"]), header.find(&["name"])) else { return Ok(Self::default()) };
        let category = header.find(&[category]);
        let (mut nodes, mut categories) = (HashMap::new(), HashSet::<Arc<str>>::new());
        delimited.for_each(|row| {
            let text = row.text(category).unwrap_or_default();
            let category = categories.get(text).cloned().unwrap_or_else(|| Arc::from(text));
            categories.insert(Arc::clone(&category));
            nodes.insert(row.get(id).into(), Node { name: row.get(name).into(), category });
        })?;
        Ok(Self(nodes))
    }

    /// Name and category of a node.
    pub(super) fn get(&self, id: &str) -> (Option<&str>, Option<&str>) {
        let node = self.0.get(id);
        let name = node.map(|node| &*node.name).filter(|name| !name.is_empty());
        (name, node.map(|node| &*node.category).filter(|category| !category.is_empty()))
    }
}
