"""The command line that runs a case again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from harness.compare.setting import Setting
from harness.prompts.case import Case
from harness.prompts.model_spec import ModelSpec


def command(case: Case, setting: Setting, spec: ModelSpec, sides: Sequence[str] = ()) -> str:
    """The command line that runs this case again; ``sides`` are the options that name the releases."""
    words = ["harness", "run", *sides]
    words += ["--layout", case.layout] if case.layout else []
    words += ["--picture", "{}x{}".format(*case.picture)] if case.picture else []
    words += [word for image in case.images for word in ("--image", image)]
    words += ["--text", case.text] if case.text is not None else []
    words += ["--model", case.model]
    words += ["--window", str(spec.window)] if not spec.source else []
    words += ["--seed", str(case.seed)] if case.seed else []
    words += setting.words
    return shlex.join(words)
