"""One function per learning rule: which auxiliary head does a block get?

A rule sees no more than it needs:
    shape    (C, H, W) of the block's features
    rest     the layers behind the block (dgl looks at none of their weights, man copies rest[0])
    depth    the block's place, 0 for the first and 1 for the last auxiliary block
    classes  how many
To add a rule: write such a function and give it a line in RULES.
"""

from __future__ import annotations

import copy
import difflib
import functools
import inspect
from collections.abc import Callable, Sequence

import torch
from torch import nn

from .blocks import LocalNet, cut
from .heads import Decoder, Head, InfoProHead, MomentumHead, conv_head, mlp_sr_head
from .networks import Layers, Normalize, init_weights

Shape = tuple[int, int, int]
Rest = Sequence[nn.Module]
Rule = Callable[[Shape, Rest, float, int], Head]
Pair = tuple[float, float] | float


def bp(shape: Shape, rest: Rest, depth: float, classes: int) -> Head:
    """Back-propagation: one block, so no auxiliary head at all."""
    raise ValueError("rule 'bp' trains one block: choose K=1 (net.recut(K) measures it at K places)")


def greedy(shape: Shape, rest: Rest, depth: float, classes: int) -> Head:
    """Greedy supervised learning: global average pool and one linear layer."""
    return dgl(shape, rest, depth, classes, head="0c1f")


def dgl(shape: Shape, rest: Rest, depth: float, classes: int, *, head: str = "mlp") -> Head:
    """Decoupled greedy learning. head: 'mlp' (MLP-SR-aux) or a conv head. Belilovsky et al., ICML 2020."""
    return Head(_body(head, shape, rest, classes))


def infopro(
    shape: Shape,
    rest: Rest,
    depth: float,
    classes: int,
    *,
    head: str = "1c2f",
    lam_x: Pair = (5.0, 0.5),
    lam_y: Pair = (0.5, 1.0),
    contrast: bool = False,
) -> Head:
    """InfoPro: reconstruction and classification, weights linear in the BLOCK index from first to last.

    lam_x, lam_y: (first block, last auxiliary block), or one number for all. contrast: supervised contrastive
    in place of cross-entropy, on 128 outputs. Wang et al., ICLR 2021.
    """
    body = _body(head, shape, rest, 128 if contrast else classes)
    decoder = init_weights(Decoder(shape[0]))
    return InfoProHead(body, decoder, _blend(lam_x, depth), _blend(lam_y, depth), contrast)


BRANCHES = ("both", "bias", "ema", "twin")


def man(
    shape: Shape,
    rest: Rest,
    depth: float,
    classes: int,
    *,
    base: str = "dgl",
    decay: float = 0.995,
    branches: str = "both",
    start: str = "random",
    **base_options: object,
) -> Head:
    """MAN over another rule (`base`: 'greedy', 'dgl', 'infopro', ...). Su et al., ECCV 2024.

    Args:
        decay: of the EMA, in [0, 1]; 1 keeps it frozen, 0 copies the next layer at each step.
        branches: 'both' (learnable bias + EMA); the controls 'bias' only, 'ema' only, 'twin' (two trained).
        start: of the EMA, 'random' (as published) or 'copy' of the next block's first layer.
        base_options: whatever the base rule takes, for instance head='1c2f'.
    """
    _choose("branches", branches, BRANCHES)
    _choose("start", start, ("random", "copy"))
    _choose("base", base, [name for name in RULES if name not in ("bp", "man")])
    next_layer = rest[0]
    learnable_bias = None if branches == "ema" else init_weights(copy.deepcopy(next_layer))
    ema = None if branches == "bias" else copy.deepcopy(next_layer)
    if ema is not None and (start == "random" or branches == "twin"):
        init_weights(ema)
    (ahead,) = _shapes([next_layer], shape)
    head = _with_options(base, base_options)(ahead, rest[1:], depth, classes)
    return MomentumHead(head, learnable_bias, ema, decay, twin=branches == "twin")


RULES: dict[str, Rule] = {"bp": bp, "greedy": greedy, "dgl": dgl, "infopro": infopro, "man": man}


def local_net(
    layers: Layers,
    classifier: nn.Module,
    rule: str = "dgl",
    K: int | None = None,
    *,
    at: Sequence[int] | None = None,
    balance: str = "units",
    image_shape: Shape = (3, 32, 32),
    normalize: Normalize | None = None,
    **options: object,
) -> LocalNet:
    """Cut a network into blocks (see `cut`) and give each block but the last the head of a rule.

    Args:
        rule: a name in RULES; options: that rule's own (head, lam_x, lam_y, contrast, base, decay, ...).
        image_shape: (C, H, W) of the images. normalize: the network's first, fixed step.
    Raises: ValueError, with the names or numbers that are allowed.
    """
    build = _with_options(rule, options)
    blocks = cut(layers, K, at, balance=balance, image_shape=image_shape)
    shapes = _shapes(blocks, image_shape)
    classes = [m for m in classifier.modules() if isinstance(m, nn.Linear)][-1].out_features
    heads, done, last = [], 0, len(blocks) - 2
    for i, block in enumerate(blocks[:-1]):
        done += len(block)
        heads.append(build(shapes[i], layers[done:], i / last if last else 0.0, classes))
    like = next(classifier.parameters())  # new heads go where the network already is
    return LocalNet(blocks, [*heads, Head(classifier)], normalize).to(like.device, like.dtype)


def _with_options(rule: str, options: dict[str, object]) -> Rule:
    """The rule with its options filled in, after a look at whether it takes them."""
    _choose("rule", rule, tuple(RULES))
    allowed = options_of(rule, str(options.get("base", "dgl")))
    if wrong := sorted(set(options) - allowed):
        raise ValueError(f"rule '{rule}' takes no option {wrong}: choose from {sorted(allowed) or 'none'}")
    return functools.partial(RULES[rule], **options)


def options_of(rule: str, base: str = "dgl") -> set[str]:
    """The names of the options that a rule takes; man takes those of its base too."""
    parameters = inspect.signature(RULES[rule]).parameters.values() if rule in RULES else ()
    options = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    return options | options_of(base) if rule == "man" and base != "man" else options


def _choose(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=2, cutoff=0.4)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise ValueError(f"{name}='{value}': {hint}choose from {', '.join(allowed)}")


def _shapes(modules: Sequence[nn.Module], shape: Shape) -> list[Shape]:
    """(C, H, W) behind each of some modules in a row, by sending one blank image through copies in eval mode."""
    like = next(modules[0].parameters())
    h, shapes = torch.zeros(1, *shape, device=like.device, dtype=like.dtype), []
    with torch.no_grad():
        for module in modules:
            h = copy.deepcopy(module).eval()(h)  # a copy: statistics and modes stay as they are
            shapes.append(tuple(h.shape[1:]))
    return shapes


def _body(head: str, shape: Shape, rest: Rest, outputs: int) -> nn.Module:
    if head == "mlp":
        return init_weights(mlp_sr_head(shape, outputs))
    # the last stage is where no later layer shrinks the image any more
    shrinks = (m.stride not in (1, (1, 1)) for layer in rest for m in layer.modules() if isinstance(m, nn.Conv2d))
    return init_weights(conv_head(shape[0], outputs, head, last_stage=not any(shrinks)))


def _blend(pair: Pair, depth: float) -> float:
    first, last = pair if isinstance(pair, tuple | list) else (pair, pair)
    return first * (1 - depth) + last * depth
