"""Patches: what a fix does, laid over a release that lacks it."""

from __future__ import annotations

from harness.engines.vllm.overlays.changes import Changes
from harness.engines.vllm.overlays.overlay import Overlay
from harness.engines.vllm.overlays.targets import change_layers, change_ranges, register
from harness.engines.vllm.releases import model_of
from harness.errors import OverlayRefused


def _pr_40534(worker, changes: Changes) -> None:
    """Registration, full-layer indices, clearing, and the range guard; parts that the release has are kept."""
    register(worker, changes, True)
    model = model_of(worker)
    types = worker.model_runner.model_config.hf_text_config.layer_types
    changes.set(
        model, "_full_attn_layer_idxs", frozenset(i for i, kind in enumerate(types) if kind == "full_attention")
    )
    if not hasattr(model, "_clear_mm_prefix_for_full_attn_layers"):
        raise OverlayRefused("this release's model does not clear the ranges of full layers")
    change_ranges(lambda index, ranges, batch: [r for r in ranges if r[1] - r[0] + 1 <= batch.window])(worker, changes)


def _pr_50539(worker, changes: Changes) -> None:
    """The V2 runner keeps ranges longer than the window where the model says that its layers clamp in the kernel."""
    from vllm.v1.worker.gpu.model_states import default

    if not getattr(model_of(worker), "mm_prefix_clamp_sliding_window", False):
        raise OverlayRefused("this release's model does not clamp in the kernel, so its ranges must stay guarded")
    original = default.compute_mm_prefix_ranges

    def unguarded(*features, sliding_window=None, **more):
        return original(*features, **more)

    changes.set(default, "compute_mm_prefix_ranges", unguarded)


def _flex_blocks(worker, changes: Changes) -> None:
    """The block mask leaves no block of a request out; which pairs are let through says the mask function alone."""
    from vllm.v1.attention.backends.flex_attention import FlexAttentionMetadata

    original = FlexAttentionMetadata._build_block_mask_direct

    def unpruned(self):
        if not self.mm_prefix_range:
            return original(self)
        causal, window = self.causal, self.sliding_window
        self.causal, self.sliding_window = False, None
        try:
            return original(self)
        finally:
            self.causal, self.sliding_window = causal, window

    changes.set(FlexAttentionMetadata, "_build_block_mask_direct", unpruned)


def _per_layer_inputs_of_the_rank_before(worker, changes: Changes) -> None:
    """Ranks behind the first take the per-layer inputs that they are sent, which nobody else gives them."""
    from vllm.model_executor.models.gemma4 import Gemma4Model

    model = next((module for module in model_of(worker).modules() if isinstance(module, Gemma4Model)), None)
    if model is None or not model.config.hidden_size_per_layer_input:
        raise OverlayRefused("this model has no per-layer inputs")
    original = Gemma4Model.forward

    def forward(self, input_ids, positions, intermediate_tensors, inputs_embeds=None, per_layer_inputs=None, **more):
        if intermediate_tensors is not None and per_layer_inputs is None:
            per_layer_inputs = intermediate_tensors["per_layer_inputs"]
        return original(self, input_ids, positions, intermediate_tensors, inputs_embeds, per_layer_inputs, **more)

    changes.set(Gemma4Model, "forward", forward)


def _no_adapter_is_none(worker, changes: Changes) -> None:
    """Rows of requests without an adapter, whose index is -1, take nothing of the last one (`lora/ops/torch_ops/lora_ops.py`)."""
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    if worker.model_runner.lora_config is None or worker.device.type != "cpu":
        raise OverlayRefused("this engine has no adapters that are applied by torch")
    original = lora_ops.bgmv_shrink

    def shrink(inputs, weights, output, indices, scaling=1.0):
        original(inputs, weights, output, indices, scaling)
        output[: len(indices)][indices == -1] = 0

    for module in (lora_ops, punica_cpu):
        changes.set(module, "bgmv_shrink", shrink)


def _clamp(layer, changes: Changes) -> None:
    changes.set(layer, "mm_prefix_clamp_sliding_window", bool(layer.sliding_window))


PATCHES = [
    Overlay(
        "pr-40534",
        "patch",
        "the four parts of PR #40534: an image longer than the window is left causal (policy drop)",
        (
            "ModelArchConfig.is_mm_prefix_lm",
            "Gemma4ForConditionalGeneration._full_attn_layer_idxs",
            "Gemma4ForConditionalGeneration._clear_mm_prefix_for_full_attn_layers (kept)",
            "AttentionMetadataBuilder.build",
        ),
        _pr_40534,
        source="vllm PR #40534",
        excludes=("pr-47217", "pr-50539"),
        families=("gemma4",),
    ),
    Overlay(
        "pr-47217",
        "patch",
        "sliding layers clamp image ranges to the window in the kernel (policy clamp)",
        ("Attention.mm_prefix_clamp_sliding_window",),
        change_layers(_clamp),
        source="vllm PR #47217",
        families=("gemma4",),
    ),
    Overlay(
        "pr-50539",
        "patch",
        "the V2 runner keeps image ranges longer than the window, which the kernel clamps",
        ("v1.worker.gpu.model_states.default.compute_mm_prefix_ranges",),
        _pr_50539,
        source="vllm PR #50539",
        families=("gemma4",),
    ),
    Overlay(
        "flex-image-blocks",
        "patch",
        "FlexAttention's block mask keeps the later KV blocks that image ranges let through",
        ("FlexAttentionMetadata._build_block_mask_direct",),
        _flex_blocks,
        source="docs/findings/vllm-flex-attention-image-blocks.md",
        implementation="FlexAttentionImpl",
    ),
    Overlay(
        "pr-48421",
        "patch",
        "on a CPU requests without an adapter get nothing of the adapter that others of the batch have",
        ("lora.ops.torch_ops.lora_ops.bgmv_shrink",),
        _no_adapter_is_none,
        source="vllm PR #48421",
        platforms=("cpu",),
        adapted=True,
    ),
    Overlay(
        "pipeline-per-layer-inputs",
        "patch",
        "ranks of a pipeline behind the first take the per-layer inputs that the rank before sends",
        ("Gemma4Model.forward",),
        _per_layer_inputs_of_the_rank_before,
        source="docs/findings/vllm-pipeline-per-layer-inputs.md",
        families=("gemma4",),
        of_model="per_layer_input",
    ),
]
