"""The file that `\\o` sends results to."""

from __future__ import annotations

from pathlib import Path

from sabot_sql.client.carried_types import write_parquet
from sabot_sql.client.csv_rows import csv_text
from sabot_sql.client.display import print_table
from sabot_sql.client.json_values import ndjson_text
from sabot_sql.client.result import Result
from sabot_sql.errors import ConfigError


class ResultFile:
    """Results in the format that the file's name says (.csv, .ndjson, .json, .parquet, .arrow), else as tables.

    Text of several results follows one another; a file of one table (.json, .parquet, .arrow) holds the last.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._text = (
                None if path.suffix in (".json", ".parquet", ".arrow") else path.open("w", encoding="utf-8", newline="")
            )
            if self._text is None:
                path.touch()
        except OSError as exc:
            raise ConfigError(f"{path} cannot be written: {exc.strerror}") from exc

    def write(self, result: Result) -> None:
        """Adds one answer."""
        table = result.to_arrow()
        match self.path.suffix:
            case ".parquet":
                write_parquet(table, result.sql_types, self.path)
            case ".arrow":
                import pyarrow as pa

                with pa.ipc.new_file(str(self.path), table.schema) as writer:
                    writer.write_table(table)
            case ".json":
                lines = ndjson_text(table).splitlines()
                self.path.write_text("[" + ",\n ".join(lines) + "]\n", encoding="utf-8")
            case _:
                self._append(result)

    def _append(self, result: Result) -> None:
        assert self._text is not None
        match self.path.suffix:
            case ".csv":
                self._text.write(csv_text(result.to_arrow()))
            case ".ndjson":
                self._text.write(ndjson_text(result.to_arrow()))
            case _:
                print_table(result.to_arrow(), self._text)
        self._text.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._text is not None:
            self._text.close()
