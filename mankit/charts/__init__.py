"""The figures of the lessons: a Chart is a record of what is drawn; two pens draw it, and it says itself in words.

`show(chart)` displays it as one bundle (interactive plotly, PNG, words). Needs plotly, matplotlib and IPython.
"""

from .display import bundle, show
from .looks import LOOKS, Look, look
from .pictures import cut_picture, image_grid
from .plots import bars, block_accuracy, cka_heatmaps, curves, stacked
from .png_pen import png
from .record import Axis, Bars, Box, Chart, Heat, Line, Picture, Plot, Stroke, Text

__all__ = ["Axis", "Bars", "Box", "Chart", "Heat", "Line", "Look", "Picture", "Plot", "Stroke", "Text"]  # the record
__all__ += ["bars", "block_accuracy", "cka_heatmaps", "curves", "cut_picture", "image_grid", "stacked"]
__all__ += ["LOOKS", "bundle", "look", "png", "show"]
