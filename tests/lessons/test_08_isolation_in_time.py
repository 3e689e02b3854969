"""Lesson 8: each check passes its solution, and names the mistake of each classic wrong answer."""

import pytest
import torch
from answers_08_cuts import EXERCISES as CUTS
from exercises import Exercise, assert_each_check_has_its_exercise, assert_passes, then
from torch.autograd.graph import saved_tensors_hooks

from mankit.measure import SavedBytes
from mankit.teach import films
from mankit.teach.checks import recurrent as check


def gates(cell, v, h, biases=("bias_ih", "bias_hh")):
    """The four gates before sigmoid and tanh, in PyTorch's order."""
    bias = sum(p for name, p in cell.named_parameters() if name in biases)
    return (v @ cell.weight_ih.T + h @ cell.weight_hh.T + bias).chunk(4, dim=1)


def step(cell, v, state, *, order="ifgo", candidate=torch.tanh, last=torch.tanh, give=lambda h, c: (h, c), **how):
    """An LSTM's step, with one thing changed."""
    h, c = state
    g = dict(zip(order, gates(cell, v, h, **how), strict=True))
    c = g["f"].sigmoid() * c + g["i"].sigmoid() * candidate(g["g"])
    return give(g["o"].sigmoid() * last(c), c)


def changed(**how):
    return lambda *given: step(*given, **how)


def no_forgetting(cell, v, state):
    i, _, g, o = gates(cell, v, state[0])
    c = state[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def forgets_all(cell, v, state):
    i, _, g, o = gates(cell, v, state[0])
    c = i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def old_c(cell, v, state):
    _, _, _, o = gates(cell, v, state[0])
    return o.sigmoid() * state[1].tanh(), step(cell, v, state)[1]


def by_linear(cell, v, state):
    """Another style: functional layers, the gates cut out by hand."""
    (h, c), n = state, cell.hidden_size
    s = torch.nn.functional.linear(v, cell.weight_ih, cell.bias_ih)
    s = s + torch.nn.functional.linear(h, cell.weight_hh, cell.bias_hh)
    i, f, o = (torch.sigmoid(s[:, a * n : (a + 1) * n]) for a in (0, 1, 3))
    new = torch.addcmul(f * c, i, torch.tanh(s[:, 2 * n : 3 * n]))
    return [o * torch.tanh(new), new]


def by_one_matrix(cell, v, state):
    """Another style: one product for both inputs."""
    h, c = state
    both = torch.cat([v, h], dim=1) @ torch.cat([cell.weight_ih, cell.weight_hh], dim=1).T
    i, f, g, o = (both + (cell.bias_ih + cell.bias_hh)).view(len(v), 4, -1).unbind(1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * (2 * torch.sigmoid(2 * g) - 1)  # tanh in other words
    return torch.sigmoid(o) * torch.tanh(c), c


LSTM_STEP = Exercise(
    "lstm_step",
    check.lstm_step,
    wrong=[
        (changed(order="ifog"), r"in PyTorch's order .* \(yours: i, f, o, g\)"),
        (changed(order="figo"), r"in PyTorch's order .* \(yours: f, i, g, o\)"),
        (changed(candidate=torch.sigmoid), "g is a candidate, not a gate"),
        (changed(last=lambda c: c), "the tanh is missing"),
        (changed(biases=("bias_ih",)), "bias_hh is missing"),
        (changed(biases=("bias_hh",)), "bias_ih is missing"),
        (changed(biases=()), "both biases are missing"),
        (changed(give=lambda h, c: (c, h)), r"this is \(c, h\)"),
        (changed(give=lambda h, c: h), "return two things"),
        (changed(give=lambda h, c: (h, c[0])), r"the new c should have shape \(5, 3\)"),
        (changed(give=lambda h, c: (h.detach(), c)), "not all gradients arrive"),
        (lambda cell, v, state: step(cell, v, (state[0].detach(), state[1])), "not all gradients arrive"),
        (no_forgetting, "the forget gate f is missing"),
        (forgets_all, "the old c is gone"),
        (old_c, "c is right, but not h"),
        (lambda cell, v, state: cell(v, state), "from the cell's four weights yourself"),
        (lambda cell, v, state: torch.lstm_cell(v, state, *cell.parameters()), "from the cell's four weights yourself"),
        (then(step, lambda cell, v, state: cell.requires_grad_(False)), "switched requires_grad of cell"),
        (lambda cell, v, state: step(cell, v, (torch.zeros_like(state[0]), state[1])), "wrong c"),
    ],
    right=[by_linear, by_one_matrix],
)


def share(k, lag, length):
    marks = range(length - lag)
    return sum(m // k == (m + lag) // k for m in marks) / len(marks)


def by_tensors(k, lag, length):
    mark = torch.arange(length - lag)
    return (mark.div(k, rounding_mode="floor") == (mark + lag).div(k, rounding_mode="floor")).double().mean()


def window_by_window(k, lag, length):
    """Another style: how many pairs fit into each window."""
    sizes = [min(k, length - start) for start in range(0, length, k)]
    return sum(max(0, size - lag) for size in sizes) / (length - lag)


REACH = Exercise(
    "reach",
    check.reach,
    wrong=[
        (lambda k, lag, length: float(k >= lag), "spans a distance of k - 1 at most"),
        (lambda k, lag, length: max(0, (k - lag) / k), "Windows start at 0, k|has no question"),
        (lambda k, lag, length: share(k, lag, length) * (length - lag), "Divide by the number of possible marks"),
        (lambda k, lag, length: 100 * share(k, lag, length), "A share is between 0 and 1"),
        (
            lambda k, lag, length: share(k, lag, length + lag) if k < length else 1.0,
            "spans a distance|has no question any more|Windows start at 0",
        ),
        (lambda k, lag, length: float(k > lag), "Windows start at 0, k, 2k"),
        (lambda k, lag, length: "half", "should be a number"),
    ],
    right=[by_tensors, window_by_window],
)


def count(
    forward, exclude, *, size=lambda t: t.untyped_storage().nbytes(), key=lambda t: t.untyped_storage().data_ptr()
):
    """The bytes that autograd keeps, with one thing changed."""
    seen, found = {key(t): t for t in exclude}, []

    def pack(tensor):
        if key(tensor) not in seen:
            seen[key(tensor)] = tensor.untyped_storage()
            found.append(size(tensor))
        return tensor.detach()

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(found)


def every_time(forward, exclude):
    found, known = [], {t.data_ptr() for t in exclude}

    def pack(tensor):
        found.append(tensor.numel() * tensor.element_size() * (tensor.data_ptr() not in known))
        return tensor.detach()

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    return sum(found)


def by_library(forward, exclude):
    with SavedBytes(exclude) as saved:
        forward()
    return saved.bytes


def by_list(forward, exclude):
    """Another style: keep all, then sort out."""
    kept = []

    def pack(tensor):
        kept.append(tensor.detach().untyped_storage())
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        forward()
    there = {t.untyped_storage().data_ptr() for t in exclude}
    return torch.tensor(sum({s.data_ptr(): s.nbytes() for s in kept if s.data_ptr() not in there}.values()))


def runs_twice(forward, exclude):
    forward()
    return by_library(forward, exclude)


KEPT_BYTES = Exercise(
    "kept_bytes",
    check.kept_bytes,
    wrong=[
        (lambda forward, exclude: count(forward, ()), "what is in `exclude` is there anyway"),
        (every_time, "a tensor saved twice is kept once"),
        (lambda forward, exclude: by_library(forward, exclude) / 8, "count bytes, not numbers"),
        (lambda forward, exclude: count(forward, exclude, size=lambda t: 8 * t.numel()), "bytes of each storage"),
        (runs_twice, "forward ran 2 times"),
        (lambda forward, exclude: by_library(forward, exclude) + 8, "add the bytes of each storage"),
        (lambda forward, exclude: 0, "forward ran 0 times"),
        (lambda forward, exclude: None, "returned None"),
    ],
    right=[by_library, by_list, count],
)

EXERCISES = [LSTM_STEP, REACH, KEPT_BYTES]


def test_there_is_a_check_for_each_exercise():
    assert_each_check_has_its_exercise(check, EXERCISES + CUTS)


LIBRARY = [
    (REACH, films.reach),
    (KEPT_BYTES, films.kept_bytes),
    *zip(CUTS, [films.truncated_step, films.local_frames], strict=True),
]


@pytest.mark.parametrize("exercise, library", LIBRARY, ids=[exercise.name for exercise, _ in LIBRARY])
def test_what_runs_for_an_unanswered_exercise_is_right(exercise, library, capsys):
    assert_passes(exercise, library, capsys)


def test_a_solved_step_and_the_cells_own_are_equal():
    cell = torch.nn.LSTMCell(4, 3)
    v, state = torch.randn(5, 4), (torch.randn(5, 3), torch.randn(5, 3))
    for mine, own in zip(step(cell, v, state), films.cell_step(cell, v, state), strict=True):
        torch.testing.assert_close(mine, own)
