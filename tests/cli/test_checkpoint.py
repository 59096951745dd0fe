"""A checkpoint that exists already, with pictures from files, through the path that users have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.compare.setting import Setting
from harness.compare.verdict import Verdict
from harness.families.registry import preset
from harness.prompts.case import Case
from harness.verification.session import Session
from harness.verification.verify import verify
from tests.cli.command import harness

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    paths = [folder / "wide.png", folder / "small.jpg"]
    for path, size in zip(paths, ((32, 64, 3), (16, 16, 3)), strict=True):
        Image.fromarray(random.integers(0, 256, size, dtype=np.uint8)).save(path)
    return paths


@pytest.mark.slow
def test_two_pictures_with_chosen_layers_and_positions(session: Session, pictures: list[Path]) -> None:
    checkpoint = session.checkpoint(preset("tiny"))
    images = [word for path in pictures for word in ("--image", str(path))]
    captured = ["--observe-layer", "0", "--logits-at", "-1", "--logits-at", "2", "--serving-arg", "max_model_len=256"]
    text = "w50 <|image|> w51 <|image|> w52"
    done = harness(
        "run", "--model", checkpoint, *images, "--text", text, *captured, "--runner", "v1", "--format", "json"
    )
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["verdict"] == "PASS"
    assert [layer["index"] for layer in result["layers"]] == [0]
    kinds = [token["kind"] for token in result["tokens"]]
    assert kinds.count("boi") == kinds.count("eoi") == 2 and kinds.count("image") > 20
    floors = result["logits"]["by_position"]["floor"]
    assert [place for place, floor in enumerate(floors) if floor] == [2, len(kinds) - 1]
    assert result["reproduce"].count("--image") == 2 and "max_model_len=256" in result["reproduce"]


def test_a_picture_of_a_phone_is_the_same_for_both_sides(session: Session, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(1).integers(0, 256, (16, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "phone.jpg", exif=exif)
    case = Case("run", "", images=(str(tmp_path / "phone.jpg"),), text="w40 <|image|> w41")
    result = verify(session, case, Setting.of(runner="v1"))
    assert result.verdict is Verdict.PASS, result.diagnosis


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--text", "<|image|>"], "text: '<|image|>' is not allowed; <|image|> once for each of the 0 images"),
        (["--image", "pyproject.toml"], "image: 'pyproject.toml' is not allowed; a file with a picture"),
        (["--text", "w40", "--model", "./tests"], "model: './tests' is not allowed; a preset (tiny"),
        (["--text", "w40", "--observe-layer", "7"], "observe-layer: 7 is not allowed; 0 to 1, the layers of tiny"),
    ],
)
def test_bad_input_is_named_in_one_line(words: list[str], said: str) -> None:
    done = harness("run", *words)
    assert (done.code, done.out) == (2, "") and said in done.err and done.seconds < 5


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    done = harness("run", "--text", "w40", "--model", str(tmp_path))
    assert done.code == 2 and "a Gemma 4 or Gemma 3 checkpoint; its config.json says 'llama'" in done.err
