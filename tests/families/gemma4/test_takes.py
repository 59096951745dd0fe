"""A layout on a checkpoint that exists already has its token ids, its patches and its bounds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cases.catalogue import entries_of
from harness.campaigns.soak import drawn
from harness.errors import UsageError
from harness.families.checkpoint import model
from harness.families.gemma4.prompts import patches
from harness.families.registry import prompt_for
from harness.prompts.layout import Layout
from harness.prompts.model_spec import ModelSpec
from harness.prompts.prompt import Prompt
from harness.verification.catalogue import load
from tests.families.gemma4.test_damaged import CONFIG, TEXT, VISION

PUBLISHED = {"sliding_window": 1024, "vocab_size": 262144, "max_position_embeddings": 262144}
"""Of google/gemma-4-31B-it; its config.json names these ids, or none, which means them."""


def given(folder: Path, vision: dict | None = VISION, ids: dict | None = None, **text: object) -> ModelSpec:
    folder.mkdir()
    config = {**CONFIG, "image_token_id": None, "text_config": {**TEXT, **text}, "vision_config": vision, **(ids or {})}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    save_file({"weight": np.zeros((2, 2), np.float32)}, folder / "model.safetensors")
    return model(str(folder))


def prompt(layout: str, spec: ModelSpec) -> Prompt:
    return prompt_for(Layout.parse(layout), spec)


def refused(layout: str, spec: ModelSpec) -> str:
    with pytest.raises(UsageError) as error:
        prompt(layout, spec)
    assert str(error.value).startswith(f"layout: '{layout}' is not allowed; ")
    return str(error.value)


@pytest.fixture
def published(tmp_path: Path) -> ModelSpec:
    """The text and vision of 31B but for widths and depth."""
    return given(tmp_path / "31b", {**VISION, "patch_size": 16, "pooling_kernel_size": 3}, **PUBLISHED)


def test_tokens_are_those_of_the_checkpoint(published: ModelSpec) -> None:
    made = prompt("t400 i2 v1x1 t1", published)
    assert made.token_ids[400:404] == (255999, 258880, 258880, 258882)
    assert made.token_ids[405:408] == (255999, 258884, 258882)
    words = {*made.token_ids[:400], made.token_ids[404], made.token_ids[-1]}
    assert min(words) >= 512 and max(words) < 255999


def test_patches_are_those_of_the_checkpoint(published: ModelSpec) -> None:
    (item,) = prompt("t1 i4 t1", published).items
    pixels, places = patches(item)
    assert pixels.shape == (1, 4 * 9, 3 * 16**2)
    cells = places[0] // 3
    assert [tuple(cell) for cell in np.unique(cells, axis=0)] == [(column, 0) for column in range(4)]
    assert len(np.unique(places[0], axis=0)) == 36


def test_ids_that_config_json_names_are_meant(tmp_path: Path) -> None:
    ids = {
        "boi_token_id": 204,
        "eoi_token_id": 205,
        "image_token_id": 206,
        "eoa_token_index": 209,
        "audio_token_id": 210,
    }
    spec = given(tmp_path / "mine", ids={**ids, "video_token_id": 207, "boa_token_id": 208})
    made = prompt("t100 i1", spec)
    assert made.token_ids[100:] == (204, 206, 205) and min(made.token_ids) >= 32 and max(made.token_ids[:100]) < 204


def test_the_largest_budget_is_taken_and_no_more(published: ModelSpec) -> None:
    assert len(prompt("t16 i1120 t16", published).token_ids) == 1154
    assert "images of at most 1120 soft tokens" in refused("t16 i1121 t16", published)


def test_an_image_has_a_place_for_each_patch(tmp_path: Path) -> None:
    spec = given(tmp_path / "few", {**VISION, "position_embedding_size": 30, "pooling_kernel_size": 3}, **PUBLISHED)
    assert len(prompt("i10", spec).token_ids) == 12
    assert "images of at most 10 soft tokens" in refused("i11", spec)


def test_what_the_checkpoint_has_no_ids_or_tower_for_is_refused(tmp_path: Path) -> None:
    small, blind = given(tmp_path / "small"), given(tmp_path / "blind", None, **PUBLISHED)
    assert "takes no image: its config.json gives boi the id 255999, and it has 256 tokens" in refused("t2 i3", small)
    assert "has no vision tower: text alone" in refused("t2 i3", blind)
    assert len(prompt("t20", small).token_ids) == len(prompt("t20", blind).token_ids) == 20


def test_ids_that_leave_no_words_are_told(tmp_path: Path) -> None:
    spec = given(tmp_path / "none", ids={"boi_token_id": 32})
    with pytest.raises(UsageError, match=r"model: .* its config\.json leaves no ids for words"):
        prompt("t3", spec)


def test_a_layout_longer_than_the_harness_serves_is_refused(published: ModelSpec) -> None:
    assert "takes at most 8191" in refused("t8192", published)


def test_the_catalogue_is_that_of_the_checkpoints_window_and_budgets(published: ModelSpec) -> None:
    entries, refused = load().of_model(published, "cpu", "")
    layouts = {case.name: case.layout for case, _ in entries}
    assert layouts["image-window-plus-one"] == "t3 i1025 t4" and layouts["budget-1120"] == "t16 i1120 t16"
    assert list(refused) == ["image-twice-window", "two-images"] and "at most 1120 soft tokens" in refused["two-images"]
    assert len(entries) + 3 * len(refused) == len(entries_of(published))
    assert all(case.model == published.name for case, _ in entries)


def test_layouts_are_generated_that_the_checkpoint_takes(published: ModelSpec) -> None:
    layouts = drawn(0, published)
    longest = max(span.end - span.start + 1 for layout in layouts for span in layout.spans)
    assert len(layouts) == 100 and 1024 < longest <= 1120
    for layout in layouts:
        prompt_for(layout, published)
