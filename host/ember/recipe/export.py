"""Turn a training checkpoint into the Hugging Face folder of the product."""

import argparse
import json
import pathlib
import random
import shutil

import torch
from safetensors.torch import save_file

import chat
import vocab
from model import CONFIG

HERE = pathlib.Path(__file__).resolve().parent


def config(tokenizer):
    size = tokenizer.get_vocab_size()
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": None,
        "dtype": "float16",
        "eos_token_id": tokenizer.token_to_id(vocab.END),
        "head_dim": CONFIG["head_dim"],
        "hidden_act": "silu",
        "hidden_size": CONFIG["hidden_size"],
        "initializer_range": 0.02,
        "intermediate_size": CONFIG["intermediate_size"],
        "layer_types": ["full_attention"] * CONFIG["num_hidden_layers"],
        "max_position_embeddings": CONFIG["max_position_embeddings"],
        "max_window_layers": CONFIG["num_hidden_layers"],
        "model_type": "qwen3",
        "num_attention_heads": CONFIG["num_attention_heads"],
        "num_hidden_layers": CONFIG["num_hidden_layers"],
        "num_key_value_heads": CONFIG["num_key_value_heads"],
        "pad_token_id": tokenizer.token_to_id(vocab.END_TEXT),
        "rms_norm_eps": CONFIG["rms_norm_eps"],
        "rope_scaling": None,
        "rope_theta": CONFIG["rope_theta"],
        "sliding_window": None,
        "tie_word_embeddings": True,
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": size,
    }


def check_template(folder, count=300):
    """The template must print exactly the text that the model was trained on."""
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(folder)
    mine = vocab.build()
    for i in range(count):
        messages, names = chat.conversation(random.Random(f"template-{i}"))
        expected = chat.render(messages, names)
        for as_text in (False, True):
            given = [structured(m, as_text) for m in messages]
            specs = [{"type": "function", "function": {"name": n, "description": "", "parameters": {}}} for n in names]
            text = tokenizer.apply_chat_template(given, tools=specs or None, tokenize=False)
            # A JSON number such as 12.50 loses its zero when it passes through
            # a Python float, so the object form may differ for those alone.
            if text != expected and (as_text or '"value": ' not in expected):
                raise SystemExit(f"template differs:\n{text}\n---\n{expected}")
        if tokenizer(expected, add_special_tokens=False).input_ids != mine.encode(expected, add_special_tokens=False).ids:
            raise SystemExit("the saved tokenizer differs")


def structured(message, as_text):
    """The `tool_calls` form of an assistant message that is a call."""
    content = message["content"]
    if message["role"] != "assistant" or not content.startswith("<tool_call>\n"):
        return message
    body = content[len("<tool_call>\n"):-len("\n</tool_call>")]
    call = json.loads(body)
    if as_text:
        start = body.index('"arguments": ') + len('"arguments": ')
        call["arguments"] = body[start:-1]
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=pathlib.Path, default=pathlib.Path("build/state.pt"))
    parser.add_argument("--out", type=pathlib.Path, default=HERE.parent / "model")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    saved = torch.load(args.state, weights_only=True)
    tensors = {k: v.half().contiguous() for k, v in saved["model"].items()}
    save_file(tensors, args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "model.safetensors").chmod(0o644)
    tokenizer = vocab.save(args.out)
    shutil.copyfile(HERE / "chat_template.jinja", args.out / "chat_template.jinja")
    generation = {"do_sample": False, "eos_token_id": tokenizer.token_to_id(vocab.END),
                  "pad_token_id": tokenizer.token_to_id(vocab.END_TEXT), "max_new_tokens": 400}
    for name, value in (("config.json", config(tokenizer)), ("generation_config.json", generation)):
        (args.out / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    check_template(args.out)
    size = sum(f.stat().st_size for f in args.out.iterdir())
    print(f"chunk {saved['chunk']}, {saved['tokens'] / 1e6:.1f}M tokens, {saved['seconds']:.0f} s -> {args.out.name}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
