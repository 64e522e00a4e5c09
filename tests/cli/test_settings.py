from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from sabot_sql.cli.config import config
from sabot_sql.cli.settings import load_settings, setting_names, variable_of
from sabot_sql.errors import ConfigError


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("SABOT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)


def test_flags_win_over_environment_over_file_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sabot.toml").write_text('threshold = 20000\n[server]\nport = 1001\nhost = "127.0.0.2"\n[agents]\ncount = 7\n')
    monkeypatch.setenv("SABOT_SERVER__PORT", "1002")
    monkeypatch.setenv("SABOT_AGENTS__COUNT", "5")
    found = load_settings({"server.port": 1003, "agents.count": None})
    assert (found.server.port, found.agents.count, found.server.host, found.threshold) == (1003, 5, "127.0.0.2", 20_000)
    assert found.results.ttl_s == 3600


def test_engine_gets_what_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SABOT_LOCAL__THREADS", "3")
    monkeypatch.setenv("SABOT_STATE_DIR", "/tmp/state")
    settings = load_settings({"threshold": 5}).to_settings()
    assert (settings.local.threads, settings.threshold, settings.state_dir) == (3, 5, Path("/tmp/state"))


@pytest.mark.parametrize(
    ("name", "hint"), [("SABOT_SERVER__HTPP", "SABOT_SERVER__"), ("SABOT_PORTS", ""), ("SABOT_THRESHHOLD", "SABOT_THRESHOLD")]
)
def test_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=f"{name} is no setting") as caught:
        load_settings({})
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("text", ["[server]\nprot = 1\n", "[servers]\nport = 1\n", "colour = 1\n"])
def test_unknown_name_in_the_file_is_refused(text: str) -> None:
    Path("sabot.toml").write_text(text)
    with pytest.raises(ConfigError, match="there is no setting"):
        load_settings({})


def test_value_out_of_range_names_its_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SABOT_SERVER__PORT", "99999")
    with pytest.raises(ConfigError, match="SABOT_SERVER__PORT is '99999'"):
        load_settings({})


def test_broken_file_is_named() -> None:
    Path("sabot.toml").write_text("port = = 1")
    with pytest.raises(ConfigError, match=r"sabot\.toml is not TOML"):
        load_settings({})


def test_named_file_must_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SABOT_CONFIG", "/nowhere.toml")
    with pytest.raises(ConfigError, match=r"/nowhere\.toml"):
        load_settings({})


def test_config_show_tells_values_sources_and_hides_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("sabot.toml").write_text("[agents]\ncount = 7\n")
    monkeypatch.setenv("SABOT_API_KEY", "a-very-secret-key-indeed")
    shown = CliRunner().invoke(config, ["show"]).output
    assert 'api_key = "********"' in shown
    assert "secret-key" not in shown
    assert "# SABOT_API_KEY" in shown
    count = next(line for line in shown.splitlines() if line.startswith("count"))
    assert count.split() == ["count", "=", "7", "#", "sabot.toml"]


def test_every_setting_has_a_variable() -> None:
    assert variable_of("server.port") == "SABOT_SERVER__PORT"
    assert len(set(setting_names())) == len(list(setting_names())) >= 15
