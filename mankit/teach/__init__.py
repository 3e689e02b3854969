"""What a course needs beside the library: checks of a reader's answers, the reader's code beside the library's, a
student's version of a lesson; a course's folder, and its grading."""

from .answers import own
from .lockstep import Beside, beside
from .parameters import check_parameters
from .versions import executed_with, made_for

__all__ = ["Beside", "beside", "check_parameters", "executed_with", "made_for", "own"]
