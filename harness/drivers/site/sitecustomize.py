"""Runs at the start of every driver process and of every child that it starts.

Two things are put right before they are imported, each only where it is needed: torchvision built for CUDA beside a CPU torch,
and Triton's interpreter as vLLM's CPU driver. Then the `sitecustomize` that this one stands before runs, if there is one.
"""

import importlib.machinery
import importlib.util
import os
import sys


class _Before:
    """Calls an action once, just before a top-level package is imported."""

    def __init__(self, actions):
        self.actions = actions

    def find_spec(self, name, path=None, target=None):
        action = self.actions.pop(name, None)
        if action is not None:
            action()


def _torchvision_operators():
    """Without its compiled half, torchvision's Python half needs these two schemas to be importable."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    with open(os.path.join(os.path.dirname(spec.origin), "version.py"), encoding="utf-8") as file:
        built_for_cuda = "+cu" in file.readline()
    if torch.version.cuda is None and built_for_cuda:
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        sys.modules["_harness_torchvision_library"] = library


def _triton_interpreter():
    from harness.engines.vllm.cpu import distribution, interpreter

    distribution.name_vllm()
    interpreter.install()


_actions = {"torchvision": _torchvision_operators}
if os.environ.get("TRITON_INTERPRET") == "1":
    _actions["vllm"] = _triton_interpreter
sys.meta_path.insert(0, _Before(_actions))


def _next():
    """The user's own `sitecustomize`, as it would run without this one."""
    here = os.path.normpath(os.path.dirname(__file__))
    places = [place for place in sys.path if os.path.isabs(place) and os.path.normpath(place) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", places)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if "_harness_site" not in sys.modules:  # another copy of this file may be the next one
    sys.modules["_harness_site"] = sys.modules["sitecustomize"]
    _next()
