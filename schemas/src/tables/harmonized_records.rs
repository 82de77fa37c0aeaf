use super::{Column, Kind, Table, column, optional, text};

/// One row per consumed record, with its concepts written into it.
pub const HARMONIZED_RECORDS: Table = Table {
    name: "harmonized_records",
    doc: "one row per consumed record, with its concepts written into it; carried columns follow",
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
    optional("record", Kind::Text, "the record as JSON with its concepts; NULL for a tombstone"),
    optional("model_id", Kind::Text, "the model that embedded its texts; NULL where the consumer has no fields"),
    optional("index_version", Kind::Text, "the concepts and mappings that were harmonized to"),
];
