"""The HTTP service (contract in docs/http-api.md)."""
