use super::{Column, Kind, Table, column, optional, text};

/// One row per place of a field in a consumed record, and the concept that it means.
pub const HARMONIZED: Table = Table {
    name: "harmonized",
    doc: "one row per place of a field in a consumed record, and the concept that it means; carried columns follow",
    columns: COLUMNS,
    unit: Some("consumer"),
};

const COLUMNS: &[Column] = &[
    text("consumer", "the consumer that read the record"),
    text("kafka_topic", "the topic of the message"),
    column("kafka_partition", Kind::Int, false, "the partition of the message"),
    column("kafka_offset", Kind::Long, false, "the place of the message in the partition"),
    optional("kafka_timestamp", Kind::Timestamp, "when the message was made or taken"),
    optional("kafka_key", Kind::Text, "the key of the message; 0x and hexadecimal digits where it is no text"),
    optional("line", Kind::Int, "the line of the record, from 1, where a message has several"),
    text("field", "the field of the consumer"),
    column("position", Kind::Int, false, "the how-manieth place of the field in the record, from 0"),
    optional("source_vocabulary", Kind::Text, "the vocabulary of the record's code"),
    optional("source_code", Kind::Text, "the record's code; of several the first"),
    optional("source_name", Kind::Text, "the record's text"),
    text("outcome", "mapped, below (not sure enough), unmapped (nothing is like it), absent (nothing is said there)"),
    optional("object_id", Kind::Text, "CURIE of the concept"),
    optional("object_label", Kind::Text, "label of the concept"),
    optional("object_match_name", Kind::Text, "the name of the concept that the text resembles most"),
    optional("predicate_id", Kind::Text, "skos:exactMatch, skos:closeMatch …"),
    optional("mapping_justification", Kind::Text, "semapv:ManualMappingCuration, semapv:LexicalMatching …"),
    optional("confidence", Kind::Double, "calibrated probability that the concept is right, 0-1"),
    optional("similarity_score", Kind::Double, "cosine of the text and the concept's name, clipped to 0-1"),
    text("model_id", "the model that embedded the text"),
    text("index_version", "the concepts and mappings that were harmonized to: changes with any of them"),
];
