"""A chart as plotly itself reads it: an error where plotly doesn't take what the pen wrote."""

from plotly.graph_objects import Figure

from mankit.charts.plotly_pen import spec


def figure(chart):
    return Figure(spec(chart))
