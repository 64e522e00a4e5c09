"""Arrow IPC files as a dataset, which engines scan with their projection and filters pushed down.

pyarrow's own dataset would hand over what is in the files unchecked, and filter it before: offsets that point nowhere then
end the process. This one reads through `ipc_files`, which checks every batch.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from sabot_sql.catalog.ipc_files import IpcFile, carrying, is_owned
from sabot_sql.catalog.table import ScanSpec

if TYPE_CHECKING:
    import pyarrow.dataset as ds

READ_AHEAD = 2  # batches


def ipc_dataset(spec: ScanSpec, files: Sequence[int] | None = None) -> ds.Dataset:
    """The files of a table of kind `ipc`, or some of them."""
    import pyarrow.dataset as ds  # it imports pandas: 0.3 s

    chosen = tuple(range(len(spec.files)) if files is None else files)
    with IpcFile(spec.files[chosen[0]], is_owned(spec)) as file:
        schema = file.schema
    dataset = _checked()([], schema, ds.IpcFileFormat())  # what it has is asked of its pieces
    dataset.pieces = [Piece(spec, i, schema) for i in chosen]
    return dataset


class Piece:
    """One file of the dataset, as engines that take it file by file ask for it."""

    def __init__(self, spec: ScanSpec, number: int, schema: pa.Schema) -> None:
        self._spec = spec
        self._number = number
        self._schema = schema

    def scanner(self, schema: Any = None, columns: list[str] | None = None, filter: Any = None, **_: Any) -> ds.Scanner:
        """Scan the file; the arguments are those of pyarrow's fragments."""
        return _scanner(self._schema, [self], columns, filter)

    def batches(self, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """All rows of the file; of `columns` in the file's order."""
        with IpcFile(self._spec.files[self._number], is_owned(self._spec), columns) as file:
            yield from file.batches()


@functools.cache
def _checked() -> Any:
    import pyarrow.dataset as ds

    class CheckedDataset(ds.FileSystemDataset):  # type: ignore[misc]
        pieces: list[Piece]

        def scanner(self, columns: list[str] | None = None, filter: Any = None, **_: Any) -> ds.Scanner:
            return _scanner(self.schema, self.pieces, columns, filter)

        def get_fragments(self, filter: Any = None) -> list[Piece]:
            return self.pieces

    return CheckedDataset


def _scanner(schema: pa.Schema, pieces: Sequence[Piece], columns: list[str] | None, filter: Any) -> ds.Scanner:
    import pyarrow.dataset as ds

    names = columns if columns is not None else schema.names
    text = "" if filter is None else str(filter)  # a field stands there under its own name
    read = [name for name in schema.names if name in names or name in text] or schema.names[:1]
    found = pa.schema([schema.field(name) for name in read], schema.metadata)
    batches = carrying(batch for piece in pieces for batch in piece.batches(read))
    return ds.Scanner.from_batches(batches, schema=found, columns=names, filter=filter, batch_readahead=READ_AHEAD)
