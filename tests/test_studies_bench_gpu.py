"""The GPU's bench, on a CPU: nothing compiled, no graph. On a GPU the same tests compare the graph."""

import pandas as pd
import pytest
import torch

from mankit.scaling import graphs
from mankit.studies import bench_gpu as bench

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TINY = {"network": "lab", "K": 3, "batch": 4, "rounds": 1, "head": "0c1f", "size": 16, "device": DEVICE}


def test_a_table_a_method_with_every_way():
    man, bp = bench.bench_gpu(["MAN", "BP"], steps=1, **TINY)
    assert list(man.way) == list(bp.way) == list(bench.ways(DEVICE == "cuda"))
    assert (man.step_ms > 0).all() and man.ratio[0] == 1 and (man.apart < 1e-5).all()
    assert man.counted_kib[0] > bp.counted_kib[0] / 2


def test_the_limit_begins_no_other_method():
    assert len(list(bench.bench_gpu(["BP", "DGL"], steps=1, limit=0, **TINY))) <= 1


def test_a_graph_that_misses_a_change_is_seen(monkeypatch):
    """A step that keeps its first learning rate, as a number in a graph would be kept."""
    x, y = torch.rand(4, 3, 16, 16, device=DEVICE), torch.arange(4, device=DEVICE)

    def make():
        return bench.build("MAN", "lab", 3, "0c1f", 16).to(DEVICE)

    assert bench.difference(make, x, y) < 1e-5
    first = []
    fixed = graphs.GraphedStep._set_lrs

    def keeps_the_first(self, optimizers):
        first or (fixed(self, optimizers), first.append(self._lrs))

    monkeypatch.setattr(graphs.GraphedStep, "_set_lrs", keeps_the_first)
    assert bench.difference(make, x, y) > 1e-4


def test_the_command_prints_and_adds_its_rows(tmp_path, mankit):
    file = tmp_path / "measured.csv"
    pd.DataFrame({"date": ["2026-01-01"], "method": ["BP"]}).to_csv(file, index=False)
    words = [word for name, value in TINY.items() for word in (f"--{name}", value)]
    result = mankit("bench", *words, "--gpu", "--csv", file)
    assert result.code == 0, result.err
    assert "graph, tf32" in result.out
    table = pd.read_csv(file)
    assert table.date[0] == "2026-01-01" and set(table.method[1:]) == {"MAN", "InfoPro", "DGL", "BP"}
    assert (table.command[1:] == "mankit bench --gpu").all() and table.step_ms[1:].gt(0).all()


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"batch": 1}, {"K": 99}])
def test_wrong_numbers_are_refused(wrong):
    with pytest.raises(ValueError, match=str(*wrong.values())):
        list(bench.bench_gpu(["DGL"], **TINY | wrong))
