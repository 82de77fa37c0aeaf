//! Blocks of summary statistics: each column in a loop of its own, since in almost every row every value is what it
//! should be. A row with anything else is read by itself, and becomes what it would be alone.

use generel_schemas::ids::Rsid;
use generel_schemas::parse_f64;

use super::super::super::output::{Association, AssociationColumns, Many, Output};
use super::super::super::text::delimited::Block;
use super::super::columns::is_missing;
use super::super::sample::Coding;
use super::super::values;
use super::Rows;

impl Rows {
    /// Whether nothing in the file needs more than one column at a time.
    fn reads_columns(&self) -> bool {
        let combined = [
            self.rsid[1],
            self.reference,
            self.minor_allele,
            self.strand,
            self.cases.filter(|_| self.n.is_none()),
            self.gene,
            self.trait_name,
            self.build,
        ];
        self.reference_genome.is_none() && self.coding == Coding::Letters && combined.iter().all(Option::is_none)
    }

    /// Appends what the rows of a block become; how many without `one`.
    pub(super) fn take(&self, block: &Block<'_>, out: &mut Output, one: &mut dyn FnMut(usize, &mut Output)) -> u64 {
        let needed = (self.chromosome, self.position, self.effect_allele, self.other_allele);
        let p_column = self.neg_log_10_p.or(self.p.first().copied());
        let ((Some(chromosome), Some(position), Some(effect), Some(other)), Some(p_column), true) =
            (needed, p_column, self.reads_columns())
        else {
            return block.one_by_one(out, one);
        };
        let usual = &mut vec![true; block.rows()];
        if let Some(test) = self.test {
            block.column(test).zip(usual.iter_mut()).for_each(|(text, usual)| *usual &= text == "ADD");
        }
        let mut number = Chromosomes { plink: self.plink, last: ("", 0) };
        let chromosomes = column(block, chromosome, usual, |text| number.read(text).map(Some));
        let positions = column(block, position, usual, |text| values::position(text).ok().map(Some));
        let effects = column(block, effect, usual, |text| allele(text).map(Some));
        let others = column(block, other, usual, |text| allele(text).map(Some));
        effects.iter().zip(&others).zip(usual.iter_mut()).for_each(|((a, b), usual)| *usual &= a != b);
        let read_p = if self.neg_log_10_p.is_some() { values::neg_log10 } else { values::p_value };
        let p = column(block, p_column, usual, |text| read_p(text).ok().map(Some));
        let mut floats =
            |at: Option<usize>, fits: fn(f64) -> bool| at.map(|at| column(block, at, usual, |text| float(text, fits)));
        let (any, above_zero) = (|_| true, |value| value > 0.0);
        let (beta, z) = (floats(self.beta, any), floats(self.z, any));
        let (odds, hazard) = (floats(self.odds_ratio, above_zero), floats(self.hazard_ratio, above_zero));
        let error = floats(self.standard_error, |value| value >= 0.0);
        let frequency = floats(self.frequency, |value| (0.0..=1.0).contains(&value));
        let (lower, upper, info) = (floats(self.ci_lower, any), floats(self.ci_upper, any), floats(self.info, any));
        let sizes = self.n.map(|at| {
            column(block, at, usual, |text| match values::sample_size(text) {
                Ok(n) => Some(Some(n)),
                Err(_) => is_missing(text).then_some(self.study.n),
            })
        });
        let rsid = |text| if Rsid::is_canonical(text) { Some(Some(text)) } else { is_missing(text).then_some(None) };
        let mut rsids = self.rsid[0].map(|at| column(block, at, usual, rsid));
        let mut variants =
            self.variant_id.map(|at| column(block, at, usual, |text| variant(text, self.study.genome_build.is_none())));
        if let Some(variants) = &mut variants {
            rsid_or_variant(rsids.get_or_insert_with(|| vec![None; block.rows()]), variants);
        }
        let columns = AssociationColumns {
            chromosome: Many::Each(&chromosomes),
            base_pair_location: Many::Each(&positions),
            effect_allele: Many::Each(&effects),
            other_allele: Many::Each(&others),
            beta: each(&beta),
            odds_ratio: each(&odds),
            hazard_ratio: each(&hazard),
            standard_error: each(&error),
            z_score: each(&z),
            effect_allele_frequency: each(&frequency),
            neg_log_10_p_value: Many::Each(&p),
            variant_id: each(&variants),
            rsid: each(&rsids),
            n: sizes.as_deref().map_or(Many::Same(self.study.n), Many::Each),
            ci_lower: each(&lower),
            ci_upper: each(&upper),
            info: each(&info),
            ..AssociationColumns::same(Association {
                study_id: Some(&self.study.study_id),
                trait_name: self.study.trait_name.as_deref(),
                trait_curie: self.study.trait_curie.as_deref(),
                genome_build: self.study.genome_build.as_deref().or(self.tool_build),
                ..Association::default()
            })
        };
        let (mut from, mut taken) = (0, 0);
        while from < usual.len() {
            let to = usual[from..].iter().position(|usual| !usual).map_or(usual.len(), |rows| from + rows);
            if to > from {
                out.associations(to - from, &columns.slice(from..to));
                taken += (to - from) as u64;
            }
            if to < usual.len() {
                one(to, out);
            }
            from = to + 1;
        }
        taken
    }
}

/// A column's values. Where `read` has none the row is not usual, and what stands for it is not used.
#[inline]
fn column<'a, T: Clone>(
    block: &Block<'a>,
    at: usize,
    usual: &mut [bool],
    mut read: impl FnMut(&'a str) -> Option<Option<T>>,
) -> Vec<Option<T>> {
    let values = block.column(at).zip(usual).map(|(text, usual)| {
        read(text).unwrap_or_else(|| {
            *usual = false;
            None
        })
    });
    values.collect()
}

fn each<T>(values: &Option<Vec<Option<T>>>) -> Many<'_, Option<T>> {
    match values {
        Some(values) => Many::Each(values),
        None => Many::Same(None),
    }
}

/// Reads chromosomes, of which neighbours mostly have the same.
struct Chromosomes<'a> {
    plink: bool,
    last: (&'a str, i32),
}

impl<'a> Chromosomes<'a> {
    #[inline]
    fn read(&mut self, text: &'a str) -> Option<i32> {
        if text != self.last.0 || text.is_empty() {
            let read = if self.plink { values::plink_chromosome } else { values::chromosome };
            self.last = (text, read(text).ok()?);
        }
        Some(self.last.1)
    }
}

/// A number, or NULL where there is none. `-9` may be either.
#[inline]
fn float(text: &str, fits: fn(f64) -> bool) -> Option<Option<f64>> {
    match parse_f64(text) {
        Some(value) => (value != -9.0 && fits(value)).then_some(Some(value)),
        None => is_missing(text).then_some(None),
    }
}

/// Bases, in capitals where it is one.
#[inline]
fn allele(text: &str) -> Option<&str> {
    match text.as_bytes() {
        [b'A' | b'C' | b'G' | b'T'] => Some(text),
        [b'a'] => Some("A"),
        [b'c'] => Some("C"),
        [b'g'] => Some("G"),
        [b't'] => Some("T"),
        [_, _, ..] => text.bytes().all(|base| matches!(base, b'A' | b'C' | b'G' | b'T')).then_some(text),
        _ => None,
    }
}

/// An identifier of a variant, or NULL. One that may tell the genome's build has to be looked at, if that is `unknown`.
#[inline]
fn variant(text: &str, unknown: bool) -> Option<Option<&str>> {
    let plain = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_graphic());
    let bytes = text.as_bytes();
    let usual = plain(bytes.first())
        && plain(bytes.last())
        && (!bytes[0].eq_ignore_ascii_case(&b'r') || Rsid::is_canonical(text))
        && !(unknown && (text.ends_with("b37") || text.ends_with("b38")));
    if is_missing(text) { Some(None) } else { usual.then_some(Some(text)) }
}

/// An rsID among the variants' identifiers is the variant's rsID, where that is not stated, and nothing more.
fn rsid_or_variant<'a>(rsids: &mut [Option<&'a str>], variants: &mut [Option<&'a str>]) {
    for (rsid, variant) in rsids.iter_mut().zip(variants) {
        if variant.is_some_and(Rsid::is_canonical) {
            *rsid = rsid.or(*variant);
            *variant = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::super::super::testing::{options, read};
    use super::super::super::super::{Chunk, Source};
    use super::super::super::dialects::*;

    /// What the lake has of a file, and what it says of the rest.
    fn outcome(chunks: &[Chunk]) -> (Vec<String>, Vec<String>, u64) {
        let batches = chunks.iter().flat_map(|chunk| &chunk.batches);
        let columns = batches.clone().next().map_or(0, |(_, batch)| batch.num_columns());
        let mut rows = Vec::new();
        for (_, batch) in batches {
            for row in 0..batch.num_rows() {
                let cell =
                    |column: usize| arrow::util::display::array_value_to_string(batch.column(column), row).unwrap();
                rows.push((0..columns).map(cell).collect::<Vec<_>>().join("|"));
            }
        }
        let rejected = chunks.iter().flat_map(|chunk| &chunk.rejected).map(|row| format!("{row:?}")).collect();
        let mut counts = std::collections::BTreeMap::<String, u64>::new();
        for chunk in chunks {
            let named = chunk.nulled.iter().chain(&chunk.ignored).chain(&chunk.noted);
            named.for_each(|(name, count)| *counts.entry((*name).to_string()).or_default() += count);
        }
        let mut rest: Vec<String> = rejected;
        rest.push(format!("{counts:?}"));
        (rows, rest, chunks.iter().map(|chunk| chunk.rows_taken).sum())
    }

    fn cell(column: &'static str) -> BoxedStrategy<String> {
        // How a file codes its alleles is told by all of its first rows: digits alone would be a code in one of them.
        let alleles = ["effect_allele", "other_allele", "ALLELE0", "ALLELE1"].contains(&column);
        let odd = if alleles {
            vec!["", "NA", ".", "x", " A ", "\u{e9}", "-", "N"]
        } else {
            vec!["", "NA", ".", "-9", "0", "x", " 1 ", "1e-400", "\u{e9}", "-1", "2.5", "-9.0"]
        };
        let odd = prop::sample::select(odd);
        let usual = match column {
            "chromosome" | "CHROM" => "[1-9]|1[0-9]|2[0-6]|X|chr7",
            "base_pair_location" | "GENPOS" => "[1-9][0-9]{0,7}|1\\.5e\\+07",
            "effect_allele" | "other_allele" | "ALLELE0" | "ALLELE1" => "[ACGT]|[acgt]|[ACGT]{2,4}|[acgtN]{2}|I|<DEL>",
            "p_value" => "0\\.[0-9]{1,6}|[1-9]e-[0-9]{1,3}|1|0",
            "variant_id" | "ID" => "rs[1-9][0-9]{3}|RS0[0-9]{2}|[1-9]_[0-9]{3}_A_G|chr[1-9]_[0-9]{3}_A_G_b38|v[0-9]",
            "rsid" => "rs[1-9][0-9]{3}|rs0[0-9]|RS7|1:5:A:G",
            "TEST" => "ADD|DOM",
            "n" | "N" => "[1-9][0-9]{0,5}|50508\\.1",
            _ => "0\\.[0-9]{1,7}|-?[0-9]{1,2}(\\.[0-9]{1,4})?|[1-9]e-[0-9]{1,2}",
        };
        prop_oneof![20 => usual, 1 => odd.prop_map(str::to_string)].boxed()
    }

    /// A table, and whether it is regenie's.
    fn tables() -> impl Strategy<Value = (bool, String)> {
        let ssf = "chromosome base_pair_location effect_allele other_allele beta standard_error \
                   effect_allele_frequency p_value variant_id rsid n info ci_lower odds_ratio z_score";
        let regenie = "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ INFO N TEST BETA SE CHISQ LOG10P EXTRA";
        prop::sample::select(vec![(false, ssf, 8), (true, regenie, 14)]).prop_flat_map(|(tool, header, needed)| {
            let names: Vec<&'static str> = header.split_whitespace().collect();
            let columns = needed..=names.len();
            columns.prop_flat_map(move |columns| {
                let names = names[..columns].to_vec();
                let row = names.iter().map(|name| cell(name)).collect::<Vec<_>>();
                let torn = prop_oneof![30 => Just(""), 1 => Just("\textra"), 1 => Just("\n")];
                let ended = prop_oneof![Just("\n"), Just("\r\n")];
                prop::collection::vec((row, torn, ended), 0..12).prop_map(move |rows| {
                    let lines = rows.into_iter().map(|(row, torn, end)| row.join("\t") + torn + end);
                    (tool, names.join("\t") + "\n" + &lines.collect::<String>())
                })
            })
        })
    }

    proptest! {
        /// In slabs of one row nothing comes in blocks of many; without a final line break, nothing in blocks at all.
        #[test]
        fn a_row_becomes_in_a_block_what_it_becomes_alone((regenie, text) in tables()) {
            let format: &dyn Source = if regenie { &REGENIE } else { &GWAS_SSF };
            let mut whole = options();
            whole.slab_bytes = 1 << 20;
            let in_blocks = read(format, &[("t.tsv", text.as_bytes())], &whole).unwrap();
            let (header, body) = text.split_once('\n').unwrap();
            let mut alone = Vec::new();
            for (row, line) in body.split_inclusive('\n').enumerate() {
                // Empty lines are no rows, wherever they stand; they keep the row's line what it was.
                let one = format!("{header}\n{}{}", "\n".repeat(row), line.trim_end_matches('\n'));
                if !line.trim().is_empty() {
                    alone.extend(read(format, &[("t.tsv", one.as_bytes())], &whole).unwrap());
                }
            }
            prop_assert_eq!(outcome(&in_blocks), outcome(&alone));
        }
    }
}
