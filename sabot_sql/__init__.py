"""sabot-sql: one SQL endpoint for the 1 ms query and the 1 h query."""

__version__ = "0.1.0"
