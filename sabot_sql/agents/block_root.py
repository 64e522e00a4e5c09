"""Where the block files of one coordinator lie, and how they go away.

Blocks belong to the job, not to the agent that wrote them. They lie in a folder of their own in shared memory and, past what
may lie there, in one on disk, under the state or temporary folder. Both are locked by the coordinator for as long as it
lives. What a dead coordinator left is removed by the next one that starts.

Beside them is a folder of the same kind for what operators spill (`executor/spill.py`), with a sub-folder an agent. An agent
removes at its start what its predecessor left there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Literal

from sabot_sql.agents.block_budget import Place
from sabot_sql.agents.machine_memory import machine_memory
from sabot_sql.config import AgentSettings
from sabot_sql.errors import InternalError, ServiceError
from sabot_sql.executor.owned_folders import claim, release, remove_folder, sweep

SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_FREE_BYTES = 1 << 30  # with less of it free, it is not used unless it is asked for

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class BlockRoot:
    """Locked folders with one sub-folder a job.

    Args:
        state_dir: where blocks lie on disk; None for the system's temporary folder.
        settings: what they may take.

    Attributes:
        places: from the fastest to the last.
        spill: the folder for what operators spill.
        spill_bytes: what may lie there.
    """

    def __init__(self, state_dir: Path | None = None, settings: AgentSettings | None = None) -> None:
        settings = settings or AgentSettings()
        disk = disk_parent(state_dir)
        siblings = list(state_dir.parent.glob("*/blocks")) if state_dir is not None else []
        spill = _spill_parent(settings.spill_dir, disk)
        for parent in {SHARED_MEMORY, disk, spill, *siblings}:
            sweep(parent)
        memory_bytes = shared_memory_bytes(settings.block_memory_bytes)
        self._made = disk if state_dir is not None else None
        self._claimed: list[tuple[Path, int]] = []
        places = []
        try:
            if memory_bytes:
                root = self._claim(SHARED_MEMORY)
                places.append(Place(str(root), memory_bytes, 0, "agents.block_memory_bytes"))
            disk_bytes = settings.block_disk_bytes
            if disk_bytes == "auto":
                disk_bytes = shutil.disk_usage(disk).free // 2
            places.append(Place(str(self._claim(disk)), disk_bytes, settings.block_disk_free_bytes))
            self.spill = self._claim(spill)
            spill_bytes = settings.spill_bytes
            self.spill_bytes = shutil.disk_usage(spill).free // 2 if spill_bytes == "auto" else spill_bytes
        except BaseException:
            self.remove()
            raise
        self.places = tuple(places)

    @property
    def path(self) -> Path:
        """The folder that blocks go to first."""
        return Path(self.places[0].root)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All folders."""
        return tuple(Path(place.root) for place in self.places)

    def open_job(self, job_id: str) -> None:
        """Make the job's folders. Only the coordinator does: a writer that finds none knows that the job was dropped."""
        for root in self.paths:
            job_folder(root, job_id).mkdir(mode=0o700, exist_ok=True)

    def drop_job(self, job_id: str) -> None:
        """Remove all blocks of the job, and what its tasks have spilled."""
        for root in (*self.paths, *self._agents()):
            drop_job(root, job_id)

    def _agents(self) -> list[Path]:
        """The agents' folders for what is spilled."""
        return [path for path in self.spill.iterdir() if path.is_dir()]

    def remove(self) -> None:
        """Remove the folders and give up the locks."""
        while self._claimed:
            release(*self._claimed.pop())
        if self._made is not None:
            with contextlib.suppress(OSError):  # another pool's folder lies there too
                self._made.rmdir()

    def _claim(self, parent: Path) -> Path:
        self._claimed.append(claim(parent))
        return self._claimed[-1][0]


def job_folder(root: Path, job_id: str) -> Path:
    """The folder of a job under `root`.

    Raises:
        InternalError: when the id could leave the root.
    """
    if not _JOB_ID.fullmatch(job_id):
        raise InternalError(f"the job id {job_id!r} cannot name a folder; use letters, digits, '_', '.' and '-'")
    return root / job_id


def drop_job(root: Path, job_id: str) -> None:
    """Remove the blocks of a job; nothing happens when there are none."""
    remove_folder(job_folder(root, job_id))


def disk_parent(state_dir: Path | None) -> Path:
    """The folder on disk that the coordinator's folder is made in."""
    if state_dir is None:
        return Path(tempfile.gettempdir())
    blocks = state_dir / "blocks"
    blocks.mkdir(parents=True, exist_ok=True)
    return blocks


def _spill_parent(spill_dir: str | None, disk: Path) -> Path:
    if spill_dir is None:
        return disk
    folder = Path(spill_dir).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ServiceError(f"the folder {folder} of agents.spill_dir cannot be made: {exc.strerror}") from exc
    return folder


def shared_memory_bytes(asked: int | Literal["auto"]) -> int:
    """What blocks may take of shared memory: by itself half of what is free there, a quarter of the machine's memory and half
    of what of that is available, whichever is least; 0 where shared memory is small or cannot be written."""
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError:
        return 0
    if not os.access(SHARED_MEMORY, os.W_OK):
        return 0
    if asked != "auto":
        return asked
    if free < SHARED_MEMORY_FREE_BYTES:
        return 0
    total, available = machine_memory()
    return min(free // 2, total // 4, available // 2)
