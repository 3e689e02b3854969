"""The live panel, and what stands in its place where nobody can press a button."""

from .panel import panel

__all__ = ["panel"]
