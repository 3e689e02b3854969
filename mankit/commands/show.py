"""What `mankit train` prints of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command that is called loads them
    import pandas as pd

    from ..studies import Recipe


def print_blocks(recipe: Recipe, table: pd.DataFrame, seconds: float, device: str) -> None:
    """A title and a row for each block, from `block_table`."""
    what = f"{recipe.rule} on {recipe.data}, {recipe.network}, K={recipe.K}, {recipe.epochs} epochs, seed {recipe.seed}"
    print(f"{what}: {seconds:.1f} s on {device}")
    names = {"own_head": "own head (%)", "linear_probe": "linear probe (%)", "saved_mib": "saved (MiB)"}
    print(table.rename(columns=names).to_string(index=False, float_format="{:.2f}".format, na_rep="-"))
