-- SNPs whose vectors are nearest to a term's, each with the association whose trait is nearest to the term.
WITH near AS (
    SELECT s.rsid, s.similarity_score, g.trait, g.neg_log_10_p_value AS p,
        row_number() OVER (
            PARTITION BY s.rsid
            ORDER BY concept_similarity(g.trait, '{term}') DESC NULLS LAST, g.neg_log_10_p_value DESC NULLS LAST, g.trait
        ) AS nearest
    FROM nearest_snps('{term}', 5) s
    LEFT JOIN gwas_associations g ON g.rsid = s.rsid
)
SELECT rsid, similarity_score, trait, p FROM near WHERE nearest = 1 ORDER BY similarity_score DESC, rsid
