#!/usr/bin/env python3
"""Writes a seeded random model in the shape of Qwen3-0.6B: OUT/bf16 and OUT/f32, the same values in both.

Its text is noise; its size, tokenizer length and cost per token are those of the real thing. The tensors are written
as they are drawn, so that 1 GB of memory is enough. The vocabulary is 256 bytes and, for every id above, a made-up
word; without merges a prompt of N ASCII characters is N tokens. There is no end token: an answer has the length asked.
"""
import argparse
import json
import pathlib
import struct

import numpy as np

LAYERS, HIDDEN, FEED_FORWARD, VOCABULARY = 28, 1024, 3072, 151_936
HEADS, KV_HEADS, HEAD_DIM = 16, 8, 128
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|im_start|>", "<|im_end|>"]  # the last two ids
ROWS_AT_ONCE = 4096


def tensors(layers):
    """Names and shapes in the order of the file; vectors are norms."""
    yield "model.embed_tokens.weight", (VOCABULARY, HIDDEN)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", (HIDDEN,)
        yield at + "self_attn.q_proj.weight", (HEADS * HEAD_DIM, HIDDEN)
        yield at + "self_attn.k_proj.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield at + "self_attn.v_proj.weight", (KV_HEADS * HEAD_DIM, HIDDEN)
        yield at + "self_attn.q_norm.weight", (HEAD_DIM,)
        yield at + "self_attn.k_norm.weight", (HEAD_DIM,)
        yield at + "self_attn.o_proj.weight", (HIDDEN, HEADS * HEAD_DIM)
        yield at + "post_attention_layernorm.weight", (HIDDEN,)
        yield at + "mlp.gate_proj.weight", (FEED_FORWARD, HIDDEN)
        yield at + "mlp.up_proj.weight", (FEED_FORWARD, HIDDEN)
        yield at + "mlp.down_proj.weight", (HIDDEN, FEED_FORWARD)
    yield "model.norm.weight", (HIDDEN,)


def header(shapes, dtype, item_bytes):
    """The head of a safetensors file: a length of 8 bytes and a JSON object, padded to 8 bytes."""
    entries, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes:
        end = offset + int(np.prod(shape)) * item_bytes
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def bf16_rows(random, shape):
    """The values of a tensor as the upper halves of float32, a few rows at a time: normal, of deviation 0.02."""
    if len(shape) == 1:
        yield np.full(shape, 0x3F80, dtype=np.uint16)  # a norm: ones
        return
    for first in range(0, shape[0], ROWS_AT_ONCE):
        rows = min(ROWS_AT_ONCE, shape[0] - first)
        bits = (random.standard_normal((rows, shape[1]), dtype=np.float32) * 0.02).view(np.uint32)
        # Round to nearest, ties to even.
        yield ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def write_weights(out, layers, seed):
    shapes = list(tensors(layers))
    random = np.random.Generator(np.random.PCG64(seed))
    with open(out / "bf16/model.safetensors", "wb") as half, open(out / "f32/model.safetensors", "wb") as full:
        half.write(header(shapes, "BF16", 2))
        full.write(header(shapes, "F32", 4))
        for _, shape in shapes:
            for rows in bf16_rows(random, shape):
                rows.tofile(half)
                (rows.astype(np.uint32) << 16).tofile(full)


def config(layers, dtype):
    return {
        "architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0, "head_dim": HEAD_DIM,
        "hidden_act": "silu", "hidden_size": HIDDEN, "initializer_range": 0.02, "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": 40960, "max_window_layers": layers, "model_type": "qwen3",
        "num_attention_heads": HEADS, "num_hidden_layers": layers, "num_key_value_heads": KV_HEADS,
        "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 1000000, "sliding_window": None,
        "tie_word_embeddings": True, "torch_dtype": dtype, "use_cache": True, "use_sliding_window": False,
        "vocab_size": VOCABULARY,
    }


def byte_characters():
    """GPT-2's 256 printable stand-ins for bytes."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(256 + n) for n, byte in enumerate(others)}}


def tokenizer():
    characters = byte_characters()
    words = [characters[byte] for byte in range(256)]
    words += [f"Ġw{number}" for number in range(256, VOCABULARY - len(SPECIAL))]
    added = [
        {"id": VOCABULARY - len(SPECIAL) + n, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": True}
        for n, text in enumerate(SPECIAL)
    ]
    bytes_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": bytes_level, "post_processor": None, "decoder": bytes_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": {word: id for id, word in enumerate(words)}, "merges": []},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=LAYERS, help="fewer for a quick try (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    words = tokenizer()
    for folder, dtype in (("bf16", "bfloat16"), ("f32", "float32")):
        path = args.out / folder
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text(json.dumps(config(args.layers, dtype), indent=2) + "\n")
        (path / "tokenizer.json").write_text(json.dumps(words, ensure_ascii=False), encoding="utf-8")
        (path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}\n')
        (path / "chat_template.jinja").write_text(TEMPLATE)
    write_weights(args.out, args.layers, args.seed)


if __name__ == "__main__":
    main()
