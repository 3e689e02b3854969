"""A rule of one's own, as docs/own_rule.md writes it: ten lines and one line in RULES, and all of mankit knows it."""

import re
import threading
from pathlib import Path

import pytest
import torch
from test_session import until

from mankit import RULES, charts, lab
from mankit.rules import entry_of
from mankit.studies import Recipe, Run
from mankit.studies.bench import bench

PAGE = (Path(__file__).parents[1] / "docs" / "own_rule.md").read_text(encoding="utf-8")
SMALL = {"train_size": 60, "val_size": 40, "test_size": 40, "epochs": 1, "batch": 20}


@pytest.fixture
def scaled(monkeypatch):
    """The page's rule, put into RULES by the page's own line, and taken out again after the test."""
    (code,) = re.findall(r"```python\n(from mankit import RULES.*?)```", PAGE, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 16
    before, room = dict(RULES), {}
    exec(code, room)  # the words of the page
    yield room["scaled"]
    RULES.clear()
    RULES.update(before)


def test_it_stands_in_rules_with_a_label(scaled):
    assert "scaled" in RULES and entry_of("scaled").build is entry_of(scaled).build is scaled
    assert entry_of("scaled").label == "Scaled DGL"


def test_the_command_knows_its_option_and_trains_it(scaled, mankit):
    shown = mankit("train", "--help")
    assert shown.code == 0 and "--scale" in shown.out and "factor" in shown.out
    sizes = ["--train-size", 60, "--val-size", 40, "--test-size", 40, "--epochs", 1, "--batch", 20]
    result = mankit("train", "--rule", "scaled", "--scale", 2, "--K", 3, *sizes)
    assert result.code == 0 and result.out.startswith("scaled on glyphs")
    refused = mankit("train", "--rule", "dgl", "--scale", 2)
    assert refused.code == 2 and len(refused.err.splitlines()) == 1 and "scale" in refused.err


def test_a_recipe_keeps_it_through_json(scaled):
    recipe = Recipe.of(rule="scaled", K=3, scale=2.0, **SMALL)
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe == Recipe.of(**recipe.settings()) and again.options == {"scale": 2.0}
    assert Recipe.of(rule=scaled, K=3, scale=2.0, **SMALL) == recipe
    steps = [step.losses for step in Run(again)]
    assert len(steps) == 3 and all(losses.isfinite().all() for losses in steps)


def test_it_is_trained_without_a_name_too(scaled):
    del RULES["scaled"]
    recipe = Recipe.of(rule=scaled, K=3, scale=2.0, **SMALL)
    assert len(list(Run(recipe))) == 3
    with pytest.raises(ValueError, match=r"RULES\['scaled'\] = "):
        recipe.to_json()


def close(panel):
    """Close the panel, and wait for what still draws: it asks RULES, which forgets the rule after the test."""
    panel.close()
    for thread in threading.enumerate():
        if thread.name == "mankit drawing":
            thread.join(30)


@pytest.mark.parametrize("by", ["name", "function"])
def test_the_live_panel_trains_it(scaled, by):
    if by == "function":
        del RULES["scaled"]
    panel = lab.panel("scaled" if by == "name" else scaled, 3, scale=2.0, live=True, **SMALL)
    try:
        assert panel.controls.options["scale"].value == 2.0
        assert panel.controls.options["scale"].layout.display == ""
        panel.start.click()
        panel.session.join(60)
        assert panel.session.state == "done", panel.session.error
        until(lambda: panel.figure.shown.picture["legend"])  # the first block's curve is drawn
        assert ("Scaled DGL" if by == "name" else "scaled") in panel.summary.value
    finally:
        close(panel)


def test_a_panel_of_another_rule_offers_it(scaled):
    panel = lab.panel("man", 3, live=True, **SMALL)
    try:
        panel.controls.rule.value = "scaled"
        panel.start.click()
        panel.session.join(60)
        assert panel.session.state == "done" and panel.session.recipe.rule == "scaled", panel.session.error
    finally:
        close(panel)


def test_bench_times_it(scaled):
    table = bench("lab", K=3, batch=4, rounds=1, head="0c1f", size=16).set_index("method")
    assert table.loc["Scaled DGL", "gflops"] == pytest.approx(table.loc["DGL", "gflops"], rel=0.01)


def test_a_charts_legend_names_it_with_a_look_of_its_own(scaled):
    label = entry_of("scaled").label
    chart = charts.curves({"DGL": ([1, 2], [3, 4]), label: ([1, 2], [4, 5])}, xlabel="epoch")
    data, _ = charts.bundle(chart)
    lines = {trace["name"]: trace for trace in data["application/vnd.plotly.v1+json"]["data"]}
    assert set(lines) == {"DGL", label}
    looks = {(line["line"]["color"], line["line"]["dash"], line["marker"]["symbol"]) for line in lines.values()}
    assert len(looks) == 2


def test_it_does_what_its_option_says(scaled):
    nets = {scale: Run(Recipe.of(rule="scaled", K=2, scale=scale, **SMALL)).net for scale in (1.0, 2.0)}
    x = torch.rand(4, 3, 16, 16)
    one, two = (nets[scale].eval().heads[0](nets[scale].features(x)[0]) for scale in (1.0, 2.0))
    assert torch.allclose(two, 2 * one, atol=1e-5)
