"""Answers found by syntax tree, with what they need and nothing else."""

import textwrap

import pytest

from mankit.teach.finding import answer_in, cells_of


def code(*cells):
    """The code found for `f`."""
    return answer_in([textwrap.dedent(cell).strip() for cell in cells], "f").code


def test_what_an_answer_needs_comes_with_it_and_nothing_else():
    cells = (
        "import math\nimport torch",
        "data = train_for_minutes()",
        "SCALE = {'a': 1}; SCALE['b'] = 2\nprint('SCALE')",
        "def helper(h):\n    # a remark\n    data = h\n    return math.pi * data",
        "def f(x, scale=SCALE):\n    torch_like = [x for x in range(3)]\n    return helper(x), other",
        "check.f(f)",
        "other = 3",
    )
    assert code(*cells).split("\n") == [
        "import math",
        "SCALE = {'a': 1}",
        "SCALE['b'] = 2",
        "def helper(h):",
        "    # a remark",
        "    data = h",
        "    return math.pi * data",
        "def f(x, scale=SCALE):",
        "    torch_like = [x for x in range(3)]",
        "    return helper(x), other",
        "other = 3",
        "",
    ]


@pytest.mark.parametrize(
    "cell",
    [
        "@decorated\ndef f(): pass",
        "f = lambda: 1",
        "class f:\n    a = 1",
        "from elsewhere import f",
        "if here:\n    def f(): pass\nelse:\n    f = None",
        "try:\n    import f\nexcept ImportError:\n    f = None",
        "(f, g) = 1, 2",
        "f: int = 3",
    ],
)
def test_every_way_to_define_it_counts(cell):
    assert cell in code("import torch", cell)


def test_the_last_one_counts_unless_it_is_a_stub():
    stub = 'def f(x):\n    """Docs."""\n    raise NotImplementedError("your answer goes here")'
    assert "return 2" in code("def f(x): return 1", "def f(x): return 2")
    assert "return 2" in code("def f(x): return 1", "def f(x): return 2", stub)
    assert "NotImplementedError" in code(stub, stub)
    assert "return 1" in code("def f(x):\n    return 1\n    raise NotImplementedError('')", stub)
    assert answer_in(["g = 1", "print(f)"], "f") is None


def test_a_cell_that_is_no_python_costs_itself_only():
    assert "return 1" in code("def g(:", "def f(): return 1", "nonlocal x", "return 3")
    assert "return 1" in code("def f(): return 1", "def f(:\n")  # the one that can be read
    with pytest.raises(SyntaxError):
        code("def f(:\n", "g = 1")
    with pytest.raises(SyntaxError):
        code("def f():\n    return " + "(" * 10_000)


def test_magics_and_other_line_ends_are_read():
    assert "return 1" in code("%matplotlib inline\n!ls\ndef f(): return 1")
    assert code("a = 1\r\ndef f():\r\n    return a\r\n") == "a = 1\ndef f():\n    return a\n"


def test_stars_come_along():
    assert code("from math import *", "def f(): return pi") == "from math import *\ndef f(): return pi\n"


@pytest.mark.parametrize(
    "cells, names",
    [
        (["def f(x): return x.detach()"], []),
        (["import os\ndef f(): os._exit(0)"], ["os"]),
        (["import os", "def f(): return 1"], []),  # not what the answer needs
        (["def f(): return open('a').read(), exec('b')"], ["exec", "open"]),
        (["def f(): return f.__globals__"], ["__globals__"]),
        (["class f:\n    def __init__(self):\n        super().__init__()"], []),
        (["from mankit.teach.checks import dgl as d\ndef f(): return d"], ["mankit.teach"]),
        (["import torch.os_like\ndef f(): return torch.compile"], []),
        (["check.g = 3", "def f(): return 1"], ["check"]),
        (["setattr(check, 'f', 3)", "def f(): return 1"], ["setattr"]),
    ],
)
def test_what_a_person_should_look_at_is_named(cells, names):
    assert answer_in(cells, "f").look_at == names


def test_a_notebooks_code_is_read_whatever_its_metadata():
    cells = b'{"cells": [{"cell_type": "code", "source": ["a\\n", "b"]}, {"cell_type": "markdown", "source": "c"}]}'
    assert cells_of(cells) == ["a\nb"]
    for broken in (
        b"",
        b"[]",
        b"3",
        b'{"cells": [3]}',
        b'{"cells": [{"cell_type": "code", "source": [3]}]}',
        b"[" * 9**6,
    ):
        with pytest.raises(ValueError, match="isn't a notebook"):
            cells_of(broken)
