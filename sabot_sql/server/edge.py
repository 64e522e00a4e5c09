"""The outermost layer of the server: request ids, who is asking, errors that nobody else has caught, and compression."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sabot_sql.errors import InternalError, SabotError, ServiceError
from sabot_sql.server.auth import Access, authenticate
from sabot_sql.server.compression import CompressedSend, coding_of
from sabot_sql.server.problems import problem_response
from sabot_sql.server.rates import Rates

log = logging.getLogger("sabot_sql.server")

OPEN_PATHS = frozenset(("/livez", "/readyz", "/healthz"))
REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


REFUSED = (401, 403, 429)


class Door:
    """What all requests of one server share.

    Args:
        open_paths: what is told to everybody, under any host's name.

    Attributes:
        closing: set when the server is told to stop; new requests are refused from then on.
        responses: how many there were of each status.
    """

    def __init__(self, access: Access, open_paths: frozenset[str] = OPEN_PATHS) -> None:
        self.access = access
        self.rates = Rates(access.requests_per_s)
        self.open_paths = open_paths
        self.closing = False
        self.responses: Counter[int] = Counter()


Handler = Callable[[Request], Awaitable[Response]]


class Edge:
    """ASGI middleware around the application.

    Args:
        direct: handlers of (method, path) that are called without the framework's routing, which costs more than they do.
    """

    def __init__(self, app: ASGIApp, door: Door, direct: Mapping[tuple[str, str], Handler]) -> None:
        self.app = app
        self.door = door
        self.direct = direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if head := scope["method"] == "HEAD":  # answered as GET is, without the body
            scope = {**scope, "method": "GET"}
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else f"r_{os.urandom(16).hex()}"
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"], state["head"], state["applied"] = request_id, head, ""
        started = False
        coding = None if head else coding_of(headers.get("accept-encoding", ""))
        out = send if coding is None else CompressedSend(send, coding)

        async def send_named(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self.door.responses[message["status"]] += 1
                if message["status"] in REFUSED:
                    self._tell_refusal(scope, message["status"])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                if state["applied"]:
                    message["headers"].append((b"preference-applied", state["applied"].encode()))
            elif head and message["type"] == "http.response.body":
                message["body"] = b""
            await out(message)

        try:
            if scope["path"] not in self.door.open_paths:
                if self.door.closing:
                    raise ServiceError("the server is stopping", code="SHUTTING_DOWN", retryable=True)
                principal = state["principal"] = authenticate(self.door.access, headers)
                self.door.rates.take(principal.user)
            handler = self.direct.get((scope["method"], scope["path"]))
            if handler is None:
                await self.app(scope, receive, send_named)
            else:
                response = await handler(Request(scope, receive))
                await response(scope, receive, send_named)
        except SabotError as error:
            if started:
                raise
            await problem_response(error, request_id)(scope, receive, send_named)
        except ClientDisconnect:
            log.debug("request %s: the client left", request_id)
        except Exception:
            log.exception("request %s failed: %s %s", request_id, scope["method"], scope["path"])
            if not started:
                found = InternalError("an error of the server; its log has more under the request id")
                await problem_response(found, request_id)(scope, receive, send_named)

    @staticmethod
    def _tell_refusal(scope: Scope, status: int) -> None:
        state, (host, _) = scope["state"], scope.get("client") or ("?", 0)
        user = state["principal"].user if "principal" in state else None
        fields = {"request_id": state["request_id"], "status": status, "client": host, "user": user}
        text = "refused %s %s of %s at %s with %d"
        log.info(text, scope["method"], scope["path"], user, host, status, extra={"fields": fields})
