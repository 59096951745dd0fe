"""What observed requests find in a sparse shadow is what they would find in one of the whole cache, whatever others write."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.engines.vllm.attach.sparse import FIRST, Places, SparseProber
from harness.engines.vllm.observer.probing import Call

COUNT, SIZE = 200, 4


def cache(dim: int) -> torch.Tensor:
    """Blocks first, or keys and values first; with room between the tokens, as another layer's may need."""
    shape = [COUNT, 2, SIZE, 3] if dim == 0 else [2, COUNT, SIZE, 3]
    return torch.zeros(*shape[:-1], 5)[..., :3]


def write(into: torch.Tensor, dim: int, slots: torch.Tensor, values: torch.Tensor) -> None:
    for slot, value in zip(slots.tolist(), values, strict=True):
        if slot >= 0:
            into.select(dim, slot // SIZE)[:, slot % SIZE] = value


def read(of: torch.Tensor, dim: int, blocks: list[int]) -> torch.Tensor:
    return torch.stack([of.select(dim, block) for block in blocks])


@given(data=st.data(), dim=st.sampled_from([0, 1]), lengths=st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_observed_requests_find_what_they_wrote(data: st.DataObject, dim: int, lengths: list[int]) -> None:
    blocks = data.draw(st.permutations(range(1, COUNT)))
    owned = [[blocks.pop() for _ in range(length)] for length in lengths]
    observed = data.draw(st.sets(st.integers(0, len(lengths) - 1), min_size=1))
    table = torch.full((len(lengths), 12), 7777, dtype=torch.int32)
    for row, own in zip(table, owned, strict=True):
        row[: len(own)] = torch.tensor(own)
    real, places = cache(dim), Places(COUNT, SIZE, dim, torch.device("cpu"))
    for request in observed:
        places.take(table[request, : lengths[request]].long())
    sparse = places.room(real, places.capacity)
    slots = torch.tensor(
        [block * SIZE + at for own in owned for block in own for at in range(SIZE)] + [-1], dtype=torch.long
    )
    values = torch.arange(1.0, len(slots) + 1)[:, None, None].expand(-1, 2, 3)
    write(real, dim, slots, values)
    write(sparse, dim, places.of_slots(slots), values)
    translated = places.of_table(table)
    for request in observed:
        mine = translated[request, : lengths[request]].tolist()
        assert torch.equal(read(sparse, dim, mine), read(real, dim, owned[request]))
    assert places.of_slots(slots)[-1] == -1
    assert not read(sparse, dim, [0]).any()
    assert translated.max() < places.capacity
    assert sparse.untyped_storage().nbytes() < real.untyped_storage().nbytes()


def test_a_shadow_grows_with_what_it_holds() -> None:
    real = cache(0)
    layer = SimpleNamespace(kv_sharing_target_layer_name=None)
    prober = SparseProber(COUNT, {"layer": SIZE})
    for used in (3, FIRST + 5):
        metadata = SimpleNamespace(
            seq_lens=torch.tensor([used * SIZE]),
            block_table=torch.arange(1, COUNT)[None].int(),
        )
        call = Call("layer", print, layer, real, real, real, metadata, real)
        prober.claim(call, [0], torch.arange(SIZE, SIZE * (used + 1)))
        beside = prober.shadow(call, 0)
        write(beside.cache, 0, prober.slots(call)[: 3 * SIZE], torch.ones(3 * SIZE, 2, 3))
    assert beside.cache.shape[0] == 2 * FIRST
    assert beside.cache.sum() == 3 * SIZE * 6
    prober.forget()
    assert not prober.shadow(call, 0).cache.any()


def test_a_back_end_with_maps_of_the_whole_cache_is_refused() -> None:
    real = cache(0)
    call = Call("layer", print, None, real, real, real, SimpleNamespace(physical_to_logical=1), real)
    with pytest.raises(RuntimeError, match="no room twice"):
        SparseProber(COUNT, {"layer": SIZE}).claim(call, [0], torch.arange(1))
