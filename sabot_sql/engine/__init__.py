"""The trip of one query: prepare, route, run locally or over the agents."""
