#!/usr/bin/env python3
"""Writes tests/parity/gguf/NAME.gguf: the small models of `make_goldens.py` as llama.cpp's conversion stores them.

    pip install gguf numpy safetensors torch && tests/parity/make_gguf_models.py [NAME ...]

The weights are those of the folder NAME, unrounded, so that the file has the logits of that folder's golden. What the
conversion changes: names; rows of q and k of architectures that rotate interleaved pairs; norms of Gemma, which are stored
with 1 added; experts, which are stacked; factors of LongRoPE, which are tensors.
"""
import json
import sys
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from safetensors.torch import load_file

HERE = Path(__file__).parent
FOUR_NORMS = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
              "post_feedforward_layernorm": "post_ffw_norm"}
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up", "mlp.gate": "ffn_gate_inp",
    "mlp.experts.gate_proj": "ffn_gate_exps", "mlp.experts.up_proj": "ffn_up_exps", "mlp.experts.down_proj": "ffn_down_exps",
    "block_sparse_moe.gate": "ffn_gate_inp", "block_sparse_moe.experts.w1": "ffn_gate_exps",
    "block_sparse_moe.experts.w3": "ffn_up_exps", "block_sparse_moe.experts.w2": "ffn_down_exps",
}
MODEL = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
         "lm_head.weight": "output.weight"}
# The folder, then: architecture, whether q and k are permuted, kind of tokenizer and of splitting, other names.
MODELS = {
    "llama3": ("llama", True, "gpt2", "llama-bpe", {}),
    "mixtral": ("llama", True, "llama", "default", {}),
    "ministral3": ("mistral3", True, "gpt2", "tekken", {}),
    "phi3": ("phi3", False, "llama", "default", {}),
    "phi4": ("phi3", False, "gpt2", "gpt-4o", {}),
    "gemma2": ("gemma2", False, "llama", "default", FOUR_NORMS),
    "gemma3": ("gemma3", False, "llama", "default", FOUR_NORMS),
    "qwen3-moe": ("qwen3moe", False, "gpt2", "qwen2", {}),
    "smollm3": ("smollm3", True, "gpt2", "smaug-bpe", {}),
    "olmo2": ("olmo2", False, "gpt2", "dbrx", FOUR_NORMS),
    "granite": ("granite", True, "gpt2", "refact", {}),
}


def permuted(weight, heads):
    rows = weight.shape[0]
    return weight.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def gathered(weights):
    """Tensors by their names in the layer, with the experts of a layer stacked."""
    out, experts = {}, {}
    for name, tensor in weights.items():
        start, separator, end = name.partition(".experts.")
        number, _, part = end.partition(".")
        if separator and number.isdigit():
            experts.setdefault(f"{start}.experts.{part}", {})[int(number)] = tensor
        else:
            out[name] = tensor
    for name, parts in experts.items():
        out[name] = np.stack([parts[number] for number in range(len(parts))])
    return out


def renamed(name, special):
    if name in MODEL:
        return MODEL[name]
    layer, _, part = name.removeprefix("model.layers.").partition(".")
    part, _, kind = part.rpartition(".")
    return f"blk.{layer}.{special.get(part) or NAMES[part]}.{kind}"


def write_keys(writer, arch, config, vocabulary):
    rope = {**config.get("rope_parameters", {}), **(config.get("rope_scaling") or {})}
    rope = rope.get("full_attention", rope)
    heads = config["num_attention_heads"]
    width = config.get("head_dim") or config["hidden_size"] // heads
    part = rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0))
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(rope.get("rope_theta", config.get("rope_theta", 10000.0)))
    writer.add_vocab_size(vocabulary)
    if config.get("head_dim") and arch != "phi3":
        writer.add_key_length(width)
        writer.add_value_length(width)
    if not arch.startswith(("gemma", "qwen", "olmo")):
        writer.add_rope_dimension_count(int(part * width))
    kind = rope.get("rope_type", rope.get("type"))
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn" or arch == "phi3":
        original = rope.get("original_max_position_embeddings", config.get("original_max_position_embeddings"))
        writer.add_rope_scaling_orig_ctx_len(original or config["max_position_embeddings"])
    if arch == "mistral3":
        writer.add_rope_scaling_yarn_log_mul(rope["mscale_all_dim"])
        writer.add_rope_scaling_yarn_beta_fast(rope["beta_fast"])
        writer.add_rope_scaling_yarn_beta_slow(rope["beta_slow"])
        writer.add_attn_temperature_scale(rope["llama_4_scaling_beta"])
    if arch == "phi3" or arch.startswith("gemma"):
        writer.add_sliding_window(config.get("sliding_window") or 0)
    if config.get("attn_logit_softcapping"):
        writer.add_attn_logit_softcapping(config["attn_logit_softcapping"])
    if config.get("final_logit_softcapping"):
        writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    experts = config.get("num_local_experts") or config.get("num_experts")
    if experts:
        writer.add_expert_count(experts)
        writer.add_expert_used_count(config["num_experts_per_tok"])
    if config.get("moe_intermediate_size"):
        writer.add_expert_feed_forward_length(config["moe_intermediate_size"])
    if arch == "granite":
        writer.add_attention_scale(config["attention_multiplier"])
        writer.add_embedding_scale(config["embedding_multiplier"])
        writer.add_residual_scale(config["residual_multiplier"])
        writer.add_logit_scale(config["logits_scaling"])
    return rope


def write_factors(writer, rope, config, width):
    """LongRoPE's factors, and Llama 3's, which are computed at conversion."""
    if rope.get("long_factor"):
        scale = config["max_position_embeddings"] / config["original_max_position_embeddings"]
        length = np.log(config["original_max_position_embeddings"])
        writer.add_rope_scaling_attn_factors(float(np.sqrt(1 + np.log(scale) / length)))
        writer.add_tensor("rope_factors_long.weight", np.array(rope["long_factor"], np.float32))
        writer.add_tensor("rope_factors_short.weight", np.array(rope["short_factor"], np.float32))
    if rope.get("rope_type") == "llama3":
        base = rope.get("rope_theta") or config["rope_theta"]
        frequencies = 1.0 / base ** (np.arange(0, width, 2, dtype=np.float32) / width)
        low, high, original = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
        factors = []
        for length in 2 * np.pi / frequencies:
            smooth = np.clip((original / length - low) / (high - low), 0, 1)
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
        writer.add_tensor("rope_freqs.weight", np.array(factors, np.float32))


def write_tokenizer(writer, kind, pre, count):
    letters = [chr(0x4E00 + number) for number in range(4, count)]
    tokens = ["<unk>", "<s>", "</s>", *letters, letters[0] + letters[1]]
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([2, 3, 3] + [1] * (count - 3))
    if kind == "llama":
        writer.add_token_scores([-float(number) for number in range(count)])
    else:
        writer.add_token_merges([f"{letters[0]} {letters[1]}"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def write_model(name):
    arch, permutes, kind, pre, special = MODELS[name]
    folder = HERE / name
    config = json.loads((folder / "config.json").read_text())
    weights = {name: t.float().numpy() for file in sorted(folder.glob("model*.safetensors")) for name, t in load_file(file).items()}
    writer = gguf.GGUFWriter(HERE / "gguf" / f"{name}.gguf", arch)
    rope = write_keys(writer, arch, config, config["vocab_size"])
    write_tokenizer(writer, kind, pre, config["vocab_size"])
    write_factors(writer, rope, config, config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
    for full, tensor in gathered(weights).items():
        new = renamed(full, special)
        if permutes and ".attn_q." in new:
            tensor = permuted(tensor, config["num_attention_heads"])
        if permutes and ".attn_k." in new:
            tensor = permuted(tensor, config["num_key_value_heads"])
        if arch.startswith("gemma") and new.endswith("norm.weight"):
            tensor = tensor + 1
        # A row is stored as BF16, which the weights are; routers and vectors are not rounded.
        if tensor.ndim == 1 or "ffn_gate_inp" in new:
            writer.add_tensor(new, tensor.astype(np.float32))
        else:
            rounded = gguf.quants.quantize(np.ascontiguousarray(tensor), T.BF16)
            writer.add_tensor(new, rounded, raw_dtype=T.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(name, (HERE / "gguf" / f"{name}.gguf").stat().st_size)


for chosen in sys.argv[1:] or MODELS:
    write_model(chosen)
