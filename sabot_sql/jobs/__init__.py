"""Durable jobs: a distributed query is a DBOS workflow, a stage is one recorded step."""
