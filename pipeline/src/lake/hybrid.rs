//! Parquet's hybrid of run lengths and bit packing, in which definition levels and dictionary indices are written.

use arrow::array::BooleanBufferBuilder;

/// A shorter run is not worth one of its own among packed values.
const LEAST_RUN: usize = 24;
/// Values that are packed together.
const GROUP: usize = 8;

/// A run: so many times a value of up to `width` bits.
pub(super) fn run(count: u64, value: u32, width: u32, out: &mut Vec<u8>) {
    varint(count << 1, out);
    out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
}

/// Values below two to the power of `width`.
pub(super) fn values(values: &[u32], width: u32, out: &mut Vec<u8>) {
    let (mut packed_from, mut at) = (0, 0);
    while at < values.len() {
        let first = values[at];
        // Almost no group is all the same; where one is, it is worth to look how far that goes.
        let alike = values[at..].iter().take(GROUP).all(|value| *value == first);
        let length = if alike { values[at..].iter().take_while(|value| **value == first).count() } else { 0 };
        if length >= LEAST_RUN {
            pack(&values[packed_from..at], width, out);
            run(length as u64, first, width, out);
            at += length;
            packed_from = at;
        } else {
            at += GROUP;
        }
    }
    pack(&values[packed_from.min(values.len())..], width, out);
}

/// Packed values; the last group is filled up with zeros.
fn pack(values: &[u32], width: u32, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let groups = values.len().div_ceil(GROUP);
    varint((groups as u64) << 1 | 1, out);
    let end = out.len() + groups * width as usize;
    out.reserve(groups * width as usize);
    let (mut word, mut bits) = (0u64, 0);
    for value in values {
        word |= u64::from(*value) << bits;
        bits += width;
        if bits >= 32 {
            out.extend_from_slice(&(word as u32).to_le_bytes());
            word >>= 32;
            bits -= 32;
        }
    }
    out.extend_from_slice(&word.to_le_bytes()[..bits.div_ceil(8) as usize]);
    out.resize(end, 0);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Which rows of a page have values; nothing is kept while all have.
#[derive(Default)]
pub(super) struct Levels {
    rows: usize,
    nulls: usize,
    bits: Option<BooleanBufferBuilder>,
}

impl Levels {
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn nulls(&self) -> usize {
        self.nulls
    }

    /// Whether a row has a value.
    pub(super) fn is_valid(&self, row: usize) -> bool {
        self.bits.as_ref().is_none_or(|bits| bits.get_bit(row))
    }

    /// More rows, which all have values or none.
    pub(super) fn push(&mut self, rows: usize, valid: bool) {
        if !valid && self.bits.is_none() {
            let mut bits = BooleanBufferBuilder::new(self.rows + rows);
            bits.append_n(self.rows, true);
            self.bits = Some(bits);
        }
        if let Some(bits) = &mut self.bits {
            bits.append_n(rows, valid);
        }
        self.rows += rows;
        self.nulls += if valid { 0 } else { rows };
    }

    /// As a data page begins with them: with their length before them.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        match &self.bits {
            Some(bits) if self.nulls < self.rows => {
                varint((self.rows.div_ceil(GROUP) as u64) << 1 | 1, out);
                out.extend_from_slice(bits.as_slice());
            }
            _ => run(self.rows as u64, u32::from(self.nulls == 0), 1, out),
        }
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
}
