//! Broken files of every format: nothing panics, and every row read has a fate.
//!
//! Each input is a row (or a document) of a real-looking file with random damage. The test reads some thousands;
//! `GENEREL_FUZZ=400000 cargo test --workspace fuzz -- --nocapture` as many of every format, and prints the counts.

use std::fmt::Write;

use generel_pipeline::person::PersonKey;
use generel_pipeline::sources::{FORMATS, Found, ReadOptions, Source, format};

/// Formats, a file's name, its header, and rows that stand below it.
const SEEDS: &[(&str, &str, &str, &[&str])] = &[
    (
        "obo",
        "o.obo",
        "format-version: 1.2\n\n[Term]\nid: A:1\nname: x\n",
        &[
            "[Term]",
            "id: MONDO:0005015",
            "name: diabetes \\\"x\\\" {a=\"b\"}",
            "def: \"A \\\"disease\\\".\" [PMID:1, DOI:2] {x=\"y\"}",
            "synonym: \"DM\" EXACT ABBREVIATION [MESH:D1 \"t\"] {s=\"u\"}",
            "is_a: MONDO:0000001 {source=\"x\"} ! disease",
            "xref: ICD10CM:E11 {source=\"MONDO:equivalentTo\"}",
            "alt_id: MONDO:9",
            "is_obsolete: true",
            "replaced_by: MONDO:2",
            "relationship: part_of A:2 {x=\"y\"} ! z",
            "intersection_of: part_of A:1",
            "[Typedef]",
            "",
        ],
    ),
    (
        "obographs",
        "o.json",
        "",
        &[
            r#"{"graphs":[{"nodes":[{"id":"http://purl.obolibrary.org/obo/MONDO_1","lbl":"x","type":"CLASS","meta":{"definition":{"val":"d"},"synonyms":[{"pred":"hasExactSynonym","val":"s"}],"xrefs":[{"val":"ICD10:E1"}],"deprecated":true}}],"edges":[{"sub":"http://purl.obolibrary.org/obo/MONDO_1","pred":"is_a","obj":"http://purl.obolibrary.org/obo/MONDO_2"}]}]}"#,
        ],
    ),
    (
        "rdf",
        "o.nt",
        "",
        &[
            "<http://purl.obolibrary.org/obo/MONDO_1> <http://www.w3.org/2000/01/rdf-schema#label> \"x\"@en .",
            "<http://purl.obolibrary.org/obo/MONDO_1> <http://www.w3.org/2000/01/rdf-schema#subClassOf> <http://purl.obolibrary.org/obo/MONDO_2> .",
            "<http://purl.obolibrary.org/obo/MONDO_2> <http://www.w3.org/2002/07/owl#deprecated> \"true\"^^<http://www.w3.org/2001/XMLSchema#boolean> .",
            "_:b1 <http://www.w3.org/2004/02/skos/core#prefLabel> \"\\u00e9\\n\" .",
        ],
    ),
    (
        "sssom",
        "m.sssom.tsv",
        "#curie_map:\n#  A: http://a/\nsubject_id\tsubject_label\tpredicate_id\tobject_id\tobject_label\tmapping_justification\tconfidence\n",
        &[
            "MONDO:1\ta\tskos:exactMatch\tICD10:E11\tb\tsemapv:LexicalMatching\t0.9",
            "A:1\t\tskos:broadMatch\tB:2\t\tsemapv:X\t",
        ],
    ),
    (
        "babelon",
        "m.babelon.tsv",
        "source_language\ttranslation_language\tsubject_id\tpredicate_id\tsource_value\ttranslation_value\ttranslation_status\n",
        &[
            "en\tde\tHP:0000001\trdfs:label\tAll\tAlle\tOFFICIAL",
            "en\tfr\tHP:2\toboInOwl:hasExactSynonym\tx\ty\tCANDIDATE",
        ],
    ),
    (
        "bioportal-csv",
        "x.csv",
        "Class ID,Preferred Label,Synonyms,Definitions,Obsolete,CUI,Semantic Types,Parents\n",
        &[
            "http://purl.bioontology.org/ontology/RXNORM/1,\"a, b\",\"c|d\",e,false,C0000001,T1,http://purl.bioontology.org/ontology/RXNORM/2",
        ],
    ),
    ("umls", "MRCONSO.RRF", "", &["C0000001|ENG|P|L1|PF|S1|Y|A1||M1|D1|MSH|MH|D000001|name|0|N||"]),
    ("umls", "MRREL.RRF", "", &["C0000001|A1|SCUI|PAR|C0000002|A2|SCUI|isa|R1||MSH|MSH|||N||"]),
    (
        "omop-vocabulary",
        "CONCEPT.csv",
        "concept_id\tconcept_name\tdomain_id\tvocabulary_id\tconcept_class_id\tstandard_concept\tconcept_code\tvalid_start_date\tvalid_end_date\tinvalid_reason\n",
        &["201826\tType 2 \"diabetes\"\tCondition\tSNOMED\tClinical Finding\tS\t44054006\t19700101\t20991231\t"],
    ),
    (
        "icd",
        "icd10cm_codes_2019.txt",
        "",
        &["E119    Type 2 diabetes mellitus without complications", "A000    Cholera"],
    ),
    ("icd-gem", "2018_I9gem.txt", "", &["25000 E119    10000", "0010  A000    00000", "V8801 NODX    11000"]),
    ("phecode", "phecode.csv", "ICD9,PheCode,ICD9 String\n", &["250.00,250.2,\"Type 2, diabetes\"", "001,008,Cholera"]),
    (
        "kgx",
        "g_edges.tsv",
        "id\tsubject\tpredicate\tobject\tnegated\tpublications\n",
        &["e1\tMONDO:1\tbiolink:related_to\tHP:1\tFalse\tPMID:1|PMID:2"],
    ),
    (
        "kgx",
        "g_nodes.tsv",
        "id\tcategory\tname\tsynonym\txref\n",
        &["MONDO:1\tbiolink:Disease|biolink:X\tdiabetes\ta|b\tICD10:E1"],
    ),
    (
        "primekg",
        "kg.csv",
        "relation,display_relation,x_index,x_id,x_type,x_name,x_source,y_index,y_id,y_type,y_name,y_source\n",
        &["drug_protein,target,0,9796,gene/protein,\"P, x\",NCBI,8889,DB1,drug,\"a \"\"b\"\"\",DrugBank"],
    ),
    (
        "hetionet",
        "edges.sif",
        "source\tmetaedge\ttarget\n",
        &["Gene::9021\tGpBP\tBiological Process::GO:0071357", "Disease::DOID:1\tDaG\tGene::2"],
    ),
    (
        "hpoa",
        "phenotype.hpoa",
        "database_id\tdisease_name\tqualifier\thpo_id\treference\tevidence\tonset\tfrequency\tsex\tmodifier\taspect\tbiocuration\n",
        &["OMIM:619340\tX\tNOT\tHP:0011097\tPMID:3\tPCS\tHP:1\t1/2\tMALE\t\tP\tHPO:p[2021-06-21]"],
    ),
    (
        "omop",
        "condition_occurrence.csv",
        "condition_occurrence_id,person_id,condition_concept_id,condition_start_date,condition_start_datetime,condition_source_value\n",
        &["1,17,201826,2020-01-31,2020-01-31 10:00:00,\"E11, x\"", "2,18,0,1999-12-31,,"],
    ),
    (
        "fhir",
        "all.ndjson",
        "",
        &[
            r#"{"resourceType":"Condition","code":{"coding":[{"system":"http://snomed.info/sct","code":"44054006","display":"D"}]},"subject":{"reference":"Patient/1"},"onsetDateTime":"2010-01-09T19:04:32+00:00"}"#,
            r#"{"resourceType":"Patient","id":"1","gender":"female","birthDate":"1970-01","deceasedDateTime":"2020"}"#,
            r#"{"resourceType":"Observation","code":{"coding":[{"code":"1"}]},"subject":{"reference":"Patient/1"},"valueQuantity":{"value":1.5e3,"unit":"cm"},"component":[{"valueString":"\u00e9"}]}"#,
            r#"{"resourceType":"Bundle","entry":[{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Encounter","subject":{"reference":"urn:uuid:2"},"period":{"start":"2011"}}}]}"#,
        ],
    ),
    (
        "synthea-csv",
        "conditions.csv",
        "START,STOP,PATIENT,ENCOUNTER,CODE,DESCRIPTION\n",
        &["2011-06-30,,1d604da9,e1,44054006,\"Diabetes, \"\"type\"\" 2\""],
    ),
    (
        "mimic-iv",
        "diagnoses_icd.csv",
        "subject_id,hadm_id,seq_num,icd_code,icd_version\n",
        &["10000032,22595853,1,5723,9", "1,2,3,E119,10"],
    ),
    (
        "gwas-catalog",
        "a.tsv",
        "DATE ADDED TO CATALOG\tPUBMEDID\tDISEASE/TRAIT\tCHR_ID\tCHR_POS\tSTRONGEST SNP-RISK ALLELE\tSNPS\tP-VALUE\tPVALUE_MLOG\tOR or BETA\t95% CI (TEXT)\tMAPPED_TRAIT_URI\tSTUDY ACCESSION\tRISK ALLELE FREQUENCY\tMAPPED_GENE\n",
        &[
            "2009\t1\tDiabetes\t6\t123\trs1-A\trs1\t3E-971\t970.5\t1.5\t[1.1-1.9] unit increase\thttp://www.ebi.ac.uk/efo/EFO_1\tGCST1\t0.3\tHLA",
            "2009\t1\tX\t6;7\t1;2\trs1-A; rs2-?\trs1; rs2\t1E-9\t9\tNR\tNR\t\tGCST1\tNR\t",
        ],
    ),
    (
        "gwas-ssf",
        "g.tsv",
        "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\teffect_allele_frequency\tp_value\trsid\tn\n",
        &["1\t100\tA\tG\t0.1\t.02\t0.3\t1e-400\trs1\t50508.1", "X\t1.5e+07\t<DEL>\tC\t-9\t1E2\tNA\t0\tRS007\t#NA"],
    ),
    (
        "regenie",
        "r.regenie",
        "CHROM GENPOS ID ALLELE0 ALLELE1 A1FREQ INFO N TEST BETA SE CHISQ LOG10P EXTRA\n",
        &["23 5 rs9 C T 0.2 0.9 494 ADD -0.5 0.1 3 412.5 NA"],
    ),
    (
        "plink",
        "p.assoc.linear",
        " CHR SNP BP A1 TEST NMISS BETA STAT P\n",
        &["  26  rs1  7  A  ADD  4211  0.9792  -0.4324  0.6654 "],
    ),
    (
        "plink2",
        "p.glm.linear",
        "#CHROM\tPOS\tID\tREF\tALT\tA1\tTEST\tOBS_CT\tBETA\tSE\tT_STAT\tP\n",
        &["1\t8\trs1\tG\tA\tG\tADD\t500\t1.2\t0.1\t1.5\t1e-310"],
    ),
    (
        "saige",
        "s.txt",
        "CHR\tPOS\tMarkerID\tAllele1\tAllele2\tAF_Allele2\tBETA\tSE\tp.value\tN\n",
        &["1\t4\t1:4:A:C\tA\tC\t0.01\t-0.1\t0.7\t0.1\t98"],
    ),
    (
        "bolt-lmm",
        "b.txt",
        "SNP\tCHR\tBP\tGENPOS\tALLELE1\tALLELE0\tA1FREQ\tBETA\tSE\tP_BOLT_LMM\n",
        &["rs1\t1\t2\t0.4\tG\tC\t0.3\t0.001\t0.002\t0.1"],
    ),
    (
        "metal",
        "m.tbl",
        "MarkerName\tAllele1\tAllele2\tWeight\tZscore\tP-value\tDirection\n",
        &["1:12345:A:G\tt\tc\t6806.00\t1.121\t0.1\t+++"],
    ),
    (
        "finngen",
        "f.tsv",
        "#chrom\tpos\tref\talt\trsids\tnearest_genes\tpval\tmlogp\tbeta\tsebeta\taf_alt\n",
        &["1\t13668\tG\tA\trs2691328\tOR4F5\t0\t400.5\t-0.3\t1.7\t0.005"],
    ),
    (
        "neale-ukb",
        "n.tsv",
        "variant\tminor_allele\tminor_AF\tn_complete_samples\tAC\tbeta\tse\ttstat\tpval\n",
        &["1:15791:C:T\tC\t0.25\t360388\t4\t0.1\t0.2\t0.5\t0.1"],
    ),
    ("ldsc", "l.sumstats", "SNP\tA1\tA2\tN\tZ\n", &["rs0\tA\tG\t10000.000\t-1.959963984540054"]),
    (
        "gwas-vcf",
        "v.vcf",
        "##fileformat=VCFv4.2\n##FORMAT=<ID=ES,Number=A,Type=Float,Description=\"x\">\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\tS2\n",
        &[
            "1\t49298\trs10\tT\tC,G\t.\tPASS\tAF=0.6\tES:SE:LP:AF:SS:ID\t0.1,0.2:0.01,0.02:inf,3:0.3,0.1:100:rs10\t.:.:.:.:.:.",
        ],
    ),
    (
        "eqtl",
        "e.txt",
        "gene_id\tvariant_id\ttss_distance\tma_samples\tma_count\tmaf\tpval_nominal\tslope\tslope_se\n",
        &["ENSG00000227232.5\tchr1_13550_G_A_b38\t-16003\t19\t19\t0.0163\t1e-5\t0.8\t0.1"],
    ),
    (
        "sumstats",
        "s.csv",
        "CHR,POS,SNP,EA,NEA,OR,SE,PVAL,STRAND\n",
        &["chr2,16,rs1,T,CA,1.5,0.2,0.3,-", "MT,16,rs1_x,1,2,\"0.5\",NA,5e-324,+"],
    ),
    ("mapping", "t.csv", "a,b,c\n", &["x,2020-01-01,1.5", "\"y, z\",NA,\"\""]),
    (
        "mapping",
        "t.ndjson",
        "{\"a\":\"x\",\"b\":\"2020-01-01\",\"c\":{\"d\":1}}\n",
        &[r#"{"a":"x","b":"2020-01-01","c":{"d":1.5e-400}}"#],
    ),
];

/// What finds the holes of parsers.
const PIECES: &[&[u8]] = &[
    b"\t",
    b",",
    b"|",
    b" ",
    b"\"",
    b"\"\"",
    b"\\",
    b"\r",
    b"\n",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    "é".as_bytes(),
    "\u{2028}".as_bytes(),
    b"NA",
    b"-9",
    b".",
    b"-",
    b"+",
    b"e",
    b"1e999",
    b"1e-99999999999999999999",
    b"99999999999999999999",
    b"-0.0",
    b"inf",
    b"NaN",
    b"0x1",
    b"{",
    b"}",
    b"[",
    b"]",
    b"<",
    b">",
    b":",
    b"::",
    b"_",
    b"#",
    b"null",
    b"\\u",
    b"\\ud800",
    b"9999-99-99",
    b"2020-02-30",
    b"%",
];

fn damaged(random: &mut fastrand::Rng, row: &str) -> Vec<u8> {
    let mut bytes = row.as_bytes().to_vec();
    for _ in 0..random.usize(0..4) {
        let (at, to) = (random.usize(0..=bytes.len()), random.usize(0..=bytes.len()));
        let (at, to) = (at.min(to), at.max(to));
        match random.u8(0..6) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..to.min(at + 6))),
            2 => {
                let copy = bytes[at..to.min(at + 12)].to_vec();
                bytes.splice(at..at, copy);
            }
            3 if at < bytes.len() => bytes[at] = random.u8(..),
            _ => {
                let piece = PIECES[random.usize(0..PIECES.len())];
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
    bytes
}

fn options(folder: &std::path::Path) -> ReadOptions {
    let mapping = folder.join("map.yaml");
    let text = "read: {columns: [c, c.d]}\ntables:\n  patient_events: {person_id: a, event_table: \"'x'\", event_date: b, value_as_number: c}\n";
    std::fs::write(&mapping, text).expect("a file");
    let mut options = ReadOptions::new("fuzz", PersonKey::new(b"key"));
    options.mapping = Some(mapping);
    options
}

/// Reads a file to its end: the rows that were read, or nothing where the file as a whole is refused.
fn rows_of(format: &dyn Source, path: &std::path::Path, options: &ReadOptions) -> u64 {
    let Ok(found) = Found::resolve(&path.display().to_string(), &[]) else { return 0 };
    let mut rows = 0;
    for file in found.iter().filter_map(|found| format.files(found).ok()).flatten() {
        let Ok(reader) = format.open(&file, options) else { continue };
        let mut chunks = reader.into_chunks();
        while let Ok(Some(chunk)) = chunks.next_chunk() {
            assert!(chunk.is_balanced(), "{}: rows without a fate in {}", format.name(), path.display());
            rows += chunk.rows_read;
        }
    }
    rows
}

#[test]
fn broken_rows_of_every_format() {
    let wanted: u64 = std::env::var("GENEREL_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(3_000);
    let seed = std::env::var("GENEREL_FUZZ_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let folder = tempfile::tempdir().expect("a folder");
    let options = options(folder.path());
    let (mut total, mut table) = (0, String::new());
    for (name, file, header, rows) in SEEDS {
        let format = format(name).expect("a format");
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut made, mut read, mut files) = (0, 0, 0);
        while made < wanted {
            // Small files let a broken header or document end early; large ones are faster.
            // A document of several lines is one input; elsewhere a file holds many.
            let most = if *name == "obographs" {
                2
            } else if random.u8(..) < 64 {
                6
            } else {
                600
            };
            let count = random.u64(1..most).min(wanted - made);
            let broken_header = random.u8(..) < 40;
            let mut bytes = if broken_header { damaged(&mut random, header) } else { header.as_bytes().to_vec() };
            for _ in 0..count {
                let row = rows[random.usize(0..rows.len())];
                bytes.extend(damaged(&mut random, row));
                bytes.push(b'\n');
            }
            if random.bool() {
                bytes.pop();
            }
            let path = folder.path().join(file);
            std::fs::write(&path, &bytes).expect("a file");
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| rows_of(format, &path, &options)));
            read += checked.unwrap_or_else(|_| {
                let kept = std::env::temp_dir().join(format!("generel-fuzz-{file}"));
                let _ = std::fs::write(&kept, &bytes);
                panic!("{name}: seed {seed}, the file is {}", kept.display());
            });
            made += count;
            files += 1;
        }
        total += made;
        let _ = writeln!(table, "{name:<16}{file:<26}{made:>10} inputs {files:>7} files {read:>10} rows read");
    }
    let fuzzed: Vec<&str> = SEEDS.iter().map(|(name, ..)| *name).collect();
    let left_out: Vec<&str> = FORMATS.iter().map(|f| f.name()).filter(|name| !fuzzed.contains(name)).collect();
    assert_eq!(left_out, [""; 0]);
    println!("{table}{total} inputs, no panic");
}
