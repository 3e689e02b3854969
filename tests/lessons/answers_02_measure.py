"""Lesson 2's checks of what reads a network's features: a ridge probe, linear CKA."""

import torch
from exercises import Exercise
from torch.nn import functional as F

from mankit.teach.checks import measure as check

# --- ridge_probe ---


def ridge(h, y, classes, alpha, *, centred=True, mean=False):
    Y = F.one_hot(y, classes).to(h.dtype)
    middle, share = (h.mean(0), Y.mean(0)) if centred else (0 * h[0], 0 * Y[0])
    hc, Yc = h - middle, Y - share
    n = len(h) if mean else 1
    W = torch.linalg.solve(hc.T @ hc / n + alpha * torch.eye(h.shape[1], dtype=h.dtype), hc.T @ Yc / n)
    return W, share - middle @ W


def only_W(h, y, classes, alpha):
    return ridge(h, y, classes, alpha)[0]


def transposed(h, y, classes, alpha):
    W, b = ridge(h, y, classes, alpha)
    return W.T, b


# --- linear_cka ---


def similarity(a, b, *, dim=0, power=2, divide=True, root=False):
    a, b = (h - h.mean(dim, keepdim=True) if dim is not None else h for h in (a, b))
    value = (a.T @ b).norm() ** power / ((a.T @ a).norm() * (b.T @ b).norm() if divide else 1)
    return value.sqrt() if root else value


def cosine(a, b):
    a, b = (h - h.mean(0) for h in (a, b))
    width = min(a.shape[1], b.shape[1])
    return F.cosine_similarity(a[:, :width].flatten(), b[:, :width].flatten(), dim=0)


def divides_by_one(a, b):
    a, b = (h - h.mean(0) for h in (a, b))
    return (a.T @ b).norm() / (a.T @ a).norm()


def one_hot_of_what_is_there(h, y, classes, alpha):
    return ridge(h, y, int(y.max()) + 1, alpha)


def centres_in_place(h, y, classes, alpha):
    mean = h.mean(0)
    h -= mean
    W, b = ridge(h, y, classes, alpha)
    return W, b - mean @ W


def by_least_squares(h, y, classes, alpha):
    """Ridge as least squares on more rows: sqrt(alpha) times the identity, with label 0."""
    Y = torch.eye(classes, dtype=h.dtype)[y]
    more = alpha**0.5 * torch.eye(h.shape[1], dtype=h.dtype)
    rows = torch.cat([h - h.mean(0), more]), torch.cat([Y - Y.mean(0), 0 * more[:, :1].expand(-1, classes)])
    W = torch.linalg.lstsq(*rows).solution
    return [W, Y.mean(0) - h.mean(0) @ W]


def with_a_column_of_ones(h, y, classes, alpha):
    rows = torch.cat([h, torch.ones_like(h[:, :1])], dim=1)
    penalty = torch.diag(torch.tensor([alpha] * h.shape[1] + [0.0], dtype=h.dtype))  # none on the bias
    both = torch.inverse(rows.T @ rows + penalty) @ rows.T @ F.one_hot(y, classes).to(h.dtype)
    return both[:-1], both[-1]


def penalises_the_bias(h, y, classes, alpha):
    rows = torch.cat([h, torch.ones_like(h[:, :1])], dim=1)
    both = torch.inverse(rows.T @ rows + alpha * torch.eye(6)) @ rows.T @ F.one_hot(y, classes).to(h.dtype)
    return both[:-1], both[-1]


def subtracts_in_place(a, b):
    a -= a.mean(0)
    b -= b.mean(0)
    return similarity(a, b)


def spectral(a, b):
    a, b = (h - h.mean(0) for h in (a, b))
    norm = torch.linalg.matrix_norm
    return norm(a.T @ b, 2) ** 2 / (norm(a.T @ a, 2) * norm(b.T @ b, 2))


def by_grams(a, b):
    a, b = (h - h.mean(0) for h in (a, b))
    a, b = a @ a.T, b @ b.T
    return float((a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt())


def by_singular_values(a, b):
    a, b = (h - h.mean(0) for h in (a, b))
    return torch.linalg.svdvals(a.T @ b).square().sum() / ((a.T @ a).norm() * (b.T @ b).norm())


def by_numpy(a, b):
    a, b = (h.numpy() - h.numpy().mean(0) for h in (a, b))
    return ((a.T @ b) ** 2).sum() / (((a.T @ a) ** 2).sum() * ((b.T @ b) ** 2).sum()) ** 0.5


EXERCISES = [
    Exercise(
        "ridge_probe",
        check.ridge_probe,
        wrong=[
            (lambda h, y, classes, alpha: ridge(h, y, classes, alpha, centred=False), "centre h and the one-hot"),
            (lambda h, y, classes, alpha: ridge(h, y, classes, 0.0), "alpha is missing"),
            (lambda h, y, classes, alpha: ridge(h, y, classes, alpha, mean=True), "use the SUM"),
            (lambda h, y, classes, alpha: ridge(h, y, classes, alpha**2), "W isn't the minimum"),
            (transposed, r"should have shape \(5, 4\)"),
            (only_W, "return two things"),
            (one_hot_of_what_is_there, "a class without an image has a column too"),
            (centres_in_place, "changed h itself"),
            (penalises_the_bias, "b isn't the best bias"),
            (lambda h, y, classes, alpha: ridge(h, y, classes, alpha) and None, "returned None"),
        ],
        right=[by_least_squares, with_a_column_of_ones],
    ),
    Exercise(
        "linear_cka",
        check.linear_cka,
        wrong=[
            (lambda a, b: similarity(a, b, dim=None), "centre each feature"),
            (lambda a, b: similarity(a, b, dim=1), "centre each feature"),
            (lambda a, b: similarity(a, b, divide=False), "not 1: look at what you divide by"),
            (divides_by_one, "three times as large"),
            (cosine, "rotating the features"),
            (lambda a, b: similarity(a, b, root=True), "square the norm above the line only"),
            (lambda a, b: similarity(a, b) ** 2, "square the norm above the line only"),
            (lambda a, b: (a - a.mean(0)).T @ (b - b.mean(0)), "return one number"),
            (subtracts_in_place, "changed a itself"),
            (spectral, "the spectral norm"),
            (lambda a, b: similarity(a, b) and None, "returned None"),
        ],
        right=[by_grams, by_singular_values, by_numpy],
    ),
]
