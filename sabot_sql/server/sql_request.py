"""The body of `POST /v1/sql`, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect, Request

from sabot_sql.client.parameters import params_from_json
from sabot_sql.engine.request import MAX_PRIORITY, QueryRequest
from sabot_sql.errors import NotSupported, QueryError, SabotError
from sabot_sql.server.preferences import read_preferences
from sabot_sql.server.principal import Principal
from sabot_sql.server.query_string import unknown_field

Body = TypeVar("Body", bound=BaseModel)

MAX_WAIT_MS = 60_000
BODY_BYTES = 64 << 20
INLINE_ROWS = 10_000
INLINE_BYTES = 16 << 20
KEY_CHARS = 128

FormatName = Literal["json", "ndjson", "csv", "arrow", "parquet"]


class StatementBody(BaseModel):
    """What every request that carries a statement has."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    sql: str
    params: dict[str, Any] | list[Any] | None = None
    param_types: dict[str, str] = Field(default_factory=dict)
    catalog: str | None = None
    schema_name: str | None = Field(default=None, alias="schema")
    dialect: str = "duckdb"
    timezone: str | None = None
    route: Literal["auto", "local", "distributed"] = "auto"
    threshold: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    engine: Literal["duckdb", "datafusion"] | None = None
    timeout_ms: int | None = Field(default=None, ge=1)
    tags: dict[str, str] = Field(default_factory=dict)
    priority: int = Field(default=0, ge=-MAX_PRIORITY, le=MAX_PRIORITY)

    def to_request(self, principal: Principal, idempotency_key: str | None = None) -> QueryRequest:
        """The request to the engine, in the name of `principal`."""
        return QueryRequest(
            sql=self.sql,
            params=params_from_json(self.params, self.param_types) if self.params or self.param_types else None,
            route=self.route,
            threshold=self.threshold,
            engine=self.engine,
            timeout_s=self.timeout_ms / 1000 if self.timeout_ms else None,
            dialect=self.dialect,
            catalog=self.catalog,
            schema=self.schema_name,
            timezone=self.timezone,
            tags=self.tags,
            idempotency_key=idempotency_key,
            user=principal.user,
            readable=principal.readable,
            writes=principal.may_write,
            priority=self.priority,
        )


class SqlBody(StatementBody):
    """The body of `POST /v1/sql`."""

    wait_ms: int = Field(default=10_000, ge=0, le=MAX_WAIT_MS)
    on_wait_timeout: Literal["continue", "cancel"] | None = None
    row_limit: int = Field(default=INLINE_ROWS, ge=0)
    byte_limit: int = Field(default=INLINE_BYTES, ge=0)
    format: FormatName | None = None
    json_int64: Literal["number", "string"] = "number"
    result_ttl_s: int | None = None
    queue: str = "default"
    settings: dict[str, Any] = Field(default_factory=dict)

    def refuse_what_is_not_built(self) -> None:
        """NOT_SUPPORTED for fields of the contract that have no effect yet, so that nobody relies on them."""
        given = {
            "settings": self.settings,
            "queue": self.queue != "default",
            "result_ttl_s": self.result_ttl_s is not None,
        }
        if named := [name for name, value in given.items() if value]:
            raise NotSupported(f"the field {named[0]} has no effect in this version; leave it out")


class ExplainBody(StatementBody):
    """The body of `POST /v1/explain`."""

    analyze: bool = False
    format: Literal["text", "json", "graph"] = "text"


class ValidateBody(StatementBody):
    """The body of `POST /v1/validate`. Of what says where and how a statement runs nothing matters here; it is taken, so that
    the body of `POST /v1/explain` can be sent as it is."""


async def read_bytes(request: Request) -> bytes:
    """The body, refused as soon as it is too large."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > BODY_BYTES:
        raise body_too_large()
    pieces: list[bytes] = []
    size, more = 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > BODY_BYTES:
            raise body_too_large()
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def body_too_large() -> SabotError:
    """BODY_TOO_LARGE."""
    return QueryError(f"the body is larger than {BODY_BYTES >> 20} MiB", code="BODY_TOO_LARGE")


async def read_sql_body(request: Request) -> SqlBody:
    """The body of `POST /v1/sql`: a JSON object, or the bare statement with its options in the query string."""
    raw = await read_bytes(request)
    return _as_preferred(_body_of(SqlBody, request, raw), request)


async def read_sql_query(request: Request) -> SqlBody:
    """What `GET /v1/sql` has in its query string."""
    await read_bytes(request)
    return _as_preferred(_checked(SqlBody, query_fields(request)), request)


def _as_preferred(body: SqlBody, request: Request) -> SqlBody:
    prefer = request.headers.get("prefer")
    if prefer and "wait_ms" not in body.model_fields_set:
        preferences = read_preferences(prefer)
        if (wait_ms := preferences.wait_ms(MAX_WAIT_MS)) is not None:
            body.wait_ms = wait_ms
            request.state.applied = preferences.applied
    return body


async def read_explain_body(request: Request) -> ExplainBody:
    """The body of `POST /v1/explain`, in the same two forms."""
    return _body_of(ExplainBody, request, await read_bytes(request))


async def read_json_body(model: type[Body], request: Request) -> Body:
    """A body that is JSON and nothing else."""
    raw = await read_bytes(request)
    _must_be_json(content_type(request))
    return _checked_json(model, raw)


async def read_validate_body(request: Request) -> ValidateBody:
    """The body of `POST /v1/validate`, in the same two forms."""
    return _body_of(ValidateBody, request, await read_bytes(request))


def _body_of(model: type[Body], request: Request, raw: bytes) -> Body:
    kind = content_type(request)
    if kind == "application/sql":
        return _checked(model, {**query_fields(request), "sql": _text(raw)})
    _must_be_json(kind)
    if request.scope["query_string"]:
        name = next(iter(request.query_params), request.url.query)
        raise QueryError(
            f"the field {name} stands in the query string, beside a JSON body",
            hint="write it into the body; the query string is for the options of an application/sql body",
        )
    return _checked_json(model, raw)


def query_fields(request: Request) -> dict[str, str]:
    """The fields of the query string.

    Raises:
        QueryError: one is given twice.
    """
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in found:
            raise QueryError(f"the field {name} is given twice")
        found[name] = value
    return found


def content_type(request: Request) -> str:
    """The media type of the body, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def idempotency_key(request: Request) -> str | None:
    """The key of the request, checked."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= KEY_CHARS:
        raise QueryError(f"Idempotency-Key has {len(key)} characters; it may have 1 to {KEY_CHARS}")
    return key


def _must_be_json(kind: str) -> None:
    # a form or text/plain is what a page of another site may send without asking the browser's leave
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise QueryError(
            f"the body is {kind or 'of no type'}",
            hint="send application/json, or the bare statement with -H 'Content-Type: application/sql'",
        )


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise QueryError(f"the statement is not UTF-8: byte {exc.start} is 0x{raw[exc.start]:02x}") from exc


def _checked(kind: type[Body], data: Mapping[str, Any]) -> Body:
    try:
        return kind.model_validate(data)
    except ValidationError as exc:
        raise invalid_fields(exc.errors(include_url=False, include_context=False, include_input=False), kind) from exc


def _checked_json(kind: type[Body], raw: bytes) -> Body:
    try:
        return kind.model_validate_json(raw)
    except ValidationError as exc:
        raise invalid_fields(exc.errors(include_url=False, include_context=False, include_input=False), kind) from exc


def invalid_fields(errors: Sequence[Any], model: type[BaseModel] | None = None) -> SabotError:
    """BAD_REQUEST naming the first field that is wrong; `errors` are pydantic's, `model` knows the fields that there are."""
    first = errors[0]
    field = ".".join(str(part) for part in first["loc"]).removeprefix("query.").removeprefix("path.")
    match first["type"]:
        case "extra_forbidden":
            fields = model.model_fields.items() if model is not None else ()
            return unknown_field(field, [known.alias or name for name, known in fields])
        case "missing":
            return QueryError(f"the field {field} is missing")
        case "json_invalid":
            return QueryError(f"the body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}")
    return QueryError(f"field {field}: {first['msg']}" if field else f"the body is not a request: {first['msg']}")
