//! All that is trained, in one flat vector: names say where each tensor begins.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};

use crate::{Error, Result};

/// Named tensors of 32-bit floats, one after the other in one vector; gradients and optimizer state have the same shape.
#[derive(Debug, Clone, Default)]
pub(crate) struct Parameters {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
    /// All values.
    pub(crate) values: Vec<f32>,
}

/// One tensor.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) range: Range<usize>,
}

impl Parameters {
    /// Adds a tensor at the end; where it is.
    ///
    /// # Panics
    /// When the values do not have the shape: a defect of the caller.
    pub(crate) fn push(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Range<usize> {
        assert_eq!(shape.iter().product::<usize>(), values.len(), "{name} has another shape");
        let range = self.values.len()..self.values.len() + values.len();
        self.values.extend_from_slice(values);
        self.by_name.insert(name.to_string(), self.entries.len());
        self.entries.push(Entry { name: name.to_string(), shape: shape.to_vec(), range: range.clone() });
        range
    }

    /// Where a tensor is.
    pub(crate) fn range(&self, name: &str) -> Option<Range<usize>> {
        self.by_name.get(name).map(|i| self.entries[*i].range.clone())
    }

    /// Names of the tensors and where they are.
    #[cfg(test)]
    pub(crate) fn ranges(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.entries.iter().map(|e| (e.name.as_str(), e.range.clone()))
    }

    /// Writes vectors of the parameters' shape to one file, each under a prefix.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(&self, path: &Path, vectors: &[(&str, &[f32])]) -> Result<()> {
        let mut bytes: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        for (prefix, values) in vectors {
            for entry in &self.entries {
                let raw = values[entry.range.clone()].iter().flat_map(|v| v.to_le_bytes()).collect();
                bytes.push((format!("{prefix}{}", entry.name), entry.shape.clone(), raw));
            }
        }
        let broken = |e: safetensors::SafeTensorError| Error::folder(path, e);
        let mut views = BTreeMap::new();
        for (name, shape, raw) in &bytes {
            views.insert(name.as_str(), TensorView::new(Dtype::F32, shape.clone(), raw).map_err(broken)?);
        }
        safetensors::serialize_to_file(views, None, path).map_err(broken)
    }

    /// Reads back what [`Parameters::save`] wrote under a prefix.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub(crate) fn load(&self, path: &Path, prefix: &str) -> Result<Vec<f32>> {
        let raw = std::fs::read(path).map_err(|e| Error::folder(path, e))?;
        let file = safetensors::SafeTensors::deserialize(&raw).map_err(|e| Error::folder(path, e))?;
        let mut values = Vec::with_capacity(self.values.len());
        for entry in &self.entries {
            let name = format!("{prefix}{}", entry.name);
            let tensor = file.tensor(&name).map_err(|e| Error::folder(path, e))?;
            if tensor.shape() != entry.shape || tensor.dtype() != Dtype::F32 {
                let problem =
                    format!("'{name}' has the shape {:?}, not {:?}: of another run", tensor.shape(), entry.shape);
                return Err(Error::folder(path, problem));
            }
            let floats = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            values.extend(floats);
        }
        Ok(values)
    }
}
