#!/usr/bin/env python3
"""Writes make_model.py's model as GGUF for llama.cpp: the same weights and a tokenizer that reads the same.

Usage: make_gguf.py MODEL OUT.gguf [TYPE]       (needs the Python package gguf)
With a TYPE, such as F16, Q8_0 or Q4_K, matrices have that type. The package has no encoder for some of the types; blocks
of those are random bits with small scales, whose speed is the same. "Q4_K_M" is the mixture of types that llama-quantize
makes of this shape.
Names and keys are those of llama.cpp's architecture "qwen3". Tensors are copied from the mapped file one by one; norms
become F32, since llama.cpp has no norm in BF16.
"""
import json
import pathlib
import struct
import sys

import gguf
import numpy as np

# One per layer; the others are once in the file. Both sides of a line are the same tensor.
LAYER_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}
NAMES = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}


def gguf_name(name):
    if name in NAMES:
        return NAMES[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{LAYER_NAMES[rest.removesuffix('.weight')]}.weight"


def tensors(file):
    """Name and values of each tensor of a safetensors file, mapped; BF16 as its bits."""
    data = np.memmap(file, dtype=np.uint8, mode="r")
    length = struct.unpack("<Q", data[:8].tobytes())[0]
    for name, entry in json.loads(data[8:8 + length].tobytes()).items():
        if name == "__metadata__":
            continue
        first, end = (8 + length + offset for offset in entry["data_offsets"])
        values = data[first:end].view({"BF16": np.uint16, "F32": np.float32}[entry["dtype"]])
        yield name, values.reshape(entry["shape"])


def add_config(writer, config):
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    half = config["torch_dtype"] == "bfloat16"
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16 if half else gguf.LlamaFileType.ALL_F32)


def add_tokenizer(writer, tokenizer):
    ids = dict(tokenizer["model"]["vocab"])
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    ids.update(special)
    words = sorted(ids, key=ids.get)
    words[-1 - len(special)] = "ĀĀ"
    kinds = [gguf.TokenType.CONTROL if word in special else gguf.TokenType.NORMAL for word in words]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(words)
    writer.add_token_types(kinds)
    # The list of merges must be there and must not be empty: two zero bytes, which no prompt has, make the last word.
    writer.add_token_merges(["Ā Ā"])
    writer.add_eos_token_id(words.index("<|im_end|>"))
    writer.add_add_bos_token(False)


# Bytes at which a block has 16-bit scales, for types without an encoder.
SCALES = {"Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,), "IQ4_XS": (0,)}


def type_of(name, mixture, layers):
    """The type of a matrix. Q4_K_M has Q6_K where precision matters most."""
    if mixture != "Q4_K_M":
        return mixture
    if name == "token_embd.weight":
        return "Q6_K"
    layer = int(name.split(".")[1])
    more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    return "Q6_K" if more and ("attn_v" in name or "ffn_down" in name) else "Q4_K"


def quantized(values, kind, random):
    """Bytes of a matrix of BF16 or F32 in another type."""
    if kind not in SCALES:
        full = values if values.dtype == np.float32 else (values.astype(np.uint32) << 16).view(np.float32)
        return gguf.quants.quantize(full, gguf.GGMLQuantizationType[kind])
    weights, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    blocks = random.integers(0, 256, (values.size // weights, size), dtype=np.uint8)
    for at in SCALES[kind]:
        blocks[:, at:at + 2] = np.frombuffer(np.float16(1e-4).tobytes(), dtype=np.uint8)
    return blocks.reshape(values.shape[0], -1)


def main():
    model, out = pathlib.Path(sys.argv[1]), sys.argv[2]
    kind = sys.argv[3] if len(sys.argv) > 3 else None
    random = np.random.Generator(np.random.PCG64(1))
    layers = json.loads((model / "config.json").read_text())["num_hidden_layers"]
    writer = gguf.GGUFWriter(out, "qwen3")
    add_config(writer, json.loads((model / "config.json").read_text()))
    add_tokenizer(writer, json.loads((model / "tokenizer.json").read_text(encoding="utf-8")))
    writer.add_chat_template((model / "chat_template.jinja").read_text())
    for name, values in tensors(model / "model.safetensors"):
        if kind and values.ndim == 2:
            own = type_of(gguf_name(name), kind, layers)
            writer.add_tensor(gguf_name(name), quantized(values, own, random), raw_dtype=gguf.GGMLQuantizationType[own])
        elif values.dtype == np.float32:
            writer.add_tensor(gguf_name(name), values)
        elif values.ndim == 1:
            writer.add_tensor(gguf_name(name), (values.astype(np.uint32) << 16).view(np.float32))
        else:
            writer.add_tensor(gguf_name(name), values.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
