"""The benchmarks: each budget of the product, measured beside a peer on the same machine in the same run.

    python -m bench                all of it; a table, and bench/results.json
    python -m bench emit lineage   these groups; the other rows of results.json stay

docs/reference/benchmarks.md says what each figure means. Whether the product is right is the
business of the tests; nothing here checks more than that what was measured has happened.
"""
