"""One sentence for an error: value, nearest name, what is allowed, cure."""

import numpy as np
import pytest

from mankit.errors import at_least, cannot_write, choose, first_line


def message(function, *arguments, **more):
    with pytest.raises(ValueError) as error:
        function(*arguments, **more)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_name_that_is_allowed_passes():
    choose("rule", "man", ("dgl", "man"))
    choose("rule", "man", {"dgl": 1, "man": 2})


def test_a_wrong_name_gets_the_nearest_and_all_that_are_allowed():
    assert message(choose, "rule", "mann", ("dgl", "man")) == "rule='mann': did you mean 'man'? choose from dgl, man"
    assert message(choose, "rule", "xyz", ("dgl", "man")) == "rule='xyz': choose from dgl, man"
    assert message(choose, "rule", "xyz", ()) == "rule='xyz': choose from nothing"
    assert message(choose, "K", 3, ("dgl",)) == "K=3: choose from dgl"


def test_a_cure_takes_the_place_of_a_long_list():
    assert message(choose, "recipe", "cifa", ["cifar"], cure="`list` lists them").endswith("'cifar'? `list` lists them")


@pytest.mark.parametrize(
    "value, least", [(None, 1), (1, 1), (2.0, 1), (0.1, 0.0), (5, 0), (np.int64(3), 1), (np.float32(0.5), 0.0)]
)
def test_a_number_that_is_large_enough_passes(value, least):
    at_least("epochs", value, least)


@pytest.mark.parametrize(
    "value, least, words",
    [
        (0, 1, "epochs=0: choose 1 or more"),
        (1.5, 1, "epochs=1.5: choose a whole number, 1 or more"),
        (-0.5, 0.0, "epochs=-0.5: choose 0.0 or more"),
        (float("nan"), 0.0, "epochs=nan: choose 0.0 or more"),
        (float("inf"), 1, "epochs=inf: choose 1 or more"),
        ("3", 1, "epochs=3: choose 1 or more"),
    ],
)
def test_a_number_that_is_too_small_or_none_at_all(value, least, words):
    assert message(at_least, "epochs", value, least) == words
    assert message(at_least, "epochs", value, least, "take more time") == f"epochs={value}: take more time"


def test_first_line_of_many_and_of_none():
    assert first_line("a\nb") == "a"
    assert first_line(ValueError("\n a \nb")) == "a"
    assert first_line(KeyboardInterrupt()) == "KeyboardInterrupt"


def test_a_disk_that_says_no(tmp_path):
    try:
        (tmp_path / "no" / "file").touch()
    except OSError as error:
        said = cannot_write(tmp_path, error)
    assert isinstance(said, ValueError)
    assert str(said) == f"can't write {tmp_path} (No such file or directory): choose another folder"
