//! Names as words: what equal words, missing numbers and opposites say about two names, beside their embeddings.

use std::collections::HashMap;

use rust_stemmers::{Algorithm, Stemmer};
use unicode_normalization::UnicodeNormalization;

use super::edit_distance::similarity;

/// Words that do not distinguish names.
const FILLERS: [&str; 14] =
    ["the", "of", "a", "an", "and", "or", "in", "on", "to", "by", "for", "due", "nos", "unspecified"];
/// Words that name the same in names of diseases: an organ's adjective and the organ, and the common words for growths.
const SAME: [(&str, &str); 75] = [
    ("tumor", "neoplasm"),
    ("tumors", "neoplasm"),
    ("cancer", "malignant neoplasm"),
    ("cancers", "malignant neoplasm"),
    ("malignancy", "malignant"),
    ("disorder", "disease"),
    ("disorders", "disease"),
    ("illness", "disease"),
    ("infectious", "infection"),
    ("hereditary", "inherited"),
    ("familial", "inherited"),
    ("genetic", "inherited"),
    ("renal", "kidney"),
    ("hepatic", "liver"),
    ("cardiac", "heart"),
    ("pulmonary", "lung"),
    ("gastric", "stomach"),
    ("cerebral", "brain"),
    ("ocular", "eye"),
    ("ophthalmic", "eye"),
    ("oral", "mouth"),
    ("cutaneous", "skin"),
    ("dermal", "skin"),
    ("ovarian", "ovary"),
    ("uterine", "uterus"),
    ("testicular", "testis"),
    ("testes", "testis"),
    ("mammary", "breast"),
    ("prostatic", "prostate"),
    ("pancreatic", "pancreas"),
    ("splenic", "spleen"),
    ("colonic", "colon"),
    ("rectal", "rectum"),
    ("anal", "anus"),
    ("esophageal", "esophagus"),
    ("tracheal", "trachea"),
    ("bronchial", "bronchus"),
    ("bronchi", "bronchus"),
    ("pharyngeal", "pharynx"),
    ("laryngeal", "larynx"),
    ("oropharyngeal", "oropharynx"),
    ("nasopharyngeal", "nasopharynx"),
    ("hypopharyngeal", "hypopharynx"),
    ("vulvar", "vulva"),
    ("vaginal", "vagina"),
    ("penile", "penis"),
    ("intestinal", "intestine"),
    ("duodenal", "duodenum"),
    ("biliary", "bile"),
    ("arterial", "artery"),
    ("arteries", "artery"),
    ("venous", "vein"),
    ("aortic", "aorta"),
    ("pericardial", "pericardium"),
    ("pleural", "pleura"),
    ("peritoneal", "peritoneum"),
    ("meningeal", "meninges"),
    ("spinal", "spine"),
    ("vertebral", "vertebra"),
    ("vertebrae", "vertebra"),
    ("cranial", "skull"),
    ("dental", "tooth"),
    ("teeth", "tooth"),
    ("nasal", "nose"),
    ("otic", "ear"),
    ("aural", "ear"),
    ("retinal", "retina"),
    ("corneal", "cornea"),
    ("muscular", "muscle"),
    ("osseous", "bone"),
    ("neural", "nerve"),
    ("urethral", "urethra"),
    ("ureteral", "ureter"),
    ("tonsillar", "tonsil"),
    ("gingival", "gingiva"),
];
/// Words that exclude each other: a name with one is not a name with the other.
const OPPOSITES: [(&str, &str); 22] = [
    ("left", "right"),
    ("acute", "chronic"),
    ("primary", "secondary"),
    ("benign", "malignant"),
    ("congenital", "acquired"),
    ("upper", "lower"),
    ("superior", "inferior"),
    ("anterior", "posterior"),
    ("proximal", "distal"),
    ("medial", "lateral"),
    ("bilateral", "unilateral"),
    ("male", "female"),
    ("with", "without"),
    ("increased", "decreased"),
    ("high", "low"),
    ("juvenile", "adult"),
    ("dominant", "recessive"),
    ("initial", "subsequent"),
    ("open", "closed"),
    ("internal", "external"),
    ("maternal", "paternal"),
    ("systolic", "diastolic"),
];
/// Prefixes that make opposites of words.
const OPPOSITE_PREFIXES: [(&str, &str); 3] = [("hyper", "hypo"), ("brady", "tachy"), ("macro", "micro")];
/// Greek letters in the order of the alphabet from U+03B1, the final sigma among them.
const GREEK: [&str; 25] = [
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu", "xi",
    "omicron", "pi", "rho", "sigma", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
];

/// A name as its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    /// The name without case, accents, punctuation and spelling variants, its words as they stand.
    pub(super) folded: String,
    /// Stems of its words but fillers, sorted: what two orders of the same words share.
    pub(super) key: String,
    /// The same stems by number, sorted and distinct.
    stems: Vec<u32>,
    /// Numbers and single letters among the words, sorted.
    codes: Vec<u32>,
    /// Which of the opposites it has: bit 2i for the first of the i-th pair, 2i + 1 for the second.
    opposites: u64,
}

/// The words of two sources: numbers of stems, and how rare each is.
#[derive(Default)]
pub(crate) struct Vocabulary {
    numbers: HashMap<String, u32>,
    /// Names that have the stem.
    counts: Vec<u32>,
    names: u32,
    weights: Vec<f32>,
}

/// What the words of two names say, each 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct LexicalEvidence {
    /// The same words in the same order.
    pub(super) equal: bool,
    /// The same words in any order.
    pub(super) same_words: bool,
    /// Shared words among all words, rare words counting more.
    pub(super) overlap: f32,
    /// Shared words among the words of the name with fewer, rare words counting more.
    pub(super) containment: f32,
    /// Characters shared in order, of the sorted words.
    pub(super) characters: f32,
    /// Both have numbers or letters, and others.
    pub(super) other_codes: bool,
    /// One has a number or letter, the other has none.
    pub(super) missing_codes: bool,
    /// One has the opposite of a word of the other.
    pub(super) opposite: bool,
    /// All words of the object are among those of the subject, which has more.
    pub(super) object_is_broader: bool,
    /// The reverse.
    pub(super) object_is_narrower: bool,
}

/// A name split into its words.
struct Split {
    folded: String,
    /// Stems of its words but fillers, sorted.
    stems: Vec<String>,
    opposites: u64,
}

impl Split {
    fn of(name: &str) -> Self {
        let stemmer = Stemmer::create(Algorithm::English);
        let folded = fold(name);
        let mut stems: Vec<String> = Vec::new();
        let mut opposites = 0;
        for word in folded.split(' ').filter(|w| !w.is_empty()) {
            opposites |= opposites_of(word);
            if !FILLERS.contains(&word) {
                let same = SAME.iter().find(|(from, _)| *from == word).map_or(word, |(_, to)| to);
                stems.extend(same.split(' ').map(|w| stemmer.stem(w).into_owned()));
            }
        }
        if stems.is_empty() {
            stems.extend(folded.split(' ').filter(|w| !w.is_empty()).map(str::to_string));
        }
        stems.sort_unstable();
        // A malignant cancer is a cancer.
        stems.dedup();
        Self { folded, stems, opposites }
    }

    fn numbered(self, mut number: impl FnMut(&str) -> u32) -> Words {
        let mut stems: Vec<u32> = self.stems.iter().map(|stem| number(stem)).collect();
        let is_code = |stem: &String| stem.len() == 1 || stem.bytes().any(|b| b.is_ascii_digit());
        let mut codes: Vec<u32> =
            self.stems.iter().zip(&stems).filter(|(stem, _)| is_code(stem)).map(|(_, n)| *n).collect();
        for list in [&mut stems, &mut codes] {
            list.sort_unstable();
            list.dedup();
        }
        Words { folded: self.folded, key: self.stems.join(" "), stems, codes, opposites: self.opposites }
    }
}

impl Vocabulary {
    /// The words of a name, which are counted.
    pub(super) fn words(&mut self, name: &str) -> Words {
        let words = Split::of(name).numbered(|stem| self.number(stem));
        words.stems.iter().for_each(|n| self.counts[*n as usize] += 1);
        self.names += 1;
        words
    }

    /// The words of a name that is none of those that were counted. Stems that no name has are as rare as can be.
    pub(super) fn words_of_other(&self, name: &str) -> Words {
        let mut unknown = self.counts.len() as u32;
        Split::of(name).numbered(|stem| match self.numbers.get(stem) {
            Some(number) => *number,
            None => {
                unknown += 1;
                unknown - 1
            }
        })
    }

    fn number(&mut self, stem: &str) -> u32 {
        if let Some(number) = self.numbers.get(stem) {
            return *number;
        }
        let number = self.counts.len() as u32;
        self.numbers.insert(stem.to_string(), number);
        self.counts.push(0);
        number
    }

    /// Weighs the stems once all names were seen: `ln((N + 1) / (n + 0.5))`.
    pub(super) fn weigh(&mut self) {
        let names = self.names as f32;
        self.weights = self.counts.iter().map(|n| ((names + 1.0) / (*n as f32 + 0.5)).ln()).collect();
    }

    fn weight<'a>(&self, stems: impl IntoIterator<Item = &'a u32>) -> f32 {
        let rarest = || (2.0 * (self.names as f32 + 1.0)).ln();
        stems.into_iter().map(|n| self.weights.get(*n as usize).copied().unwrap_or_else(rarest)).sum()
    }

    /// What the words of a subject's and an object's name say.
    pub(super) fn compare(&self, subject: &Words, object: &Words) -> LexicalEvidence {
        let shared: Vec<u32> =
            subject.stems.iter().filter(|s| object.stems.binary_search(s).is_ok()).copied().collect();
        let both = self.weight(&shared);
        let (own, other) = (self.weight(&subject.stems), self.weight(&object.stems));
        let part = |of: f32| if of > 0.0 { both / of } else { 0.0 };
        let all_of = |words: &Words| shared.len() == words.stems.len() && !shared.is_empty();
        LexicalEvidence {
            equal: !subject.folded.is_empty() && subject.folded == object.folded,
            same_words: !subject.key.is_empty() && subject.key == object.key,
            overlap: part(own + other - both),
            containment: part(own.min(other)),
            characters: similarity(&subject.key, &object.key) as f32,
            other_codes: !subject.codes.is_empty() && !object.codes.is_empty() && subject.codes != object.codes,
            missing_codes: subject.codes.is_empty() != object.codes.is_empty(),
            opposite: are_opposites(subject.opposites, object.opposites),
            object_is_broader: all_of(object) && subject.stems.len() > object.stems.len(),
            object_is_narrower: all_of(subject) && object.stems.len() > subject.stems.len(),
        }
    }
}

fn opposites_of(word: &str) -> u64 {
    let mut bits = 0;
    for (i, (a, b)) in OPPOSITES.iter().enumerate() {
        bits |= u64::from(word == *a) << (2 * i) | u64::from(word == *b) << (2 * i + 1);
    }
    for (i, (a, b)) in OPPOSITE_PREFIXES.iter().enumerate() {
        let at = 2 * (OPPOSITES.len() + i);
        bits |= u64::from(word.starts_with(a)) << at | u64::from(word.starts_with(b)) << (at + 1);
    }
    bits
}

/// Whether one has the one word of a pair and the other the other, and neither has both.
fn are_opposites(a: u64, b: u64) -> bool {
    const FIRSTS: u64 = 0x5555_5555_5555_5555;
    let (a1, a2, b1, b2) = (a & FIRSTS, a >> 1 & FIRSTS, b & FIRSTS, b >> 1 & FIRSTS);
    (a1 & !a2 & b2 & !b1) | (a2 & !a1 & b1 & !b2) != 0
}

/// Without case, accents, punctuation; British spelling as American; Roman numerals and Greek letters as words.
fn fold(name: &str) -> String {
    let plain: String = name.nfkd().filter(|c| !unicode_normalization::char::is_combining_mark(*c)).collect();
    let lower = plain.to_lowercase().replace("'s ", " ").replace("\u{2019}s ", " ");
    let mut spaced = String::with_capacity(lower.len());
    for c in lower.chars() {
        match c {
            'α'..='ω' => {
                let letter = GREEK[(u32::from(c) - u32::from('α')) as usize];
                spaced.push(' ');
                spaced.push_str(letter);
                spaced.push(' ');
            }
            '\'' | '\u{2019}' => {}
            c if c.is_alphanumeric() => spaced.push(c),
            _ => spaced.push(' '),
        }
    }
    let words = spaced.split(' ').filter(|w| !w.is_empty()).map(spelled);
    words.collect::<Vec<_>>().join(" ")
}

fn spelled(word: &str) -> String {
    if let Some(number) = roman(word) {
        return number;
    }
    let american = word.replace("ae", "e").replace("oe", "e");
    match american.strip_suffix("our") {
        Some(stem) if stem.len() > 2 => format!("{stem}or"),
        _ => american,
    }
}

/// A Roman numeral up to 39, with a letter behind it or not: `iia` is `2a`.
fn roman(word: &str) -> Option<String> {
    let (numeral, letter) = match word.as_bytes() {
        [.., b'a' | b'b'] if word.len() > 1 => word.split_at(word.len() - 1),
        _ => (word, ""),
    };
    if numeral.is_empty() || !numeral.bytes().all(|b| matches!(b, b'i' | b'v' | b'x')) {
        return None;
    }
    let value = |b: u8| match b {
        b'i' => 1,
        b'v' => 5,
        _ => 10,
    };
    let bytes = numeral.as_bytes();
    let total: i32 = (0..bytes.len())
        .map(|i| {
            if bytes.get(i + 1).is_some_and(|n| value(*n) > value(bytes[i])) {
                -value(bytes[i])
            } else {
                value(bytes[i])
            }
        })
        .sum();
    (1..40).contains(&total).then(|| format!("{total}{letter}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(a: &str, b: &str) -> LexicalEvidence {
        let mut vocabulary = Vocabulary::default();
        let (a, b) = (vocabulary.words(a), vocabulary.words(b));
        vocabulary.weigh();
        vocabulary.compare(&a, &b)
    }

    #[test]
    fn spelling_variants_are_the_same_name() {
        for (a, b) in [
            ("Crohn's disease", "Crohn disease"),
            ("Ménière’s disease", "Meniere disease"),
            ("TUMOUR of the oesophagus", "tumor of the esophagus"),
            ("Leukaemia, type II", "leukemia type 2"),
            ("mucopolysaccharidosis type IIIA", "Mucopolysaccharidosis, type 3a"),
            ("α-thalassemia", "alpha thalassemia"),
        ] {
            assert_eq!(fold(a), fold(b));
            assert!(compared(a, b).equal, "{a} {b}");
        }
    }

    #[test]
    fn order_and_number_of_words_do_not_matter() {
        let same = compared("Carcinomas, Hepatocellular", "hepatocellular carcinoma");
        assert!(same.same_words && !same.equal && same.overlap > 0.999, "{same:?}");
        assert!(!compared("hepatocellular carcinoma", "hepatocellular adenoma").same_words);
        assert!(compared("renal cancer", "malignant tumour of kidney").same_words);
    }

    #[test]
    fn numbers_letters_and_opposites_tell_names_apart() {
        assert!(compared("diabetes type 1", "diabetes type II").other_codes);
        assert!(compared("hepatitis C", "hepatitis B").other_codes);
        assert!(compared("hepatitis C", "hepatitis").missing_codes);
        assert!(compared("acute bronchitis", "chronic bronchitis").opposite);
        assert!(compared("hyperthyroidism", "hypothyroidism").opposite);
        assert!(!compared("acute and chronic bronchitis", "chronic bronchitis").opposite);
        assert!(!compared("acute bronchitis", "bronchitis").opposite);
    }

    #[test]
    fn more_words_are_narrower() {
        let evidence = compared("acute viral hepatitis", "hepatitis");
        assert!(evidence.object_is_broader && !evidence.object_is_narrower && evidence.containment > 0.999);
        assert!(compared("hepatitis", "viral hepatitis").object_is_narrower);
    }

    #[test]
    fn roman_numerals() {
        let all = [("iv", Some("4")), ("ix", Some("9")), ("xiib", Some("12b")), ("mix", None), ("a", None), ("", None)];
        for (word, number) in all {
            assert_eq!(roman(word).as_deref(), number, "{word}");
        }
    }

    #[test]
    fn names_of_nothing_but_signs_have_no_words() {
        let none = compared("???", "!!");
        assert!(!none.same_words && none.overlap == 0.0 && !none.equal);
    }
}
