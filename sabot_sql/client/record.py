"""Mappings of the contract whose keys are attributes too."""

from __future__ import annotations

from typing import Any


class Record(dict[str, Any]):
    """A JSON object of the HTTP contract: `agent["state"]` and `agent.state` are the same."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no {name} here; there are {', '.join(self)}") from None
