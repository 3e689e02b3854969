"""Two pictures without axes: a network cut into blocks, and a contact sheet of images."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from matplotlib.image import imsave

from mankit.lab.static import INK
from mankit.lab.style import BLUE, RED, WIDTH, style

TINTS = ("#CFE8F7", "#FBE3B0", "#C5E8DC", "#F2D6E6", "#DDDDDD", "#F6CFB5")  # the palette, pale behind text
INNER, CUT = 0.3, 0.8  # gaps between layers of a block and at a cut, in layer widths


def cut_picture(
    sizes: Sequence[int], names: Sequence[str] | None = None, rule: str = "", look_ahead: bool = False
) -> go.Figure:
    """The network as a strip of layers, cut into K = len(sizes) blocks of `sizes` layers, a head on each.

    Dark arrows (forward) cross the cuts, red arrows (gradient) end there. `names`: one for each layer;
    `look_ahead` adds MAN's dotted arrows, block i+1's first layer -> head i. Raises ValueError for no sizes,
    a size below 1, and too few or too many names.
    """
    sizes = list(sizes)
    depth, count = sum(sizes), len(sizes)
    if not sizes or min(sizes) < 1:
        raise ValueError(f"sizes = {sizes}: give the number of layers in each block, each 1 or more")
    names = [str(i + 1) for i in range(depth)] if names is None else list(names)
    if len(names) != depth:
        raise ValueError(f"{len(names)} names for {depth} layers: give one for each layer")
    wide = min(90.0, 655 / (depth + INNER * (depth - count) + CUT * (count - 1)))  # a layer, in pixels
    shapes, notes = [], [_word(26, 150, "image", 13), _arrow(49, 150, 70, 150)]
    left, done = 70.0, 0
    for block, size in enumerate(sizes):
        starts = [left + (1 + INNER) * wide * i for i in range(size)]
        right = starts[-1] + wide
        for x, name in zip(starts, names[done : done + size], strict=True):
            _box(shapes, notes, (x, 110, wide, 80), TINTS[block % len(TINTS)], name)
        if wide * INNER > 5:  # thinner gaps hold no arrow; the strip reads from left to right all the same
            notes += [_arrow(x - INNER * wide, 150, x, 150) for x in starts[1:]]
        _block(shapes, notes, left, right, wide, block, block == count - 1)
        if block < count - 1:
            _cut(shapes, notes, right, wide, look_ahead)
        left, done = right + CUT * wide, done + size
    return _finish(go.Figure(layout=dict(shapes=shapes, annotations=notes)), sizes, rule, look_ahead)


def _block(shapes: list, notes: list, left: float, right: float, wide: float, block: int, last: bool) -> None:
    """The head of a block, the two arrows between them, the gradient below the block and its number."""
    middle, head = right - wide / 2, max(wide, 20)
    title = "classifier" if last else f"head {block + 1}"
    _box(shapes, notes, (middle - head / 2, 216, head, 76), "white", title)
    up, down = middle - 0.22 * head, middle + 0.22 * head
    name = f"block {block + 1}" if wide > 46 else str(block + 1)
    notes += [
        _arrow(up, 190, up, 216),
        _arrow(down, 216, down, 190, RED),
        _word(middle, 303, "loss", 12),
        _arrow(right, 95, left, 95, RED),
        _word((left + right) / 2, 74, name, 12),
    ]


def _cut(shapes: list, notes: list, right: float, wide: float, look_ahead: bool) -> None:
    """Between two blocks: features pass, the gradient doesn't; MAN's head takes weights from behind it."""
    notes.append(_word(right + CUT / 2 * wide, 95, "✕", 17 if wide > 16 else 12, RED))
    if wide * CUT > 5:
        notes.append(_arrow(right, 150, right + CUT * wide, 150))
    if look_ahead:
        start = np.array([right + (CUT + 0.15) * wide, 190])
        end = np.array([right - wide / 2 + max(wide, 20) / 2, 246])
        near = end + 8 * (start - end) / np.linalg.norm(start - end)  # plotly has no dotted arrows
        shapes.append(
            dict(
                type="line",
                x0=start[0],
                y0=start[1],
                x1=near[0],
                y1=near[1],
                line=dict(color=BLUE, width=2, dash="dot"),
            )
        )
        notes.append(_arrow(*near, *end, BLUE))


def _box(shapes: list, notes: list, box: tuple[float, float, float, float], fill: str, name: str) -> None:
    x, y, width, height = box
    shapes.append(
        dict(type="rect", x0=x, x1=x + width, y0=y, y1=y + height, fillcolor=fill, line=dict(color=INK, width=1))
    )
    if width >= 14:  # a name stands upright where it is wider than its box
        angle = None if 8 * len(name) < width else -90
        notes.append(dict(_word(x + width / 2, y + height / 2, name, 12), textangle=angle))


def _word(x: float, y: float, text: str, size: int, color: str = INK) -> dict:
    return dict(x=x, y=y, text=text, showarrow=False, font=dict(size=size, color=color))


def _arrow(x0: float, y0: float, x1: float, y1: float, color: str = INK) -> dict:
    arrow = dict(x=x1, y=y1, ax=x0, ay=y0)  # the rest is in the template of `style`, to keep the figure small
    return arrow if color == INK else dict(arrow, arrowcolor=color)


def _finish(fig: go.Figure, sizes: list[int], rule: str, look_ahead: bool) -> go.Figure:
    """The key under the strip, the title and the summary in words."""
    count, depth = len(sizes), sum(sizes)
    ahead = look_ahead and count > 1
    keys = [("→ forward: features", INK), ("← backward: gradient", RED)]
    keys += [("✕ no gradient", RED)] * (count > 1) + [("⇠ weights (look-ahead)", BLUE)] * ahead
    x = 70
    for text, color in keys:
        fig.add_annotation(dict(_word(x, 38, text, 13, color), xanchor="left"))
        x += 9 * len(text) + 4
    layers, blocks = f"{depth} layer{'s' * (depth > 1)}", f"{count} block{'s' * (count > 1)}"
    stop = "No cut: the gradient of one loss reaches every layer (back-propagation)."
    if count > 1:
        stop = (
            f"Features cross every cut ({count - 1} in all), no gradient does: "
            "each block learns from the loss of its own head."
        )
    alt = f"{rule or 'Network'}: {layers} in {blocks} of {', '.join(map(str, sizes))}. {stop}"
    alt += " Dotted arrows: head i takes weights from the first layer of block i+1." * ahead
    fig.add_scatter(x=[0], y=[0], mode="markers", marker_opacity=0, hoverinfo="skip")  # axes need a trace
    fig.update_xaxes(visible=False, range=[0, 740], fixedrange=True)
    fig.update_yaxes(visible=False, range=[25, 315], fixedrange=True)
    style(fig, f"{rule + ': ' if rule else ''}{layers}, K = {blocks}", alt, height=340, left=10, right=10)
    return fig.update_layout(margin=dict(t=46, b=4))


def image_grid(
    images: Sequence | np.ndarray, titles: Sequence[str] | None = None, columns: int = 8, title: str = ""
) -> go.Figure:
    """A contact sheet of images (N, 3, H, W): uint8, or floats in [0, 1] (others are clipped); titles on top.

    The pixels travel in the figure: keep N * H * W below about 4,000 for a figure under 20 kB.
    Raises ValueError for another shape, columns below 1, or a wrong number of titles.
    """
    pixels = _uint8(images)
    count, high, wide, _ = pixels.shape
    if titles is not None and len(titles) != count:
        raise ValueError(f"{len(titles)} titles for {count} images: give one for each image")
    if columns < 1:
        raise ValueError(f"columns = {columns}: choose 1 or more")
    columns, gap = min(columns, count), max(1, round(wide / 12))
    zoom = min((WIDTH - 40) / (columns * (wide + gap)), 128 / wide)  # screen pixels per image pixel
    head = max(gap, round(20 / zoom)) if titles is not None else gap  # room for a title
    rows = -(-count // columns)
    sheet = np.full((rows * (high + head), columns * (wide + gap), 3), 255, np.uint8)
    fig = go.Figure()
    for i, image in enumerate(pixels):
        top, left = (i // columns) * (high + head) + head, (i % columns) * (wide + gap)
        sheet[top : top + high, left : left + wide] = image
        if titles is not None:
            fig.add_annotation(
                x=left + wide / 2 - 0.5,
                y=top - 0.5,
                text=str(titles[i]),
                yanchor="bottom",
                showarrow=False,
                font_size=12,
            )
    file = io.BytesIO()
    imsave(file, sheet, metadata={"Software": None})
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    fig.add_image(source=source, hoverinfo="skip")
    fig.update_xaxes(visible=False).update_yaxes(visible=False)
    words = f": {', '.join(map(str, titles))}" if titles is not None else ""
    alt = f"{title or 'Images'}. {count} image{'s' * (count > 1)} of {wide} x {high} pixels, {columns} in a row{words}."
    style(fig, title, alt, height=round(sheet.shape[0] * zoom) + (60 if title else 20), left=20, right=20)
    return fig.update_layout(margin=dict(t=50 if title else 10, b=10))


def _uint8(images) -> np.ndarray:
    """(N, 3, H, W) of either kind -> (N, H, W, 3) uint8."""
    pixels = np.asarray(images)
    if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.size:
        raise ValueError(f"images have shape {tuple(pixels.shape)}: give (N, 3, H, W) with N at least 1")
    if pixels.dtype != np.uint8:
        pixels = (np.nan_to_num(pixels.astype(float)).clip(0, 1) * 255).round().astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1)
