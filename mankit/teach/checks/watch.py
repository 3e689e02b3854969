"""A watch over what a reader's function is handed: afterwards one sentence says what it changed."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .base import all_close, expect

CHANGED = {
    "tensors": "{name} has new tensors now: what the optimizer holds are the old ones; change them in place.",
    "mode": "{name} was left in another mode: your function switched train() or eval(); leave that to the caller.",
    "values": "your function changed {name} itself: work on a new tensor.",
    "graph": "your function cut {name} itself off its graph: h.detach() gives a new tensor, h.detach_() doesn't.",
    "requires_grad": "your function switched requires_grad of {name}: leave that as it comes.",
    "parameters": "your function changed the weights of {name}: leave them as they are.",
    "buffers": "BatchNorm's running statistics in {name} changed: leave them as they are.",
}


class Watch(TorchFunctionMode):
    """Remembers modules, tensors, arrays and lists by the reader's names for them, while his function runs.

        with Watch(block=block, h=h) as watch:
            answer = ask(function, block, h)
        watch.expect_untouched()

    called: the names of the PyTorch functions that ran. passes: how often a module ran. arrived: gradients that came.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.given, self.called = given, set()
        self.passes, self.arrived = Counter(), Counter()
        self.before = {name: _facts(value) for name, value in given.items()}
        modules = {name: value for name, value in given.items() if isinstance(value, nn.Module)}
        self.hooks = [hook for name, module in modules.items() for hook in self._hooks(name, module)]

    def _hooks(self, name: str, module: nn.Module) -> list[Any]:
        layers = [m for m in module.modules() if not list(m.children())]  # blocks may be run layer by layer
        hooks = [m.register_forward_hook(_count(self.passes, (name, i))) for i, m in enumerate(layers)]
        trained = [p for p in module.parameters() if p.requires_grad]
        return hooks + [p.register_post_accumulate_grad_hook(_count(self.arrived, name)) for p in trained]

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Note the name of a PyTorch function, and run it."""
        self.called.add(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        for hook in self.hooks:
            hook.remove()

    def expect_untouched(self, *moves: str) -> None:
        """Raise CheckFailed for the first change, but for those that may be: `block buffers`, `ema parameters`."""
        for name, before in self.before.items():
            for kind in (kind for kind in CHANGED if kind in before and f"{name} {kind}" not in moves):
                expect(not self.changed(name, kind), CHANGED[kind].format(name=name))

    def changed(self, name: str, kind: str) -> bool:
        """Is what was handed in under this name another now, in one of the kinds of CHANGED?"""
        return not _equal(self.before[name][kind], _facts(self.given[name])[kind])

    def expect_one_pass(self, *names: str) -> None:
        """Raise CheckFailed where a module ran more than once: it costs twice, and BatchNorm counts twice."""
        for name in names:
            most = max((n for (module, _), n in self.passes.items() if module == name), default=0)
            expect(most <= 1, f"{name} ran {most} times: run it once and keep what it gives.")

    def expect_gradients(self, got: list[Tensor | None], want: list[Tensor], *names: str) -> None:
        """Raise CheckFailed where gradients that had come are gone, or came twice."""
        gone = all(g is None or not g.any() for g in got) and any(self.arrived[name] for name in names)
        expect(not gone, "backward ran, but .grad is empty again: leave zero_grad to the caller, before the step.")
        twice = all_close(got, [2 * w for w in want]) and any(w.any() for w in want)
        expect(not twice, "the gradients in .grad are twice those of the loss: call backward once.")


def _count(counter: Counter, key: Any) -> Callable[..., None]:
    def hook(*given: Any) -> None:
        counter[key] += 1

    return hook


@functools.singledispatch
def _facts(value: Any) -> dict[str, list]:
    """What is true of a value now, by the kinds of CHANGED."""
    return {"values": [copy.deepcopy(value)]}


@_facts.register
def _(value: Tensor) -> dict[str, list]:
    now = value.detach().clone()
    return {"values": [now], "graph": [value.grad_fn], "requires_grad": [value.requires_grad]}


@_facts.register
def _(value: nn.Module) -> dict[str, list]:
    tensors = list(value.parameters())
    return {
        "tensors": [(id(t), t.data_ptr()) for t in tensors],
        "mode": [m.training for m in value.modules()],
        "requires_grad": [t.requires_grad for t in tensors],
        "parameters": [t.detach().clone() for t in tensors],
        "buffers": [t.clone() for t in value.buffers()],
    }


def _equal(before: list, now: list) -> bool:
    if len(before) != len(now):
        return False
    return all(
        torch.equal(a, b) if isinstance(a, Tensor) else np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
        for a, b in zip(before, now, strict=True)
    )
