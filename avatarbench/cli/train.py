"""``avatarbench train METHOD STAGE``: what a method's own package registers. Help imports none of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from avatarbench import registry
from avatarbench.errors import UnknownNameError


class _Lazy(TyperGroup, ABC):
    """A group that lists its commands by their summaries and imports the one that is called."""

    @abstractmethod
    def summaries(self) -> dict[str, str]:
        """A line on each command, by name."""

    @abstractmethod
    def load(self, name: str) -> Any:
        """The command itself, or None where there is no such one."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.summaries())

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What help shows of a command."""
        summary = self.summaries().get(cmd_name)
        return None if summary is None else TyperCommand(name=cmd_name, callback=None, help=summary, short_help=summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        found = self.load(args[0])
        return found.name, found, args[1:]


class Methods(_Lazy):
    """Every registered method that can be trained."""

    def summaries(self) -> dict[str, str]:
        return {
            spec.id: f"broken: {spec.error}" if isinstance(spec, registry.Broken) else _listed(spec)
            for spec in registry.everything("trainers")
        }

    def load(self, name: str) -> Any:
        return _Stages(registry.trainer(name))


class _Stages(_Lazy):
    """The stages of one method."""

    def __init__(self, spec: Any) -> None:
        super().__init__(name=spec.id, help=spec.summary, no_args_is_help=True)
        self._spec = spec

    def summaries(self) -> dict[str, str]:
        return {name: stage.summary for name, stage in self._spec.stages.items()}

    def load(self, name: str) -> Any:
        stage = self._spec.stages.get(name)
        if stage is None:
            known = registry.suggest(name, list(self._spec.stages))
            raise UnknownNameError(f"'{self._spec.id}' has no stage '{name}'{known}")
        return as_command(name, registry.load(stage.command))


def as_command(name: str, function: Callable[..., None]) -> Any:
    """The command of a function with typer's annotations, as a stage names one."""
    app = typer.Typer(rich_markup_mode="rich", pretty_exceptions_enable=False)
    app.command(name)(function)
    return cast(Any, get_command(app))


def _listed(spec: Any) -> str:
    return f"{spec.summary} Stages: {', '.join(spec.stages)}."


app = typer.Typer(cls=Methods, no_args_is_help=True, rich_markup_mode="rich")


@app.callback()
def train() -> None:
    """Train a method, stage by stage.

    \b
    avatarbench train pointillist --help
    avatarbench train pointillist data --data openheads --out set
    """
