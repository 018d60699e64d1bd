"""The text side of a checkpoint: its tokenizer with the trajectory and special tokens.

Wraps a Hugging Face fast tokenizer. `pieces` gives the characters of each token, so that a
span of tokens is a span of the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

__all__ = [
    "IMAGE_PAD",
    "QWEN_SPECIAL_TOKENS",
    "SPECIAL_TOKENS",
    "TextCodec",
    "extend_tokenizer",
    "train_tokenizer",
]

IMAGE_PAD = "<|image_pad|>"

QWEN_SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    IMAGE_PAD,
    "<|video_pad|>",
)

# In the order of the reference, which decides their ids.
SPECIAL_TOKENS = (
    "<|prompt_start|>",
    "<|prompt_end|>",
    "<|image_start|>",
    "<|image_pre_tkn|>",
    "<|image_end|>",
    "<|traj_history_start|>",
    "<|traj_history_pre_tkn|>",
    "<|traj_history_end|>",
    "<|cot_start|>",
    "<|cot_end|>",
    "<|meta_action_start|>",
    "<|meta_action_end|>",
    "<|traj_future_start|>",
    "<|traj_future_pre_tkn|>",
    "<|traj_future_end|>",
    "<|traj_history|>",
    "<|traj_future|>",
    IMAGE_PAD,
    "<|vectorized_wm|>",
    "<|vectorized_wm_start|>",
    "<|vectorized_wm_end|>",
    "<|vectorized_wm_pre_tkn|>",
    "<|route_start|>",
    "<|route_pad|>",
    "<|route_end|>",
    "<|question_start|>",
    "<|question_end|>",
    "<|answer_start|>",
    "<|answer_end|>",
)

# What 1.5 no longer uses keeps its id under another name.
_RETIRED_IN_1_5 = (
    "<|image_pre_tkn|>",
    "<|traj_history_pre_tkn|>",
    "<|meta_action_start|>",
    "<|meta_action_end|>",
    "<|traj_future_pre_tkn|>",
    "<|vectorized_wm|>",
    "<|vectorized_wm_start|>",
    "<|vectorized_wm_end|>",
    "<|vectorized_wm_pre_tkn|>",
)

# One digit a token, as in Qwen's tokenizer. A word or a number keeps the space in front of
# it and "km/h" is one word, so that the mini's texts are as long as the published ones.
_PATTERN = r" ?\p{L}+(?:/\p{L}+)?| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE in Qwen's manner, trained on texts, with Qwen's special tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    fast.add_tokens(list(QWEN_SPECIAL_TOKENS), special_tokens=True)
    fast.pad_token = "<|endoftext|>"
    fast.eos_token = "<|im_end|>"
    return fast


def extend_tokenizer(
    tokenizer: PreTrainedTokenizerFast, traj_vocab_size: int, model_type: str = "alpamayo_r1"
) -> PreTrainedTokenizerFast:
    """Add `<i0>` … and the special tokens, in the reference's order; returns the tokenizer."""
    names = {old: f"<|_padding_{i}|>" for i, old in enumerate(_RETIRED_IN_1_5)}
    renamed = names if model_type == "alpamayo1_5" else {}
    tokenizer.add_tokens([f"<i{i}>" for i in range(traj_vocab_size)])
    tokenizer.add_tokens([renamed.get(t, t) for t in SPECIAL_TOKENS], special_tokens=True)
    return tokenizer


class TextCodec:
    """Token ids to characters and back."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self.end_of_reasoning = self.id_of("<|cot_end|>")
        self.end = self.id_of("<|traj_future_start|>")
        vocabulary = tokenizer.get_vocab()
        added = set(tokenizer.get_added_vocab().values())
        self.text_vocab_size = min(added, default=len(vocabulary))  # special tokens come behind
        unbyte = {char: byte for byte, char in _byte_characters().items()}
        self._bytes = {
            index: b"" if index in added else bytes(unbyte[char] for char in token)
            for token, index in vocabulary.items()
        }

    def __len__(self) -> int:
        return len(self.tokenizer)

    def id_of(self, token: str) -> int:
        """The id of a token of the vocabulary.

        Raises:
            KeyError: there is none.
        """
        index = self.tokenizer.get_vocab().get(token)
        if index is None:
            raise KeyError(f"the tokenizer has no token {token!r}")
        return int(index)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text in which special tokens may stand."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode_reasoning(self, text: str) -> list[int]:
        """A complete reasoning: the text and the tokens that end it."""
        return [*self.encode(text), self.end_of_reasoning, self.end]

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """The characters that each token adds to the text; special tokens add none.

        A character whose bytes are spread over several tokens belongs to the last of them.
        """
        pieces, pending = [], b""
        for token in tokens:
            pending += self._bytes.get(token, b"")
            try:
                pieces.append(pending.decode())
                pending = b""
            except UnicodeDecodeError:
                pieces.append("")
        if pending:
            pieces[-1] += pending.decode(errors="replace")
        return pieces

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files."""
        self.tokenizer.save_pretrained(str(folder))


def _byte_characters() -> dict[int, str]:
    """The printable stand-in of each byte in a byte-level BPE vocabulary (GPT-2's table)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(plain))
    return table
