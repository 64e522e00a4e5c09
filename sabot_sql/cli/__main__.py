"""`python -m sabot_sql.cli`."""

import sys

from sabot_sql.cli.main import main

sys.exit(main())
