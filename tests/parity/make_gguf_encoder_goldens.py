#!/usr/bin/env python3
"""Writes tests/parity/gguf-encoders/NAME.gguf: the tiny encoders of make_encoder_goldens.py as llama.cpp's converter writes them.

    pip install gguf transformers && tests/parity/make_gguf_encoder_goldens.py [NAME...]

Texts, vectors and scores are those of `golden.json` of the same models. The tokenizer of `xlm-roberta` gets a table of characters
here, which replaces U+FF0E by a full stop.
"""
import json
import pathlib
import sys

import numpy as np
from gguf import GGUFWriter, PoolingType, RopeScalingType, TokenType
from safetensors.numpy import load_file

HERE = pathlib.Path(__file__).parent
BERT_LAYER = {"attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
              "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
              "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm"}
BERT_MODEL = {"embeddings.word_embeddings": "token_embd", "embeddings.position_embeddings": "position_embd",
              "embeddings.token_type_embeddings": "token_types", "embeddings.LayerNorm": "token_embd_norm",
              "classifier.dense": "cls", "classifier.out_proj": "cls.output"}
DISTIL_LAYER = {"attention.q_lin": "attn_q", "attention.k_lin": "attn_k", "attention.v_lin": "attn_v", "attention.out_lin": "attn_output",
                "sa_layer_norm": "attn_output_norm", "ffn.lin1": "ffn_up", "ffn.lin2": "ffn_down", "output_layer_norm": "layer_output_norm"}
NOMIC_LAYER = {"attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output", "norm1": "attn_output_norm", "mlp.fc11": "ffn_up",
               "mlp.fc12": "ffn_gate", "mlp.fc2": "ffn_down", "norm2": "layer_output_norm"}
MODERN_LAYER = {"attn.Wqkv": "attn_qkv", "attn.Wo": "attn_output", "attn_norm": "attn_norm", "mlp.Wi": "ffn_up", "mlp.Wo": "ffn_down",
                "mlp_norm": "ffn_norm"}
MODERN_MODEL = {"embeddings.tok_embeddings": "token_embd", "embeddings.norm": "token_embd_norm", "final_norm": "output_norm",
                "head.dense": "cls", "head.norm": "cls.norm", "classifier": "cls.output"}
# Name: folder, architecture, names of layers and their beginning, base of names, pooling, positions that are cut off.
MODELS = {
    "roberta": ("encoders/roberta", "bert", BERT_LAYER, "encoder.layer.", "roberta.", 1, 2),
    "modern-bert": ("encoders/modernbert", "modern-bert", MODERN_LAYER, "layers.", "model.", 1, 0),
    "modern-bert-reranker": ("rerankers/modernbert", "modern-bert", MODERN_LAYER, "layers.", "model.", None, 0),
    "distilbert": ("encoders/distilbert", "bert", DISTIL_LAYER, "transformer.layer.", "distilbert.", 1, 0),
    "nomic-bert": ("encoders/nomic-bert", "nomic-bert", NOMIC_LAYER, "encoder.layers.", "nomic_bert.", 1, 0),
    "xlm-roberta": ("rerankers/xlm-roberta", "bert", BERT_LAYER, "encoder.layer.", "roberta.", 4, 2),
}


def name_of(name, layers, begin, base):
    name = name.removeprefix(base)
    part, kind = name.rsplit(".", 1)
    part = {"emb_ln": "token_embd_norm"}.get(part, (MODERN_MODEL if layers is MODERN_LAYER else BERT_MODEL).get(part, part))
    if part.startswith(begin):
        number, part = part.removeprefix(begin).split(".", 1)
        part = f"blk.{number}.{layers[part]}"
    return f"{part}.{kind}"


def add_words(out, tokenizer):
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda row: row[1])
    special = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
    tokens = [word if word in special else word[2:] if word.startswith("##") else "\u2581" + word for word, _ in vocabulary]
    out.add_tokenizer_model("bert")
    out.add_tokenizer_pre("default")
    out.add_token_list(tokens)
    out.add_token_types([TokenType.CONTROL if word in special else TokenType.NORMAL for word, _ in vocabulary])
    out.add_token_type_count(2)
    for add, token in [(out.add_unk_token_id, "[UNK]"), (out.add_sep_token_id, "[SEP]"), (out.add_pad_token_id, "[PAD]"),
                       (out.add_bos_token_id, "[CLS]"), (out.add_mask_token_id, "[MASK]")]:
        add(tokenizer["model"]["vocab"][token])


def add_pieces(out, tokenizer):
    pieces = tokenizer["model"]["vocab"]
    special = {"<s>": TokenType.CONTROL, "<pad>": TokenType.CONTROL, "</s>": TokenType.CONTROL, "<unk>": TokenType.UNKNOWN,
               "<mask>": TokenType.CONTROL}
    out.add_tokenizer_model("t5")
    out.add_tokenizer_pre("default")
    out.add_token_list([piece for piece, _ in pieces])
    out.add_token_scores([score for _, score in pieces])
    out.add_token_types([special.get(piece, TokenType.NORMAL) for piece, _ in pieces])
    out.add_add_space_prefix(True)
    out.add_token_type_count(1)
    out.add_remove_extra_whitespaces(True)
    out.add_precompiled_charsmap(charsmap())
    out.add_bos_token_id(0)
    out.add_eos_token_id(2)
    out.add_unk_token_id(3)
    out.add_sep_token_id(2)
    out.add_pad_token_id(1)
    out.add_add_bos_token(True)
    out.add_add_eos_token(True)


def add_bytes(out, tokenizer, config, pre):
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda row: row[1])
    special = {token["content"] for token in tokenizer["added_tokens"]}
    out.add_add_bos_token(True)
    out.add_add_eos_token(True)
    out.add_add_sep_token(True)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(pre)
    out.add_token_list([word for word, _ in vocabulary])
    out.add_token_types([TokenType.CONTROL if word in special else TokenType.NORMAL for word, _ in vocabulary])
    out.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]])
    for add, key in [(out.add_bos_token_id, "bos_token_id"), (out.add_eos_token_id, "eos_token_id"), (out.add_pad_token_id, "pad_token_id"),
                     (out.add_sep_token_id, "sep_token_id")]:
        if config.get(key) is not None:
            add(config[key])
    for add, tokens in [(out.add_unk_token_id, ["[UNK]", "<unk>"]), (out.add_mask_token_id, ["[MASK]", "<mask>"])]:
        add(next(tokenizer["model"]["vocab"][token] for token in tokens if token in tokenizer["model"]["vocab"]))
    if pre == "roberta-bpe":
        out.add_token_type_count(1)


def add_modern(out, config):
    """What the converter writes for ModernBERT alone. This model's layers with windows are not the usual ones."""
    out.add_sliding_window(config["local_attention"])
    out.add_sliding_window_pattern([kind == "sliding_attention" for kind in config["layer_types"]])
    out.add_rope_freq_base(config["rope_parameters"]["full_attention"]["rope_theta"])
    out.add_rope_freq_base_swa(config["rope_parameters"]["sliding_attention"]["rope_theta"])
    out.add_rope_scaling_type(RopeScalingType.NONE)
    out.add_vocab_size(config["vocab_size"])
    # Keys that are newer than the package.
    out.add_string("modern-bert.hidden_activation", config["hidden_activation"])
    out.add_uint32("modern-bert.classifier.pooling_type", PoolingType[config["classifier_pooling"].upper()])
    if "id2label" in config:
        out.add_classifier_output_labels(list(config["id2label"].values()))


def charsmap():
    """A double array in SentencePiece's form that replaces U+FF0E by a full stop, and nothing else."""
    size = 1024
    units = np.zeros(size, dtype=np.uint32)

    def place(at, label, offset, leaf):
        # Bits: label, 8 whether a leaf follows, 9 the width of the offset, 10 and up the offset relative to the position.
        relative = at ^ offset
        units[at] = label | (leaf << 8) | (relative << 10)

    # Blocks of 256 units for each state; the value is behind label 0.
    place(0, 0, 256, 0)
    place(256 ^ 0xEF, 0xEF, 512, 0)
    place(512 ^ 0xBC, 0xBC, 768, 0)
    place(768 ^ 0x8E, 0x8E, 200, 1)
    units[200] = 0x80000000 | 0
    data = units.tobytes()
    return np.uint32(len(data)).tobytes() + data + b".\0"


def main():
    target = HERE / "gguf-encoders"
    target.mkdir(exist_ok=True)
    for name, (folder, architecture, layers, begin, base, pooling, cut) in MODELS.items():
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        source = HERE / folder
        config = json.loads((source / "config.json").read_text())
        tokenizer = json.loads((source / "tokenizer.json").read_text())
        out = GGUFWriter(target / f"{name}.gguf", architecture)
        get = lambda *keys: next(config[key] for key in keys if key in config)
        out.add_name(name)
        out.add_context_length(get("max_position_embeddings") - cut)
        out.add_embedding_length(get("hidden_size", "dim"))
        out.add_feed_forward_length(get("intermediate_size", "hidden_dim"))
        out.add_block_count(get("num_hidden_layers", "n_layers"))
        out.add_head_count(get("num_attention_heads", "n_heads"))
        out.add_layer_norm_eps(config.get("layer_norm_eps", config.get("norm_eps", 1e-12)))
        out.add_causal_attention(False)
        if pooling is not None:
            out.add_pooling_type(PoolingType(pooling))
        out.add_file_type(1)
        if architecture == "nomic-bert":
            out.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
        if architecture == "modern-bert":
            add_modern(out, config)
        if "merges" in tokenizer["model"]:
            add_bytes(out, tokenizer, config, "modern-bert" if architecture == "modern-bert" else "roberta-bpe")
        else:
            (add_pieces if tokenizer["model"].get("unk_id") is not None else add_words)(out, tokenizer)
        for tensor, weight in load_file(source / "model.safetensors").items():
            if tensor.startswith("lm_head"):
                continue
            gguf = name_of(tensor, layers, begin, base)
            if gguf == "position_embd.weight" and cut:
                weight = weight[cut:]
            keeps = weight.ndim > 1 and not gguf.startswith(("position_embd", "token_types"))
            out.add_tensor(gguf, np.ascontiguousarray(weight.astype(np.float16 if keeps else np.float32)))
        out.write_header_to_file()
        out.write_kv_data_to_file()
        out.write_tensors_to_file()
        out.close()
        print(name, (target / f"{name}.gguf").stat().st_size)


main()
