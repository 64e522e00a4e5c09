"""The Python client: embedded and over HTTP, with one set of names."""
