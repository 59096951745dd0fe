"""What a team knows already: a TOML file of known divergences, read field by field.

[[known]]
policy = "drop"
link = "https://github.com/vllm-project/vllm/pull/50539"
reason = "the V2 runner leaves an image longer than the window causal"
releases = ">=0.25,<0.33"
settings = { runner = "v2", backend = ["triton", "flash"] }
"""

from __future__ import annotations

import builtins
import re
import stat
import tomllib
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from harness.compare.known import PARTS_OF_MODELS, PRECISIONS, Declared
from harness.compare.setting import PARTS, Setting
from harness.engines.vllm.arguments import MAY_BE_GIVEN
from harness.engines.vllm.attention_backends import ATTENTION_BACKENDS, AttentionBackend, backend
from harness.engines.vllm.overlays import OVERLAYS, check_names
from harness.errors import UsageError
from harness.families.registry import FAMILIES
from harness.masks.policies import POLICIES
from harness.options import Option, declared
from harness.references.adapter import REFERENCES
from harness.text import quoted

SHORTEST = 8
"""Characters of a message that is told from others."""
LARGEST = 1 << 20
"""Bytes."""
FORM = "a file of TOML with a [[known]] for each divergence"
PATCHES = [name for name, overlay in OVERLAYS.items() if overlay.kind == "patch"]
OF_CACHE = ("reference_cache", "prefill_chunk_size")
"""Options of a reference's run with a cache of its own, which is declared by them."""
NEEDS: dict[str, dict[str, Any]] = {
    "prefill_chunk_size": {"reference_cache": "dynamic"},
    "speculate": {"decode": 1},
    "draft": {"decode": 1, "speculate": 1},
    "adapter": {"mates": ("t1",)},
}
"""Options that mean nothing without others."""
KINDS = ("policy", "precision", "failure", "logits")
GOES_WITH = {
    **dict.fromkeys(("full_policy", "split", "unobserved", "reference"), ("policy",)),
    **dict.fromkeys(("first_layer", "model_has"), ("logits",)),
    "sometimes": ("failure", "logits"),
}
"""Fields that only some kinds of a declaration have."""
MEMBERS = [kind for family in FAMILIES.values() for kind in family.model_types]
CHOSEN = ("backend", "runner")
"""Options for which a declaration names what the engine chose."""


def _conditions() -> Iterator[tuple[str, tuple[str, Any, Option]]]:
    for part, owner in (*PARTS.items(), ("overlays", Setting)):
        hints = get_type_hints(owner)
        for field, option in declared(owner) if part != "selection" else ():
            yield option.flag.removeprefix("--"), (field.name, hints[field.name], option)


CONDITIONS = dict(_conditions())
"""What ``settings`` may have: the options of the command line that change what is served or compared with, without their
dashes; for each the field's name and type, and the option."""


def _one_of(names: Collection[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in names:
            raise ValueError(_names(names))
        return value

    return AfterValidator(check)


def _names(names: Collection[str]) -> str:
    return f"one of {', '.join(names)}"


def _said(value: str) -> str:
    if not value.strip():
        raise ValueError("text that is not empty")
    return value


WRAPPERS = (
    "the serving driver died is gone did not answer within was killed asked for; "
    "Engine core initialization failed. See root cause above. Failed core proc(s); "
    "WorkerProc initialization failed due to an exception in a background process. See stack trace for root cause."
)
FRAMES = {
    *re.findall(r"\w+", WRAPPERS.lower()),
    *(
        name.lower()
        for name, kind in vars(builtins).items()
        if isinstance(kind, type) and issubclass(kind, BaseException)
    ),
}
"""Words that the message of any failure may have: of the harness, of Python, and of vLLM around every failure of a start."""


def _telling(value: str) -> str:
    if len(value.strip()) < SHORTEST or all(word in FRAMES for word in re.findall(r"\w+", value.lower())):
        raise ValueError(f"what tells this failure from every other one, of at least {SHORTEST} characters")
    return value


def _linked(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+/\S*", value):
        raise ValueError("the address of the issue or pull request, https://...")
    return value


def _releases(value: str) -> str:
    try:
        found = SpecifierSet(value)
    except InvalidSpecifier:
        raise ValueError('releases of vLLM as pip has them, such as ">=0.25,<0.33"') from None
    if "+" in value:
        raise ValueError("releases without what stands after a +, which is not compared")
    if found.is_unsatisfiable():
        raise ValueError("releases of which there can be one: no release is in all of these")
    return value


def _settings(value: object) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    if not isinstance(value, dict):
        raise ValueError(f"a table of {', '.join(CONDITIONS)}")
    return tuple(_condition(name, given) for name, given in value.items())


def _condition(name: str, given: object) -> tuple[str, tuple[Any, ...]]:
    """The values of one option, as a setting has them."""
    if name not in CONDITIONS:
        raise UsageError(name, given, f"a setting is one of {', '.join(CONDITIONS)}")
    field, hint, option = CONDITIONS[name]
    several = get_origin(hint) is tuple
    kind = str if several else next(kind for kind in (*get_args(hint), hint) if isinstance(kind, type))
    values: list[Any] = given if isinstance(given, list) else [given]
    if not values or any(type(value) is not kind for value in values):
        words = {str: "text", int: "a whole number", bool: "true or false"}[kind]
        raise UsageError(name, given, f"{words}, or a list of such")
    if name in CHOSEN and "auto" in values:
        raise UsageError(name, given, f"what the engine chose is compared, which is never auto; leave {name} out")
    read = tuple(option.read(value) if option.read else value for value in values)
    for value in [read] if several else read:
        if option.check:
            option.check(value)
        Setting.of(**{**NEEDS.get(field, {}), field: value})
    if field == "arguments":
        _check_arguments(name, [argument for argument, _ in read])
    if field == "overlays":
        check_names(read)
    if name == "backend":
        read = tuple(dict.fromkeys(alias for one in map(_served_by, read) for alias in (one.name, one.vllm_name)))
    return field, read


def _check_arguments(name: str, arguments: Sequence[str]) -> None:
    """Raise UsageError for engine arguments that no setting can have."""
    for argument in arguments:
        if argument not in MAY_BE_GIVEN:
            near = get_close_matches(argument, MAY_BE_GIVEN, 1, 0.7)
            hint = f"did you mean {near[0]}?" if near else f"one of {', '.join(MAY_BE_GIVEN)}"
            raise UsageError(name, argument, f"an argument that --{name} takes; {hint}")


def _served_by(name: str) -> AttentionBackend:
    """The back end of this name; one of vLLM's that the harness does not know may be meant, but not a slip of one that it does."""
    found, known = backend(name), [each for one in ATTENTION_BACKENDS.values() for each in (one.name, one.vllm_name)]
    near = get_close_matches(name, known, 1, 0.85)
    if found.name not in ATTENTION_BACKENDS and near:
        raise UsageError("backend", name, f"a back end of vLLM's; did you mean {near[0]}?")
    return found


class _Entry(BaseModel):
    """One [[known]]; the description of a field says what is allowed."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    policy: Annotated[str, _one_of(POLICIES), Field(description=_names(POLICIES))] = ""
    full_policy: Annotated[str, _one_of(POLICIES), Field(description=_names(POLICIES))] = "causal"
    split: Annotated[bool, Field(description="true or false")] = False
    unobserved: Annotated[bool, Field(description="true or false")] = False
    reference: Annotated[str, _one_of(REFERENCES), Field(description=_names(REFERENCES))] = ""
    member: Annotated[str, _one_of(MEMBERS), Field(description=_names(MEMBERS))] = ""
    precision: Annotated[str, _one_of(PRECISIONS), Field(description=_names(PRECISIONS))] = ""
    failure: Annotated[
        str, AfterValidator(_said), AfterValidator(_telling), Field(description="what serving's message has, as text")
    ] = ""
    logits: Annotated[bool, Field(description="true or false")] = False
    first_layer: Annotated[int | None, Field(ge=0, description="the number of a layer, from 0 on")] = None
    model_has: Annotated[
        list[Annotated[str, _one_of(PARTS_OF_MODELS)]], Field(description=f"a list, each {_names(PARTS_OF_MODELS)}")
    ] = []
    sometimes: Annotated[bool, Field(description="true or false")] = False
    link: Annotated[
        str, AfterValidator(_linked), Field(description="the address of the issue or pull request, https://...")
    ]
    reason: Annotated[str, AfterValidator(_said), Field(description="a sentence for those who read a report")]
    releases: Annotated[str, AfterValidator(_releases), Field(description='text such as ">=0.25,<0.33"')] = ""
    settings: Annotated[tuple, BeforeValidator(_settings), Field(description="a table")] = ()
    mended_by: Annotated[
        list[Annotated[str, _one_of(PATCHES)]], Field(description=f"a list, each {_names(PATCHES)}")
    ] = []

    @model_validator(mode="after")
    def _agrees(self) -> _Entry:
        kinds = [name for name in KINDS if getattr(self, name)]
        if len(kinds) != 1:
            raise ValueError(
                f"exactly one of policy, precision, failure and logits, and not {' and '.join(kinds) or 'none'}"
            )
        for name, of in GOES_WITH.items():
            if name in self.model_fields_set and kinds[0] not in of:
                raise ValueError(f"{name} goes with {' or '.join(of)}, not with {kinds[0]}")
        if self.logits and self.first_layer is None and not self.mended_by:
            raise ValueError("logits goes with first_layer or mended_by: what tells this fault from others")
        if self.logits and not (self.releases or self.settings):
            raise ValueError("logits goes with releases or settings: where it is seen")
        if self.member and not self.reference:
            raise ValueError("member goes with reference: it says which models of it are meant")
        others = [name for name, _ in self.settings if name not in OF_CACHE]
        if self.reference and (others or self.split or self.unobserved or self.mended_by):
            raise ValueError(
                "reference goes with policy, full_policy, releases, member, and of settings its cache alone: it is what follows"
            )
        return self


class _File(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    known: Annotated[list[_Entry], Field(description="a [[known]] for each divergence")] = []


def read(path: str | Path) -> list[Declared]:
    """The divergences that a file declares, in its order. A ``failure``, and ``logits`` that are off, are certain unless they come
    only ``sometimes``.

    Raises:
        UsageError: it cannot be read, is no TOML, or a field is not what it must be; the line names file, field, value and what
            is allowed.
    """
    try:
        found = _File.model_validate(_toml(Path(path)))
    except ValidationError as error:
        raise _refused(str(path), dict(error.errors(include_url=False)[0])) from None
    where = str(Path(path).absolute())
    return [_declared(entry, where) for entry in found.known]


def _declared(entry: _Entry, where: str) -> Declared:
    lists: dict[str, Any] = {name: tuple(getattr(entry, name)) for name in ("mended_by", "model_has")}
    values = entry.model_dump(exclude={"sometimes"})
    certain = bool(entry.failure or entry.logits) and not entry.sometimes
    return Declared(**{**values, **lists}, certain=certain, file=where)


def _toml(path: Path) -> dict:
    try:
        facts = path.stat()
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > LARGEST:
            raise UsageError("known", str(path), f"{FORM}, of at most {LARGEST} bytes")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except UsageError:
        raise
    except OSError as error:
        raise UsageError("known", str(path), f"{FORM} ({error.strerror or error})") from None
    except RecursionError:
        raise UsageError("known", str(path), f"{FORM}; it is nested too deeply") from None
    except ValueError as error:
        raise UsageError("known", str(path), f"{FORM} in UTF-8: {quoted(str(error), 200)}") from None


def _refused(path: str, error: dict[str, Any]) -> UsageError:
    """The one line on what is wrong first: file, field, value, what is allowed."""
    loc = error["loc"]
    place = f"{path}: [[known]] {loc[1] + 1}" if len(loc) > 1 else path
    schema = _Entry if len(loc) > 1 else _File
    named = [str(part) for part in (loc[2:] if len(loc) > 1 else loc)]
    field = ": ".join([place, *named[:1]])
    said = error.get("ctx", {}).get("error")
    if isinstance(said, UsageError):
        return UsageError.said(f"{field}: {said}", "known")
    if error["type"] == "value_error":
        allowed = str(said)
    elif error["type"] == "extra_forbidden":
        allowed = f"the fields are {', '.join(schema.model_fields)}"
    else:
        allowed = (schema.model_fields[named[0]].description if named else None) or FORM
    if error["type"] == "missing":
        return UsageError.said(f"{field}: it is missing; {allowed}", "known")
    value = f"{quoted(error['input'])} is not allowed; " if named else ""
    return UsageError.said(f"{field}: {value}{allowed}", "known")
