"""Two pictures without axes: a network cut into blocks, and a contact sheet of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mankit.charts.looks import INK
from mankit.charts.record import Axis, Box, Chart, Mark, Picture, Plot, Stroke, Text
from mankit.errors import at_least

TINTS = ("#CFE8F7", "#FBE3B0", "#C5E8DC", "#F2D6E6", "#DDDDDD", "#F6CFB5")  # the palette, pale behind text
INNER, CUT = 0.3, 0.8  # gaps between layers of a block and at a cut, in layer widths


def cut_picture(sizes: Sequence[int], rule: str = "", look_ahead: bool = False, isolated: bool = True) -> Chart:
    """The network as a strip of layers, cut into K = len(sizes) blocks of `sizes` layers, a head on each.

    Dark arrows (forward) cross the cuts, red arrows (gradient) end there. `look_ahead` adds MAN's dotted arrows,
    block i+1's first layer -> head i. isolated=False: back-propagation, only measured in blocks; the gradient passes.
    Raises ValueError for no sizes and a size below 1.
    """
    sizes = list(sizes)
    depth, count = sum(sizes), len(sizes)
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes = {sizes}: give the number of layers in each block, each 1 or more")
    isolated, look_ahead = isolated and count > 1, look_ahead and count > 1
    wide = min(90.0, 655 / (depth + INNER * (depth - count) + CUT * (count - 1)))  # a layer, in pixels
    marks: list[Mark] = [Text(26, 150, "image", 13, INK), _arrow(49, 150, 70, 150)]
    left, done = 70.0, 0
    for block, size in enumerate(sizes):
        starts = [left + (1 + INNER) * wide * i for i in range(size)]
        right, last = starts[-1] + wide, block == count - 1
        for layer, x in enumerate(starts, start=done + 1):
            marks += _box((x, 110, wide, 80), TINTS[block % len(TINTS)], str(layer))
        if wide * INNER > 5:  # thinner gaps hold no arrow; the strip reads from left to right all the same
            marks += [_arrow(x - INNER * wide, 150, x, 150) for x in starts[1:]]
        if isolated or last:
            marks += _head(right - wide / 2, wide, "classifier" if last else f"head {block + 1}")
        start = left if isolated or not block else left - CUT * wide
        name = f"block {block + 1}" if wide > 46 else str(block + 1)
        marks += [_arrow(right, 95, start, 95, "red"), Text((left + right) / 2, 74, name, 12, INK)]
        if not last:
            marks += _cut(right, wide, isolated, look_ahead)
        left, done = right + CUT * wide, done + size
    return _finish(marks, sizes, rule, isolated, look_ahead)


def _head(middle: float, wide: float, title: str) -> list[Mark]:
    """The head of a block and the two arrows between them."""
    head = max(wide, 20)
    up, down = middle - 0.22 * head, middle + 0.22 * head
    arrows = [_arrow(up, 190, up, 216), _arrow(down, 216, down, 190, "red")]
    return [*_box((middle - head / 2, 216, head, 76), "white", title), *arrows, Text(middle, 303, "loss", 12, INK)]


def _cut(right: float, wide: float, isolated: bool, look_ahead: bool) -> list[Mark]:
    """Between two blocks: features pass, the gradient doesn't; MAN's head takes weights from behind it."""
    marks: list[Mark] = []
    if isolated:
        marks.append(Text(right + CUT / 2 * wide, 95, "✕", 17 if wide > 16 else 12, "red"))
    if wide * CUT > 5:
        marks.append(_arrow(right, 150, right + CUT * wide, 150))
    if look_ahead:
        start = np.array([right + (CUT + 0.15) * wide, 190])
        end = np.array([right - wide / 2 + max(wide, 20) / 2, 246])
        near = end + 8 * (start - end) / np.linalg.norm(start - end)  # arrows aren't dotted: a dotted line, a short one
        marks += [Stroke(*start, *near, "blue", dash="dot"), _arrow(*near, *end, "blue")]
    return marks


def _box(box: tuple[float, float, float, float], fill: str, name: str) -> list[Mark]:
    x, y, width, height = box
    upright = 8 * len(name) >= width  # wider than its box
    name_there = [Text(x + width / 2, y + height / 2, name, 12, INK, angle=90 * upright)] * (width >= 14)
    return [Box(x, y, x + width, y + height, fill), *name_there]


def _arrow(x0: float, y0: float, x1: float, y1: float, color: str = INK) -> Stroke:
    return Stroke(x0, y0, x1, y1, color, 1.5, arrow=True)


def _finish(marks: list[Mark], sizes: list[int], rule: str, isolated: bool, look_ahead: bool) -> Chart:
    """The key under the strip, the title and the summary in words."""
    count, depth = len(sizes), sum(sizes)
    keys = [("→ forward: features", INK), ("← backward: gradient", "red")]
    keys += [("✕ no gradient", "red")] * isolated + [("⇠ weights (look-ahead)", "blue")] * look_ahead
    x = 70
    for text, color in keys:
        marks.append(Text(x, 38, text, 13, color, "left"))
        x += 9 * len(text) + 4
    layers, blocks = f"{depth} layer{'s' * (depth > 1)}", f"{count} block{'s' * (count > 1)}"
    stop = "No cut: the gradient of one loss reaches every layer (back-propagation)."
    if isolated:
        stop = f"Features cross every cut ({count - 1} in all), no gradient does: "
        stop += "each block learns from the loss of its own head."
    alt = f"{rule or 'Network'}: {layers} in {blocks} of {', '.join(map(str, sizes))}. {stop}"
    alt += " Dotted arrows: head i takes weights from the first layer of block i+1." * look_ahead
    plot = Plot(marks, Axis(range=(0, 740), shown=False), Axis(range=(25, 315), shown=False))
    title = f"{rule + ': ' if rule else ''}{layers}, K = {blocks}"
    return Chart([plot], alt, title, height=340, margin=(10, 10, 46, 4))


def image_grid(
    images: Sequence | np.ndarray, titles: Sequence[str] | None = None, columns: int = 8, title: str = ""
) -> Chart:
    """A contact sheet of images (N, 3, H, W): uint8, or floats in [0, 1] (others are clipped); titles on top.

    The pixels travel in the figure: keep N * H * W below about 4,000 for a figure under 20 kB.
    Raises ValueError for another shape, columns below 1, or a wrong number of titles.
    """
    pixels = _uint8(images)
    count, high, wide, _ = pixels.shape
    if titles is not None and len(titles) != count:
        raise ValueError(f"{len(titles)} titles for {count} images: give one for each image")
    at_least("columns", columns, 1)
    columns, gap = min(columns, count), max(1, round(wide / 12))
    zoom = min((Chart.width - 40) / (columns * (wide + gap)), 128 / wide)  # screen pixels per image pixel
    head = max(gap, round(20 / zoom)) if titles is not None else gap  # room for a title
    rows = -(-count // columns)
    sheet = np.full((rows * (high + head), columns * (wide + gap), 3), 255, np.uint8)
    marks: list[Mark] = [Picture(sheet)]
    for i, image in enumerate(pixels):
        top, left = (i // columns) * (high + head) + head, (i % columns) * (wide + gap)
        sheet[top : top + high, left : left + wide] = image
        if titles is not None:
            marks.append(Text(left + wide / 2 - 0.5, top - 0.5, str(titles[i]), 12, at="above"))
    words = f": {', '.join(map(str, titles))}" if titles is not None else ""
    alt = f"{title or 'Images'}. {count} image{'s' * (count > 1)} of {wide} x {high} pixels, {columns} in a row{words}."
    height, margin = round(sheet.shape[0] * zoom) + (60 if title else 20), (20, 20, 50 if title else 10, 10)
    return Chart([Plot(marks, Axis(shown=False), Axis(shown=False))], alt, title, height=height, margin=margin)


def _uint8(images: Sequence | np.ndarray) -> np.ndarray:
    """(N, 3, H, W) of either kind -> (N, H, W, 3) uint8."""
    pixels = np.asarray(images)
    if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.size:
        raise ValueError(f"images have shape {tuple(pixels.shape)}: give (N, 3, H, W) with N at least 1")
    if pixels.dtype != np.uint8:
        pixels = (np.nan_to_num(pixels.astype(float)).clip(0, 1) * 255).round().astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1)
