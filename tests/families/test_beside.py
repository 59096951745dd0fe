"""The files beside the weights of a checkpoint that somebody else wrote: each that would hold a side up, or have it run
code, is one `UsageError` that names the file and the field."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.families import beside

PUBLISHED = {
    "config.json": {"model_type": "gemma4"},
    "generation_config.json": {"eos_token_id": [1, 106, 50], "suppress_tokens": [258880], "temperature": 1.0, "top_k": 64},
    "tokenizer.json": {"model": {"type": "BPE", "vocab": {"a": 0}}, "added_tokens": [{"id": 0, "content": "<pad>"}]},
    "tokenizer_config.json": {"tokenizer_class": "GemmaTokenizer", "model_max_length": 10**30, "bos_token": {"content": "<bos>"}},
    "preprocessor_config.json": {"image_processor_type": "Gemma3ImageProcessor", "image_mean": [0.5, 0.5, 0.5], "do_resize": None},
    "processor_config.json": {"image_processor": {"patch_size": 16, "pooling_kernel_size": 3, "max_soft_tokens": 1120}},
    "special_tokens_map.json": {"eos_token": "<eos>"},
    "added_tokens.json": {"<image>": 5},
    "chat_template.json": {"chat_template": "{{ bos_token }}"},
}  # fmt: skip
HOSTILE = [
    ("generation_config.json", {"eos_token_id": "1"}, "eos_token_id"),
    ("generation_config.json", {"suppress_tokens": [-1]}, "suppress_tokens"),
    ("generation_config.json", {"suppress_tokens": [True]}, "suppress_tokens"),
    ("generation_config.json", {"suppress_tokens": 40}, "suppress_tokens"),
    ("generation_config.json", {"temperature": 1e300}, "temperature"),
    ("generation_config.json", {"top_k": 10**30}, "top_k"),
    ("tokenizer.json", {"added_tokens": [{"id": 1 << 40, "content": "x"}]}, "added_tokens.0.id"),
    ("tokenizer.json", {"model": {"type": "../evil"}}, "model.type"),
    ("tokenizer.json", {"model": {"vocab": 3}}, "model.vocab"),
    ("tokenizer_config.json", {"tokenizer_class": ["Evil"]}, "tokenizer_class"),
    ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.T", None]}}, "auto_map"),
    ("tokenizer_config.json", {"chat_template": 3}, "chat_template"),
    ("tokenizer_config.json", {"chat_template": [{"name": "a"}]}, "chat_template"),
    ("tokenizer_config.json", {"chat_template": "x" * (2 << 20)}, "chat_template"),
    ("tokenizer_config.json", {"model_max_length": "512"}, "model_max_length"),
    ("tokenizer_config.json", {"pad_token": {"content": 7}}, "pad_token"),
    ("special_tokens_map.json", {"eos_token": 1}, "eos_token"),
    ("processor_config.json", {"image_processor": []}, "image_processor"),
    ("processor_config.json", {"image_processor": {"max_soft_tokens": 65536, "patch_size": 1024, "pooling_kernel_size": 64}},
     "image_processor"),
    ("processor_config.json", {"image_processor": {"rescale_factor": 1e300}}, "image_processor.rescale_factor"),
    ("processor_config.json", {"image_processor": {"image_processor_type": "os.system"}}, "image_processor.image_processor_type"),
    ("processor_config.json", {"video_processor": {"num_frames": 10**9}}, "video_processor.num_frames"),
    ("processor_config.json", {"feature_extractor": {"fft_length": 0}}, "feature_extractor.fft_length"),
    ("processor_config.json", {"image_processor": {"auto_map": {"AutoImageProcessor": "evil.P"}}}, "image_processor.auto_map"),
    ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil.P"}}, "auto_map"),
    ("preprocessor_config.json", {"image_mean": ["0"]}, "image_mean"),
    ("config.json", {"auto_map": {"AutoConfig": "evil.C"}}, "auto_map"),
    ("config.json", {"text_config": {"auto_map": {"AutoModel": "evil.M"}}}, "text_config.auto_map"),
    ("chat_template.json", {"chat_template": {"default": 1}}, "chat_template"),
]  # fmt: skip


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    for name, content in PUBLISHED.items():
        (tmp_path / name).write_text(json.dumps(content))
    (tmp_path / "chat_template.jinja").write_text("{% for m in messages %}{{ m }}{% endfor %}")
    return tmp_path


def refused(checkpoint: Path) -> str:
    with pytest.raises(UsageError) as error:
        beside.check("mine", checkpoint)
    said = str(error.value)
    assert said.isprintable() and said.startswith("model: 'mine' is not allowed; its ") and len(said) < 400
    return said


def test_what_is_published_is_taken(checkpoint: Path) -> None:
    beside.check("mine", checkpoint)


@pytest.mark.parametrize(("file", "content", "field"), HOSTILE, ids=str)
def test_a_field_that_is_hostile_is_named(checkpoint: Path, file: str, content: dict, field: str) -> None:
    (checkpoint / file).write_text(json.dumps(content))
    assert f"its {file}: {field}: " in refused(checkpoint)


@pytest.mark.parametrize("name", [*PUBLISHED, "chat_template.jinja", "additional_chat_templates/tool.jinja"])
@pytest.mark.parametrize(
    "make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere"), lambda path: path.symlink_to("/dev/zero")]
)
def test_what_is_no_file_is_not_waited_for(checkpoint: Path, name: str, make) -> None:
    path = checkpoint / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    make(path)
    assert f"its {name} " in refused(checkpoint)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{{ 1 }}" * (1 << 20)])
def test_a_template_that_is_no_text_or_huge_is_named(checkpoint: Path, content: bytes) -> None:
    (checkpoint / "chat_template.jinja").write_bytes(content)
    assert "its chat_template.jinja " in refused(checkpoint)


def test_files_that_neither_side_reads_may_be_anything(checkpoint: Path) -> None:
    (checkpoint / "README.md").write_bytes(b"\xff")
    os.mkfifo(checkpoint / "pipe")
    beside.check("mine", checkpoint)
