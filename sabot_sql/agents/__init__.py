"""The pool of agents: processes that run tasks and hand blocks to each other over Flight."""
