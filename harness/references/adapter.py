"""The reference implementations that there are, each as the harness knows it before it runs.

A reference answers `LoadReference` and `RunReference` (`harness.drivers.messages`) in a driver of its own, run by an interpreter
that has its distribution. One that ``prepares`` also builds checkpoints (`Build`) and gives the tokens and soft tokens of
prompts to those that do not (`Prepare`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.errors import UsageError
from harness.prompts.model_spec import ModelSpec
from harness.references.options import ATTENTION, NO_CACHE


@dataclass(frozen=True)
class Reference:
    """A reference by its ``name`` on the command line. ``distribution`` is what an interpreter must have, ``newest`` the newest
    release of it that was tried. ``attention`` and ``dtypes`` are what it can be asked for; ``versions`` names in
    captures the distributions that decide what it computes; ``imported`` is what an interpreter that has it must be able to
    import."""

    name: str
    distribution: str
    newest: str
    driver: str
    attention: tuple[str, ...]
    dtypes: tuple[str, ...]
    versions: Mapping[str, str]
    imported: str
    prepares: bool
    families: tuple[str, ...] = ()
    """The model families that it has; none for all."""
    kv_dtypes: tuple[str, ...] = ()
    """In what it can keep keys and values, as serving does; none for all that serving offers."""
    forces: bool = False
    """Masks can be laid over it (`harness.drivers.messages.Forced`)."""
    offloads: bool = False
    """Whether it can be loaded layer by layer."""
    caches: bool = False
    """It can be run with a cache of its own (`harness.drivers.messages.Caching`)."""

    unified: bool = True
    """It has Gemma 4 without towers, as 12B is."""
    adapts: bool = False
    """A LoRA adapter can be applied to it (`harness.families.adapter`)."""

    def check(
        self,
        attention: str,
        dtype: str,
        kv_dtype: str,
        spec: ModelSpec,
        cache: str = NO_CACHE,
        *,
        adapted: bool = False,
    ) -> None:
        """Raise UsageError for what this reference does not have."""
        if adapted and not self.adapts:
            raise UsageError("adapter", "request", f"nobody or mates with the reference {self.name}, which takes none")
        if self.families and spec.family not in self.families:
            raise UsageError("model", spec.name, f"one of {' or '.join(self.families)} with the reference {self.name}")
        if spec.unified and not self.unified:
            raise UsageError(
                "model", spec.name, f"one with towers with the reference {self.name}, which loads no gemma4_unified"
            )
        if attention not in self.attention:
            raise UsageError(
                "reference-attention", attention, f"{' or '.join(self.attention)} with the reference {self.name}"
            )
        if dtype not in self.dtypes:
            raise UsageError("dtype", dtype, f"{' or '.join(self.dtypes)} with the reference {self.name}")
        if cache != NO_CACHE and not self.caches:
            raise UsageError("reference-cache", cache, f"{NO_CACHE} with the reference {self.name}")
        if self.kv_dtypes and kv_dtype not in self.kv_dtypes:
            raise UsageError("kv-dtype", kv_dtype, f"{' or '.join(self.kv_dtypes)} with the reference {self.name}")


TRANSFORMERS = Reference(
    "transformers",
    distribution="transformers",
    newest="5.24.0",
    driver="harness.references.transformers.driver",
    attention=ATTENTION,
    dtypes=("float32", "bfloat16", "float16"),
    versions={"transformers": "transformers", "reference torch": "torch"},
    imported="transformers.Gemma4ForConditionalGeneration",
    prepares=True,
    forces=True,
    adapts=True,
    offloads=True,
    caches=True,
)
OFFICIAL = Reference(
    "official",
    distribution="gemma",
    newest="4.0.1",
    driver="harness.references.official.driver",
    attention=("eager",),
    dtypes=("float32", "bfloat16"),
    versions={"gemma": "gemma", "jax": "jax"},
    imported="gemma.gm.nn.gemma4",
    prepares=False,
    families=("gemma4",),
    kv_dtypes=("auto",),
)
KERAS_HUB = Reference(
    "keras-hub",
    distribution="keras-hub",
    newest="0.32.0",
    driver="harness.references.keras_hub.driver",
    attention=("eager",),
    dtypes=("float32", "bfloat16"),
    versions={"keras-hub": "keras-hub", "keras": "keras", "reference torch": "torch"},
    imported="keras_hub.models.Gemma4Backbone",
    prepares=False,
    unified=False,
    families=("gemma4",),
    kv_dtypes=("auto",),
)
REFERENCES = {one.name: one for one in (TRANSFORMERS, OFFICIAL, KERAS_HUB)}
"""By name; where an interpreter has several, it runs the first."""


def installed(distributions: Mapping[str, str | None]) -> Reference | None:
    """The reference that an interpreter with these distributions (by name their versions) runs."""
    return next((one for one in REFERENCES.values() if distributions.get(one.distribution)), None)


def made_by(versions: Mapping[str, str]) -> tuple[str, str]:
    """The name and release of the reference whose capture has these versions.

    Raises:
        ValueError: it is none that is known.
    """
    for one in REFERENCES.values():
        if one.distribution in versions:
            return one.name, versions[one.distribution]
    raise ValueError(f"no known reference has the versions {', '.join(versions)}")
