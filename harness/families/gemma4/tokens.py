"""The token ids of synthetic checkpoints."""

SPECIAL = {
    "<pad>": 0,
    "<eos>": 1,
    "<bos>": 2,
    "<unk>": 3,
    "<|image>": 4,
    "<image|>": 5,
    "<|image|>": 6,
    "<|video|>": 7,
    "<|audio>": 8,
    "<audio|>": 9,
    "<|audio|>": 10,
}
ID_OF_KIND = {"boi": 4, "eoi": 5, "image": 6, "video": 7, "boa": 8, "eoa": 9, "audio": 10}
FIRST_WORD = 32
