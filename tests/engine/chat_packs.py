"""A tokenizer as decoders have it, and packs of family ``causal`` whose turns it opens and closes as ChatML does."""

from __future__ import annotations

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

# As Qwen2's and, but for the digits, Llama 3's: punctuation joins the line ends behind it.
_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_WORDS = [
    "the", " the", " cat", " sat", "cat", " abc", "ab", "user", "assistant", "system", "think", ".\n\n", ".\n", "\n\n",
    " -", "...", "漢字", "日本語", "日本", "😀", "é", "ing", "  ", "'s",
]  # fmt: skip

CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
CHATML_ROLES = {
    "system": {"marker": ["<|im_start|>", "system", "Ċ"], "end": ["<|im_end|>", "Ċ"], "head": None},
    "user": {"marker": ["<|im_start|>", "user", "Ċ"], "end": ["<|im_end|>", "Ċ"], "head": 0},
    "assistant": {"marker": ["<|im_start|>", "assistant", "Ċ"], "end": ["<|im_end|>", "Ċ"], "head": 1},
}


def chat_tokenizer() -> Tokenizer:
    """Byte-level BPE with a few words; merges are made from left to right, so they are the same everywhere."""
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    vocabulary = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    for word in _WORDS:
        ((spelt, _),) = letters.pre_tokenize_str(word)
        for length in range(1, len(spelt)):
            pair = (spelt[:length], spelt[length])
            if pair not in merges:
                merges.append(pair)
                vocabulary.setdefault("".join(pair), len(vocabulary))
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_PATTERN), "isolated"), letters]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in CHATML])
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("</think>", normalized=False)])
    return tokenizer
