//! Dead letters: what their headers say, and the way back.

use crate::harmonize::{Dead, Header, Message};

/// Every header of ours begins with it.
pub(super) const PREFIX: &str = "generel-";
pub(super) const TOPIC: &str = "generel-topic";
pub(super) const REASON: &str = "generel-reason";
pub(super) const CONSUMER: &str = "generel-consumer";
pub(super) const VALUE_BYTES: &str = "generel-value-bytes";

/// The message's own headers, and ours: whence it came and why it did not get through.
pub(super) fn headers(
    consumer: &str,
    (topic, partition): (&str, i32),
    message: &Message<'_>,
    dead: &Dead,
) -> Vec<Header> {
    let ours = [
        (CONSUMER, consumer.to_string()),
        (TOPIC, topic.to_string()),
        ("generel-partition", partition.to_string()),
        ("generel-offset", message.offset.to_string()),
        (REASON, dead.rejected.reason.to_string()),
        ("generel-stage", dead.rejected.reason.stage().as_str().to_string()),
        ("generel-message", dead.rejected.message.clone()),
        ("generel-version", crate::VERSION.to_string()),
        // Of a value that the topic of dead letters does not take, this and the offset are all that is left.
        (VALUE_BYTES, message.value.map_or(0, <[u8]>::len).to_string()),
    ];
    let line = dead.line.map(|line| ("generel-line", line.to_string()));
    let ours = ours.into_iter().chain(line).map(|(name, value)| (name.to_string(), Some(value.into_bytes())));
    message.headers.iter().filter(|(name, _)| !name.starts_with(PREFIX)).cloned().chain(ours).collect()
}
