"""Running one task of a stage: pipelines of morsel operators over Arrow batches, and the local engines."""
