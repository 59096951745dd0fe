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

from harness.checkpoint.content import content
from harness.checkpoint.prompt import FRAME_SOFT_TOKENS, POOL, Prompt
from harness.drivers import capture, channel, inputs
from harness.drivers.hosting import backends
from harness.drivers.serving import loaded, releases
from harness.masks.probe import ProbeError


class Engine:
    """One engine for one checkpoint and serving setting."""

    def __init__(self) -> None:
        self.llm = None
        self.count = 0
        self.ranks = 1
        self.pictures: dict[str, dict] = {}
        """What the processor made of each picture that it has seen, by vLLM's hash of it: what its cache has it leaves out."""
        self.made: dict[str, list[dict]] = {}
        """Of the pictures of each prompt that is a text."""
        self.alone = False
        """The only worker lives in this process, so that it can be asked beside the next step."""
        self.patches = 0
        """To which number of patches the images of the prompts that are served are filled up."""
        self.salt: str | None = None
        """Keeps what different overlays and changes of tensors left in the prefix cache and the encoder cache apart."""

    def load(self, request: dict) -> dict:
        """Start vLLM on ``checkpoint`` with the ``setting``'s engine arguments, then install the observer."""
        start = time.perf_counter()
        setting = request["setting"]
        backends.host()
        from vllm import LLM

        self.setting = setting
        self.llm = LLM(
            model=request["checkpoint"],
            worker_extension_cls="harness.drivers.serving.worker.ObserverExtension",
            **request["arguments"],
        )
        self.observe = request["observe"]
        installed = self.llm.collective_rpc("harness_install") if self.observe else []
        self.ranks = len(installed)
        self.alone = {rank.pop("process") for rank in installed} == {os.getpid()}
        held = loaded.joined([rank.pop("weights") for rank in installed])
        self.loaded = {"checkpoint": content(request["checkpoint"]), "weights": held}
        self.facts = installed[0] if installed else {}
        if installed:
            releases.check_runner(setting["runner"], self.facts["runner"])
        backend = releases.backend_of(setting["backend"], self.facts.get("implementations", []))
        self.facts["backend"] = setting["backend"] if setting["host"] == "cpu" else backend
        self.versions = {"vllm": releases.version(), "serving torch": torch.__version__}
        for name in ("triton", "transformers"):
            module = sys.modules.get(name)
            if module is not None:
                self.versions[f"serving {name}"] = module.__version__
        self.overlay({"overlays": setting["overlays"]})
        return {**self.facts, "versions": self.versions, "seconds": {"start": time.perf_counter() - start}}

    def overlay(self, request: dict) -> dict:
        """Lay ``overlays`` over the workers, instead of those that lay there.

        Raises:
            ValueError: one does not fit; then none lies there.
        """
        self.facts["overlays"] = []
        answer = self.llm.collective_rpc("harness_overlay", args=(request["overlays"],))[0]
        if "refused" in answer:
            raise ValueError(answer["refused"])
        self.facts["overlays"] = answer["laid"]
        self.salt = "+".join(request["overlays"]) or None
        return {"overlays": self.facts["overlays"]}

    def memory(self, request: dict) -> dict:
        return {"bytes": max(self.llm.collective_rpc("harness_memory"))}

    def changeable(self, request: dict) -> dict:
        """The tensors of the worker's model beside those of ``checkpoint`` (`harness.drivers.serving.changes`).

        Raises:
            RuntimeError: there are several workers, each with a share of the tensors.
        """
        if self.ranks != 1:
            raise RuntimeError("tensors are changed in an engine of one rank")
        return self.llm.collective_rpc("harness_changeable_tensors", args=(request["checkpoint"],))[0]

    def change(self, request: dict) -> dict:
        """Change the tensor ``name`` by the share ``by`` of its values; put everything back where the name is empty."""
        self.llm.collective_rpc("harness_change", args=(request["name"], request["by"]))
        self.salt = f"{request['name']} {request['by']}" if request["name"] else None
        return {}

    def run(self, request: dict) -> dict | channel.Later:
        """Serve ``prompts`` together, with ``mates`` before and others ``after`` them, and capture them into stacks below ``out``; ``captures``
        of the answer has the directory of each prompt and its place there.

        With ``plain`` nothing is observed: what the engine takes by itself.
        """
        prompts = [Prompt.from_dict(data) for data in request["prompts"]]
        mates, after = ([Prompt.from_dict(data) for data in request.get(name, [])] for name in ("mates", "after"))
        self.count += 1
        names = {f"case{self.count}x{index}": prompt for index, prompt in enumerate(prompts)}
        self.patches = releases.image_patches([*prompts, *mates])
        ready = {name: self._input(prompt) for name, prompt in names.items()}
        self.made = {
            name: [self.pictures[picture] for picture, *_ in releases.pictures(ready[name])]
            for name, prompt in names.items()
            if prompt.text is not None
        }
        ids = {name: list(entry["prompt_token_ids"]) for name, entry in ready.items()}
        observe = self.observe and not request.get("plain")
        if observe:
            longest = request.get("longest") or max(map(len, ids.values()))
            focus = (request["layers"], {name: capture.chosen(request["positions"], len(i)) for name, i in ids.items()})
            self.llm.collective_rpc("harness_begin", args=({name: len(i) for name, i in ids.items()}, longest, *focus))
        beside, behind = ([self._input(mate) for mate in some] for some in (mates, after))
        start = time.perf_counter()
        for index, entry in enumerate(beside):
            self._add(f"mate{self.count}x{index}", entry)
        for name, entry in ready.items():
            self._add(name, entry)
        for index, entry in enumerate(behind, start=len(beside)):
            self._add(f"mate{self.count}x{index}", entry)
        sampled = {}
        while self.llm.llm_engine.has_unfinished_requests():
            for output in self.llm.llm_engine.step():
                if output.finished:
                    sampled[output.request_id] = list(output.outputs[0].token_ids)
        served = time.perf_counter() - start
        answer = {"sampled": [sampled.get(name) for name in names]}
        if not observe:
            return {**answer, "seconds": {"serving": served}}
        return self._collected(Path(request["out"]), ids, focus[1], answer, served)

    def _collected(
        self, out: Path, ids: dict[str, list[int]], rows: dict[str, list[int]], answer: dict, served: float
    ) -> dict | channel.Later:
        """The answer for prompts that were observed; their captures are written beside what is asked next."""
        lengths: dict[int, list[str]] = {}
        for name, token_ids in ids.items():
            lengths.setdefault(len(token_ids), []).append(name)
        stacks = {str(out / str(number)): names for number, names in enumerate(lengths.values())}
        ranks = self.llm.collective_rpc("harness_collect", args=(stacks, self.ranks))
        failure = next((rank["failure"] for rank in ranks if rank["failure"]), None)
        if failure:
            self.llm.collective_rpc("harness_saved", args=(ranks[0]["collected"],))
            raise ProbeError(failure)
        for stack in ranks[0]["stacks"].values():
            if stack["missing"]:
                raise RuntimeError(f"could not be observed: {', '.join(stack['missing'])} (the step ran where hooks are not called)")
        probing = max(rank["probing"] for rank in ranks)
        seconds = {"serving": served - probing, "serving probing": probing}
        facts = {"engine": dict(self.facts), "versions": self.versions, "seconds": seconds}
        facts |= {"loaded": self.loaded, **ranks[0]["logits"]}
        where = {name: (directory, place) for directory, names in stacks.items() for place, name in enumerate(names)}

        def finish() -> None:
            self.llm.collective_rpc("harness_saved", args=(ranks[0]["collected"],))
            for directory, names in stacks.items():
                if self.ranks > 1:
                    capture.join(Path(directory), self.ranks)
                own = [self._own(name, ids[name], ranks[0]) for name in names]
                capture.write_facts(Path(directory), {**facts, "logits_at": rows[names[0]]}, own)

        whole = {**answer, "captures": [where[name] for name in ids], "seconds": seconds}
        if self.alone:
            return channel.Later(whole, finish)
        finish()
        return whole

    def _own(self, name: str, token_ids: list[int], rank: dict) -> dict:
        """The facts of one prompt."""
        layers = [{**layer, "ranges": rank["ranges"][name].get(str(layer["index"]))} for layer in rank["layers"]]
        return {"token_ids": token_ids, "layers": layers, "steps": rank["steps"][name], "pictures": self.made.get(name)}

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
            known_as = f"{item.modality}-{content:08x}-{item.soft}x{item.frames}" + (f"-{self.salt}" if self.salt else "")
            hashes.setdefault(item.modality, []).append(known_as)
        return releases.engine_input(list(prompt.token_ids), _kwargs(prompt, self.patches), hashes, places, self.salt)

    def _processed(self, prompt: Prompt):
        """A text with pictures, through vLLM's processor."""
        from harness.decoded import read

        request: dict = {"prompt": prompt.text}
        if prompt.images:
            request["multi_modal_data"] = {"image": [*map(read, prompt.images)]}
        request |= {"cache_salt": self.salt} if self.salt else {}
        rendered = releases.processed(self.llm, request)
        for name, pixels, positions in releases.pictures(rendered):
            if pixels is not None:
                self.pictures[name] = inputs.processed([pixels], [positions], getattr(torch, self.setting["dtype"]))[0]
        return rendered


def _kwargs(prompt: Prompt, patches: int):
    """The items as vLLM's own Gemma 4 processor would hand them over (`gemma4_mm.py`, `_get_mm_fields_config`), which
    pads every frame of a video to the same number of patches (docs/findings/vllm-video-batch-padding.md); images are
    filled up to ``patches`` of them."""
    from vllm.multimodal.inputs import MultiModalFieldConfig, MultiModalKwargsItems

    data: dict = {}
    fields: dict = {}
    images = [inputs.vision(item) for item in prompt.items if item.modality == "image"]
    if images:
        data["pixel_values"] = [inputs.padded([pixels[0]], 0, patches)[0] for pixels, _ in images]
        data["pixel_position_ids"] = [inputs.padded([positions[0]], -1, patches)[0] for _, positions in images]
        fields.update({name: MultiModalFieldConfig.batched("image") for name in ("pixel_values", "pixel_position_ids")})
    videos = [item for item in prompt.items if item.modality == "video"]
    if videos:
        drawn = [inputs.vision(item) for item in videos]
        counts = torch.tensor([item.frames for item in videos])
        most = FRAME_SOFT_TOKENS * POOL**2
        data["pixel_values_videos"] = inputs.padded([frame for pixels, _ in drawn for frame in pixels], 0, most)
        data["pixel_position_ids_videos"] = inputs.padded([frame for _, places in drawn for frame in places], -1, most)
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
    served = ("load", "overlay", "changeable", "change", "run", "memory")
    handlers = {name: getattr(engine, name) for name in served}
    channel.serve(handlers, int(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    main()
