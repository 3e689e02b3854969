"""What the panel shows on a page, and what it knows of the pages that it is on."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as w
import traitlets
from plotly.offline import get_plotlyjs


class Record(w.Widget):
    """What a page draws, and where it answers. One of ipywidgets' own models: those of anywidget take no message
    any more on a page that was too busy to load their module within two seconds.
    """

    picture = traitlets.Dict().tag(sync=True)  # of figure.picture, and its number


class Library(w.Widget):
    """plotly.js of the installed plotly, packed: one for all panels, since a page that is reloaded gets it again."""

    packed = traitlets.Bytes().tag(sync=True)
    _last: Library | None = None

    @classmethod
    def shared(cls) -> Library:
        """The one that there is, or the first (or the next, after somebody has closed all widgets)."""
        if cls._last is None or cls._last.comm is None:
            cls._last = cls(packed=gzip.compress(get_plotlyjs().encode()))
        return cls._last


class Plots(anywidget.AnyWidget):
    """The panel's plots: shows the newest picture on every page, and hears from each which one it has drawn.

    sent, drawn: numbers of pictures. It also hears how many views a page has: `on_closed` is called when none is left.
    """

    _esm = Path(__file__).with_name("page.js")
    _css = Path(__file__).with_name("page.css")
    record = traitlets.Unicode().tag(sync=True)
    library = traitlets.Unicode().tag(sync=True)

    def __init__(self, picture: dict[str, Any], on_closed: Callable[[], None] = lambda: None) -> None:
        self.sent = self.drawn = 0
        self._on_closed, self._views = on_closed, {}
        self.shown = Record(picture=picture | {"number": 0})
        self.shown.on_msg(self._hear)
        super().__init__(record=self.shown.model_id, library=Library.shared().model_id)

    def show(self, picture: dict[str, Any]) -> None:
        """Show a picture in place of the last one."""
        self.sent += 1
        self.shown.picture = picture | {"number": self.sent}

    def _hear(self, record: Record, message: dict[str, Any], buffers: object) -> None:
        """A page says what it has drawn, or how many views it has."""
        self.drawn = max(self.drawn, message.get("drawn", 0))
        if "page" in message:
            self._views[message["page"]] = message["views"]
            if not any(self._views.values()):
                self._on_closed()


class CopyButton(anywidget.AnyWidget):
    """A button that puts the first line of a text widget on the reader's clipboard, in the reader's own browser."""

    _esm = Path(__file__).with_name("copy.js")
    source = traitlets.Unicode("").tag(sync=True)  # the text widget's model
