"""Presets: YAML files of a package, with changes from the command line, checked."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from avatarbench.errors import UsageError
from avatarbench.registry import suggest

Model = TypeVar("Model", bound=BaseModel)


def known(package: str) -> list[str]:
    """Names of the presets in ``package``, sorted."""
    return sorted(f.name.removesuffix(".yaml") for f in files(package).iterdir() if f.name.endswith(".yaml"))


def load(package: str, name: str, overrides: Sequence[str], model: type[Model], what: str) -> Model:
    """``<name>.yaml`` of ``package`` with ``key=value`` changes as a ``model``, which messages call ``what``. Raises
    UsageError naming the preset, or the key and what it accepts."""
    from hydra import compose, initialize_config_module
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if name not in known(package):
        raise UsageError(f"there is no preset '{name}'{suggest(name, known(package))}")
    for text in overrides:
        if "=" not in text and not text.startswith("~"):
            raise UsageError(f"'{text}' is no KEY=VALUE of the preset; an option begins with --.")
    try:
        with initialize_config_module(package, version_base="1.3"):
            # "++": also fields that the preset leaves at their default; what is no field at all is refused below.
            forced = [text if text[:1] in "+~" else f"++{text}" for text in overrides]
            plain = OmegaConf.to_container(compose(name, overrides=forced), resolve=True)
        return model.model_validate(plain)
    except (HydraException, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"the preset '{name}' with {' '.join(overrides) or 'no changes'}: {reason}") from error
    except ValidationError as error:
        lines = [_line(model, e["loc"], e["type"], e["msg"], e["input"]) for e in error.errors()]
        raise UsageError(f"{what} is not valid:\n  " + "\n  ".join(lines)) from error


def _line(model: type[BaseModel], place: tuple[int | str, ...], kind: str, message: str, value: object) -> str:
    """One fault of a configuration; for a key that is none, the keys that are near it."""
    name = ".".join(map(str, place))
    if kind != "extra_forbidden":
        return f"{name}: {message} (got {value!r})"
    section = model
    for part in place[:-1]:
        section = section.model_fields[str(part)].annotation  # type: ignore[assignment]  # sections nest in sections
    return f"there is no '{name}'{suggest(str(place[-1]), list(section.model_fields))}"
