"""The settings of a process: flags > `SABOT_*` > configuration file > defaults. Unknown names are refused."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from sabot_sql.cli.config_file import NOT_SETTINGS, PREFIX, config_file
from sabot_sql.config import AgentSettings, DurableSettings, LocalSettings, Settings, cores
from sabot_sql.errors import ConfigError

if TYPE_CHECKING:
    from sabot_sql.server.auth import Access
    from sabot_sql.server.serve import Tls


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(extra="forbid")


class ServerSection(Section):
    """`[server]`: where the server listens, the keys that open it, its certificate, and how long it waits for a client that is
    gone."""

    host: str = "127.0.0.1"
    port: int = Field(default=8600, ge=0, le=65535)
    api_keys_file: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_keys: str | None = None
    anonymous_role: Literal["reader", "writer", "admin"] = "admin"
    tls_cert: str | None = None
    tls_key: str | None = None
    cors_origins: list[Annotated[str, Field(pattern=r"^https?://[^/*]+$")]] = Field(default_factory=list)
    requests_per_s: float = Field(default=0.0, ge=0)
    client_timeout_s: float = Field(default=Settings().client_timeout_s, gt=0)
    slow_query_s: float = Field(default=Settings().slow_query_s, gt=0)
    metrics_open: bool = False


class LocalSection(Section):
    """`[local]`: the local route."""

    engine: Literal["duckdb", "datafusion"] = "duckdb"
    threads: int = Field(default_factory=cores, ge=1)
    memory_bytes: int = Field(default=LocalSettings().memory_bytes, ge=64 << 20)
    concurrency: int = Field(default=LocalSettings().concurrency, ge=1)
    large_concurrency: int = Field(default=LocalSettings().large_concurrency, ge=1)
    budget_s: float = Field(default=LocalSettings().budget_s, gt=0)
    budget_bytes: int = Field(default=LocalSettings().budget_bytes, ge=64 << 20)
    guarded_processes: int = Field(default=LocalSettings().guarded_processes, ge=1)
    guarded_memory_bytes: int = Field(default=LocalSettings().guarded_memory_bytes, ge=256 << 20)
    guarded_timeout_s: float = Field(default=LocalSettings().guarded_timeout_s, gt=0)
    max_bytes: int = Field(default=Settings().local_max_bytes, ge=0)


class AgentsSection(Section):
    """`[agents]`: the pool."""

    provider: Literal["local", "static", "ray"] = "local"
    ray_address: str = AgentSettings().ray_address
    listen: str = AgentSettings().listen
    token_file: str | None = None
    lease_s: float = Field(default=AgentSettings().lease_s, gt=0)
    count: int = Field(default=AgentSettings().count, ge=0)
    threads: int = Field(default=0, ge=0)
    memory_bytes: int = Field(default=AgentSettings().memory_bytes, ge=64 << 20)
    spill_dir: str | None = None
    spill_bytes: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    morsel_bytes: int = Field(default=AgentSettings().morsel_bytes, ge=16 << 10, le=64 << 20)
    lane: Literal["file", "flight"] = "file"
    compression: Literal["none", "lz4"] = "none"
    block_memory_bytes: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    block_disk_bytes: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    block_disk_free_bytes: int = Field(default=AgentSettings().block_disk_free_bytes, ge=0)
    column_cache_bytes: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    start_timeout_s: float = Field(default=AgentSettings().start_timeout_s, gt=0)


class TablesSection(Section):
    """`[tables]`: what may be put over HTTP, and whether statements may write."""

    upload_bytes: int = Field(default=Settings().upload_bytes, ge=0)
    upload_s: float = Field(default=Settings().upload_s, gt=0)
    folders: list[str] = Field(default_factory=list)
    writable: bool = False


class ResultsSection(Section):
    """`[results]`: how large answers may be, how long they are kept, and in how much room."""

    ttl_s: float = Field(default=Settings().result_ttl_s, gt=0)
    max_bytes: int = Field(default=Settings().result_max_bytes, ge=1 << 20)
    memory_bytes: int = Field(default=Settings().result_memory_bytes, ge=0)
    disk_bytes: int = Field(default=Settings().result_disk_bytes, ge=0)


class DurableSection(Section):
    """`[durable]`: where jobs are recorded."""

    url: SecretStr | None = None
    results_dir: str | None = None
    lease_s: float = Field(default=DurableSettings().lease_s, ge=1)
    migrate: bool = True


class ProcessSettings(BaseSettings):
    """All settings; `SABOT_SERVER__PORT` is `port` in `[server]`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid")

    url: str | None = None
    data: str | None = None
    state_dir: str | None = None
    threshold: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    learn_statistics: bool = True
    api_key: SecretStr | None = None
    server: ServerSection = Field(default_factory=ServerSection)
    local: LocalSection = Field(default_factory=LocalSection)
    agents: AgentsSection = Field(default_factory=AgentsSection)
    tables: TablesSection = Field(default_factory=TablesSection)
    results: ResultsSection = Field(default_factory=ResultsSection)
    durable: DurableSection = Field(default_factory=DurableSection)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = config_file()
        if file is None:
            return (init_settings, env_settings)
        return (init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file))

    @property
    def key(self) -> str | None:
        """The API key, to be sent or asked for."""
        return self.api_key.get_secret_value() if self.api_key else None

    def access(self) -> Access:
        """Who may ask the server."""
        from sabot_sql.server.auth import Access, ApiKeys

        section = self.server
        keys = ApiKeys(self.key, section.api_keys_file, section.anonymous_role)
        tokens = None
        if section.jwt_issuer or section.jwt_audience or section.jwt_keys:
            from sabot_sql.server.tokens import tokens_of

            tokens = tokens_of(section.jwt_issuer, section.jwt_audience, section.jwt_keys)
        return Access(keys, tokens, frozenset(section.cors_origins), section.requests_per_s)

    def tls(self) -> Tls | None:
        """The certificate that the server has.

        Raises:
            ConfigError: it has one without a key, or a key without one.
        """
        from sabot_sql.server.serve import Tls

        section = self.server
        if not section.tls_cert and not section.tls_key:
            return None
        if not section.tls_cert or not section.tls_key:
            missing = "tls_key" if section.tls_cert else "tls_cert"
            raise ConfigError(f"server.{missing} is not set", hint="TLS takes a certificate and its key, both as PEM files")
        return Tls(os.path.expanduser(section.tls_cert), os.path.expanduser(section.tls_key))

    def to_settings(self) -> Settings:
        """What the engine needs of them."""
        return Settings(
            state_dir=Path(self.state_dir).expanduser() if self.state_dir else None,
            threshold=self.threshold,
            learn_statistics=self.learn_statistics,
            local_max_bytes=self.local.max_bytes,
            result_ttl_s=self.results.ttl_s,
            result_max_bytes=self.results.max_bytes,
            result_memory_bytes=self.results.memory_bytes,
            result_disk_bytes=self.results.disk_bytes,
            client_timeout_s=self.server.client_timeout_s,
            slow_query_s=self.server.slow_query_s,
            metrics_open=self.server.metrics_open,
            upload_bytes=self.tables.upload_bytes,
            upload_s=self.tables.upload_s,
            table_folders=tuple(self.tables.folders),
            writable=self.tables.writable,
            local=LocalSettings(**self.local.model_dump(exclude={"max_bytes"})),
            agents=AgentSettings(**self.agents.model_dump()),
            durable=self.to_durable(),
        )

    def to_durable(self) -> DurableSettings:
        """Where jobs are recorded."""
        found = self.durable
        return DurableSettings(
            url=found.url.get_secret_value() if found.url else "",
            results_dir=Path(found.results_dir).expanduser() if found.results_dir else None,
            lease_s=found.lease_s,
            migrate=found.migrate,
        )


def load_settings(flags: Mapping[str, Any]) -> ProcessSettings:
    """The settings, with the `flags` that are not None (`server.port`: 8601) above all else.

    Raises:
        ConfigError: a name is unknown or a value is not possible; it says which and where it is from.
    """
    refuse_unknown_variables()
    try:
        return ProcessSettings(**_nested({name: value for name, value in flags.items() if value is not None}))
    except ValidationError as exc:
        raise _refused(exc) from exc
    except SettingsError as exc:  # of a list in an environment variable
        lists = {variable_of("server.cors_origins"), variable_of("tables.folders")} & os.environ.keys()
        raise ConfigError(f"{', '.join(lists) or exc} is not JSON", hint='write a list as ["a", "b"]') from exc
    except tomllib.TOMLDecodeError as exc:
        raise ConfigError(f"{config_file()} is not TOML: {exc}") from exc


def setting_names() -> Iterator[str]:
    """All settings by their dotted names."""
    for name, field in ProcessSettings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            yield from (f"{name}.{inner}" for inner in kind.model_fields)
        else:
            yield name


def variable_of(name: str) -> str:
    """The environment variable of a setting: `server.port` is SABOT_SERVER__PORT."""
    return PREFIX + name.replace(".", "__").upper()


def refuse_unknown_variables() -> None:
    """A mistyped variable would otherwise be ignored in silence."""
    known = {variable_of(name) for name in setting_names()} | NOT_SETTINGS
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise ConfigError(
                f"the environment variable {name} is no setting",
                hint=f"did you mean {near[0]}?" if near else "see: config show",
            )


def sources(settings: ProcessSettings) -> Iterator[tuple[str, Any, str]]:
    """Every setting as (name, value, where it is from); secrets are masked."""
    file = config_file()
    written = tomllib.loads(file.read_text()) if file else {}
    values = settings.model_dump()
    for name in setting_names():
        section, _, inner = name.rpartition(".")
        value = values[section][inner] if section else values[inner]
        in_file = written.get(section, {}) if section else written
        if variable_of(name) in os.environ:
            source = variable_of(name)
        elif inner in in_file:
            source = str(file)
        else:
            source = "default"
        yield name, "********" if isinstance(value, SecretStr) else value, source


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        section, _, inner = name.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[inner] = value
    return nested


def _refused(exc: ValidationError) -> ConfigError:
    first = exc.errors(include_url=False, include_input=True)[0]
    name = ".".join(str(part) for part in first["loc"] if part not in ("constrained-int", "literal['auto']", "int"))
    origin = variable_of(name) if variable_of(name) in os.environ else name
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, list(setting_names()), 1)
        return ConfigError(
            f"there is no setting {name}", hint=f"did you mean {near[0]}?" if near else "see: sabot-sql config show"
        )
    return ConfigError(f"{origin} is {first['input']!r}: {first['msg']}")
