"""Every data set in its own file format, from the command to the summary, stopped and gone on."""

import os
from pathlib import Path

import pytest
from PIL import Image
from small_files import noise

from mankit.studies import open_run, read_run

REAL = Path(os.environ.get("MANKIT_DATA", "no MANKIT_DATA"))
TRAIN = ("train", "--rule", "man", "-K", 3, "--epochs", 2, "--augment", "--device", "cpu")


def check_trains(mankit, out, *words):
    """The command trains a data set, and a second run that is left after its first epoch ends the same."""
    result = mankit(*TRAIN, *words, "-o", out)
    assert result.code == 0, result.err
    record = read_run(out)
    assert [row["epoch"] for row in record.log] == [1, 2] and record.summary.best_epoch in (1, 2)
    assert f"test: {record.summary.test_last:.2f} % from the last epoch" in result.out
    again = out.with_name("again")
    root = words[words.index("--root") + 1]
    with open_run(again, record.recipe, device="cpu", root=root) as kept:
        next(step for step in kept if kept.run.done == kept.run.steps_per_epoch)
    assert mankit(*TRAIN, *words, "-o", again).out.splitlines()[1:] == result.out.splitlines()[1:]
    return record


def test_cifar10(mankit, cifar, tmp_path):
    root, _ = cifar
    record = check_trains(mankit, tmp_path / "out", "--data", "cifar10", "--root", root, "--batch", 20)
    assert record.summary.steps == 2 * 4


def test_svhn(mankit, svhn, tmp_path):
    record = check_trains(mankit, tmp_path / "out", "--data", "svhn", "--root", svhn, "--batch", 12)
    assert record.summary.steps == 2 * 3


def test_stl10(mankit, stl10, tmp_path):
    record = check_trains(mankit, tmp_path / "out", "--data", "stl10", "--root", stl10, "--batch", 6)
    assert record.summary.steps == 2 * 3


def test_folder_of_images(mankit, folder, tmp_path):
    for seed, file in enumerate(sorted((folder / "train").rglob("*.*"))):
        Image.fromarray(noise(1, 40, seed)[0].permute(1, 2, 0).numpy()).save(file)
    words = ("--data", "folder", "--root", folder, "--batch", 3, "--size", 16)
    assert check_trains(mankit, tmp_path / "out", *words).summary.steps == 2 * 2


def test_stl10_with_its_published_recipe(mankit, stl10, tmp_path):
    """96 x 96 images through ResNet-110, one short epoch; ten classes, not the published code's hundred."""
    words = ("train", "--recipe", "stl10/resnet110/dgl/K4", "--root", stl10, "--epochs", 1, "--batch", 5)
    recipe = ("--train-size", 10, "-o", tmp_path / "out")
    result = mankit(*words, *recipe)
    assert result.code == 2 and "val_size=500" in result.err  # 20 images are not enough for it
    from mankit.studies.papers import cell

    file = tmp_path / "recipe.json"
    file.write_text(cell("stl10/resnet110/dgl/K4").recipe.but(data_options={"val_size": 5}).to_json())
    result = mankit("train", "--recipe", file, *words[3:], *recipe)
    assert result.code == 0, result.err
    record = read_run(tmp_path / "out")
    assert record.recipe.network == "cifar_resnet110" and record.recipe.K == 4 and record.summary.steps == 2
    assert record.log[0]["losses"][0] == pytest.approx(2.3, abs=0.7)  # about log 10


# --- real images, where they are at hand ---


def needs(name):
    return pytest.mark.skipif(not (REAL / name).is_dir(), reason=f"MANKIT_DATA has no {name}")


@needs("cifar-10-batches-py")
def test_real_cifar10(mankit, tmp_path):
    words = ("--data", "cifar10", "--root", REAL, "--train-size", 400, "-o", tmp_path)
    assert mankit(*TRAIN, *words).code == 0
    assert read_run(tmp_path).summary.steps == 2 * 4 and read_run(tmp_path).summary.best_epoch in (1, 2)


@needs("imagenette2-224-subset")
def test_real_folder(mankit, tmp_path):
    words = ("--data", "folder:imagenette2-224-subset", "--root", REAL, "--size", 32, "--train-size", 200)
    assert check_trains(mankit, tmp_path / "out", *words).summary.steps == 2 * 2
