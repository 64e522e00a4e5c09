from __future__ import annotations

import datetime as dt
import os
import stat
import threading
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from sabot_sql.errors import ConfigError, QueryError
from sabot_sql.server import auth
from sabot_sql.server.auth import Access, ApiKeys, authenticate
from sabot_sql.server.keys import add_key, find_key, new_key, plain_key, read_keys, revoke_key
from sabot_sql.server.principal import Principal
from tests.cli.in_process import sabot

LONG = "k" * 20


def asked(keys: ApiKeys, **headers: str) -> Principal:
    return authenticate(Access(keys), Headers(headers))


def bearer(keys: ApiKeys, key: str) -> Principal:
    return asked(keys, authorization=f"Bearer {key}")


def test_a_key_is_kept_as_its_hash_in_a_file_for_its_owner(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    secret, kept = new_key("ada", "admin")
    add_key(file, kept)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert secret not in file.read_text()
    assert secret not in repr(kept)
    assert read_keys(file) == (kept,)
    assert find_key(read_keys(file), secret) == kept
    assert find_key(read_keys(file), secret + "x") is None
    assert bearer(ApiKeys(keys_file=file), secret) == Principal("ada", "admin")


def test_keys_that_are_made_at_once_are_all_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    made = [new_key(f"u{i}", "reader")[1] for i in range(20)]
    threads = [threading.Thread(target=add_key, args=(file, key)) for key in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.id for key in read_keys(file)} == {key.id for key in made}
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_lines_by_hand_stay_when_a_key_is_added_and_revoked(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# people\nzoe:{LONG}\n\neve:admin:{LONG}2\n{LONG}3\n")
    file.chmod(0o640)
    _, kept = new_key("ada", "reader")
    add_key(file, kept)
    assert [(k.user, k.role) for k in read_keys(file)] == [
        ("zoe", "reader"), ("eve", "admin"), ("key5", "reader"), ("ada", "reader"),
    ]  # fmt: skip
    assert revoke_key(file, kept.id) == kept
    assert file.read_text() == f"# people\nzoe:{LONG}\n\neve:admin:{LONG}2\n{LONG}3\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    with pytest.raises(ConfigError, match="there is no key"):
        revoke_key(file, kept.id)


@pytest.mark.parametrize(
    "line",
    [
        "ada:short",
        "{",
        "{}",
        '{"user":"a","role":"owner","sha256":"' + "00" * 32 + '"}',
        '{"user":"a","role":"reader","sha256":"00"}',
        '{"user":"a","role":"reader","sha256":"' + "00" * 32 + '","expires":"soon"}',
        '{"user":"a","role":"reader","sha256":"' + "00" * 32 + '","expires":"2030-01-01"}',
        '{"user":"a","role":"reader","sha256":"' + "00" * 32 + '","more":1}',
        "[1]",
        '{"user":' + "[" * 200_000,
        '{"user":"api","role":"reader","sha256":"' + "00" * 32 + '"}',
    ],
)
def test_a_line_that_is_no_key_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "keys"
    file.write_text(f"ok:{LONG}\n{line}\n")
    with pytest.raises(ConfigError):
        ApiKeys(keys_file=file)


@pytest.mark.parametrize(
    "line",
    [f"team:ada:{LONG}", f"a:b:c:{LONG}", f"api:{LONG}", f"anonymous:admin:{LONG}", f":{LONG}", f"a\x1b:{LONG}", f"a:é{LONG}"],
)
def test_a_line_by_hand_that_may_mean_something_else_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        plain_key(line, "key1")


def test_what_is_wrong_with_a_line_is_said_without_the_key(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("u:reader:abc:def:ghijklmnopqrstu\n")
    with pytest.raises(ConfigError) as refused:
        read_keys(file)
    assert "line 1" in str(refused.value)
    assert "abc" not in str(refused.value)


def test_a_file_with_a_byte_order_mark_and_carriage_returns(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(b"\xef\xbb\xbfada:" + LONG.encode() + b"\r\n\r\n")
    assert [key.user for key in read_keys(file)] == ["ada"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    file, link = tmp_path / "real" / "keys", tmp_path / "link"
    _, kept = new_key("ada", "reader")
    add_key(file, kept)
    link.symlink_to("real/keys")
    revoke_key(link, kept.id)
    assert (link.is_symlink(), read_keys(file)) == (True, ())


def test_a_file_of_somebody_else_stays_theirs(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    add_key(file, new_key("ada", "reader")[1])
    # root may give it to anybody, others to a group of theirs
    user, group = (12345, 12346) if os.geteuid() == 0 else (os.geteuid(), max(os.getgroups(), default=os.getegid()))
    os.chown(file, user, group)
    add_key(file, new_key("zoe", "reader")[1])
    assert (file.stat().st_uid, file.stat().st_gid, stat.S_IMODE(file.stat().st_mode)) == (user, group, 0o600)


def test_a_key_is_not_added_to_a_file_that_servers_refuse(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("nonsense\n")
    with pytest.raises(ConfigError):
        add_key(file, new_key("ada", "reader")[1])
    assert file.read_text() == "nonsense\n"


def test_the_operators_key_is_an_admins_and_may_hold_anything() -> None:
    keys = ApiKeys("secret:with:colons:in:it")
    assert bearer(keys, "secret:with:colons:in:it") == Principal("api", "admin")
    with pytest.raises(QueryError):
        bearer(keys, "it")


def test_a_key_that_has_expired_opens_nothing(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    now = dt.datetime.now(dt.UTC)
    old, kept = new_key("ada", "reader", now - dt.timedelta(seconds=1))
    add_key(file, kept)
    new, kept = new_key("ada", "reader", now + dt.timedelta(days=1))
    add_key(file, kept)
    keys = ApiKeys(keys_file=file)
    assert bearer(keys, new).user == "ada"
    with pytest.raises(QueryError, match="expired"):
        bearer(keys, old)


def test_the_file_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "RELOAD_S", 0.0)
    file = tmp_path / "keys"
    first, kept = new_key("ada", "reader")
    add_key(file, kept)
    keys = ApiKeys(keys_file=file)
    second, other = new_key("zoe", "reader")
    add_key(file, other)
    assert bearer(keys, second).user == "zoe"
    revoke_key(file, kept.id)
    with pytest.raises(QueryError):
        bearer(keys, first)
    file.write_text("nonsense\n")
    assert bearer(keys, second).user == "zoe"  # what was read last holds
    file.unlink()
    assert bearer(keys, second).user == "zoe"
    file.write_text(f"eve:{LONG}\n")
    assert bearer(keys, LONG).user == "eve"


def test_without_keys_only_this_machine_and_its_pages_are_answered() -> None:
    keys = ApiKeys()
    for headers in ({}, {"host": "localhost:8600"}, {"host": "[::1]:8600", "origin": "http://127.0.0.1:3000"}):
        assert asked(keys, **headers) == Principal("anonymous", "admin")
    for headers in (
        {"host": "example.com"},
        {"host": "localhost:8600", "origin": "https://example.com"},
        {"host": "localhost:8600", "origin": "null"},
        {"host": "localhost:8600", "origin": "http://["},
        {"host": "[::1].example.com"},
        {"host": "127.0.0.1:80@example.com"},
        {"host": "localhost:8600", "origin": "http://127.0.0.1#@example.com"},
        {"host": "localhost:8600", "sec-fetch-site": "CROSS-SITE"},
    ):
        with pytest.raises(QueryError) as refused:
            asked(keys, **headers)
        assert refused.value.problem.code == "PERMISSION_DENIED"
    assert asked(ApiKeys(anonymous_role="reader")).role == "reader"


def test_keys_are_made_listed_and_revoked_at_the_command_line(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    made = sabot("key", "create", "ada", "--role", "admin", "--days", "3", "--file", file)
    secret = made.out.strip()
    assert (made.returncode, secret.count("_") >= 2, secret.startswith("sbk_")) == (0, True, True)
    assert secret not in made.err
    listed = sabot("key", "ls", "--format", "csv", "--file", file)
    assert listed.out.splitlines()[0] == "id,user,role,created,expires,tables"
    key_id = listed.out.splitlines()[1].split(",")[0]
    assert secret.startswith(f"sbk_{key_id}_")
    assert sabot("key", "revoke", key_id, SABOT_SERVER__API_KEYS_FILE=str(file)).returncode == 0
    again = sabot("key", "revoke", key_id, "--file", file)
    assert (again.returncode, "there is no key" in again.err) == (2, True)
    assert sabot("key", "ls").returncode == 2
    assert sabot("key", "create", "a:b", "--file", file).returncode == 2
    nowhere = sabot("key", "create", "a", "--file", tmp_path / "no" / "keys")
    assert (nowhere.returncode, "Traceback" in nowhere.err) == (2, False)
