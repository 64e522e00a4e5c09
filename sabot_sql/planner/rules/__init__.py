"""The optimizer's rules, one a file; `planner/optimize.py` lists them in order."""
