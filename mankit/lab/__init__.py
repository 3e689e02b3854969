"""What a notebook shows: plots, pictures, checks of a reader's answers, and the live panel."""

from .panel import panel

__all__ = ["panel"]
