"""Published shapes, and shapes with weights that are drawn."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cases.of_model import cases_of
from harness.compare.setting import Setting
from harness.engines.vllm.options import kv_tokens
from harness.errors import EnvironmentFailure, UsageError
from harness.families.checkpoint import model
from harness.families.dummy import BYTES, check_memory, cut, parameters
from harness.families.gemma4.presets import PRESETS
from harness.families.gemma4.published import PUBLISHED
from harness.prompts.case import Case
from harness.prompts.layout import Layout
from harness.verification.reproduce import command
from tests.families.gemma4.test_damaged import CONFIG, TEXT
from tests.verification.reproducing import asked

OFFICIAL = {
    "31b": {
        "layers": 60, "period": 6, "window": 1024, "hidden": 5376, "intermediate": 4 * 5376, "heads": 32, "kv": (16, 4),
        "k_eq_v": True, "ple": 0, "shared": 0, "wide": False, "moe": None, "bidirectional": "vision", "audio": False,
    },
    "26b-a4b": {
        "layers": 30, "period": 6, "window": 1024, "hidden": 2816, "intermediate": 2112, "heads": 16, "kv": (8, 2),
        "k_eq_v": True, "ple": 0, "shared": 0, "wide": False, "moe": (128, 8, 704), "bidirectional": "vision", "audio": False,
    },
    "12b": {
        "layers": 48, "period": 6, "window": 1024, "hidden": 3840, "intermediate": 4 * 3840, "heads": 16, "kv": (8, 1),
        "k_eq_v": True, "ple": 0, "shared": 0, "wide": False, "moe": None, "bidirectional": "vision", "audio": False,
    },
    "e4b": {
        "layers": 42, "period": 6, "window": 512, "hidden": 2560, "intermediate": 4 * 2560, "heads": 8, "kv": (2, 2),
        "k_eq_v": False, "ple": 256, "shared": 18, "wide": False, "moe": None, "bidirectional": None, "audio": True,
    },
    "e2b": {
        "layers": 35, "period": 5, "window": 512, "hidden": 1536, "intermediate": 4 * 1536, "heads": 8, "kv": (1, 1),
        "k_eq_v": False, "ple": 256, "shared": 20, "wide": True, "moe": None, "bidirectional": None, "audio": True,
    },
}  # fmt: skip
"""`gemma` 4.0.1, `gm/nn/gemma4/_gemma4.py`, classes `Gemma4_31B`, `Gemma4_26B_A4B`, `Gemma4_E4B` and `Gemma4_E2B`. Its
`hidden_dim` is 4 times `embed_dim` but in 26B-A4B; `num_global_kv_heads` None means the same number. It has no class for 12B: its
numbers are those of the config.json of google/gemma-4-12B-it."""
BILLIONS = {"31b": 30.7, "26b-a4b": 25.2, "12b": 11.9, "e4b": 7.5, "e2b": 4.6}
"""Weights of the text decoders; the model cards count 30.7, 25.2 and, with encoders, 8 and 5.1."""


@pytest.mark.parametrize("name", OFFICIAL)
def test_a_published_shape_has_the_numbers_of_the_official_implementation(name: str) -> None:
    spec, wanted = PUBLISHED[name], OFFICIAL[name]
    pattern = "s" * (wanted["period"] - 1) + "f"
    assert spec.layers == (pattern * wanted["layers"])[: wanted["layers"]]
    assert (spec.head_dim, spec.global_head_dim, spec.vocab, spec.softcap) == (256, 512, 262144, 30.0)
    moe = (*spec.moe, spec.expert) if spec.moe else None
    assert {
        "layers": len(spec.layers), "period": wanted["period"], "window": spec.window, "hidden": spec.hidden,
        "intermediate": spec.intermediate, "heads": spec.heads, "kv": (spec.kv_heads, spec.global_kv_heads),
        "k_eq_v": spec.k_eq_v, "ple": spec.per_layer_input, "shared": spec.kv_shared_layers, "wide": spec.double_wide,
        "moe": moe, "bidirectional": spec.bidirectional, "audio": spec.audio,
    } == wanted  # fmt: skip
    towers = (False, False) if spec.unified else (True, False) if wanted["audio"] else (False, True)
    assert (spec.clipped, spec.standardize) == towers
    assert parameters(spec) / 1e9 == pytest.approx(BILLIONS[name], abs=0.1)


def test_12b_has_as_many_weights_as_the_hub_counts() -> None:
    spec = PUBLISHED["12b"]
    sizes = [spec.head_dim if kind == "s" else spec.global_head_dim for kind in spec.layers]
    norms = spec.hidden + sum(4 * spec.hidden + 2 * size + 1 for size in sizes)
    patch = 3 * 48**2
    of_images = 2 * 1120 * spec.hidden + 2 * patch + (patch + 1 + 4) * spec.hidden + spec.hidden**2
    of_sounds = 640 * spec.hidden
    assert parameters(spec) + norms + of_images + of_sounds == 11_959_730_224


@pytest.mark.parametrize("name", [f"{whole}-{size}" for whole in OFFICIAL for size in ("small", "shape")])
def test_a_preset_has_the_flags_of_the_published_one_and_a_shape_its_heads_too(name: str) -> None:
    whole, size = name.rsplit("-", 1)
    if name not in PRESETS:
        assert name == "e2b-shape", "whose shape is that of --model e2b --weights dummy"
        return
    spec, published = PRESETS[name], PUBLISHED[whole]
    pattern = published.layers[: published.layers.index("f") + 1]
    assert spec.layers == pattern * (len(spec.layers) // len(pattern))
    flags = ("k_eq_v", "bidirectional", "standardize", "clipped", "unified", "softcap")
    assert [getattr(spec, flag) for flag in flags] == [getattr(published, flag) for flag in flags]
    assert (spec.moe is None, bool(spec.per_layer_input)) == (published.moe is None, bool(published.per_layer_input))
    if size == "small":
        assert bool(spec.kv_shared_layers) is bool(published.kv_shared_layers)
        assert spec.double_wide is published.double_wide
    else:
        heads = ("window", "heads", "kv_heads", "head_dim", "global_head_dim", "global_kv_heads")
        assert [getattr(spec, one) for one in heads] == [getattr(published, one) for one in heads]


@pytest.mark.parametrize(
    ("name", "layers", "shared"), [("31b", 6, 0), ("26b-a4b", 12, 0), ("12b", 6, 0), ("e4b", 12, 6), ("e2b", 10, 5)]
)
def test_a_model_is_cut_to_first_layers_of_every_kind(name: str, layers: int, shared: int) -> None:
    spec = model(name, "dummy", layers)
    assert spec.layers == PUBLISHED[name].layers[:layers] and spec.kv_shared_layers == shared
    kept = spec.layers[: layers - shared]
    assert set(kept) == set(spec.layers) == {"s", "f"} and kept[-1] == "f"
    assert (spec.hidden, spec.window, spec.heads) == (
        PUBLISHED[name].hidden,
        PUBLISHED[name].window,
        PUBLISHED[name].heads,
    )


@pytest.mark.parametrize(
    ("name", "layers", "tokens", "prompts"),
    [("31b", None, 4096, 12), ("31b", 6, 8192, 16), ("26b-a4b", None, 4096, 16), ("e4b", None, 8192, 16)],
)
def test_a_large_model_takes_shorter_prompts_and_fewer(
    name: str, layers: int | None, tokens: int, prompts: int
) -> None:
    """The longest layout of the catalogue of a model has three windows and 13 tokens."""
    spec = model(name, "dummy", layers)
    assert (spec.max_length, kv_tokens(spec)) == (tokens, prompts * tokens)
    assert all(len(Layout.parse(case.layout)) < spec.max_length for case in cases_of(spec))


def test_the_whole_model_has_all_that_share() -> None:
    for spec in PUBLISHED.values():
        assert cut(spec, len(spec.layers)).kv_shared_layers == spec.kv_shared_layers


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("31b", None, None), "model: '31b' is not allowed; --weights dummy with it"),
        (("31b", "dummy", 5), "layers: 5 is not allowed; 6, 12, 18, "),
        (("31b", "dummy", 66), "layers: 66 is not allowed; 6, 12, "),
        (("e2b", "dummy", 5), "layers: 5 is not allowed; 10, 15, "),
        (("31b", "random", None), "weights: 'random' is not allowed; dummy"),
        (("tiny", None, 2), "layers: 2 is not allowed; with --weights dummy"),
        (("none-such", "dummy", None), "model: 'none-such' is not allowed"),
    ],
)
def test_what_cannot_be_drawn_is_told(arguments: tuple, said: str) -> None:
    with pytest.raises(UsageError) as error:
        model(*arguments)
    assert str(error.value).startswith(said)


def config(folder: Path, **text: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, "text_config": {**TEXT, **text}}))
    return folder


def test_a_config_json_is_enough(tmp_path: Path) -> None:
    layers = ["sliding_attention", "full_attention"] * 2
    folder = config(
        tmp_path / "just a config", layer_types=layers, num_hidden_layers=4, num_kv_shared_layers=2,
        hidden_size_per_layer_input=16, use_double_wide_mlp=True, vocab_size=262144,
    )  # fmt: skip
    spec = model(str(folder), "dummy")
    assert (spec.layers, spec.kv_shared_layers, spec.double_wide, spec.per_layer_input) == ("sfsf", 2, True, 16)
    assert (spec.name, spec.source, spec.vocab, spec.window) == ("just-a-config", "", 4096, 8)
    again = asked(command(Case("run", "", "t3 i5", model=str(folder)), Setting(), spec))
    assert again.spec == spec


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rms_norm_eps", 1e-5),
        ("hidden_activation", "silu"),
        ("rope_parameters", {}),
        ("use_bidirectional_attention", "all"),
    ],
)
def test_what_drawn_weights_do_not_have_is_refused(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(UsageError, match=rf"model: .*its config\.json: .*{field}"):
        model(str(config(tmp_path / "mine", **{field: value})), "dummy")


def test_a_machine_without_the_memory_is_told_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = model("31b", "dummy", 6)
    needed = 4 * parameters(spec) * BYTES["float32"]
    monkeypatch.setattr("harness.families.dummy._available", lambda: needed)
    check_memory(spec, "float32", offload=False)
    monkeypatch.setattr("harness.families.dummy._available", lambda: needed - 1)
    with pytest.raises(EnvironmentFailure, match="31b with 6 layers in float32 takes about 47 GB"):
        check_memory(spec, "float32", offload=False)
    check_memory(spec, "float32", offload=True)
