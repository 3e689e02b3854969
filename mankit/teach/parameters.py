"""A lesson's parameters, checked before anything is trained: papermill takes whatever it is given."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ..errors import allowed, choose
from ..images.load import DATASETS

Count = Annotated[int, Field(ge=1, le=10_000)]
Blocks = Annotated[int, Field(ge=1)]
Decay = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Weights = Weight | Annotated[list[Weight], Field(min_length=2, max_length=2)]

KINDS = {
    "seed": Annotated[int, Field(ge=0, lt=2**63)],
    "seeds": Annotated[int, Field(ge=1, le=1000)],
    "K": Blocks,
    "Ks": Annotated[list[Blocks], Field(min_length=1)],
    "decay": Decay,
    "decays": Annotated[list[Decay], Field(min_length=1)],
    "epochs": Count,
    "other_epochs": Count,
    "digits_epochs": Count,
    "budgets": Annotated[list[Count], Field(min_length=1)],
    "processes": Annotated[int, Field(ge=1, le=64)],
    "steps": Annotated[int, Field(ge=2, le=100)],
    "lag": Count,
    "length": Count,
    "window": Count,
    "windows": Annotated[list[Count], Field(min_length=1)],
    "lam_x": Weights,
    "lam_y": Weights,
    "data": str,
    "other_data": str,
}
"""What a lesson's parameter may be, by its name."""


def check_parameters(layers: int, **parameters: object) -> None:
    """Nothing, if every parameter of a lesson may be as it is; layers: of its network, the most that K may be.

    Raises: ValueError that names the parameter, its value and what is allowed.
    """
    for name, value in parameters.items():
        choose("parameter", name, KINDS)
        try:
            TypeAdapter(KINDS[name], config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{name}={value!r}: {allowed(error.errors())}") from None
        if name in ("data", "other_data"):
            choose(name, value.partition(":")[0], DATASETS)
    for K in [*parameters.get("Ks", []), parameters.get("K", 1)]:
        if K > layers:
            raise ValueError(f"K={K}: the network has {layers} layers; choose 1 to {layers} blocks")
