"""What a user brings for an official method, its repository and its weights, and where they are had. Import-light."""

from __future__ import annotations

from rich.filesize import decimal

from avatarbench.isolation.recipe import Recipe, Weight


def how_to_clone(recipe: Recipe) -> str:
    """The commands that bring the repository at the pinned commit, and the option that names it."""
    folder = recipe.repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
    checkout = f" && git -C {folder} checkout --recurse-submodules {recipe.commit}" if recipe.commit else ""
    return f"git clone --recurse-submodules {recipe.repository}{checkout}; then --repo {folder}"


def how_to_get_weights(recipe: Recipe) -> str:
    """How large each of the weights is, where that is known, where it comes from, as its authors say, and the option
    that names them."""
    return "; ".join([*weights_one_by_one(recipe), f"then {option(recipe)}"])


def weights_one_by_one(recipe: Recipe) -> list[str]:
    """A line each: its path, name, size where that is known, and where it comes from."""
    return [_named(weight) for weight in recipe.weights]


def option(recipe: Recipe) -> str:
    return f"--weights {'FILE, or the FOLDER that holds it' if len(recipe.weights) == 1 else 'FOLDER'}"


def _named(weight: Weight) -> str:
    size = decimal(weight.size, precision=2) if weight.size else rounded(weight.about) if weight.about else ""
    said = [weight.name, *([size] if size else [])]
    return f"{weight.path} ({', '.join(said)}){f', {weight.source}' if weight.source else ''}"


def rounded(size: int) -> str:
    """``about 2.53 GB``: with the figures that were stated, and no more."""
    return f"about {size / 1e9:g} GB" if size >= 1e9 else f"about {size / 1e6:g} MB"


def lacking(recipe: Recipe) -> list[str]:
    """What a run has to be given, as short as a table's cell."""
    return [
        *(["its checkout (--repo)"] if recipe.repository else []),
        *(["its weights (--weights)"] if recipe.weights else []),
    ]
