"""The recipes in deploy/ are valid, and start commands that there are."""

from __future__ import annotations

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml

from sabot_sql.cli.main import cli

DEPLOY = Path(__file__).parent.parent / "deploy"
MANIFESTS = [(path.name, document) for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
             for document in yaml.safe_load_all(path.read_text())]  # fmt: skip
KUBERNETES = "1.31"


def check(arguments: list[str]) -> None:
    """The command line is one that `sabot-sql` takes: command and options are there and their values fit."""
    with click.Context(cli) as context:
        command = cli.get_command(context, arguments[0])
        assert command is not None, arguments[0]
        parsed = command.make_context(arguments[0], list(arguments[1:]), resilient_parsing=False)
    assert "token_file" in parsed.params


@pytest.mark.parametrize(("name", "manifest"), MANIFESTS, ids=lambda value: value if isinstance(value, str) else value["kind"])
def test_manifests_are_what_kubernetes_takes(name: str, manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    template = manifest["spec"].get("template")
    if template is not None:
        (container,) = template["spec"]["containers"]
        check([re.sub(r"^\$\((\w+)\)$", "10.0.0.7", argument) for argument in container["args"]])


def test_a_wrong_manifest_is_noticed() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**MANIFESTS[0][1], "spec": {"replicas": "many"}}, KUBERNETES, strict=True)


def test_compose_file_names_commands_that_there_are() -> None:
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert set(services) == {"server", "agent"}
    for service in services.values():
        check(service["command"])
        assert (DEPLOY.parent / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("path", sorted((DEPLOY / "systemd").glob("*.service")), ids=lambda path: path.stem)
def test_units_start_commands_that_there_are(path: Path) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(path)
    command = shlex.split(unit["Service"]["ExecStart"])
    assert command[0].endswith("/sabot-sql")
    check(command[1:])
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_everything_the_image_copies_is_there() -> None:
    for line in re.findall(r"^COPY (.+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE):
        for name in line.split()[:-1]:
            assert (DEPLOY.parent / name).exists(), name
