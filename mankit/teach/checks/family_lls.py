"""Checks of lesson 6, LLS: the classes' fixed waves, and the loss that has no parameters."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import CheckFailed, ask, close, exercise, expect, expect_tensor, gradients, more, normal, passed, run
from .watch import Watch


def _waves(classes: int, length: int) -> Tensor:
    f = torch.linspace(50, 512, classes, dtype=torch.float64)
    return torch.outer(f, torch.arange(length, dtype=torch.float64)).sin()


@exercise
def basis(function: Callable[[int, int], Tensor]) -> None:
    """Check Q[c, t] = sin(f_c t), f from 50 to 512, t from 0, in float64."""
    for classes, length in more(((5, 12), (10, 2048)), lambda r: (r.randint(3, 12), r.randint(8, 99))):
        right = _waves(classes, length)
        q = expect_tensor(ask(function, classes, length), (classes, length), "Q, a row a class,")
        expect(not q.requires_grad, "Q has requires_grad=True, but LLS trains nothing: leave it a plain tensor.")
        cure = "f t reaches 10^6, where 32 bits come in steps of 0.06: compute with dtype=torch.float64"
        expect(q.dtype == torch.float64, f"Q is {str(q.dtype)[6:]}: {cure}.")
        _expect_other_waves(q, right)
        near = not close(q, right, 1e-6) and (q - right).abs().max() < 0.2
        expect(not near, f"Q is float64 now, but something in it was rounded to 32 bits: {cure}, from f and t on.")
        expect(close(q, right, 1e-6), "wrong values: Q[c, t] = sin(f_c t), f_c equally spaced from 50 to 512, both in.")
    passed("a wave a class, from t = 0, in 64 bits.")


def _expect_other_waves(q: Tensor, right: Tensor) -> None:
    """Raise CheckFailed for waves that are none of the usual other ones."""
    (classes, length), like = right.shape, dict(dtype=torch.float64)
    f, t = torch.linspace(50, 512, classes, **like), torch.arange(length, **like)
    spread = 50 + torch.arange(classes, **like) * 462 / classes
    others = {
        "this is the cosine: Q[:, 0] is sin(0) = 0": torch.outer(f, t).cos(),
        "t starts at 0, so that Q[:, 0] is 0": torch.outer(f, t + 1).sin(),
        "no 2 pi: f_c t goes into the sine as it is": torch.outer(2 * torch.pi * f, t).sin(),
        "the last class has f = 512: the ends, 50 and 512, are both in": torch.outer(spread, t).sin(),
        "the signs come only with the option `square`: give the sine itself": right.sign(),
    }
    for sentence, other in others.items():
        expect(not close(q, other, 1e-3), f"{sentence}.")


@exercise
def lls_loss(function: Callable[..., Tensor]) -> None:
    """Check cross-entropy(a Q^T / tau, y), a: features pooled to side x side, flat, of length 1; gradient to h only."""
    for shape, side, tau in (((6, 3, 8, 8), 2, 0.5), ((4, 5, 6, 6), 4, 1.0)):
        h, y = normal(*shape, seed=side).requires_grad_(), torch.arange(shape[0]) % 4
        waves = _waves(4, shape[1] * side**2)
        twin = h.detach().clone().requires_grad_()  # what is right is computed on copies, before the answer runs
        right = _loss(twin, y, waves, side, tau)
        (push,) = torch.autograd.grad(right, twin)
        others = _other_losses(twin.detach(), y, waves, side, tau)
        with Watch(h=h, y=y, waves=waves) as watch:
            loss = ask(function, h, y, waves, side, tau)
        loss = expect_tensor(loss, (), "the loss (a mean over the images)")
        watch.expect_untouched()
        for sentence, other in others.items():
            expect(close(right, other) or not close(loss, other), f"{sentence}.")
        where = f"the loss is {loss.item():.4f}, but it should be {right.item():.4f}"
        expect(close(loss, right), f"{where}: pool, flatten, length 1, times the waves, over tau, cross-entropy.")
        expect(h.grad is None, "your function went backward already: return the loss, no backward.")
        expect(
            loss.requires_grad, "no gradient reaches h: it is all that the block learns from. No detach, no .item()."
        )
        (got,) = gradients(loss, h)
        expect(
            got is not None and close(got, push), "the value is right, but its gradient isn't: is h detached midway?"
        )
    _expect_32_bits(function)
    passed("nothing to train, and the gradient reaches the block.")


def _loss(h: Tensor, y: Tensor, waves: Tensor, side: int, tau: float) -> Tensor:
    a = F.normalize(F.adaptive_avg_pool2d(h, side).flatten(1), dim=1)
    return F.cross_entropy(a @ waves.to(a).T / tau, y)


def _other_losses(h: Tensor, y: Tensor, waves: Tensor, side: int, tau: float) -> dict[str, Tensor]:
    """The losses of usual mistakes, by the sentence that they get."""
    pooled = F.adaptive_avg_pool2d(h, side)
    flat = pooled.flatten(1)
    a = F.normalize(flat, dim=1)
    logits, largest = a @ waves.T, F.normalize(F.adaptive_max_pool2d(h, side).flatten(1), dim=1)
    right = F.cross_entropy(logits / tau, y)
    return {
        "the features aren't normalised: divide each image's vector by its length": F.cross_entropy(
            flat @ waves.T / tau, y
        ),
        "normalise each image's vector (dim=1), and not over the batch": F.cross_entropy(
            F.normalize(flat, dim=0) @ waves.T / tau, y
        ),
        "normalise after flattening: one length for the whole image, not one a place": F.cross_entropy(
            F.normalize(pooled, dim=1).flatten(1) @ waves.T / tau, y
        ),
        "the features are pooled by their maximum: take the mean (adaptive_avg_pool2d)": F.cross_entropy(
            largest @ waves.T / tau, y
        ),
        "tau multiplies: divide the logits by it": F.cross_entropy(logits * tau, y),
        "tau is missing: divide the logits by it": F.cross_entropy(logits, y),
        "the loss is a sum: take the mean over the images": right * len(y),
        "cross_entropy takes logits: no softmax before it": F.cross_entropy((logits / tau).softmax(1), y),
    }


def _expect_32_bits(function: Callable[..., Tensor]) -> None:
    """Features in float32 meet waves in float64."""
    h, y, waves = normal(3, 2, 4, 4).float(), torch.arange(3), _waves(4, 8)
    try:
        loss = run(function, h, y, waves, 2, 1.0)
    except CheckFailed as error:
        raise CheckFailed(
            f"a network has 32 bits, the waves 64: bring the waves to h (waves.to(h)). {error}"
        ) from error
    expect(close(loss, _loss(h, y, waves, 2, 1.0), 1e-4), "with features in 32 bits the loss is another one.")
