"""Who asks the server, and what they may do there."""

from __future__ import annotations

from dataclasses import dataclass

from sabot_sql.server.keys import Role


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: a `reader` asks queries and sees their own, a `writer` also puts and drops tables, an `admin` sees the queries
    of all and runs the agents.

    Attributes:
        readable: patterns of the tables that they may read, and write if they may write any; None for all.
    """

    user: str
    role: Role
    readable: tuple[str, ...] | None = None

    def sees(self, user: str) -> bool:
        """Whether queries of `user` are theirs to see and to cancel."""
        return user == self.user or self.role == "admin"

    @property
    def may_write(self) -> bool:
        """Whether they may put and drop tables, those that they may read."""
        return self.role != "reader"
