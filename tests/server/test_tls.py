from __future__ import annotations

import contextlib
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import trustme

import sabot_sql
from sabot_sql.errors import ConnectionFailed
from tests.cli.in_process import sabot
from tests.server.live_server import live_server

KEY = "k" * 20


@dataclass(frozen=True)
class Files:
    authority: str
    certificate: str
    key: str


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A certificate for this machine, and the authority that signed it."""
    authority = trustme.CA()
    made = authority.issue_cert("localhost", "127.0.0.1")
    found = Files(*(str(tmp_path / name) for name in ("authority.pem", "certificate.pem", "key.pem")))
    authority.cert_pem.write_to_path(found.authority)
    made.private_key_pem.write_to_path(found.key)
    for part in made.cert_chain_pems:
        part.write_to_path(found.certificate, append=True)
    return found


def test_a_server_with_a_certificate_speaks_https_only(data: Path, files: Files) -> None:
    options = ("--agents", "0", "--tls-cert", files.certificate, "--tls-key", files.key)
    with live_server(data, *options, SABOT_API_KEY=KEY) as server:
        assert server.url.startswith("https://127.0.0.1:")
        with sabot_sql.connect(server.url, api_key=KEY, ca_file=files.authority) as db:
            assert db.execute_sql("SELECT count(*) FROM numbers").scalar() == 10_000
            db.register("sent", pa.table({"i": range(1_000_000)}))
            assert db.execute_sql("SELECT count(*) FROM sent").scalar() == 1_000_000
            with pytest.raises(sabot_sql.QueryError, match="exists"):
                db.register("sent", pa.table({"i": range(1_000_000)}))
        with pytest.raises(ConnectionFailed, match="certificate"), sabot_sql.connect(server.url, api_key=KEY) as db:
            db.execute_sql("SELECT 1")
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            plain.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert b"200" not in plain.recv(1000)
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.load_verify_locations(files.authority)
        with (
            socket.create_connection(("127.0.0.1", port), 10) as raw,
            trusting.wrap_socket(raw, server_hostname="localhost") as secure,
        ):
            assert secure.version() in ("TLSv1.2", "TLSv1.3")


def test_a_certificate_that_cannot_be_used_ends_the_start(data: Path, tmp_path: Path, files: Files) -> None:
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("nonsense")
    serve = ("serve", "--port", "0", "--agents", "0", "--data", data)
    for options, said in (
        (("--tls-cert", files.certificate), "server.tls_key is not set"),
        (("--tls-key", files.key), "server.tls_cert is not set"),
        (("--tls-cert", files.certificate, "--tls-key", nonsense), "cannot be used"),
        (("--tls-cert", tmp_path / "nowhere", "--tls-key", files.key), "cannot be used"),
    ):
        done = sabot(*serve, *options)
        assert (done.returncode, said in done.err, "Traceback" in done.err) == (2, True, False), done.err
