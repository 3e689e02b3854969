"""data/published.csv says what the papers say."""
import csv
from collections import Counter
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "data" / "published.csv"
ROWS = list(csv.DictReader(FILE.read_text(encoding="utf-8").splitlines()))
COLUMNS = ["method", "network", "data", "K", "metric", "value", "unit", "source", "note"]
UNITS = {
    "test error": "%", "top-1 error": "%", "top-5 error": "%", "GPU memory": "GB", "extra wall time": "%",
}
LAYERS = {"ResNet-32": 16, "ResNet-110": 55, "ResNet-101": 34, "ResNet-152": 51}  # stem + residual units


def values(**where) -> list[float]:
    return [float(row["value"]) for row in ROWS if all(row[k].startswith(str(v)) for k, v in where.items())]


def test_every_row_is_complete():
    assert list(ROWS[0]) == COLUMNS
    assert all(row[c] for row in ROWS for c in COLUMNS if c != "note")
    assert all(None not in row for row in ROWS)  # DictReader's key for cells too many
    assert all(row["unit"] == UNITS[row["metric"]] for row in ROWS)
    assert {row["data"] for row in ROWS} == {"CIFAR-10", "SVHN", "STL-10", "ImageNet"}


def test_no_number_is_given_twice():
    key = ("method", "network", "data", "K", "metric", "source")
    keys = Counter(tuple(row[c] for c in key) for row in ROWS)
    assert [key for key, times in keys.items() if times > 1] == []


def test_numbers_are_possible():
    for row in ROWS:
        assert 0 < float(row["value"]) < 100, row
        assert 1 <= int(row["K"]) <= LAYERS[row["network"]], row
        assert (row["method"].startswith("BP")) == (row["K"] == "1"), row


def test_top1_errors_are_above_top5():
    for network in ("ResNet-101", "ResNet-152"):
        for method in ("BP", "InfoPro", "InfoPro + MAN"):
            where = [r for r in ROWS if (r["network"], r["method"]) == (network, method)]
            by_metric = {r["metric"]: float(r["value"]) for r in where}
            assert by_metric["top-1 error"] > by_metric["top-5 error"]


def test_more_blocks_do_not_lower_the_error():
    groups = {}
    for row in ROWS:
        if row["metric"] == "test error":
            key = (row["method"], row["network"], row["data"], row["source"])
            groups.setdefault(key, []).append((int(row["K"]), float(row["value"])))
    assert len(groups) > 20
    for key, points in groups.items():
        errors = [error for _, error in sorted(points)]
        assert errors == sorted(errors), key


@pytest.mark.parametrize("value, where", [
    (6.37, dict(method="BP", network="ResNet-32", data="CIFAR-10", source="MAN")),
    (7.37, dict(method="BP", network="ResNet-32", data="CIFAR-10", source="InfoPro")),
    (5.42, dict(method="BP", network="ResNet-110", data="CIFAR-10", source="MAN", metric="test error")),
    (6.50, dict(method="BP", network="ResNet-110", data="CIFAR-10", source="InfoPro", metric="test error")),
    (9.11, dict(method="DGL + MAN", network="ResNet-32", K=16, note="also the ablation")),
    (11.07, dict(method="DGL + MAN (EMA only)")),
    (9.73, dict(method="DGL + MAN", network="ResNet-110", K=55)),
    (9.06, dict(method="InfoPro + MAN", network="ResNet-110", K=32)),
    (24.59, dict(method="Greedy", network="ResNet-32", K=16)),
    (3.15, dict(method="InfoPro (SupCon)", data="SVHN", K=2)),
    (26.05, dict(method="InfoPro (CE)", data="STL-10", K=16)),
    (20.78, dict(method="InfoPro + MAN", network="ResNet-152", metric="top-1")),
    (10.37, dict(method="InfoPro", network="ResNet-101", metric="GPU", note="taken")),
    (3.91, dict(method="BP + gradient checkpointing", metric="GPU")),
    (13.4, dict(method="InfoPro*", metric="extra", K=4)),
])
def test_spot_values(value, where):
    assert values(**where) == [value]


def test_every_table_is_whole():
    assert len(values(source="MAN", data="CIFAR-10")) == 2 + 4 * 4 + 1  # BP, table, ablation
    assert len(values(source="MAN", data="ImageNet")) == 2 * 3 * 3
    assert len(values(source="InfoPro (ICLR 2021), figures")) == 4 * (1 + 4 * 4)
    assert len(values(source="InfoPro (ICLR 2021), memory")) == 3 + 3 * 2


def test_what_was_not_found_is_not_invented():
    assert values(source="MAN", data="SVHN") == values(source="MAN", data="STL-10") == []
