"""A prompt as a request to a server, and the name that it has in the server's workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.engines.vllm import items, message
from harness.engines.vllm.attach.client import Server
from harness.engines.vllm.attach.protocol import ServerFacts
from harness.families.base import ServingSide
from harness.prompts.prompt import Item, Prompt

SAMPLED = {"max_tokens": 1, "temperature": 0.0}


@dataclass(frozen=True)
class Asked:
    """A request, called ``name`` in the server's workers, that is sent by ``send``."""

    name: str
    way: str
    body: dict[str, Any]

    def send(self, server: Server, engine: int | None = None) -> dict[str, Any]:
        """Have it served, by one of several engines or by that which the server chooses; raises as `Server` does."""
        return getattr(server, self.way)(self.body, engine)


@dataclass(frozen=True)
class Requests:
    """Makes requests for a server with these ``facts``, whose model has this ``family`` and ``config``."""

    facts: ServerFacts
    family: ServingSide
    config: Any

    def of(self, prompt: Prompt, name: str, salt: str) -> Asked:
        """The request for ``prompt``; what it leaves in the prefix cache, and in that of processed files, is found by those with
        the same ``salt`` alone: an engine is not told again what its processor made of a file that is in there."""
        common = {"model": self.facts.served_as, "request_id": name, "cache_salt": salt}
        if prompt.text is not None:
            *files, text = message.content(prompt, _picture)
            parts = [*({**file, "uuid": f"{salt}-{place}"} for place, file in enumerate(files)), text]
            body = {**common, **SAMPLED, "messages": [{"role": "user", "content": parts}]}
            return Asked(f"chatcmpl-{name}", "chat", body)
        if not prompt.items:
            return Asked(f"cmpl-{name}-0", "complete", {**common, **SAMPLED, "prompt": list(prompt.token_ids)})
        return Asked(f"generate-tokens-{name}", "generate", {**common, **self._of_items(prompt, salt)})

    def _of_items(self, prompt: Prompt, salt: str) -> dict[str, Any]:
        from vllm.entrypoints.scale_out.token_in_token_out.mm_serde import encode_mm_kwargs_item

        placed = items.placed(prompt, (), self.family, self.config, salt)
        features = {
            "mm_hashes": placed.hashes,
            "mm_placeholders": {
                modality: [_soft(item) for item in prompt.items if item.modality == modality]
                for modality in placed.hashes
            },
            "kwargs_data": {modality: [*map(encode_mm_kwargs_item, some)] for modality, some in placed.items.items()},
        }
        return {"token_ids": list(prompt.token_ids), "features": features, "sampling_params": SAMPLED}


def _soft(item: Item) -> dict[str, int]:
    """Where the soft tokens of an item are: they have to be one behind the other, since the API has no word for others."""
    first, last = min(item.embedded), max(item.embedded)
    assert last - first + 1 == len(item.embedded), "layouts with videos are refused before anything is sent"
    return {"offset": item.offset + first, "length": len(item.embedded)}


def _picture(path: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": message.data_url(path)}}
