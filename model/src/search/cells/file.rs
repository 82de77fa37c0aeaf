//! Cells as a file in the safetensors format.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::Cells;
use super::build::Parts;
use crate::search::corpus::Corpus;
use crate::{Error, Result};

/// Changes when the meaning of a file does.
const FORMAT: &str = "generel-cells-1";

impl Cells {
    /// The cells as a file.
    ///
    /// # Errors
    /// Never, unless the format's own limits are exceeded.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let floats = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        let of_row: Vec<u8> = self.of_row.iter().flat_map(|v| v.to_le_bytes()).collect();
        let (centers, tightness, reaches) = (floats(&self.centers), floats(&self.tightness), floats(&self.reaches));
        let view = |kind, shape, bytes| TensorView::new(kind, shape, bytes).map_err(broken);
        let tensors = [
            ("centers", view(Dtype::F32, vec![self.count(), self.dimension], &centers)?),
            ("tightness", view(Dtype::F32, vec![self.count()], &tightness)?),
            ("reaches", view(Dtype::F32, vec![self.reaches.len()], &reaches)?),
            ("cell_of_row", view(Dtype::U32, vec![self.of_row.len()], &of_row)?),
        ];
        let about = HashMap::from([("format".to_string(), FORMAT.to_string())]);
        safetensors::serialize(tensors, Some(about)).map_err(broken)
    }

    /// The cells of a corpus from the file that was made for it.
    ///
    /// # Errors
    /// When the file is broken, or of other rows.
    pub fn from_bytes(corpus: &Corpus, bytes: &[u8]) -> Result<Self> {
        Self::restore(corpus, read(bytes)?)
    }

    /// New cells for a corpus, about the centers of a file made for another if they still fit: then the costly part of
    /// the work is spared. `None` where they do not.
    ///
    /// # Errors
    /// When the file is broken, or no row has a direction.
    pub fn from_earlier(corpus: &Corpus, bytes: &[u8]) -> Result<Option<Self>> {
        let earlier = read(bytes)?;
        let mut rows = vec![0f64; earlier.tightness.len()];
        for cell in &earlier.of_row {
            if let Some(rows) = rows.get_mut(*cell as usize) {
                *rows += 1.0;
            }
        }
        let sum: f64 = rows.iter().zip(&earlier.tightness).map(|(rows, tight)| rows * f64::from(*tight)).sum();
        Self::anew(corpus, &earlier.centers, (sum / rows.iter().sum::<f64>().max(1.0)) as f32)
    }
}

fn read(bytes: &[u8]) -> Result<Parts> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    if header.metadata().as_ref().and_then(|m| m.get("format")).map(String::as_str) != Some(FORMAT) {
        return Err(Error::Search("a file of cells of another version".into()));
    }
    let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
    let words = |name: &str| -> Result<Vec<[u8; 4]>> {
        let data = tensors.tensor(name).map_err(broken)?.data();
        Ok(data.as_chunks::<4>().0.to_vec())
    };
    let floats = |name: &str| -> Result<Vec<f32>> { Ok(words(name)?.into_iter().map(f32::from_le_bytes).collect()) };
    Ok(Parts {
        centers: floats("centers")?,
        tightness: floats("tightness")?,
        reaches: floats("reaches")?,
        of_row: words("cell_of_row")?.into_iter().map(u32::from_le_bytes).collect(),
    })
}

fn broken(error: impl std::fmt::Display) -> Error {
    Error::Search(format!("a file of cells: {error}"))
}
