"""SQLAlchemy's own tests of dialects, over the real engine; run by tests/sqlalchemy/test_compliance.py from this folder."""

from __future__ import annotations

import pytest
from sqlalchemy.dialects import registry as dialects

dialects.register("sabot.written", "written", "WrittenDialect")
pytest.register_assert_rewrite("sqlalchemy.testing.assertions")

from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: E402, F403
