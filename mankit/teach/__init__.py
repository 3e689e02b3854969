"""What a course needs beside the library: checks of a reader's answers, and a student's version of a lesson."""

from .answers import own

__all__ = ["own"]
