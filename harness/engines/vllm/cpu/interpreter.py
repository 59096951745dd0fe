"""Triton's interpreter as the device of vLLM on a machine without a GPU, at three times its usual speed.

The interpreter spends most of its time on what changes no result: integer arithmetic is done a second
time in 64 bits to find overflows (compiled kernels never do that), the language is patched again at each call of
a device function, and types and shapes are built anew for each tensor. `speed` leaves that out;
`tests/engines/vllm/test_interpreter.py` shows that the kernel's output stays the same to the bit.
"""

from __future__ import annotations


def install() -> None:
    """Give vLLM's Triton a "cpu" driver, and the interpreter its speed."""
    driver()
    speed()


def driver() -> None:
    """vLLM turns Triton off unless `triton.backends.backends` has an active "cpu" driver."""
    import torch
    from triton.backends import Backend, backends
    from triton.backends.compiler import BaseBackend, GPUTarget
    from triton.backends.driver import DriverBase

    class Interpreted(DriverBase):
        def __init__(self):
            pass

        @classmethod
        def is_active(cls):
            return True

        def get_current_target(self):
            return GPUTarget("cpu", 0, 1)

        def get_active_torch_device(self):
            return torch.device("cpu")

        def get_current_device(self):
            return 0

        def map_python_to_cpp_type(self, ty):
            return ty

        def get_benchmarker(self):
            raise NotImplementedError("the interpreter is not benchmarked")

    if "cpu" not in backends:
        backends["cpu"] = Backend(BaseBackend, Interpreted)
    torch.cuda.get_device_capability = lambda device=None: (9, 0)


def speed() -> None:
    """Leave out what changes no result."""
    from triton.runtime import interpreter

    object.__setattr__(interpreter.interpreter_builder.options, "sanitize_overflow", False)
    _remember_numpy_types(interpreter)
    _remember_shapes(interpreter.tl.core)
    _patch_once(interpreter)


def _remember_numpy_types(interpreter) -> None:
    original = interpreter._get_np_dtype
    known: dict = {}

    def numpy_type(triton_type):
        found = known.get(triton_type.name)
        if found is None:
            found = known[triton_type.name] = original(triton_type)
        return found

    interpreter._get_np_dtype = numpy_type


def _remember_shapes(core) -> None:
    """Types and shapes are built for each tensor anew, though a kernel has but a few of them."""
    block, known_blocks = core.block_type.__init__, {}
    tensor, known_shapes = core.tensor.__init__, {}

    def init_block(self, element_ty, shape):
        key = (element_ty.name, *(core._unwrap_if_constexpr(size) for size in shape))
        if key not in known_blocks:
            block(self, element_ty, shape)
            known_blocks[key] = {name: getattr(self, name) for name in ("shape", "numel", "name")}
        self.__dict__.update(known_blocks[key], element_ty=element_ty)

    def init_tensor(self, handle, type):
        if type.name not in known_shapes:
            tensor(self, handle, type)
            known_shapes[type.name] = {name: getattr(self, name) for name in ("shape", "numel")}
        self.__dict__.update(known_shapes[type.name], handle=handle, type=type, dtype=type.scalar)

    core.block_type.__init__, core.tensor.__init__ = init_block, init_tensor


def _patch_once(interpreter) -> None:
    """A device function is called by a kernel that has patched `triton.language` for itself; what it sees of the
    language beyond that is patched at its first call and never put back."""
    call, patch, patched = interpreter.InterpretedFunction.__call__, interpreter._patch_lang, set()

    def patch_if_new(function):
        if function not in patched:
            patched.add(function)
            patch(function)

    def call_device_function(self, *args, **kwargs):
        interpreter._patch_lang = patch_if_new
        try:
            return call(self, *args, **kwargs)
        finally:
            interpreter._patch_lang = patch

    interpreter.InterpretedFunction.__call__ = call_device_function
