#!/usr/bin/env python3
"""Writes tests/parity/gguf/blocks.bin: random blocks of each type, and their weights as the package `gguf` sees them; and
packed.bin: weights, and their blocks as the package `gguf` (types of 32 weights) and ggml (K types) write them; and the
seeds of tests/fuzz for GGUF files.

    pip install gguf numpy xllamacpp && tests/parity/make_gguf_goldens.py
"""
import ctypes
import struct
from pathlib import Path

import gguf
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

TYPES = [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS, T.MXFP4]
# Offsets of 16-bit scales and minima in a block.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0], T.MXFP4: []}

def ggml_blocks(weights, kind):
    """What ggml makes of the weights, by the library inside the package xllamacpp."""
    import xllamacpp
    library = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))
    count, size = GGML_QUANT_SIZES[kind]
    out = np.zeros(weights.size // count * size, np.uint8)
    library.ggml_quantize_chunk(ctypes.c_int(int(kind)), ctypes.c_void_p(weights.ctypes.data), ctypes.c_void_p(out.ctypes.data),
                                ctypes.c_int64(0), ctypes.c_int64(weights.size // count), ctypes.c_int64(count), None)
    return out


def write_packed(folder):
    random = np.random.default_rng(6)
    # The usual weights, and some with a few large ones among them.
    weights = np.concatenate([random.normal(0, 0.02, 2048), random.standard_t(3, 2048) * 0.02]).astype(np.float32)
    out = bytearray(struct.pack("<I", weights.size) + weights.tobytes())
    for kind in [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q4_K, T.Q5_K, T.Q6_K]:
        small = GGML_QUANT_SIZES[kind][0] == 32
        blocks = quantize(weights.reshape(1, -1), kind).reshape(-1) if small else ggml_blocks(weights, kind)
        out += struct.pack("<II", int(kind), blocks.size) + blocks.tobytes()
    (folder / "packed.bin").write_bytes(out)


LETTERS = [chr(byte) for byte in range(33, 97)]
# A model of one layer, 32 wide; half of its tensors are blocks.
MATRICES = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32), "ffn_gate": (64, 32),
            "ffn_up": (64, 32), "ffn_down": (32, 64)}


def write_seed(path, architecture, kind, tokenizer):
    """A small model, from which mutations start."""
    random = np.random.default_rng(7)
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(16)
    writer.add_value_length(16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(1e4)
    writer.add_tokenizer_model(tokenizer)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template("{% for m in messages %}{{ m.content }}{% endfor %}")
    tokens = LETTERS[:62] + ["AB", "ABAB"]
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * 62)
    if tokenizer == "llama":
        writer.add_token_scores([-float(index) for index in range(64)])
    else:
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_merges(["A B", "AB AB"])
    add = lambda name, shape, kind: writer.add_tensor(name, quantize(random.normal(0, 0.1, shape).astype(np.float32), kind),
                                                      raw_dtype=kind)
    add("token_embd.weight", (64, 32), T.Q8_0)
    for name, shape in MATRICES.items():
        add(f"blk.0.{name}.weight", shape, kind)
    for name in ["blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"]:
        add(f"{name}.weight", (32,), T.F32)
    if architecture == "qwen3":
        add("blk.0.attn_q_norm.weight", (16,), T.F32)
        add("blk.0.attn_k_norm.weight", (16,), T.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_seeds(folder):
    folder.mkdir(parents=True, exist_ok=True)
    write_seed(folder / "llama", "llama", T.Q4_0, "llama")
    write_seed(folder / "qwen3", "qwen3", T.Q5_1, "gpt2")


def main():
    random = np.random.default_rng(5)
    out = bytearray()
    for kind in TYPES:
        weights, size = GGML_QUANT_SIZES[kind]
        count = 2 if weights == 256 else 6
        blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
        for at in SCALES[kind]:
            scale = random.normal(0, 0.02, count).astype(np.float16)
            blocks[:, at:at + 2] = scale.view(np.uint8).reshape(count, 2)
        if kind == T.MXFP4:
            blocks[:, 0] = [0, 1, 2, 100, 127, 140]
        flat = blocks.reshape(-1)
        values = dequantize(flat.reshape(1, -1), kind).astype(np.float32).reshape(-1)
        assert values.size == count * weights
        out += struct.pack("<II", int(kind), flat.size) + flat.tobytes() + values.tobytes()
    folder = Path(__file__).parent / "gguf"
    (folder / "blocks.bin").write_bytes(out)
    write_packed(folder)
    write_seeds(Path(__file__).parents[1] / "fuzz" / "seeds" / "gguf")

main()
