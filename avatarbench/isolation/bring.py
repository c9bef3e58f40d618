"""What a user brings for an official method, its repository and its weights, and where they are had. Import-light."""

from __future__ import annotations

from avatarbench.isolation.recipe import Recipe


def how_to_clone(recipe: Recipe) -> str:
    """The commands that bring the repository at the pinned commit, and the option that names it."""
    folder = recipe.repository.rstrip("/").rpartition("/")[2].removesuffix(".git")
    checkout = f" && git -C {folder} checkout --recurse-submodules {recipe.commit}" if recipe.commit else ""
    return f"git clone --recurse-submodules {recipe.repository}{checkout}; then --repo {folder}"


def how_to_get_weights(recipe: Recipe) -> str:
    """Where each of the weights comes from, as its authors say, and the option that names them."""
    named = "; ".join(
        f"{weight.path} ({weight.name}){f', {weight.source}' if weight.source else ''}" for weight in recipe.weights
    )
    return f"{named}; then --weights {'FILE, or the FOLDER that holds it' if len(recipe.weights) == 1 else 'FOLDER'}"


def lacking(recipe: Recipe) -> list[str]:
    """What a run has to be given, as short as a table's cell."""
    return [
        *(["its checkout (--repo)"] if recipe.repository else []),
        *(["its weights (--weights)"] if recipe.weights else []),
    ]
