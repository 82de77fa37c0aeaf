//! PrimeKG (Chandak, Huang, Zitnik 2023): `kg.csv`, one row an edge with names and sources of both ends, and its file of
//! nodes.
//!
//! Ids are those of the sources without prefix or leading zeros, and diseases that were merged are one node of several
//! MONDO numbers joined by `_`. Ids of different sources are alike, so a node's code is its CURIE.

use generel_schemas::Table;
use generel_schemas::tables::{CONCEPT_NAMES, CONCEPTS, KG_EDGES, NameType};

use super::super::output::{Concept, Edge, Output};
use super::super::recognize::{Head, Likeness};
use super::super::text::delimited::{Delimited, Header, Kept, Row, RowParser, Taken};
use super::super::vocabularies::curies::{self, with_buffers};
use super::super::vocabularies::{ENGLISH, dialect, separator};
use super::super::{InputFile, ReadOptions, Reader, Source};
use crate::Result;

/// The format `primekg`.
pub(in super::super) struct PrimeKg;

impl Source for PrimeKg {
    fn name(&self) -> &'static str {
        "primekg"
    }

    fn doc(&self) -> &'static str {
        "PrimeKG: kg.csv (relation, display_relation, x_id, x_name, …, y_id, y_name, …) or its nodes.csv"
    }

    fn example(&self) -> &'static str {
        "generel ingest --format primekg --source primekg kg.csv"
    }

    fn tables(&self) -> &'static [&'static Table] {
        &[&CONCEPTS, &CONCEPT_NAMES, &KG_EDGES]
    }

    fn recognize(&self, head: &Head) -> Option<Likeness> {
        let separator = separator(head);
        if head.has_columns(separator, &["x_id", "x_source", "y_id", "y_source"]) {
            return Likeness::new(98, "the header has x_id, x_source, y_id, y_source");
        }
        let nodes = head.has_columns(separator, &["node_id", "node_type", "node_name", "node_source"]);
        nodes.then(|| Likeness::new(95, "the header has node_id, node_type, node_name, node_source"))?
    }

    fn open(&self, file: &InputFile, options: &ReadOptions) -> Result<Reader> {
        let delimited = Delimited::open(file, options, dialect(&Head::read(&file.place)?))?;
        let header = &delimited.header;
        if header.find(&["node_id"]).is_some() {
            let nodes = NodeRows(End::of(header, "node")?);
            return Ok(delimited.into_reader(nodes));
        }
        let edges = EdgeRows {
            relation: header.require(&["display_relation", "relation"])?,
            subject: End::of(header, "x")?,
            object: End::of(header, "y")?,
        };
        Ok(delimited.into_reader(edges))
    }
}

/// The columns of a node: `x_id`, `x_source` …
struct End {
    id: usize,
    source: usize,
    name: usize,
    category: usize,
}

impl End {
    fn of(header: &Header, side: &str) -> Result<Self> {
        let at = |name: &str| header.require(&[&format!("{side}_{name}")]);
        Ok(Self { id: at("id")?, source: at("source")?, name: at("name")?, category: at("type")? })
    }

    /// Writes the node's CURIE.
    #[inline]
    fn push_curie(&self, buffer: &mut String, row: &Row<'_>) -> Kept<()> {
        let (id, source) = (row.needed(self.id)?, row.needed(self.source)?);
        match source {
            "NCBI" => curies::push(buffer, "ncbigene", id),
            "DrugBank" => curies::push(buffer, "drugbank", id),
            "MONDO" => curies::push_padded(buffer, "MONDO", id),
            "MONDO_grouped" => curies::push(buffer, "MONDO_grouped", id),
            "HPO" => curies::push_padded(buffer, "HP", id),
            "GO" => curies::push_padded(buffer, "GO", id),
            "UBERON" => curies::push_padded(buffer, "UBERON", id),
            "REACTOME" => curies::push(buffer, "reactome", id),
            // CTD names its chemicals by MeSH.
            "CTD" => curies::push(buffer, "mesh", id),
            _ => curies::push_code(buffer, source, id),
        }
        Ok(())
    }
}

struct EdgeRows {
    relation: usize,
    subject: End,
    object: End,
}

impl RowParser for EdgeRows {
    #[inline]
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        let relation = row.needed(self.relation)?;
        with_buffers(|[subject, object, predicate, _]| {
            self.subject.push_curie(subject, row)?;
            self.object.push_curie(object, row)?;
            predicate.push_str("primekg:");
            predicate.extend(relation.chars().map(|c| if c.is_whitespace() || c.is_control() { '_' } else { c }));
            out.edge(&Edge {
                subject: Some(subject.as_str()),
                subject_name: row.text(Some(self.subject.name)),
                subject_category: row.text(Some(self.subject.category)),
                predicate: Some(predicate.as_str()),
                object: Some(object.as_str()),
                object_name: row.text(Some(self.object.name)),
                object_category: row.text(Some(self.object.category)),
                weight: None,
                provenance: None,
            });
            Ok(Taken::Kept)
        })
    }
}

struct NodeRows(End);

impl RowParser for NodeRows {
    fn row(&self, row: &Row<'_>, out: &mut Output) -> Kept {
        with_buffers(|[curie, ..]| {
            self.0.push_curie(curie, row)?;
            let name = row.text(Some(self.0.name));
            out.concept(&Concept {
                code: Some(curie.as_str()),
                curie: Some(curie.as_str()),
                name,
                category: row.text(Some(self.0.category)),
                definition: None,
                obsolete: Some(false),
            });
            if let Some(name) = name {
                out.name(curie, name, NameType::Label, ENGLISH);
            }
            Ok(Taken::Kept)
        })
    }
}

#[cfg(test)]
mod tests {
    use generel_schemas::RejectReason;
    use proptest::prelude::*;

    use super::super::super::testing::{cells, options, read, rejected, table_cells};
    use super::*;

    const EDGES: &str = "relation,display_relation,x_index,x_id,x_type,x_name,x_source,y_index,y_id,y_type,y_name,\
        y_source\n\
        protein_protein,ppi,0,9796,gene/protein,PHYHIP,NCBI,8889,56992,gene/protein,KIF15,NCBI\n\
        off-label use,off-label use,1,DB00492,drug,Fosinopril,DrugBank,2,5044,disease,\"hypertension, essential\",MONDO\n\
        disease_phenotype_positive,phenotype present,3,13924_12592_14672,disease,osteogenesis imperfecta,MONDO_grouped,\
        4,2659,effect/phenotype,Fractures,HPO\n\
        bioprocess_protein,interacts with,5,8150,biological_process,process,GO,6,1,gene/protein,A1BG,NCBI\n\
        exposure_disease,linked to,7,C075773,exposure,arsenite,CTD,8,4975,disease,,MONDO\n\
        anatomy_protein_present,expression present,9,1255,anatomy,bladder,UBERON,6,1,gene/protein,A1BG,NCBI\n\
        pathway_protein,interacts with,10,R-HSA-109581,pathway,Apoptosis,REACTOME,6,1,gene/protein,A1BG,NCBI\n";

    #[test]
    fn edges_of_every_source() {
        let chunks = read(&PrimeKg, &[("kg.csv", EDGES.as_bytes())], &options()).unwrap();
        assert!(rejected(&chunks).is_empty());
        assert_eq!(
            cells(&chunks, "subject"),
            [
                "ncbigene:9796",
                "drugbank:DB00492",
                "MONDO_grouped:13924_12592_14672",
                "GO:0008150",
                "mesh:C075773",
                "UBERON:0001255",
                "reactome:R-HSA-109581"
            ]
        );
        assert_eq!(
            cells(&chunks, "object")[..5],
            ["ncbigene:56992", "MONDO:0005044", "HP:0002659", "ncbigene:1", "MONDO:0004975"]
        );
        assert_eq!(
            cells(&chunks, "predicate")[..3],
            ["primekg:ppi", "primekg:off-label_use", "primekg:phenotype_present"]
        );
        assert_eq!(cells(&chunks, "object_name")[1], "hypertension, essential");
        assert_eq!(cells(&chunks, "object_name")[4], "-");
        assert_eq!(cells(&chunks, "subject_category")[0], "gene/protein");
    }

    #[test]
    fn nodes() {
        let text = "node_index,node_id,node_type,node_name,node_source\n0,9796,gene/protein,PHYHIP,NCBI\n\
                    1,9796,effect/phenotype,x,HPO\n2,,drug,y,DrugBank\n";
        let chunks = read(&PrimeKg, &[("nodes.csv", text.as_bytes())], &options()).unwrap();
        assert_eq!(table_cells(&chunks, &CONCEPTS, "code"), ["ncbigene:9796", "HP:0009796"]);
        assert_eq!(table_cells(&chunks, &CONCEPT_NAMES, "code"), ["ncbigene:9796", "HP:0009796"]);
        assert_eq!(rejected(&chunks), [(4, "node_id", RejectReason::MissingValue)]);
    }

    #[test]
    fn bad_rows_are_rejected() {
        let text = format!("{EDGES}a,,1,2,t,n,NCBI,3,4,t,n,NCBI\na,b,1,2,t,n,NCBI,3,4,t,n,\na,b\n");
        let chunks = read(&PrimeKg, &[("kg.csv", text.as_bytes())], &options()).unwrap();
        assert_eq!(
            rejected(&chunks),
            [
                (9, "display_relation", RejectReason::MissingValue),
                (10, "y_source", RejectReason::MissingValue),
                (11, "-", RejectReason::ColumnCount)
            ]
        );
        assert!(read(&PrimeKg, &[("kg.csv", b"relation,x_id\n1,2\n")], &options()).is_err());
        let head = Head { name: "kg.csv".to_string(), text: EDGES.to_string() };
        assert_eq!(PrimeKg.recognize(&head).map(|l| l.score), Some(98));
    }

    proptest! {
        #[test]
        fn any_bytes_balance(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = [EDGES.as_bytes(), &bytes].concat();
            let _ = read(&PrimeKg, &[("kg.csv", &text)], &options()).unwrap();
        }
    }
}
