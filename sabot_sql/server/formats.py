"""Answers in the formats of the contract, as bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from sabot_sql.client.carried_types import first_not_in_parquet
from sabot_sql.client.contract import ARROW_STREAM, CSV, PARQUET, QUERY_METADATA, result_to_json
from sabot_sql.client.csv_rows import csv_text
from sabot_sql.client.json_values import dump_json, json_rows, ndjson_text
from sabot_sql.client.pieces import Pieces
from sabot_sql.engine.request import QueryResult
from sabot_sql.errors import NotSupported, QueryError, SabotError

MEDIA_TYPES = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": CSV,
    "arrow": ARROW_STREAM,
    "parquet": PARQUET,
}
FORMAT_OF = {media: name for name, media in MEDIA_TYPES.items()}
ROWS_A_PIECE = 4096
STREAM_BYTES = 4 << 20  # Arrow answers above this are sent in pieces, one a batch
BATCH_ROWS = 2048  # an answer of no more is one batch, and there would be one piece
IPC_OPTIONS = pa.ipc.IpcWriteOptions()


@dataclass(frozen=True, slots=True)
class Encoding:
    """How an answer is to be written.

    Attributes:
        row_limit, byte_limit: of inline JSON, NDJSON and CSV; None for all of it.
    """

    format: str = "json"
    row_limit: int | None = None
    byte_limit: int | None = None
    int64_as_text: bool = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """A written answer: whole, or in pieces."""

    media_type: str
    body: bytes | Iterator[bytes]
    truncated: bool = False


def choose_format(accept: str | None, named: str | None, allowed: tuple[str, ...]) -> str:
    """The format that the request asks for: by name, else by its Accept header; NOT_ACCEPTABLE when it is not `allowed`."""
    if named is not None:
        if named in allowed:
            return named
        raise QueryError(f"format {named} is not available here; there are {', '.join(allowed)}", code="NOT_ACCEPTABLE")
    if not accept or accept == "*/*":
        return allowed[0]
    if accept == ARROW_STREAM and "arrow" in allowed:
        return "arrow"
    wanted = sorted(accept.split(","), key=_quality, reverse=True)
    for choice in wanted:
        media = choice.partition(";")[0].strip().lower()
        if media in ("*/*", "application/*"):
            return allowed[0]
        if (name := FORMAT_OF.get(media)) in allowed and name is not None:
            return name
    known = ", ".join(MEDIA_TYPES[name] for name in allowed)
    raise QueryError(f"no format of {accept!r} is available; there are {known}", code="NOT_ACCEPTABLE")


def _quality(choice: str) -> float:
    found = re.search(r";\s*q=([0-9.]+)", choice)
    return float(found[1]) if found else 1.0


def encode(result: QueryResult, how: Encoding) -> Encoded:
    """`result` as bytes."""
    match how.format:
        case "json":
            return _json(result, how)
        case "ndjson":
            return _lines(result, how, lambda piece, _: ndjson_text(piece, how.int64_as_text))
        case "csv":
            return _lines(result, how, lambda piece, first: csv_text(piece, header=first))
        case "arrow":
            return _arrow(result)
    return _parquet(result)


def _json(result: QueryResult, how: Encoding) -> Encoded:
    def piece_text(piece: pa.Table, first: bool) -> str:
        return ("" if first else ",") + dump_json(json_rows(piece, how.int64_as_text))[1:-1]

    texts, rows = _limited(result.table, how, piece_text)
    meta = result_to_json(result)
    meta["row_count"] = rows
    meta["truncated"] = rows < result.table.num_rows
    if meta["truncated"]:
        meta["total_rows"] = result.table.num_rows
        meta["links"] = {"result": f"/v1/queries/{result.query_id}/result"}
    body = dump_json(meta)[:-1] + ',"rows":[' + "".join(texts) + "]}"
    return Encoded(MEDIA_TYPES["json"], body.encode(), meta["truncated"])


def _lines(result: QueryResult, how: Encoding, piece_text: Callable[[pa.Table, bool], str]) -> Encoded:
    texts, rows = _limited(result.table, how, piece_text)
    return Encoded(MEDIA_TYPES[how.format], "".join(texts).encode(), rows < result.table.num_rows)


def _limited(table: pa.Table, how: Encoding, piece_text: Callable[[pa.Table, bool], str]) -> tuple[list[str], int]:
    """The texts of as many rows as the limits allow, and their number."""
    rows = table.num_rows if how.row_limit is None else min(table.num_rows, how.row_limit)
    if rows <= ROWS_A_PIECE:
        text = piece_text(table.slice(0, rows), True)
        if how.byte_limit is None or len(text) <= how.byte_limit // 4 or len(text.encode()) <= how.byte_limit:
            return [text], rows
    texts: list[str] = []
    size = done = 0
    step = ROWS_A_PIECE
    while done < rows or not texts:
        count = min(step, rows - done)
        text = piece_text(table.slice(done, count), done == 0)
        size += len(text.encode())
        if how.byte_limit is not None and size > how.byte_limit:
            if count <= 1:
                break
            size -= len(text.encode())
            step = count // 2
            continue
        texts.append(text)
        done += count
    return texts, done


def _arrow(result: QueryResult) -> Encoded:
    metadata = {**(result.table.schema.metadata or {}), QUERY_METADATA: json.dumps(result_to_json(result)).encode()}
    table = result.table.replace_schema_metadata(metadata)
    if table.num_rows > BATCH_ROWS and table.nbytes > STREAM_BYTES:
        return Encoded(ARROW_STREAM, _arrow_pieces(table))
    sink = pa.BufferOutputStream()
    writer = pa.RecordBatchStreamWriter(sink, table.schema, options=IPC_OPTIONS)
    writer.write_table(table)
    writer.close()
    return Encoded(ARROW_STREAM, sink.getvalue().to_pybytes())


def _arrow_pieces(table: pa.Table) -> Iterator[bytes]:
    pieces = Pieces()
    with pa.ipc.new_stream(pa.PythonFile(pieces, mode="w"), table.schema) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch)
            yield pieces.take()
    yield pieces.take()


def _parquet(result: QueryResult) -> Encoded:
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    try:
        pq.write_table(result.table, sink)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as exc:
        raise _not_in_parquet(result) from exc
    return Encoded(MEDIA_TYPES["parquet"], sink.getvalue().to_pybytes())


def _not_in_parquet(result: QueryResult) -> SabotError:
    """NOT_SUPPORTED naming the first column that Parquet cannot hold."""
    place = first_not_in_parquet(result.table)
    if place is None:
        return NotSupported("the answer cannot be written as Parquet", hint="take arrow, json, ndjson or csv")
    field = result.table.schema.field(place)
    kind = str(result.columns[place].type) if result.columns else str(field.type)
    return NotSupported(
        f'column "{field.name}" has the type {kind}, which Parquet cannot hold',
        hint=f'cast it in the query, as "{field.name}"::VARCHAR, or take arrow, json, ndjson or csv',
    )
