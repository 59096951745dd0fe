"""A small checkpoint that cuts pictures as the published ones do, and whose special tokens are not where presets have them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

PATCH, POOL = 16, 3
IDS = {4: 204, 5: 205, 6: 206, 7: 207, 8: 208, 9: 209, 10: 210}
"""Where the special tokens of a preset go; the words that were there take their places."""
EMBEDDER = "model.vision_tower.patch_embedder.input_proj.weight"


def as_published(preset: Path, folder: Path) -> Path:
    """A copy of a preset's checkpoint in ``folder``, which is made."""
    shutil.copytree(preset, folder)
    (folder / "manifest.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"] |= {"patch_size": PATCH, "pooling_kernel_size": POOL}
    for name, value in config.items():
        if name.endswith(("_token_id", "_token_index")) and value in IDS:
            config[name] = IDS[value]
    (folder / "config.json").write_text(json.dumps(config))
    processor = json.loads((folder / "processor_config.json").read_text())
    for part in ("image_processor", "video_processor"):
        processor[part] |= {"patch_size": PATCH, "pooling_kernel_size": POOL}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    moved = IDS | {new: old for old, new in IDS.items()}
    tokenizer["model"]["vocab"] = {word: moved.get(id, id) for word, id in tokenizer["model"]["vocab"].items()}
    for token in tokenizer["added_tokens"]:
        token["id"] = moved.get(token["id"], token["id"])
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    tensors = load_file(folder / "model.safetensors")
    channels = len(tensors[EMBEDDER])
    drawn = torch.randn((channels, 3 * PATCH**2), generator=torch.Generator().manual_seed(0))
    tensors[EMBEDDER] = drawn * 0.3 * (4 / PATCH)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder
