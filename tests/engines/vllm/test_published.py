"""A checkpoint with the files of a published repository is no false alarm: what its generation_config.json asks for is done to
logits after the model, by both sides."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.families.registry import preset
from harness.verification.session import Session
from tests.cli.command import harness

pytestmark = pytest.mark.engine

GENERATION = {
    "_from_model_config": False, "bos_token_id": 2, "do_sample": True, "eos_token_id": [1, 50, 60], "pad_token_id": 0,
    "temperature": 1.0, "top_k": 64, "top_p": 0.95, "suppress_tokens": [248, 41, 40], "transformers_version": "5.5.0",
}  # fmt: skip
"""google/gemma-4-31B-it's, with ids of the small vocabulary; there the suppressed tokens are 258883 and 258882."""
PROCESSORS = {
    "repetition_penalty": 1.3,
    "bad_words_ids": [[44]],
    "begin_suppress_tokens": [45],
    "no_repeat_ngram_size": 3,
}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|turn>{{ message['role'] }}\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|image|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<turn|>\n{% endfor %}"
)


def published(session: Session, folder: Path, **generation: object) -> Path:
    """A small checkpoint with an unpadded vocabulary, a soft cap and those files."""
    shutil.copytree(session.checkpoint(preset("tiny").with_(vocab=250, softcap=15.0)), folder)
    (folder / "generation_config.json").write_text(json.dumps({**GENERATION, **generation}))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\npipeline_tag: image-text-to-text\n---\n")
    return folder


def test_what_both_sides_do_after_the_model_is_a_note(session: Session, tmp_path: Path) -> None:
    checkpoint = published(session, tmp_path / "published", **PROCESSORS)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    asked = ["--image", str(tmp_path / "picture.png"), "--text", "w50 <|image|> w40 w41 w248"]
    done = harness("run", "--model", str(checkpoint), *asked, "--runner", "v1", "--format", "json")
    assert done.code == 0, done.out + done.err
    result = json.loads(done.out)
    assert result["verdict"] == "PASS" and np.isfinite(result["logits"]["kl_max"])
    assert (
        "after the model both sides suppress tokens 40, 41, 248 (suppress_tokens of generation_config.json)"
        in result["diagnosis"]
    )
    for name in PROCESSORS:
        assert name in result["diagnosis"]


@pytest.mark.slow
def test_what_serving_does_by_another_generation_config_is_a_divergence_of_its_own(
    session: Session, tmp_path: Path
) -> None:
    checkpoint, other = published(session, tmp_path / "published"), tmp_path / "other"
    other.mkdir()
    (other / "generation_config.json").write_text(json.dumps({**GENERATION, "suppress_tokens": [40, 42]}))
    asked = ["--text", "w50 w51", "--runner", "v1", "--serving-arg", f"generation_config={other}", "--format", "json"]
    done = harness("run", "--model", str(checkpoint), *asked)
    assert done.code == 1, done.out + done.err
    diagnosis = json.loads(done.out)["diagnosis"]
    assert diagnosis.startswith(
        "after the model serving suppresses token 42, which suppress_tokens of generation_config.json"
    )
    assert (
        "serving does not suppress tokens 41, 248, which" in diagnosis and "both sides suppress token 40 " in diagnosis
    )
    assert "every layer's mask is equal and the logits are within the noise floor" in diagnosis
