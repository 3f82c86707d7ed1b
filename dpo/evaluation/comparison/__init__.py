"""Is a policy better, by how much, and how sure: answers to held-out prompts, judged and measured.

`rows.jsonl` and `verdicts.jsonl` hold everything that was generated and judged; whatever is shown is a
function of the two (`dpo.evaluation.comparison.result`).  No torch in `rows`, `measures`, `lineage`,
`plan`, `result` and `wording`: pages read them.
"""
