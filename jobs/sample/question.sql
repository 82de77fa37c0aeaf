WITH conditions AS (
    SELECT curie(source_vocabulary, source_code) AS id, min(source_name) AS condition, count(DISTINCT person_id) AS persons
    FROM patient_events
    WHERE event_table = 'condition_occurrence' AND source_name IS NOT NULL
    GROUP BY 1
    HAVING count(DISTINCT person_id) >= 2
),
-- A best match that a curator would take without a second look: equal names, or nearly so and mutual.
sure AS (
    SELECT subject_id, subject_label, subject_source, object_id, object_label, similarity_score
    FROM mappings
    WHERE rank = 1 AND (mapping_justification = 'semapv:LexicalMatching' OR (mutual AND similarity_score >= 0.8))
),
-- A condition and a trait that meet in a term; of several terms the nearest to both.
met AS (
    SELECT c.id, c.condition, c.persons, a.object_id, a.object_label, b.subject_label AS trait,
        row_number() OVER (
            PARTITION BY c.id, b.subject_label
            ORDER BY a.similarity_score + b.similarity_score DESC, a.object_id
        ) AS nearest
    FROM conditions c
    JOIN sure a ON a.subject_id = c.id AND a.subject_source = 'hospital'
    JOIN sure b ON b.object_id = a.object_id AND b.subject_source = 'gwas_catalog'
),
hits AS (
    SELECT m.id, m.condition, m.persons, min(m.object_label || ' (' || m.object_id || ')') AS ontology_term, g.rsid,
        max(g.neg_log_10_p_value) AS p
    FROM met m
    JOIN gwas_associations g ON g.trait = m.trait
    WHERE m.nearest = 1 AND g.rsid IS NOT NULL AND g.neg_log_10_p_value > -log10(5e-8)
    GROUP BY m.id, m.condition, m.persons, g.rsid
),
traits AS (
    SELECT id, string_agg(DISTINCT trait, '; ' ORDER BY trait) AS traits FROM met WHERE nearest = 1 GROUP BY id
)
SELECT h.condition, h.persons, min(h.ontology_term) AS ontology_term, t.traits, count(*) AS snps,
    array_to_string(array_slice(array_agg(h.rsid ORDER BY h.p DESC, h.rsid), 1, 5), ', ') AS top_snps, max(h.p) AS best
FROM hits h
JOIN traits t ON t.id = h.id
GROUP BY h.id, h.condition, h.persons, t.traits
ORDER BY h.persons DESC, h.condition
