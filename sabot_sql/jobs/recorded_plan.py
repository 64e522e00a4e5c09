"""Plans in the job database: MessagePack in base64, packed where that saves much."""

from __future__ import annotations

import base64
import zlib
from typing import Any

from sabot_sql.planner.physical import DistributedPlan
from sabot_sql.planner.wire import from_wire, to_wire

PLAIN_BYTES = 16 << 10


def encode_plan(plan: DistributedPlan) -> dict[str, Any]:
    """The entries of a record that hold `plan`, and the stages in their order."""
    wire = to_wire(plan)
    packed = len(wire) > PLAIN_BYTES
    return {
        "stages": [stage.stage_id for stage in plan.stages],
        "packed": packed,
        "plan": base64.b64encode(zlib.compress(wire, 1) if packed else wire).decode(),
    }


def decode_plan(record: dict[str, Any]) -> DistributedPlan:
    """The plan that `encode_plan` wrote."""
    data = base64.b64decode(record["plan"])
    return from_wire(zlib.decompress(data) if record["packed"] else data, DistributedPlan)
