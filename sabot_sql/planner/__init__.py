"""From SQL text to stages of tasks: parse, estimate, route; bind, optimize, physical plan, stages, EXPLAIN."""
