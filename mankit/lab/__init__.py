"""What a notebook shows: plots, pictures, and the live panel."""

from .panel import panel

__all__ = ["panel"]
