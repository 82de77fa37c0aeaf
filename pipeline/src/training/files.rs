//! The pairs in files: Parquet beside a run, so that what it was trained on, and is measured on, can be looked at.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, RecordBatch, StringArray, UInt8Array, UInt32Array};
use arrow::datatypes::{Float32Type, UInt8Type, UInt32Type};
use arrow::error::ArrowError;
use generel_model::train::{SnpFacts, Task, TaskKind, TrainingSet};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::pairs::{Kind, Pair, Pairs, Split, Variant};
use crate::text_columns::text_columns;
use crate::{Error, Result};

const PAIRS: &str = "pairs.parquet";
const VARIANTS: &str = "snps.parquet";
const NAMES: &str = "held-out-names.parquet";
/// The file that says what data was made of.
pub const ORIGIN: &str = "origin.json";

/// Writes the pairs to a folder.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(folder: &Path, pairs: &Pairs) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
    let all = &pairs.pairs;
    let text = |get: fn(&Pair) -> &str| -> ArrayRef { Arc::new(StringArray::from_iter_values(all.iter().map(get))) };
    let floats = |get: fn(&Pair) -> Option<f32>| -> ArrayRef { Arc::new(Float32Array::from_iter(all.iter().map(get))) };
    let clusters = |get: fn(&Pair) -> u32| -> ArrayRef { Arc::new(UInt32Array::from_iter_values(all.iter().map(get))) };
    let batch = RecordBatch::try_from_iter([
        ("kind", text(|p| p.kind.as_str())),
        ("relation", text(|p| &p.relation)),
        ("source", text(|p| &p.source)),
        ("left", text(|p| &p.left)),
        ("right", text(|p| &p.right)),
        ("split", text(|p| p.split.as_str())),
        ("left_cluster", clusters(|p| p.left_cluster)),
        ("right_cluster", clusters(|p| p.right_cluster)),
        ("weight", floats(|p| Some(p.weight))),
        ("neg_log_10_p_value", floats(|p| p.neg_log_10_p)),
        ("effect", floats(|p| p.effect)),
    ])?;
    save(&folder.join(PAIRS), &batch)?;
    let all = &pairs.variants;
    let batch = RecordBatch::try_from_iter([
        ("rsid", Arc::new(StringArray::from_iter_values(all.iter().map(|v| &v.rsid))) as ArrayRef),
        ("genes", Arc::new(StringArray::from_iter_values(all.iter().map(|v| v.genes.join(";"))))),
        ("consequence", Arc::new(StringArray::from_iter(all.iter().map(|v| v.consequence.as_deref())))),
        ("chromosome", Arc::new(UInt8Array::from_iter(all.iter().map(|v| v.chromosome)))),
        ("base_pair_location", Arc::new(UInt32Array::from_iter(all.iter().map(|v| v.position)))),
    ])?;
    save(&folder.join(VARIANTS), &batch)?;
    let keys: ArrayRef = Arc::new(StringArray::from_iter_values(&pairs.held_out_keys));
    save(&folder.join(NAMES), &RecordBatch::try_from_iter([("key", keys)])?)?;
    let path = folder.join(ORIGIN);
    let text = serde_json::to_vec_pretty(&pairs.origin).map_err(|e| Error::Internal(e.to_string()))?;
    std::fs::write(&path, text).map_err(|e| Error::io(&path, e))
}

/// Reads back what [`write()`] wrote.
///
/// # Errors
/// When a file is missing or not one of these.
pub fn read(folder: &Path) -> Result<Pairs> {
    let path = folder.join(ORIGIN);
    let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    let origin = serde_json::from_slice(&text).map_err(|e| Error::format(&path, e.line() as u64, e.to_string()))?;
    let mut pairs = Pairs { origin, ..Pairs::default() };
    let path = folder.join(PAIRS);
    for batch in load(&path)? {
        let [kind, relation, source, left, right, split] = text_columns::<6>(&batch)?;
        let cluster = |i: usize| batch.column(i).as_primitive::<UInt32Type>();
        let float = |i: usize| batch.column(i).as_primitive::<Float32Type>();
        let (left_cluster, right_cluster) = (cluster(6), cluster(7));
        let some = |i: usize, row: usize| float(i).is_valid(row).then(|| float(i).value(row));
        for row in 0..batch.num_rows() {
            let unknown = |word: &str| {
                Error::format(&path, 0, format!("'{word}' is no kind or split of pairs; of another version"))
            };
            let kind = kind.value(row);
            let split = split.value(row);
            pairs.pairs.push(Pair {
                kind: Kind::ALL.iter().copied().find(|k| k.as_str() == kind).ok_or_else(|| unknown(kind))?,
                relation: relation.value(row).to_string(),
                source: source.value(row).to_string(),
                left: left.value(row).to_string(),
                right: right.value(row).to_string(),
                left_cluster: left_cluster.value(row),
                right_cluster: right_cluster.value(row),
                weight: float(8).value(row),
                neg_log_10_p: some(9, row),
                effect: some(10, row),
                split: Split::ALL.iter().copied().find(|s| s.as_str() == split).ok_or_else(|| unknown(split))?,
            });
        }
    }
    for batch in load(&folder.join(VARIANTS))? {
        let [rsid, genes, consequence] = text_columns::<3>(&batch)?;
        let (chromosome, position) =
            (batch.column(3).as_primitive::<UInt8Type>(), batch.column(4).as_primitive::<UInt32Type>());
        for row in 0..batch.num_rows() {
            pairs.variants.push(Variant {
                rsid: rsid.value(row).to_string(),
                genes: genes.value(row).split(';').filter(|g| !g.is_empty()).map(str::to_string).collect(),
                consequence: consequence.is_valid(row).then(|| consequence.value(row).to_string()),
                chromosome: chromosome.is_valid(row).then(|| chromosome.value(row)),
                position: position.is_valid(row).then(|| position.value(row)),
            });
        }
    }
    for batch in load(&folder.join(NAMES))? {
        let [keys] = text_columns::<1>(&batch)?;
        pairs.held_out_keys.extend(keys.iter().flatten().map(str::to_string));
    }
    Ok(pairs)
}

fn save(path: &Path, batch: &RecordBatch) -> Result<()> {
    let file = File::create(path).map_err(|e| Error::io(path, e))?;
    let write = || -> parquet::errors::Result<()> {
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None)?;
        writer.write(batch)?;
        writer.close().map(drop)
    };
    Ok(write().map_err(ArrowError::from)?)
}

fn load(path: &Path) -> Result<Vec<RecordBatch>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build());
    Ok(reader.map_err(ArrowError::from)?.collect::<std::result::Result<_, _>>()?)
}

/// What the trainer takes: the pairs trained on, a task for each kind.
pub fn training_set(pairs: &Pairs) -> TrainingSet {
    let mut set = TrainingSet::default();
    let (mut genes, mut snps, mut texts) = (Places::default(), HashMap::new(), Places::default());
    for variant in &pairs.variants {
        snps.insert(variant.rsid.as_str(), set.snps.len() as u32);
        set.snps.push(SnpFacts {
            rsid: variant.rsid.clone(),
            chromosome: variant.chromosome,
            position: variant.position,
            genes: variant.genes.iter().map(|gene| genes.of(gene)).collect(),
            consequence: variant.consequence.clone(),
        });
    }
    // A gene's symbol is an entity of its own, behind all clusters.
    let clusters = pairs.pairs.iter().map(|p| p.left_cluster.max(p.right_cluster) + 1).max().unwrap_or(0);
    for kind in Kind::ALL {
        let task_kind = match kind {
            Kind::Synonym => TaskKind::Synonyms,
            Kind::Hierarchy | Kind::Relation | Kind::Cooccurrence => TaskKind::Related,
            Kind::SnpTrait | Kind::SnpGene => TaskKind::SnpText,
        };
        let mut task = Task {
            name: kind.as_str().to_string(),
            kind: task_kind,
            left: Vec::new(),
            right: Vec::new(),
            weights: Vec::new(),
        };
        for pair in pairs.pairs.iter().filter(|p| p.kind == *kind && p.split == Split::Train) {
            let mut text = |text: &str, entity: u32| {
                let place = texts.of(text);
                if place as usize == set.entities.len() {
                    set.entities.push(entity);
                }
                place
            };
            let left = match task_kind {
                TaskKind::SnpText => snps[pair.left.as_str()],
                TaskKind::Synonyms | TaskKind::Related => text(&pair.left, pair.left_cluster),
            };
            let of_gene = (*kind == Kind::SnpGene).then(|| clusters + genes.of(&pair.right));
            task.left.push(left);
            task.right.push(text(&pair.right, of_gene.unwrap_or(pair.right_cluster)));
            task.weights.push(pair.weight);
        }
        set.tasks.push(task);
    }
    // Weaker than one near it, but right.
    for pair in pairs.pairs.iter().filter(|p| p.split == Split::Thinned) {
        let gene = || genes.places.get(&pair.right).map(|gene| clusters + gene);
        let entity = if pair.kind == Kind::SnpGene { gene() } else { Some(pair.right_cluster) };
        set.also_right.extend(snps.get(pair.left.as_str()).copied().zip(entity));
    }
    (set.genes, set.texts) = (genes.names, texts.names);
    set
}

/// Distinct texts in the order in which they came.
#[derive(Default)]
struct Places {
    names: Vec<String>,
    places: HashMap<String, u32>,
}

impl Places {
    fn of(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = self.names.len() as u32;
        self.names.push(name.to_string());
        self.places.insert(name.to_string(), place);
        place
    }
}
