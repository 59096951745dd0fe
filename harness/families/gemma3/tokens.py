"""The token ids of synthetic checkpoints. vLLM's processor looks up runs of one to four newlines (`gemma3_mm.py`)."""

BOI, EOI, IMAGE = "<start_of_image>", "<end_of_image>", "<image_soft_token>"
SPECIAL = {"<pad>": 0, "<eos>": 1, "<bos>": 2, "<unk>": 3, BOI: 4, EOI: 5, IMAGE: 6}
NEWLINES = {"\n" * count: 6 + count for count in range(1, 5)}
ID_OF_KIND = {"boi": SPECIAL[BOI], "eoi": SPECIAL[EOI], "image": SPECIAL[IMAGE]}
FIRST_WORD = 32
