"""Writes how transformers reads unusual `config.json` files and tensor names of the reference models.

    pip install torch transformers safetensors
    python make_config_goldens.py

`configs/golden.json` has one case an entry: a reference model, what is changed in its config (`set`, `unset`) and in the
names of its tensors (`rename`, prefixes), how many tokens the prompt has (the golden prompt, over and over), and the first
logits that transformers computes after it. `configs/defaults.json` has what each config class has where a file says nothing.
"""

import json
import pathlib
import tempfile

HERE = pathlib.Path(__file__).parent
SHOWN = 16
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0)
LONG = 4200
ROPE = ["rope_scaling", "rope_theta"]


def rope(name, unset=ROPE, **changed):
    return dict(name=name, model="llama", set=changed, unset=unset)


CASES = [
    rope("settings in rope_parameters", rope_parameters=dict(rope_type="default", rope_theta=5e4)),
    rope("rope_theta beside rope_parameters", rope_theta=5e4, rope_parameters=dict(rope_type="default")),
    rope("rope_theta beside and inside", rope_theta=1e2, rope_parameters=dict(rope_type="default", rope_theta=5e4)),
    rope("rope_theta inside rope_scaling", rope_scaling=dict(type="linear", factor=4.0, rope_theta=5e4)),
    rope("rope_theta beside rope_scaling", rope_theta=5e4, rope_scaling=dict(type="linear", factor=4)),
    rope("rope_scaling before rope_parameters", rope_scaling=dict(type="linear", factor=3.0),
         rope_parameters=dict(rope_type="default", rope_theta=5e4)),
    rope("rope_scaling is empty", rope_scaling={}, rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=5e4)),
    rope("rope_type before type", rope_theta=5e4, rope_scaling=dict(type="default", rope_type="linear", factor=4.0)),
    rope("type inside rope_parameters", rope_parameters=dict(type="linear", factor=4.0, rope_theta=5e4)),
    rope("a factor without a type", rope_theta=5e4, rope_scaling=dict(factor=4.0)),
    rope("a factor below one", rope_theta=5e4, rope_scaling=dict(type="linear", factor=0.5)),
    rope("dynamic within the context", rope_theta=5e4, rope_scaling=dict(type="dynamic", factor=4.0)),
    rope("llama3 without an original length", rope_theta=5e4, rope_scaling=LLAMA3),
    rope("llama3 with an original length beside", rope_theta=5e4, original_max_position_embeddings=16,
         rope_scaling=dict(LLAMA3, original_max_position_embeddings=64)),
    rope("llama3 in rope_parameters", rope_parameters=dict(LLAMA3, original_max_position_embeddings=32, rope_theta=5e5)),
    rope("no settings"),
    rope("settings are null", unset=[], rope_scaling=None, rope_theta=5e4, rope_parameters=None),
    dict(name="mistral without sliding_window", model="mistral", set=dict(max_position_embeddings=8192),
         unset=["sliding_window"], tokens=LONG),
    dict(name="mistral with a window of null", model="mistral", set=dict(sliding_window=None), unset=[]),
    dict(name="qwen2 with windows without sliding_window", model="qwen2-sliding", tokens=LONG,
         set=dict(max_position_embeddings=8192), unset=["sliding_window", "layer_types"]),
    dict(name="qwen2 without layer_types", model="qwen2-sliding", set=dict(max_window_layers=2), unset=["layer_types"]),
    dict(name="qwen2 without max_window_layers", model="qwen2-sliding", set={}, unset=["layer_types", "max_window_layers"]),
    dict(name="qwen2 with layer_types of its own", model="qwen2-sliding", unset=[],
         set=dict(layer_types=["sliding_attention", "full_attention", "full_attention"])),
    dict(name="qwen2 with a window that is off", model="qwen2-sliding", unset=["layer_types"],
         set=dict(use_sliding_window=False)),
    dict(name="without norm epsilons", model="qwen3-bf16", set={}, unset=["rms_norm_eps"]),
    dict(name="with a large norm epsilon", model="qwen3-bf16", set=dict(rms_norm_eps=1.0), unset=[]),
    dict(name="without architectures", model="qwen3-bf16", set={}, unset=["architectures"]),
    dict(name="tied with another lm_head", model="llama", set=dict(tie_word_embeddings=True), unset=[]),
    dict(name="tied without embeddings", model="llama", set=dict(tie_word_embeddings=True), unset=[],
         rename={"model.embed_tokens": "unused"}),
    dict(name="without tie_word_embeddings", model="llama", set={}, unset=["tie_word_embeddings"]),
    dict(name="names without their prefix", model="llama", set={}, unset=[], rename={"model.": ""}),
    dict(name="tied names without their prefix", model="qwen2", set={}, unset=[], rename={"model.": ""}),
    dict(name="some names without their prefix", model="llama", set={}, unset=[], rename={"model.layers.1.": "layers.1."}),
    dict(name="a prefix too much", model="llama", set={}, unset=[], rename={"lm_head": "model.lm_head"}),
    *[dict(name=f"hidden_act {act}", model="llama", set=dict(hidden_act=act), unset=[])
      for act in ["gelu", "gelu_new", "quick_gelu", "relu", "sigmoid", "swish", "tanh", "linear"]],
    dict(name="phi3 without a window", model="phi3", set={}, unset=["sliding_window"]),
    rope("yarn", rope_theta=5e4, rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=16)),
    rope("yarn without an original length", rope_theta=5e4, rope_scaling=dict(rope_type="yarn", factor=8.0)),
    rope("yarn with settings of its own", rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=5e4, beta_fast=2.0,
         beta_slow=0.5, attention_factor=1.3, original_max_position_embeddings=32, truncate=False)),
    rope("yarn with weights of its logarithm", rope_parameters=dict(rope_type="yarn", factor=4.0, rope_theta=5e4, mscale=0.7,
         mscale_all_dim=1.0, original_max_position_embeddings=32, beta_fast=4.0)),
    dict(name="longrope beyond its original length", model="phi3-longrope", set={}, unset=[], tokens=100),
    dict(name="partial longrope beyond its original length", model="phi4", set={}, unset=[], tokens=100),
    dict(name="a partial rotary embedding", model="phi4", set=dict(partial_rotary_factor=0.5), unset=["rope_scaling", "rope_parameters"]),
    dict(name="gemma2 with caps and a scalar of its own", model="gemma2", unset=["layer_types"],
         set=dict(query_pre_attn_scalar=50, attn_logit_softcapping=1.0, final_logit_softcapping=None)),
    dict(name="gemma2 without caps", model="gemma2", unset=["final_logit_softcapping"], set=dict(attn_logit_softcapping=None)),
    dict(name="gemma3 with older keys", model="gemma3", unset=["rope_parameters", "layer_types"],
         set=dict(rope_scaling=dict(rope_type="linear", factor=3.0), rope_theta=5e4, rope_local_base_freq=1e3, sliding_window_pattern=2)),
    dict(name="gemma3 with caps", model="gemma3", unset=["rope_parameters"],
         set=dict(final_logit_softcapping=2.0, query_pre_attn_scalar=11)),
    dict(name="smollm3 with layers of its own", model="smollm3", unset=["layer_types"], set=dict(no_rope_layers=[0, 1, 1, 0])),
    dict(name="smollm3 with windows at an interval", model="smollm3", unset=["layer_types", "no_rope_layers"],
         set=dict(no_rope_layer_interval=2, use_sliding_window=True, sliding_window=8)),
    dict(name="granite without multipliers", model="granite", set={},
         unset=["embedding_multiplier", "logits_scaling", "residual_multiplier", "attention_multiplier"]),
    dict(name="mixtral with a window", model="mixtral", set=dict(sliding_window=8), unset=[]),
    dict(name="experts that are not normalised", model="qwen3-moe", set=dict(norm_topk_prob=False, num_experts_per_tok=2), unset=[]),
    dict(name="ministral without layer_types", model="ministral", set={}, unset=["layer_types"]),
    dict(name="queries that grow", model="ministral3", set={}, unset=[], tokens=200),
    dict(name="longrope with factors of its own", model="phi3-longrope", context=64, unset=["rope_parameters", "rope_scaling"],
         set=dict(rope_scaling=dict(type="su", factor=2.0, original_max_position_embeddings=64,
                                    short_factor=[1.0, 1.2, 1.4, 1.6], long_factor=[2.0] * 4))),
    dict(name="longrope with a factor of attention", model="phi3-longrope", context=64, unset=["rope_parameters", "rope_scaling"],
         set=dict(rope_scaling=dict(type="longrope", attention_factor=1.5, short_factor=[1.0, 1.2, 1.4, 1.6],
                                    long_factor=[2.0] * 4))),
    dict(name="longrope of a llama", model="llama", context=64, unset=ROPE, set=dict(original_max_position_embeddings=64,
         rope_theta=5e4, rope_scaling=dict(rope_type="longrope", short_factor=[1.0, 1.2, 1.4, 1.6], long_factor=[2.0] * 4))),
]


def weights_of(folder):
    from safetensors.torch import load_file
    return {name: t for file in sorted(folder.glob("model*.safetensors")) for name, t in load_file(file).items()}


def renamed(name, renames):
    for old, new in renames.items():
        if name.startswith(old):
            return new + name[len(old):]
    return name


def logits_of(case):
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    source = HERE / case["model"]
    config = json.loads((source / "config.json").read_text())
    config.update(case["set"])
    for key in case["unset"]:
        config.pop(key, None) if key not in case["set"] else None
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "config.json").write_text(json.dumps(config))
        weights = {renamed(name, case.get("rename", {})): t for name, t in weights_of(source).items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    prompt = load_file(source / "golden.safetensors")["prompt"].long()
    count = case.get("tokens", len(prompt))
    prompt = prompt.repeat(count // len(prompt) + 1)[:count]
    with torch.no_grad():
        row = model(prompt[None], use_cache=False).logits[0, -1].float()
    return [round(value, 5) for value in row[:SHOWN].tolist()], row.abs().max().item()


def defaults():
    import transformers

    out = {}
    for name in ["Llama", "Mistral", "Ministral", "Ministral3", "Mixtral", "Phi3", "Qwen2", "Qwen3", "Qwen3Moe", "Gemma2", "Gemma3",
                 "SmolLM3", "Olmo2", "Granite"]:
        config = getattr(transformers, "Gemma3TextConfig" if name == "Gemma3" else f"{name}Config")
        plain, windows = config().to_dict(), config(use_sliding_window=True).to_dict()
        keys = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
                "head_dim", "vocab_size", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "eos_token_id",
                "sliding_window", "layer_types", "attention_bias", "mlp_bias"]
        entry = {key: plain.get(key) for key in keys}
        entry["rope_parameters"] = plain["rope_parameters"]
        entry["num_key_value_heads"] = entry["num_key_value_heads"] or entry["num_attention_heads"]
        entry["head_dim"] = entry["head_dim"] or entry["hidden_size"] // entry["num_attention_heads"]
        entry["with_windows"] = {key: windows.get(key) for key in ["sliding_window", "layer_types"]}
        out[f"{name}ForCausalLM"] = entry
    # The part for text of a model for text and images.
    out["Gemma3ForConditionalGeneration"] = out["Gemma3ForCausalLM"]
    keys = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
            "max_position_embeddings", "type_vocab_size", "layer_norm_eps"]
    for name in ["Bert", "Roberta", "XLMRoberta"]:
        config = getattr(transformers, f"{name}Config")().to_dict()
        out[f"{name}Model"] = {key: config[key] for key in keys}
    return out


def main():
    cases = []
    for case in CASES:
        logits, scale = logits_of(case)
        cases.append(dict(case, logits=logits, scale=round(scale, 5)))
        print(f"{case['name']}: {logits[:4]}")
    (HERE / "configs" / "golden.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n")
    (HERE / "configs" / "defaults.json").write_text(json.dumps(defaults(), indent=1) + "\n")


if __name__ == "__main__":
    main()
