//! Which texts mean the same: the names of one code, and equal names of any codes, are one cluster.

use std::collections::HashMap;

use super::gather::Gathered;

/// Letters and digits that a name must have to join two codes: shorter ones are abbreviations of many things.
const JOINS: usize = 5;

/// A text's words without case and punctuation: texts of one key are taken to be the same.
pub fn key(text: &str) -> String {
    let mut key = String::with_capacity(text.len());
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() {
            key.push(c);
        } else if !key.ends_with(' ') && !key.is_empty() {
            key.push(' ');
        }
    }
    key.truncate(key.trim_end().len());
    key
}

/// Whether codes that have this key of a name are taken to be the same.
pub fn joins(key: &str) -> bool {
    key.chars().filter(|c| *c != ' ').count() >= JOINS
}

/// The cluster of each concept and text.
pub(super) struct Clusters {
    parents: Vec<u32>,
    ids: HashMap<String, u32>,
    keys: HashMap<String, u32>,
}

impl Clusters {
    pub(super) fn new(gathered: &Gathered) -> Self {
        let mut clusters = Self { parents: Vec::new(), ids: HashMap::new(), keys: HashMap::new() };
        for concept in &gathered.concepts {
            let node = clusters.node(&concept.id);
            for name in &concept.names {
                clusters.join(node, name);
            }
        }
        for edge in &gathered.edges {
            for (id, name) in [&edge.subject, &edge.object] {
                let node = clusters.node(id);
                clusters.join(node, name);
            }
        }
        // A trait's name is a concept of its own where no code has it.
        for association in &gathered.associations {
            clusters.text(&association.trait_name);
        }
        clusters
    }

    fn node(&mut self, id: &str) -> u32 {
        if let Some(node) = self.ids.get(id) {
            return *node;
        }
        let node = self.add();
        self.ids.insert(id.to_string(), node);
        node
    }

    fn add(&mut self) -> u32 {
        let node = self.parents.len() as u32;
        self.parents.push(node);
        node
    }

    fn join(&mut self, node: u32, name: &str) {
        let key = key(name);
        let long = joins(&key);
        match self.keys.get(&key).copied() {
            Some(other) if long => {
                let (a, b) = (self.root(node), self.root(other));
                self.parents[a.max(b) as usize] = a.min(b);
            }
            Some(_) => {}
            None => {
                self.keys.insert(key, node);
            }
        }
    }

    fn text(&mut self, text: &str) -> u32 {
        let key = key(text);
        if let Some(node) = self.keys.get(&key) {
            return *node;
        }
        let node = self.add();
        self.keys.insert(key, node);
        node
    }

    fn root(&self, mut node: u32) -> u32 {
        while self.parents[node as usize] != node {
            node = self.parents[node as usize];
        }
        node
    }

    /// A concept's cluster.
    pub(super) fn of_id(&self, id: &str) -> Option<u32> {
        self.ids.get(id).map(|node| self.root(*node))
    }

    /// The cluster of a text that some concept or trait has.
    pub(super) fn of_text(&self, text: &str) -> Option<u32> {
        self.keys.get(&key(text)).map(|node| self.root(*node))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_words_alone() {
        assert_eq!(key("  Crohn's disease (ileum)."), "crohn s disease ileum");
        assert_eq!(key("--"), "");
        assert_eq!(key("Ménière"), "ménière");
    }
}
