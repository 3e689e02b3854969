"""Numbers in words, for the summary of a chart."""

from __future__ import annotations

import re

import numpy as np


def number(value: float) -> str:
    """Three significant digits; whole numbers from 1,000 up."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def unit(label: str) -> str:
    """'memory (MiB)' -> ' MiB'."""
    found = re.search(r"\(([^)]*)\)\s*$", label)
    return f" {found[1]}" if found else ""


def say(value: float, ending: str = "") -> str:
    """A number with its unit; NaN is 'no value'."""
    return "no value" if np.isnan(value) else number(value) + ending


def over(low: float, high: float) -> str:
    """' (4.8 to 5.2 over the seeds)', nothing where all seeds agree."""
    return f" ({number(low)} to {number(high)} over the seeds)" if high > low else ""


def ends(xs: np.ndarray, stats: tuple[np.ndarray, np.ndarray, np.ndarray], where: str, ending: str) -> str:
    """'40.1 % at block 1 to 98.2 % (97 to 99 over the seeds) at block 8, no value at block 3'."""
    mean, low, high = stats
    words = f"{say(mean[-1], ending)}{over(low[-1], high[-1])} at {where} {xs[-1]:g}"
    if len(xs) > 1:
        words = f"{say(mean[0], ending)} at {where} {xs[0]:g} to {words}"
    gaps = [f"{x:g}" for x in xs[1:-1][np.isnan(mean[1:-1])]]
    return words + (f", no value at {where} {', '.join(gaps)}" if gaps else "")


def cells(name: str, z: np.ndarray, xlabel: str, ylabel: str) -> str:
    """'DGL: lowest 0.12 (row block 2, column block 1), highest ..., mean 0.57.' of a matrix, by its place from 1 up."""
    start = f"{name}: " if name else ""
    if np.isnan(z).all():
        return f"{start}no value."
    places = [np.unravel_index(i, z.shape) for i in (np.nanargmin(z), np.nanargmax(z))]
    low, high = (f"{z[p]:.2f} (row {ylabel} {p[0] + 1}, column {xlabel} {p[1] + 1})" for p in places)
    missing = f", cells with no value: {np.isnan(z).sum()}" if np.isnan(z).any() else ""
    text = f"{start}lowest {low}, highest {high}, mean {np.nanmean(z):.2f}{missing}."
    return text if name else text[0].upper() + text[1:]
