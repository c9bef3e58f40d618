"""A recipe's name changes with what is built from it, and with nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from avatarbench.errors import AvatarbenchError, UsageError
from avatarbench.isolation.recipe import BACKENDS, Recipe, Weight, load

RECIPE = Recipe(
    method="lam",
    python="3.10",
    packages=("torch==2.3.0+cu118", "numpy==1.23.0"),
    conda_packages=("cuda-nvcc=11.8",),
    system_packages=("libgl1",),
    image="nvidia/cuda:11.8.0-devel-ubuntu22.04",
    build=(("python", "-m", "pip", "install", "{repo}/rasteriser"),),
    repository="https://github.com/aigc3d/LAM",
    commit="44a7ddbc",
    variables={"FORCE_CUDA": "1"},
)


def test_names_stay_as_they_are_from_one_version_to_the_next() -> None:
    """A name that moved would build every environment of every user anew."""
    assert {b: RECIPE.using(b).name for b in BACKENDS} == {
        "venv": "lam-0e4a64070229",
        "conda": "lam-457a12f6392e",
        "docker": "lam-006662fbe409",
        "apptainer": "lam-84f38391038d",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"method": "lam2"},
        {"python": "3.11"},
        {"backend": "conda"},
        {"packages": ("torch==2.3.0+cu121", "numpy==1.23.0")},
        {"build": ()},
        {"commit": "55"},
        {"variables": {"FORCE_CUDA": "0"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_built_gives_the_name(change: dict[str, object]) -> None:
    assert replace(RECIPE, **change).name != RECIPE.name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"weights": (Weight("w", "w.pt"),)},
        {"memory_gib": 8.0},
        {"threads": 2},
        {"network": True},
        {"gpu": True},
        {"image": "debian:12"},  # no image in a venv
        {"conda_packages": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_not_built_leaves_the_name(change: dict[str, object]) -> None:
    assert replace(RECIPE, **change).name == RECIPE.name  # type: ignore[arg-type]


def test_each_backend_is_named_by_what_it_uses_and_no_commit_counts_where_nothing_of_it_is_built() -> None:
    docker, conda = RECIPE.using("docker"), RECIPE.using("conda")
    assert replace(docker, image="debian:12").name != docker.name
    assert replace(docker, system_packages=()).name != docker.name
    assert replace(conda, conda_packages=()).name != conda.name
    plain = replace(RECIPE, build=())
    assert replace(plain, commit="another").name == plain.name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"method": "../lam"}, "method '../lam'"),
        ({"python": "3.x"}, "python '3.x'"),
        ({"backend": "snap"}, "backend 'snap' is none of venv, conda, docker, apptainer"),
        ({"packages": ("numpy",)}, "package 'numpy' is not pinned"),
        ({"packages": ("--index-url=x==1",)}, "is not pinned"),
        ({"packages": ("numpy==1\n--pre",)}, "is not pinned"),
        ({"conda_packages": ("-c evil",)}, "conda package '-c evil'"),
        ({"system_packages": ("git; rm",)}, "system package 'git; rm'"),
        ({"image": "a\nRUN rm"}, "image"),
        ({"build": ((),)}, "a command of build is empty"),
        ({"variables": {"A=B": "1"}}, "variable 'A=B'"),
        ({"variables": {"A": "1\nRUN rm"}}, "variable A holds a line break"),
        ({"memory_gib": 0}, "memory_gib is 0"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_with_the_value(change: dict[str, object], told: str) -> None:
    with pytest.raises(AvatarbenchError) as caught:
        replace(RECIPE, **change)  # type: ignore[arg-type]
    assert told in str(caught.value)
    assert "the recipe of '" in str(caught.value)


def test_a_backend_of_another_name_is_the_users_mistake() -> None:
    with pytest.raises(UsageError, match="unknown backend 'podman': the backends are venv, conda, docker, apptainer"):
        RECIPE.using("podman")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("no.such.module:RECIPE", "No module named 'no'"),
        ("avatarbench.errors:RECIPE", "no attribute 'RECIPE'"),
        ("avatarbench.errors:UsageError", "is a type, not a Recipe"),
        ("", "Empty module name"),
    ],
)
def test_a_name_without_a_recipe_says_how_one_is_named(name: str, told: str) -> None:
    with pytest.raises(AvatarbenchError) as caught:
        load(name)
    assert told in str(caught.value)
