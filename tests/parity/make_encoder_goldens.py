"""Writes tiny random encoders of several families, and what transformers and sentence-transformers compute with them.

    pip install sentence-transformers
    python make_encoder_goldens.py families|rerankers|embedder|defaults [FOLDER]

`families` writes FOLDER/encoders/NAME: a model with its tokenizer, and `golden.json` with texts and the mean of the token
vectors of each.

`rerankers` writes FOLDER/rerankers/NAME: a model for sequence classification with one label, its tokenizer, and `golden.json`
with cases. A case is a set of files that are put over those of the folder, and the scores of sentence-transformers'
`CrossEncoder` for each document, one pair at a time.

`embedder` writes FOLDER/encoders/last-token: a decoder of Qwen 3's shape whose last token is the vector, with sentence-transformers'
files, and `golden.json` with vectors for several prompts. FOLDER/encoders/last-token-longrope has Phi-3's shape and LongRoPE, whose
long factors are those of the longest text.

`defaults` writes FOLDER/configs/encoder_defaults.json: the defaults of the config classes.
"""

import json
import logging
import pathlib
import shutil
import sys
import tempfile

from make_embedding_goldens import FAMILY_TEXTS, WORDS, byte_level, make_tokenizer, unigram

LONG = "the cat sat in the café, and " * 22 + "a query"
QUERY = "Das Café: where sat the cat?"
DOCUMENTS = ["The cat sat.", "", "中国, there and a query", LONG]
SHAPE = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, initializer_range=0.4)
KEPT = {"ModernBert": dict(initializer_range=0.7, initializer_cutoff_factor=3.0)}


def word_piece(first):
    """WordPiece with the special tokens of BERT or of MPNet. The classes bring the other parts themselves."""
    from tokenizers import Tokenizer, models

    words = [*first, *[word for word in WORDS if word not in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")], "?", "where"]
    return Tokenizer(models.WordPiece({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))


def bert_words():
    return word_piece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])


def mpnet_words():
    return word_piece(["<s>", "<pad>", "</s>", "[UNK]", "<mask>"])


def modern_bytes():
    from tokenizers import processors

    made = byte_level(["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, made.token_to_id(token)) for token in ["[CLS]", "[SEP]"]])
    return made


MODERN = dict(local_attention=12, layer_types=["full_attention", "sliding_attention", "full_attention"], num_hidden_layers=3,
              max_position_embeddings=400, pad_token_id=1, bos_token_id=0, eos_token_id=2, cls_token_id=0, sep_token_id=2)
DISTIL = dict(dim=16, n_layers=2, n_heads=2, hidden_dim=32, initializer_range=0.4, max_position_embeddings=300)
BERT = dict(max_position_embeddings=300)
ROBERTA = dict(max_position_embeddings=400, type_vocab_size=1, layer_norm_eps=1e-5, bos_token_id=0, eos_token_id=2, pad_token_id=1)
# Name: class, tokenizer, class of the tokenizer, config.
MODELS = {
    "bert": ("Bert", bert_words, "BertTokenizer", BERT),
    "roberta": ("Roberta", lambda: byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]), "RobertaTokenizer", ROBERTA),
    "xlm-roberta": ("XLMRoberta", lambda: unigram(["<s>", "<pad>", "</s>", "<unk>"]), "XLMRobertaTokenizer", ROBERTA),
    "distilbert": ("DistilBert", bert_words, "DistilBertTokenizer", DISTIL),
    "mpnet": ("MPNet", mpnet_words, "MPNetTokenizer", dict(max_position_embeddings=400)),
    "modernbert": ("ModernBert", modern_bytes, "PreTrainedTokenizerFast", MODERN),
    "nomic-bert": ("NomicBert", bert_words, "BertTokenizer", dict(max_position_embeddings=300)),
}


def make(name, end, folder, seed, **more):
    """A model with the class's end `end`, and its tokenizer, in `folder`."""
    import torch
    import transformers

    kind, make_tokens, tokenizer_class, own = MODELS[name]
    made = make_tokens()
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"), pretty=False)
    named = {"tokenizer_class": tokenizer_class, "model_max_length": 280}
    if name == "modernbert":
        named.update(unk_token="[UNK]", sep_token="[SEP]", pad_token="[PAD]", cls_token="[CLS]", mask_token="[MASK]",
                     model_input_names=["input_ids", "attention_mask"])
    (folder / "tokenizer_config.json").write_text(json.dumps(named) + "\n")
    torch.manual_seed(seed)
    shape = {} if name == "distilbert" else SHAPE
    config = getattr(transformers, f"{kind}Config")(**{**shape, "vocab_size": made.get_vocab_size(), **KEPT.get(kind, {}), **own, **more})
    model = getattr(transformers, f"{kind}{end}")(config).eval()
    with torch.no_grad():
        for parameter_name, weight in model.named_parameters():
            if "norm" in parameter_name.lower() and parameter_name.endswith("weight"):
                weight.copy_(1.0 + 0.3 * torch.randn(weight.shape))
            elif parameter_name.endswith("bias"):
                weight.copy_(0.3 * torch.randn(weight.shape))
            elif "relative_attention_bias" in parameter_name:
                weight.copy_(1.5 * torch.randn(weight.shape))
            elif "classifier" in parameter_name or "pooler" in parameter_name or "head.dense" in parameter_name:
                weight.copy_(0.5 * torch.randn(weight.shape))
            else:
                weight.copy_(0.4 * torch.randn(weight.shape))
    model.half().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    return kind


def rounded(vectors):
    return [[float(f"{value:.7g}") for value in vector] for vector in vectors]


def write_family(folder, name, seed):
    import torch
    import transformers

    kind = make(name, "Model", folder, seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = [*FAMILY_TEXTS, LONG]
    encoder = getattr(transformers, f"{kind}Model").from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder(**batch).last_hidden_state
    weights = batch["attention_mask"][..., None].float()
    vectors = (hidden * weights).sum(1) / weights.sum(1)
    golden = dict(texts=texts, tokens=[int(count) for count in batch["attention_mask"].sum(1)], limit=tokenizer.model_max_length,
                  vectors=rounded(vectors.tolist()))
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    print(name, golden["tokens"], golden["vectors"][0][:4])


def reranker_cases(name):
    yield "as transformers saves it", {}
    if name != "bert":
        return
    identity = "torch.nn.modules.linear.Identity"
    yield "an activation in config.json", {"config.json": {"sentence_transformers": {"activation_fn": identity}}}
    yield "an older name of it", {"config.json": {"sbert_ce_default_activation_function": identity}}
    yield "a class that is not trusted", {"config.json": {"sbert_ce_default_activation_function": "my.own.Function"}}
    modules = {"modules.json": [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}]}
    saved = {"transformer_task": "sequence-classification", "module_output_name": "scores",
             "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}}}
    settings = {"model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.activation.Tanh", "prompts": {}, "default_prompt_name": None}
    yield "saved by sentence-transformers 6", {**modules, "sentence_bert_config.json": saved, "config_sentence_transformers.json": settings}
    prompts = {**settings, "prompts": {"q": "the query: "}, "default_prompt_name": "q"}
    yield "a default prompt", {**modules, "sentence_bert_config.json": saved, "config_sentence_transformers.json": prompts}
    yield "max_seq_length", {**modules, "sentence_bert_config.json": {**saved, "max_seq_length": 17}, "config_sentence_transformers.json": settings}
    for limit in (8, 13, 14):
        yield f"at most {limit} tokens", {"tokenizer_config.json": {"model_max_length": limit}}
    yield "cut on the left", {"tokenizer_config.json": {"model_max_length": 12, "truncation_side": "left"}}
    yield "without types", {"tokenizer_config.json": {"model_input_names": ["input_ids", "attention_mask"]}}
    yield "a class without types", {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}, "tokenizer.json": {"file": "plain.json"}}


def put(folder, files):
    for name, content in files.items():
        path = folder / name
        if "file" in content:
            shutil.copy(folder / content["file"], path)
        elif path.exists():
            path.write_text(json.dumps({**json.loads(path.read_text()), **content}))
        else:
            path.write_text(json.dumps(content))


def write_reranker(folder, name, seed):
    import torch
    from sentence_transformers import CrossEncoder

    more = dict(classifier_pooling="mean", classifier_bias=True) if name == "modernbert" else {}
    make(name, "ForSequenceClassification", folder, seed, num_labels=1, **more)
    if name == "bert":
        make_tokenizer(True).save(str(folder / "plain.json"), pretty=False)
    rows = []
    for case, files in reranker_cases(name):
        with tempfile.TemporaryDirectory() as work:
            work = pathlib.Path(work)
            shutil.copytree(folder, work, dirs_exist_ok=True)
            put(work, files)
            model = CrossEncoder(str(work), device="cpu", model_kwargs={"dtype": torch.float32})
            scores = [model.predict([(QUERY, document)], batch_size=1)[0] for document in DOCUMENTS]
            tokens = [len(model.preprocess([(QUERY, document)], prompt=model.prompts.get(model.default_prompt_name))["input_ids"][0])
                      for document in DOCUMENTS]
        rows.append(dict(name=case, files=files, scores=[float(f"{score:.7g}") for score in scores], tokens=tokens))
        print(name, case, rows[-1]["scores"], tokens)
    golden = dict(query=QUERY, documents=DOCUMENTS, cases=rows)
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")


def write_embedder(folder, kind):
    """A decoder as Qwen3-Embedding is published: its tokenizer ends each text with a token, whose vector is the text's."""
    import torch
    import transformers
    from sentence_transformers import SentenceTransformer
    from tokenizers import processors

    folder.mkdir(parents=True, exist_ok=True)
    made = byte_level(["<|endoftext|>"])
    end = made.token_to_id("<|endoftext|>")
    made.post_processor = processors.TemplateProcessing(single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", end)])
    made.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "model_max_length": 280}) + "\n")
    torch.manual_seed(20271)
    own = dict(num_attention_heads=4, num_key_value_heads=2, head_dim=8)
    if kind == "Phi3":
        own = dict(num_attention_heads=2, num_key_value_heads=1, original_max_position_embeddings=64,
                   rope_scaling=dict(type="longrope", short_factor=[1.0, 1.1, 1.5, 2.0], long_factor=[1.0, 2.0, 4.0, 8.0]))
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=made.get_vocab_size(), hidden_size=16, intermediate_size=32, num_hidden_layers=2, max_position_embeddings=300,
        initializer_range=0.4, tie_word_embeddings=True, eos_token_id=end, bos_token_id=end, pad_token_id=end, **own)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" in name:
                weight.copy_(1.0 + 0.3 * torch.randn(weight.shape))
    model.half().save_pretrained(folder)
    # The published checkpoints name the class with the head, which they do not have.
    written = json.loads((folder / "config.json").read_text())
    written["architectures"] = [f"{kind}ForCausalLM"]
    (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n")
    kinds = ["Transformer", "Pooling", "Normalize"]
    modules = [{"idx": index, "name": str(index), "path": f"{index}_{kind}" if index else "", "type": f"sentence_transformers.models.{kind}"}
               for index, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules) + "\n")
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(
        {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False,
         "pooling_mode_mean_sqrt_len_tokens": False, "pooling_mode_weightedmean_tokens": False, "pooling_mode_lasttoken": True, "include_prompt": True}) + "\n")
    (folder / "config_sentence_transformers.json").write_text(json.dumps(
        {"prompts": {"query": "Instruct: find the cat\nQuery:", "document": ""}, "default_prompt_name": None, "similarity_fn_name": "cosine"}) + "\n")
    loaded = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    texts = [*FAMILY_TEXTS, LONG]
    golden = dict(texts=texts, vectors=rounded(loaded.encode(texts, batch_size=1).tolist()),
                  queries=rounded(loaded.encode(texts, batch_size=1, prompt_name="query").tolist()),
                  tokens=[len(loaded.tokenize([text])["input_ids"][0]) for text in texts])
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    print(golden["tokens"], golden["vectors"][0][:4])


def write_defaults(folder):
    import transformers

    out = {}
    for name, (kind, *_) in MODELS.items():
        config = getattr(transformers, f"{kind}Config")()
        names = dict(hidden_size="hidden_size", num_hidden_layers="num_hidden_layers", num_attention_heads="num_attention_heads",
                     intermediate_size="hidden_dim" if name == "distilbert" else "intermediate_size", vocab_size="vocab_size",
                     max_position_embeddings="max_position_embeddings", type_vocab_size="type_vocab_size",
                     layer_norm_eps="norm_eps" if name == "modernbert" else "layer_norm_eps")
        out[f"{kind}Model"] = {key: getattr(config, own, None) for key, own in names.items()}
    out["DistilBertModel"]["layer_norm_eps"] = 1e-12
    (folder / "configs" / "encoder_defaults.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    what = sys.argv[1] if len(sys.argv) > 1 else ""
    root = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else pathlib.Path(__file__).parent
    if what == "families":
        for index, name in enumerate(["distilbert", "mpnet", "modernbert", "nomic-bert"]):
            write_family(root / "encoders" / name, name, 20280 + index)
    elif what == "rerankers":
        for index, name in enumerate(MODELS):
            write_reranker(root / "rerankers" / name, name, 20290 + index)
    elif what == "embedder":
        write_embedder(root / "encoders" / "last-token", "Qwen3")
        write_embedder(root / "encoders" / "last-token-longrope", "Phi3")
    elif what == "defaults":
        write_defaults(root)
    else:
        sys.exit(__doc__)
