"""Stand-ins for keras-hub's towers: what these would make is given to the model in place of pixels and sounds."""

from __future__ import annotations

from typing import Any

import keras


class Images(keras.layers.Layer):
    """Gives the soft tokens (1, 1, soft tokens, hidden size) that stand where patches would."""

    num_vision_tokens_per_image = 1
    """Kept by `Gemma4InterleaveEmbeddings`, which does not compute with it."""

    def call(self, inputs: dict[str, Any]) -> Any:
        return inputs["pixel_values"]


class Sounds(keras.layers.Layer):
    """Gives the soft tokens (1, 1, soft tokens, hidden size) that stand where a spectrogram would."""

    def __init__(self, hidden: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.input_feat_size = hidden

    def call(self, inputs: Any, mask: Any) -> Any:
        return inputs
