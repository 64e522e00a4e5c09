"""Benchmarks: one script a question; every figure beside DuckDB's from the same run."""
