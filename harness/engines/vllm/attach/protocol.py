"""What is said between a server that can be observed and whoever observes it: JSON, over HTTP, below `ROOT`.

Every request carries the token as a bearer. Names, numbers and tickets are all that a client can say: no code and no path.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from packaging.version import InvalidVersion, Version

from harness.captures.facts import EngineFacts, Held

URL, TOKEN_FILE, ENGINE = "HARNESS_SERVER", "HARNESS_SERVER_TOKEN_FILE", "HARNESS_SERVER_ENGINE"
"""The environment variables by which the driver knows the server, and which of its engines is asked, where one alone is."""
VERSION = 4
"""Counts the changes by which a client of before would misunderstand a server, or the other way round."""
ROOT = "/harness"
BEGIN, COLLECT, FETCH, KEEP, END = (f"{ROOT}/{name}" for name in ("begin", "collect", "fetch", "keep", "end"))
LEASE, BEAT = 120.0, 20.0
"""Seconds after which an observation that nobody goes on with is over, and after which a client says again that it does."""
MOST_REQUESTS = 64
"""Requests that are observed at a time."""
GENERATE = "/inference/v1/generate"
"""vLLM's route that takes token ids with images."""
START = "HARNESS_ATTACH=TOKEN_FILE VLLM_PLUGINS=harness vllm serve MODEL"
"""What starts a server that can be observed."""
OLDEST, FLAGGED = Version("0.26"), Version("0.30")
"""The first release of vLLM that has endpoint plugins, and the first that has `GENERATE` only where it is asked for."""
NAME = r"^[A-Za-z0-9_-]{16,128}$"
"""What names a request to be observed; long enough that nobody names another's by chance."""

TICKET = r"^[A-Za-z0-9_-]{32}$"
"""What names an observation: 24 random bytes."""
MOST_LAYERS, MOST_POSITIONS = 1024, 1 << 16
"""Layers whose masks, and positions whose logits are observed, where not all are."""


@dataclass(frozen=True)
class ServerFacts:
    """What a server says of itself. ``model`` is the directory or id that it serves, called ``served_as`` in requests, and
    ``content`` a hash of its files (`harness.families.content`), empty where it is not known; ``step`` the most tokens of one
    step, ``longest`` those of a request; each of its ``engines`` has ranks that are parallel in two ways. ``problem`` says why it
    cannot be observed, if it cannot, and ``unlike`` which options make other tokens of messages than its checkpoint says."""

    protocol: int
    problem: str
    unlike: str
    model: str
    served_as: str
    content: str
    platform: str
    dtype: str
    kv_dtype: str
    mode: str
    tensor_parallel: int
    pipeline_parallel: int
    engines: int
    block_size: int
    prefix_caching: bool
    step: int
    longest: int
    scale_out: bool
    versions: dict[str, str]
    engine: EngineFacts = EngineFacts()
    weights: dict[str, Held] = field(default_factory=dict)


@dataclass(frozen=True)
class Begun:
    """The ticket of an observation, which the requests after it have to show."""

    ticket: str


def start(release: str) -> str:
    """How a server of this release of vLLM is started so that it can be observed."""
    try:
        version = Version(release)
    except InvalidVersion:
        version = FLAGGED
    if version < OLDEST:
        return f"vLLM {release} has no endpoint plugins; from {OLDEST} on this starts a server that can be observed: {START}"
    return f"this starts one that can be observed: {START}{' --enable-scale-out' if version >= FLAGGED else ''}"


def by_api(release: str, served_as: str, model: str, longest: int, *, scale_out: bool) -> ServerFacts:
    """What the API of a server tells that was started without the plugin. Of what it does not tell nothing is said: a setting has
    "auto" there, which is a word of the CUDA platform alone, and what it has where nothing is given."""
    return ServerFacts(
        protocol=VERSION,
        problem="",
        unlike="",
        model=model,
        served_as=served_as,
        content="",
        platform="cuda",
        dtype="",
        kv_dtype="auto",
        mode="eager",
        tensor_parallel=1,
        pipeline_parallel=1,
        engines=1,
        block_size=32,
        prefix_caching=False,
        step=longest,
        longest=longest,
        scale_out=scale_out,
        versions={"vllm": release},
        engine=EngineFacts("auto", "auto", by_api=True),
    )
