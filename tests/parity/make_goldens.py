"""Writes the small reference models and the results of Hugging Face transformers for them.

    pip install torch transformers safetensors tokenizers
    python make_goldens.py models [FOLDER [MODEL ...]]
    python make_goldens.py templates [FOLDER]
    pip install sentence-transformers
    python make_goldens.py minilm MODEL_FOLDER [FOLDER]

Each model is a seeded random one, small enough to be committed, and differs from the others where decoders go wrong:
grouped heads, rotary scaling, sliding windows shorter than the prompt, biases, tied embeddings, QK norm, a head size
that is not hidden/heads, fused projections, other activation functions, shards, half precision. `golden.safetensors` beside each model holds the prompt, the greedy
continuation (32 tokens) and the logits after the prompt and after each token of the continuation, all in float32.
"""

import json
import pathlib
import sys

PROMPT = 24
STEPS = 32
SEED = 20260

SHAPE = dict(
    hidden_size=64, num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=2, intermediate_size=64,
    vocab_size=256, max_position_embeddings=256, initializer_range=0.12, rms_norm_eps=1e-6, use_cache=True,
    bos_token_id=1, eos_token_id=None,
)
LLAMA3_ROPE = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=32)
SMALL = dict(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48, vocab_size=128,
             dtype="bfloat16")
MODELS = {
    "llama": dict(arch="LlamaForCausalLM", rope_scaling=LLAMA3_ROPE, rope_theta=5e5, tie_word_embeddings=False),
    "llama-linear-f16": dict(arch="LlamaForCausalLM", rope_scaling=dict(rope_type="linear", factor=4.0),
                             tie_word_embeddings=True, attention_bias=True, mlp_bias=True, dtype="float16"),
    "mistral": dict(arch="MistralForCausalLM", sliding_window=8, head_dim=16, tie_word_embeddings=False, shards="120KB"),
    "qwen2": dict(arch="Qwen2ForCausalLM", tie_word_embeddings=True, rope_theta=1e6),
    "qwen2-sliding": dict(arch="Qwen2ForCausalLM", tie_word_embeddings=True, use_sliding_window=True,
                          sliding_window=8, max_window_layers=1, num_hidden_layers=3),
    "qwen3-bf16": dict(arch="Qwen3ForCausalLM", tie_word_embeddings=False, head_dim=24, num_key_value_heads=4,
                       rope_theta=1e6, dtype="bfloat16", seed=7),
    "phi3": dict(arch="Phi3ForCausalLM", tie_word_embeddings=False, sliding_window=8, dtype="bfloat16", pad_token_id=0, seed=15),
    "phi3-longrope": dict(arch="Phi3ForCausalLM", tie_word_embeddings=True, hidden_act="gelu_pytorch_tanh", dtype="float16",
                          original_max_position_embeddings=64, pad_token_id=0, seed=16,
                          rope_scaling=dict(type="longrope", short_factor=[1.0, 1.1, 1.5, 2.0],
                                            long_factor=[1.0, 2.0, 4.0, 8.0])),
    "llama3": dict(arch="LlamaForCausalLM", **SMALL, seed=1, head_dim=16, rope_scaling=LLAMA3_ROPE, rope_theta=5e5,
                   tie_word_embeddings=True),
    "phi4": dict(arch="Phi3ForCausalLM", **SMALL, seed=4, tie_word_embeddings=True, original_max_position_embeddings=64, pad_token_id=0,
                 partial_rotary_factor=0.75, rope_scaling=dict(type="longrope", short_factor=[1.0, 1.1, 1.3],
                                                               long_factor=[1.0, 2.0, 4.0])),
    "ministral": dict(arch="MinistralForCausalLM", **SMALL, seed=4, head_dim=8, num_hidden_layers=3, sliding_window=8,
                      layer_types=["sliding_attention", "full_attention", "sliding_attention"]),
    "ministral3": dict(arch="Ministral3ForCausalLM", **SMALL, seed=2, head_dim=16, rope_parameters=dict(
        type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=32.0, beta_slow=1.0, mscale=1.0,
        mscale_all_dim=1.0, rope_theta=1e6, llama_4_scaling_beta=0.1)),
    "mixtral": dict(arch="MixtralForCausalLM", **SMALL, seed=5, head_dim=8, num_local_experts=4, num_experts_per_tok=2),
    "qwen3-moe": dict(arch="Qwen3MoeForCausalLM", **SMALL, seed=5, head_dim=16, num_experts=8, num_experts_per_tok=3,
                      moe_intermediate_size=16, norm_topk_prob=True),
    "qwen3-moe-mixed": dict(arch="Qwen3MoeForCausalLM", **SMALL, head_dim=8, num_experts=4, num_experts_per_tok=2,
                            moe_intermediate_size=16, norm_topk_prob=False, num_hidden_layers=3, decoder_sparse_step=2),
    "gemma2": dict(arch="Gemma2ForCausalLM", **SMALL, seed=32, head_dim=16, query_pre_attn_scalar=16, sliding_window=8,
                   attn_logit_softcapping=2.0, final_logit_softcapping=4.0, tie_word_embeddings=True, num_hidden_layers=3),
    "gemma3": dict(arch="Gemma3ForCausalLM", config="Gemma3TextConfig", **SMALL, seed=1, head_dim=8, query_pre_attn_scalar=8,
                   sliding_window=8, tie_word_embeddings=True, num_hidden_layers=7,
                   rope_scaling=dict(rope_type="linear", factor=8.0)),
    "smollm3": dict(arch="SmolLM3ForCausalLM", **SMALL, num_hidden_layers=4, tie_word_embeddings=True, pad_token_id=0),
    "olmo2": dict(arch="Olmo2ForCausalLM", **SMALL, seed=9, num_hidden_layers=3, pad_token_id=0),
    "granite": dict(arch="GraniteForCausalLM", **SMALL, seed=12, embedding_multiplier=6.0, logits_scaling=2.0,
                    residual_multiplier=0.5, attention_multiplier=0.2, tie_word_embeddings=True),
}


def randomize(model, torch):
    """Randomises norm weights and biases, which are ones and zeros in transformers, so that they have an effect. Scales up the
    layers, because a random model otherwise repeats its last token."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "proj.weight" in name or "experts" in name:
                p.mul_(2.5)
            elif "norm" in name:
                # Gemma adds 1 to them.
                p.copy_(float(not type(model).__name__.startswith("Gemma")) + 0.2 * torch.randn(p.shape))
            elif name.endswith("bias"):
                p.copy_(0.2 * torch.randn(p.shape))


def continue_greedily(model, prompt, torch):
    """Greedy continuation without a KV cache: each token takes a forward pass over the whole text."""
    ids, rows = prompt.clone(), []
    with torch.no_grad():
        for _ in range(STEPS + 1):
            row = model(ids[None], use_cache=False).logits[0, -1].float()
            rows.append(row)
            ids = torch.cat([ids, row.argmax()[None]])
    return ids[len(prompt):-1], torch.stack(rows)


def write_model(name, spec, folder):
    import torch
    import transformers
    from safetensors.torch import save_file

    spec = dict(spec)
    arch, dtype, shards = spec.pop("arch"), spec.pop("dtype", "float32"), spec.pop("shards", None)
    config_class = getattr(transformers, spec.pop("config", arch.replace("ForCausalLM", "Config")))
    torch.manual_seed(spec.pop("seed", SEED))
    model = getattr(transformers, arch)(config_class(**{**SHAPE, **spec}, attn_implementation="eager"))
    randomize(model, torch)
    out = folder / name
    model.to(getattr(torch, dtype)).save_pretrained(out, max_shard_size=shards or "5GB")
    # Computed in float32 from the stored, possibly rounded weights, as Firebox computes.
    reference = getattr(transformers, arch).from_pretrained(out, dtype=torch.float32, attn_implementation="eager").eval()
    prompt = torch.randint(2, reference.config.vocab_size, (PROMPT,))
    answer, logits = continue_greedily(reference, prompt, torch)
    golden = {"prompt": prompt.int(), "answer": answer.int(), "logits": logits.contiguous()}
    save_file(golden, out / "golden.safetensors")
    (out / "generation_config.json").unlink(missing_ok=True)
    top = logits.topk(2, dim=-1).values
    print(f"{name}: scale {logits.abs().max():.3f}, least lead {(top[:, 0] - top[:, 1]).min():.4f}, answer {answer[:12].tolist()}")


def write_minilm(model_folder, folder):
    import numpy as np
    from safetensors.numpy import save_file
    from sentence_transformers import SentenceTransformer

    sentences = json.loads((folder / "minilm" / "sentences.json").read_text())
    model = SentenceTransformer(model_folder, device="cpu")
    vectors = model.encode(sentences, batch_size=1, normalize_embeddings=True, convert_to_numpy=True)
    save_file({"embeddings": np.ascontiguousarray(vectors, dtype=np.float32)}, folder / "minilm" / "golden.safetensors")
    print("minilm", vectors.shape)


SYSTEM = {"role": "system", "content": "You are  helpful.\n"}
USER = {"role": "user", "content": "Wie wird das Wetter in Köln?\n<b>\"now\"</b>"}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "type": "function", "function": {
    "name": "weather", "arguments": {"city": "Köln", "days": 2, "units": None, "exact": True, "near": [1.5, {}]}}}]}
RESULT = {"role": "tool", "content": "{\"sky\": \"klar\"}", "tool_call_id": "c1", "name": "weather"}
ANSWER = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nKlar & mild."}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Tells the weather – 'anywhere'.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
                       "required": ["city"]}}}
CHATS = {
    "one question": ([USER], []),
    "with system": ([SYSTEM, USER], []),
    "several turns": ([SYSTEM, USER, ANSWER, {"role": "user", "content": " again? "}], []),
    "tools offered": ([SYSTEM, USER], [TOOL]),
    "tools called": ([SYSTEM, USER, CALL, RESULT], [TOOL]),
    "tools called and answered": ([USER, CALL, RESULT, ANSWER, {"role": "user", "content": "Danke!"}], [TOOL]),
}


def write_templates(folder):
    from transformers.utils.chat_template_utils import render_jinja_template

    cases = []
    for path in sorted((folder / "templates").glob("*.jinja")):
        for name, (messages, tools) in CHATS.items():
            rendered, _ = render_jinja_template([messages], tools=tools or None, chat_template=path.read_text(),
                                                add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
            cases.append(dict(template=path.name, chat=name, messages=messages, tools=tools, rendered=rendered[0]))
    text = json.dumps(cases, ensure_ascii=False, indent=1)
    (folder / "templates" / "golden.json").write_text(text + "\n")
    print("templates", len(cases))


def main():
    here = pathlib.Path(__file__).parent
    if sys.argv[1:2] == ["models"]:
        folder = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else here
        for name in sys.argv[3:] or MODELS:
            write_model(name, MODELS[name], folder)
    elif sys.argv[1:2] == ["templates"]:
        write_templates(pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else here)
    elif sys.argv[1:2] == ["minilm"] and len(sys.argv) > 2:
        write_minilm(sys.argv[2], pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else here)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
