"""The serving driver: the real vLLM engine (scheduler, model runner, paged KV cache) and the same captures.

Run as ``PYTHON -m harness.drivers.serving.engine READ_FD WRITE_FD``.
"""

from __future__ import annotations

import os
import sys
import time
import zlib
from pathlib import Path

import torch

from harness.checkpoint.prompt import FRAME_SOFT_TOKENS, POOL, Prompt
from harness.drivers import capture, channel, inputs
from harness.drivers.serving import releases
from harness.masks.probe import ProbeError


class Engine:
    """One engine for one checkpoint and serving setting."""

    def __init__(self) -> None:
        self.llm = None
        self.count = 0
        self.salt: str | None = None
        """Keeps the prefix cache's blocks of different overlays apart."""

    def load(self, request: dict) -> dict:
        """Start vLLM on ``checkpoint`` with the ``setting``'s engine arguments, then install the observer."""
        start = time.perf_counter()
        setting = request["setting"]
        if setting["host"] == "cpu":
            from harness.drivers.hosting import backends

            backends.host(setting["backend"])
        from vllm import LLM

        self.setting = setting
        self.llm = LLM(
            model=request["checkpoint"],
            worker_extension_cls="harness.drivers.serving.observer.ObserverExtension",
            **request["arguments"],
        )
        self.observe = request["observe"]
        self.facts = self.llm.collective_rpc("harness_install")[0] if self.observe else {}
        self.versions = {"vllm": releases.version(), "serving torch": torch.__version__}
        for name in ("triton", "transformers"):
            module = sys.modules.get(name)
            if module is not None:
                self.versions[f"serving {name}"] = module.__version__
        self.overlay({"overlays": setting["overlays"]})
        return {**self.facts, "versions": self.versions, "seconds": {"start": time.perf_counter() - start}}

    def overlay(self, request: dict) -> dict:
        """Lay ``overlays`` over the workers, instead of those that lay there."""
        self.facts["overlays"] = self.llm.collective_rpc("harness_overlay", args=(request["overlays"],))[0]
        self.salt = "+".join(request["overlays"]) or None
        return {"overlays": self.facts["overlays"]}

    def memory(self, request: dict) -> dict:
        return {"bytes": max(self.llm.collective_rpc("harness_memory"))}

    def run(self, request: dict) -> dict:
        """Serve ``prompts`` together, with ``mates`` beside them, and capture them into stacks below ``out``; ``captures``
        of the answer has the directory of each prompt and its place there.

        With ``plain`` nothing is observed: what the engine takes by itself.
        """
        prompts = [Prompt.from_dict(data) for data in request["prompts"]]
        mates = [Prompt.from_dict(data) for data in request.get("mates", [])]
        self.count += 1
        names = {f"case{self.count}x{index}": prompt for index, prompt in enumerate(prompts)}
        ready = {name: self._input(prompt) for name, prompt in names.items()}
        ids = {name: list(entry["prompt_token_ids"]) for name, entry in ready.items()}
        observe = self.observe and not request.get("plain")
        if observe:
            longest = request.get("longest") or max(map(len, ids.values()))
            focus = (request["layers"], {name: capture.chosen(request["positions"], len(i)) for name, i in ids.items()})
            self.llm.collective_rpc("harness_begin", args=({name: len(i) for name, i in ids.items()}, longest, *focus))
        beside = [self._input(mate) for mate in mates]
        start = time.perf_counter()
        for index, entry in enumerate(beside):
            self._add(f"mate{self.count}x{index}", entry)
        for name, entry in ready.items():
            self._add(name, entry)
        sampled = {}
        while self.llm.llm_engine.has_unfinished_requests():
            for output in self.llm.llm_engine.step():
                if output.finished:
                    sampled[output.request_id] = list(output.outputs[0].token_ids)
        served = time.perf_counter() - start
        answer = {"sampled": [sampled.get(name) for name in names]}
        if not observe:
            return {**answer, "seconds": {"serving": served}}
        lengths: dict[int, list[str]] = {}
        for name, token_ids in ids.items():
            lengths.setdefault(len(token_ids), []).append(name)
        stacks = {str(Path(request["out"]) / str(number)): stack for number, stack in enumerate(lengths.values())}
        ranks = self.llm.collective_rpc("harness_collect", args=(stacks,))
        failure = next((rank["failure"] for rank in ranks if rank["failure"]), None)
        if failure:
            raise ProbeError(failure)
        probing = max(rank["probing"] for rank in ranks)
        facts = {
            "engine": self.facts,
            "versions": self.versions,
            "seconds": {"serving": served - probing, "serving probing": probing},
        }
        for directory, stack in stacks.items():
            self._merge(Path(directory), stack, ids, ranks, {**facts, "logits_at": focus[1][stack[0]]})
        where = {name: (directory, place) for directory, stack in stacks.items() for place, name in enumerate(stack)}
        return {**answer, "captures": [where[name] for name in names], "seconds": facts["seconds"]}

    def _merge(self, directory: Path, names: list[str], ids: dict[str, list[int]], ranks: list[dict], facts: dict) -> None:
        """One stack from the parts of all ranks: KV head groups and attention outputs side by side."""
        parts = [directory / f"rank{rank['rank']}.safetensors" for rank in sorted(ranks, key=lambda rank: rank["rank"])]
        found = ranks[0]["stacks"][str(directory)]
        if found["missing"]:
            missing = ", ".join(found["missing"])
            raise RuntimeError(f"could not be observed: {missing} (the step ran where hooks are not called)")
        whole = directory / "capture.safetensors"
        if len(parts) == 1:
            os.replace(parts[0], whole)
        else:
            capture.save(whole, _side_by_side(parts))
        prompts = []
        for name in names:
            ranges = ranks[0]["ranges"][name]
            layers = [{**layer, "ranges": ranges.get(str(layer["index"]))} for layer in ranks[0]["layers"]]
            prompts.append({"token_ids": ids[name], "layers": layers})
        capture.write_facts(directory, {**facts, "bfloat16": found["bfloat16"]}, prompts)

    def _add(self, name: str, entry) -> None:
        from vllm import SamplingParams

        self.llm.llm_engine.add_request(name, entry, SamplingParams(max_tokens=1, temperature=0.0))

    def _input(self, prompt: Prompt):
        if prompt.text is not None:
            return self._processed(prompt)
        if not prompt.items:
            return releases.text_input(list(prompt.token_ids), self.salt)
        from vllm.multimodal.inputs import PlaceholderRange

        hashes: dict[str, list[str]] = {}
        places: dict[str, list] = {}
        for item in prompt.items:
            embedded = None
            if len(item.embedded) != item.length:
                embedded = torch.zeros(item.length, dtype=torch.bool)
                embedded[list(item.embedded)] = True
            places.setdefault(item.modality, []).append(PlaceholderRange(item.offset, item.length, embedded))
            content = zlib.crc32(f"{item.seed} {item.soft} {item.frames}".encode())
            hashes.setdefault(item.modality, []).append(f"{item.modality}-{content:08x}-{item.soft}x{item.frames}")
        return releases.engine_input(list(prompt.token_ids), _kwargs(prompt), hashes, places, self.salt)

    def _processed(self, prompt: Prompt):
        """A text with pictures, through vLLM's processor."""
        from PIL import Image

        request: dict = {"prompt": prompt.text}
        if prompt.images:
            request["multi_modal_data"] = {"image": [Image.open(path).convert("RGB") for path in prompt.images]}
        request |= {"cache_salt": self.salt} if self.salt else {}
        return releases.processed(self.llm, request)


def _side_by_side(parts: list[Path]) -> dict[str, torch.Tensor]:
    """The tensors of all ranks as one: masks by KV head group, attention outputs by channel, the rest is the same."""
    from safetensors.torch import load_file

    ranks = [load_file(part) for part in parts]
    for part in parts:
        part.unlink()
    along = {"mask": 1, "attention": -1}
    return {
        key: torch.cat([rank[key] for rank in ranks], dim=along[kind]) if (kind := key.split(".")[0]) in along else tensor
        for key, tensor in ranks[0].items()
    }


def _kwargs(prompt: Prompt):
    """The items as vLLM's own Gemma 4 processor would hand them over (`gemma4_mm.py`, `_get_mm_fields_config`), which
    pads every frame of a video to the same number of patches (docs/findings/vllm-video-batch-padding.md)."""
    from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems

    data: dict = {}
    fields: dict = {}
    images = [inputs.vision(item) for item in prompt.items if item.modality == "image"]
    if images:
        data["pixel_values"] = [pixels[0] for pixels, _ in images]
        data["pixel_position_ids"] = [positions[0] for _, positions in images]
        fields.update({name: MultiModalFieldConfig.batched("image") for name in ("pixel_values", "pixel_position_ids")})
    videos = [item for item in prompt.items if item.modality == "video"]
    if videos:
        drawn = [inputs.vision(item) for item in videos]
        counts = torch.tensor([item.frames for item in videos])
        patches = FRAME_SOFT_TOKENS * POOL**2
        data["pixel_values_videos"] = inputs.padded([frame for pixels, _ in drawn for frame in pixels], 0, patches)
        data["pixel_position_ids_videos"] = inputs.padded([frame for _, places in drawn for frame in places], -1, patches)
        data["video_frame_counts"] = counts
        for name in ("pixel_values_videos", "pixel_position_ids_videos"):
            fields[name] = MultiModalFieldConfig.flat_from_sizes("video", counts)
        fields["video_frame_counts"] = MultiModalFieldConfig.batched("video", keep_on_cpu=True)
    clips = [inputs.audio(item) for item in prompt.items if item.modality == "audio"]
    if clips:
        data["input_features_padded"] = [features for features, _ in clips]
        data["input_features_mask"] = [mask for _, mask in clips]
        fields.update(
            {name: MultiModalFieldConfig.batched("audio") for name in ("input_features_padded", "input_features_mask")}
        )
    return MultiModalKwargsItems.from_hf_inputs(data, fields)


def main() -> None:
    engine = Engine()
    handlers = {"load": engine.load, "overlay": engine.overlay, "run": engine.run, "memory": engine.memory}
    channel.serve(handlers, int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
