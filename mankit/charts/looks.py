"""How a line or a bar looks: a style sheet by name, in colours that colour-blind readers can tell apart.

Colour never stands alone: lines differ in dash and marker, bars in hatch.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

from mankit.errors import choose

INK = "#222222"  # of text and frames
# Okabe and Ito's, without their yellow (too pale for a line on white), and Tol's last three
COLORS = dict(black="#000000", orange="#E69F00", sky="#56B4E9", green="#009E73", grey="#777777", blue="#0072B2")
COLORS |= dict(red="#D55E00", pink="#CC79A7", wine="#882255", indigo="#332288", olive="#999933", white="white")
DASHES = ("solid", "dot", "dash", "longdash", "dashdot", "longdashdot")
FILLED = ("circle", "square", "diamond", "star", "cross", "x", "triangle-up", "triangle-down")
SYMBOLS = (*FILLED, *(f"{symbol}-open" for symbol in FILLED))
HATCHES = ("", "/", "\\", "x", "-", "|", "+", ".")
SCALE = "#00224e #123570 #3b496c #575d6d #707173 #8a8678 #a59c74 #c3b369 #e1cc55 #fee838".split()  # Cividis


@dataclass(frozen=True)
class Look:
    """Colour (a name in COLORS, or '#rrggbb'), dash ('': no line), symbol ('': no marker) and hatch of bars."""

    color: str = INK
    dash: str = "solid"
    symbol: str = ""
    hatch: str = ""

    def __post_init__(self) -> None:
        paint(self.color)
        choose("dash", self.dash, ("", *DASHES))
        choose("symbol", self.symbol, ("", *SYMBOLS))
        choose("hatch", self.hatch, HATCHES)


def paint(color: str) -> str:
    """The colour that a name in COLORS or '#rrggbb' stands for. Raises ValueError for another one."""
    if re.fullmatch("#[0-9a-fA-F]{6}", str(color)):
        return color
    choose("color", color, COLORS, f"choose from {', '.join(COLORS)}, or write '#rrggbb'")
    return COLORS[color]


LOOKS = {  # fixed, so that a rule looks the same in every lesson
    "BP": Look("black", "solid", "circle", ""),
    "DGL": Look("red", "dash", "square", "/"),
    "InfoPro": Look("orange", "dot", "diamond", "\\"),
    "MAN": Look("blue", "longdash", "triangle-up", "x"),
    "MAN + decoder": Look("green", "dashdot", "star", "."),
    "Greedy": Look("pink", "longdashdot", "x", "-"),
}
MARKERS = ("circle-open", "square-open", "triangle-down", "diamond-open", "cross", "star-open")  # none is in LOOKS
PAIRS = len(MARKERS) * len(LOOKS)  # different pairs of marker and dash
_places: dict[str, int] = {}  # of the names without a fixed look, in the order in which they came
_next = itertools.count()


def look(name: str) -> Look:
    """The look of a name: fixed for those in LOOKS; another keeps what it gets at first, as long as Python runs."""
    if name in LOOKS:
        return LOOKS[name]
    if name not in _places:
        _places[name] = next(_next)
    i = _places[name]
    color = ("sky", "grey", "pink", "green", "wine", "indigo", "olive")[i % 7]
    dash = list(LOOKS.values())[(i + i // 6) % 6].dash  # shifts at each round of the markers
    return Look(color, dash, MARKERS[i % 6], "|+/x\\.-"[(i + i // 7) % 7])


def looks(names: Iterable[str]) -> list[Look]:
    """The looks of one chart's names. A name moves on where its marker and dash are taken: after 36 others."""
    found: dict[str, Look] = {}
    for name in names:
        taken = {(other.dash, other.symbol) for other in found.values()}
        for _ in range(PAIRS):
            found[name] = look(name)
            if (found[name].dash, found[name].symbol) not in taken:
                break
            _places[name] = next(_next)
    return list(found.values())
