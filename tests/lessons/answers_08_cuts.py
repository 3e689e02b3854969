"""Lesson 8: the checks of the two cuts, in time and in depth."""

import torch
from exercises import Exercise, then
from torch.nn import functional as F

from mankit.teach.checks import recurrent as check


def off(state):
    return tuple(t.detach() for t in state)


def in_windows(see, recurrent, classifier, x, targets, k, *, cut=off, back="each", mean=False, out="total", ends=None):
    """Truncated back-propagation through time, with one thing changed."""
    state, losses = None, []
    for a in range(0, ends or x.shape[1], k):
        h, state = recurrent(see(x[:, a : a + k]), state)
        s, y = classifier(h).flatten(0, 1), targets[:, a : a + k].flatten()
        losses.append(F.cross_entropy(s, y, reduction="sum") / (1 if mean else len(x)))
        if back == "each" and losses[-1].requires_grad:
            losses[-1].backward(retain_graph=cut is not off)
        state = cut(state)
    if back != "each":
        (losses[-1] if back == "last" else sum(losses)).backward()
    return {"total": sum(losses).item(), "last": losses[-1].item(), "attached": sum(losses)}[out]


def changed(**how):
    return lambda *given: in_windows(*given, **how)


def by_zeros(see, recurrent, classifier, x, targets, k):
    """Another style: chunks, a state from the start, detached before each window instead of behind it."""
    state = (x.new_zeros(1, len(x), 5),) * 2
    total = torch.zeros((), dtype=x.dtype)
    for frames, y in zip(x.split(k, dim=1), targets.split(k, dim=1), strict=True):
        state = [each.detach() for each in state]
        out, state = recurrent(see(frames), tuple(state))
        asked = y != -100
        if not asked.any():
            continue
        loss = -classifier(out[asked]).log_softmax(1).gather(1, y[asked][:, None]).sum() / len(x)
        loss.backward()
        total += loss.detach()
    return total


def no_graph_behind(see, recurrent, classifier, x, targets, k):
    """Another style: the state is cut in place."""
    state, total = None, 0.0
    for a in range(0, x.shape[1], k):
        h, state = recurrent(see(x[:, a : a + k]), state)
        s = classifier(h).transpose(1, 2)  # (B, classes, k), as cross_entropy likes them too
        loss = F.cross_entropy(s, targets[:, a : a + k], reduction="none").sum(1).mean()
        loss.backward()
        total, state = total + loss.item(), (state[0].data, state[1].data)
    return total


def sees_all_at_once(see, recurrent, classifier, x, targets, k):
    return in_windows(lambda v: v, recurrent, classifier, see(x), targets, k)


def sees_off_the_graph(see, recurrent, classifier, x, targets, k):
    return in_windows(lambda frames: see(frames).detach(), recurrent, classifier, x, targets, k)


def frame_by_frame(blocks, heads, x, y, *, labels=None, mean=False, isolated=True, every=True, back=True, out=None):
    """The depth cut on a window, with one thing changed."""
    (films, frames), h = x.shape[:2], x.flatten(0, 1)
    for i, (block, head) in enumerate(zip(blocks, heads, strict=True)):
        h = block(h.detach() if isolated else h)
        if every or i:
            of_frames = labels(y, frames) if labels else y.repeat_interleave(frames)
            loss = F.cross_entropy(head(h), of_frames, reduction="mean" if mean else "sum") / (1 if mean else films)
            if back:
                loss.backward(retain_graph=not isolated)
    return out(h, films, frames) if out else h.detach().flatten(1).unflatten(0, (films, frames))


def cut_otherwise(**how):
    return lambda *given: frame_by_frame(*given, **how)


def each_frame_alone(blocks, heads, x, y):
    """Another style: one frame after the other, each loss by itself."""
    seen = []
    for t in range(x.shape[1]):
        h = x[:, t]
        for block, head in zip(blocks, heads, strict=True):
            h = block(h.detach())
            F.cross_entropy(head(h), y).backward()
        seen.append(h.detach().flatten(1))
    return torch.stack(seen, dim=1)


def by_expand(blocks, heads, x, y):
    """Another style: labels (B, k), losses added up, one backward."""
    every, h, total = y[:, None].expand(x.shape[:2]).flatten(), x.reshape(-1, *x.shape[2:]), 0
    for block, head in zip(blocks, heads, strict=True):
        h = block(h).requires_grad_()
        total = total + F.nll_loss(head(h).log_softmax(1), every, reduction="sum") / x.shape[0]
        h = h.detach()
    total.backward()
    return h.reshape(*x.shape[:2], -1)


def sum_over_all(blocks, heads, x, y):
    h = x.flatten(0, 1)
    for block, head in zip(blocks, heads, strict=True):
        h = block(h.detach())
        F.cross_entropy(head(h), y.repeat_interleave(x.shape[1]), reduction="sum").backward()
    return h.detach().flatten(1).unflatten(0, x.shape[:2])


EXERCISES = [
    Exercise(
        "truncated_step",
        check.truncated_step,
        wrong=[
            (changed(cut=lambda s: (s[0].detach(), s[1])), "the gradient crosses the cut in c"),
            (changed(cut=lambda s: (s[0], s[1].detach())), "the gradient crosses the cut in h"),
            (changed(cut=lambda s: s), "nothing is cut: detach h and c"),
            (changed(cut=lambda s: None, back="end"), "each window starts from nothing"),
            (changed(cut=lambda s: (s[0].detach(), 0 * s[1].detach()), back="end"), "one of h and c starts from zeros"),
            (changed(cut=lambda s: (0 * s[0].detach(), s[1].detach()), back="end"), "one of h and c starts from zeros"),
            (changed(back="last"), "only the last window's loss went backward"),
            (changed(back="end"), "right gradients, but backward waits for the last window"),
            (
                changed(back="never", out="last"),
                "right gradients, but backward waits|you return the last window's loss",
            ),
            (changed(out="last"), "you return the last window's loss"),
            (changed(mean=True), "over the number of films"),
            (changed(out="attached"), "holds the graphs of all windows"),
            (changed(ends=6), "`see` got 6 frames of 7"),
            (sees_all_at_once, "ran into the window before|`see` got 7 frames at once"),
            (sees_off_the_graph, "the loss is right, but not the gradients"),
            (lambda *given: None, "returned None"),
            (then(in_windows, lambda see, *others: see.zero_grad()), "the loss is right, but not the gradients"),
            (
                then(in_windows, lambda *given: [m.zero_grad() for m in given[:3]]),
                "no weight has a gradient|empty again",
            ),
            (then(in_windows, lambda see, *others: see.eval()), "see was left in another mode"),
        ],
        right=[by_zeros, no_graph_behind, in_windows],
    ),
    Exercise(
        "local_frames",
        check.local_frames,
        wrong=[
            (cut_otherwise(labels=lambda y, k: y.repeat(k)), "labels are in another order than the frames"),
            (cut_otherwise(mean=True), "this is the mean over all frames"),
            (sum_over_all, "this is the sum over all frames"),
            (cut_otherwise(isolated=False), "the second block's loss trains the first block too"),
            (cut_otherwise(every=False), "a block or a head has no gradient"),
            (cut_otherwise(back=False), "nothing has a gradient"),
            (cut_otherwise(out=lambda h, b, k: h.flatten(1).unflatten(0, (b, k))), "return them detached"),
            (cut_otherwise(out=lambda h, b, k: h.detach().flatten(1)), r"should have shape \(3, 4, 5\)"),
            (
                cut_otherwise(out=lambda h, b, k: h.detach().flatten(1).unflatten(0, (k, b)).transpose(0, 1)),
                "the features are mixed up",
            ),
            (cut_otherwise(out=lambda h, b, k: None), "returned None"),
            (lambda blocks, heads, x, y: frame_by_frame(blocks, heads, x, 0 * y), "wrong gradients: the loss is"),
            (
                then(frame_by_frame, lambda blocks, heads, x, y: [m.zero_grad() for m in (*blocks, *heads)]),
                "empty again|nothing has a gradient",
            ),
            (then(frame_by_frame, lambda blocks, *others: blocks[0].eval()), "block 1 was left in another mode"),
        ],
        right=[by_expand, frame_by_frame],
    ),
]
