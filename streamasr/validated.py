"""Settings that are checked when they are made: pydantic models whose errors are one line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import ConfigError

__all__ = ["Settings", "first_problem"]


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # has no public name


class _OneLine(ModelMetaclass):
    """Raises ConfigError where Python code calls the class; ``model_validate`` stays as it is."""

    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            raise ConfigError(f"{cls.__name__}: {first_problem(error)}") from None


class Settings(BaseModel, metaclass=_OneLine):
    """Base of settings. Frozen; raises ConfigError for a value that is wrong or not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def first_problem(error: ValidationError) -> str:
    """Return the first of an error's problems in one line: where it is, and what is wrong."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    message = " ".join(first["msg"].removeprefix("Value error, ").split())
    given = f", not {first['input']!r}" if first["type"] not in _SAY_ENOUGH else ""
    return f"{where + ': ' if where else ''}{message}{given if len(given) < 80 else ''}"


_SAY_ENOUGH = {"missing", "extra_forbidden", "value_error", "json_invalid"}
