"""Writes the embeddings of sentence-transformers for one tiny random BERT with many kinds of metadata.

    pip install sentence-transformers
    python make_embedding_goldens.py cases [FOLDER]
    python make_embedding_goldens.py families [FOLDER]
    python make_embedding_goldens.py resave MODEL_FOLDER [FOLDER]

`cases` writes FOLDER/sentence-transformers: `shared`, the files that all cases share, and `cases.json`. A case is a set of files
that are put over the shared ones (`null` takes one away, `{"file": NAME}` copies one), what is asked of `encode`, and
the vectors. Each text is embedded alone, in float32 on the CPU.

`families` writes FOLDER/encoders: a tiny random model of each other family of encoders, with its tokenizer, and `golden.json`
with texts and the mean of the token vectors of each.

`resave` saves all-MiniLM-L6-v2 anew and keeps the small files of that in FOLDER/minilm/resaved. Its tokenizer.json and
its weights say what those of the original say.
"""

import json
import logging
import pathlib
import shutil
import sys
import tempfile

TEXTS = ["The cat sat.", "a cat", "Das Café in 中国: the cat sat in the café, a cat sat there, and the cat sat"]
WORDS = """[PAD] [UNK] [CLS] [SEP] [MASK] the The a A cat Cat sat das Das in café cafe Café Cafe 中 国 中国 there and query
passage : . , c ##a ##f ##é ##e t ##h ##at""".split()
HIDDEN = 16
OUT = 8
SHAPE = dict(vocab_size=len(WORDS), hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2,
             intermediate_size=32, max_position_embeddings=32, initializer_range=0.4)
FLAGS = ["cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
PROMPTS = {"query": "query: the ", "passage": "passage: "}


def module(index, kind):
    path = "" if kind == "Transformer" else f"{index}_{kind}"
    return {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}


def modules(*kinds):
    return {"modules.json": [module(index, kind) for index, kind in enumerate(["Transformer", *kinds])]}


def pooling(**config):
    return {**modules("Pooling"), "1_Pooling/config.json": {"word_embedding_dimension": HIDDEN, **config}}


def flags(*on):
    return pooling(**{f"pooling_mode_{flag}": flag in on for flag in FLAGS})


def dense(index, inputs, outputs, name, **config):
    config = {"in_features": inputs, "out_features": outputs, "bias": True, **config}
    return {f"{index}_Dense/config.json": config, f"{index}_Dense/model.safetensors": {"file": name}}


def activation(name):
    return {"activation_function": f"torch.nn.modules.{name}"}


def with_dense(kind, **config):
    return {**modules("Pooling", "Dense"), **MEAN, **dense(2, HIDDEN, OUT, "dense.safetensors", **activation(kind), **config)}


def settings(**config):
    return {"config_sentence_transformers.json": {"__version__": {"sentence_transformers": "2.2.2"}, **config}}


def tokenizer(**config):
    return {"tokenizer_config.json": {"tokenizer_class": "BertTokenizer", **config}}


def cased(tokenizer_class=None, **config):
    named = {} if tokenizer_class is None else {"tokenizer_class": tokenizer_class}
    named |= {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return {"tokenizer.json": {"file": "cased.json"}, "tokenizer_config.json": {**named, **config}}


def transformer(**config):
    return {"sentence_bert_config.json": config}


MEAN = {"1_Pooling/config.json": {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True}}
MEAN_ONLY = {**modules("Pooling"), **MEAN}


def cases():
    yield "no modules: mean", {}, {}
    yield "no modules: prompts of the folder are not read", settings(prompts=PROMPTS, default_prompt_name="query"), {}
    for mode, flag in zip(MODES, FLAGS):
        yield f"flag {flag}", flags(flag), {}
        yield f"mode {mode}", pooling(embedding_dimension=HIDDEN, pooling_mode=mode, include_prompt=True), {}
        left_out = {**pooling(pooling_mode=mode, include_prompt=False), **settings(prompts=PROMPTS)}
        yield f"mode {mode} without the prompt", left_out, dict(prompt_name="query")
        cut = {**left_out, **transformer(max_seq_length=7)}
        yield f"mode {mode} without the prompt, cut", cut, dict(prompt_name="query")
    yield "all flags", flags(*FLAGS), {}
    yield "two flags", flags("mean_tokens", "cls_token"), {}
    yield "no flag is the mean", flags(), {}
    yield "modes in their own order", pooling(pooling_mode=["lasttoken", "mean", "cls"]), {}
    yield "one mode in a list", pooling(pooling_mode=["max"]), {}
    yield "a mode wins over flags", pooling(pooling_mode="max", pooling_mode_mean_tokens=True), {}
    yield "one mode twice", pooling(pooling_mode=["mean", "mean"]), {}
    yield "no prompt, nothing left out", pooling(pooling_mode="mean", include_prompt=False), {}
    yield "normalize", {**modules("Pooling", "Normalize"), **MEAN}, {}
    yield "normalize asked for", MEAN_ONLY, dict(normalize=True)
    for kind in ["activation.Tanh", "linear.Identity", "activation.ReLU", "activation.GELU", "activation.Sigmoid",
                 "activation.SiLU"]:
        yield f"dense {kind}", with_dense(kind), {}
    yield "dense without a word of its activation", {**modules("Pooling", "Dense"), **MEAN,
                                                     **dense(2, HIDDEN, OUT, "dense.safetensors")}, {}
    no_bias = {**modules("Pooling", "Dense"), **MEAN,
               **dense(2, HIDDEN, OUT, "dense-no-bias.safetensors", bias=False, **activation("linear.Identity"))}
    yield "dense without bias", no_bias, {}
    residual = {**modules("Pooling", "Dense"), **MEAN,
                **dense(2, HIDDEN, OUT, "dense-residual.safetensors", use_residual=True, **activation("activation.Tanh"))}
    yield "dense with a residual of another size", residual, {}
    square = {**modules("Pooling", "Dense"), **MEAN,
              **dense(2, HIDDEN, HIDDEN, "dense-square.safetensors", use_residual=True, **activation("activation.Tanh"))}
    yield "dense with a residual", square, {}
    after = {**modules("Pooling", "Dense", "Normalize", "Dense"), **MEAN,
             **dense(2, HIDDEN, HIDDEN, "dense-square.safetensors", **activation("activation.Tanh")),
             **dense(4, HIDDEN, OUT, "dense.safetensors", **activation("linear.Identity"))}
    yield "dense, normalize, dense", after, {}
    two = {**modules("Pooling", "Dense"), **pooling(pooling_mode=["cls"])}
    two["modules.json"] = modules("Pooling", "Dense")["modules.json"]
    yield "dense after the first token", {**two, **dense(2, HIDDEN, OUT, "dense.safetensors")}, {}
    yield "dropout does nothing", {**modules("Pooling", "Dropout"), **MEAN, "2_Dropout/config.json": {"dropout": 0.5}}, {}
    with_prompts = {**MEAN_ONLY, **settings(prompts=PROMPTS)}
    yield "prompt by name", with_prompts, dict(prompt_name="query")
    yield "prompt by text", MEAN_ONLY, dict(prompt="passage: ")
    yield "names that are always there", MEAN_ONLY, dict(prompt_name="document")
    default = {**MEAN_ONLY, **settings(prompts=PROMPTS, default_prompt_name="query")}
    yield "default prompt", default, {}
    yield "another prompt than the default", default, dict(prompt_name="passage")
    yield "no prompt in place of the default", default, dict(prompt="")
    null = {**MEAN_ONLY, **settings(prompts={"query": None}, default_prompt_name="query")}
    yield "a prompt that is null", null, {}
    yield "truncate_dim", {**MEAN_ONLY, **settings(truncate_dim=5)}, {}
    yield "truncate_dim after normalize", {**modules("Pooling", "Normalize"), **MEAN, **settings(truncate_dim=5)}, {}
    yield "truncate_dim, normalize asked for", {**MEAN_ONLY, **settings(truncate_dim=5)}, dict(normalize=True)
    yield "truncate_dim asked for", {**MEAN_ONLY, **settings(truncate_dim=5)}, dict(dimensions=9)
    yield "truncate_dim above the size", {**MEAN_ONLY, **settings(truncate_dim=500)}, {}
    yield "max_seq_length", {**MEAN_ONLY, **transformer(max_seq_length=7)}, {}
    yield "model_max_length", {**MEAN_ONLY, **tokenizer(model_max_length=7)}, {}
    yield "model_max_length without modules", tokenizer(model_max_length=7), {}
    yield "max_seq_length below model_max_length", {**MEAN_ONLY, **tokenizer(model_max_length=9), **transformer(max_seq_length=7)}, {}
    yield "max_seq_length above model_max_length", {**MEAN_ONLY, **tokenizer(model_max_length=7), **transformer(max_seq_length=9)}, {}
    yield "max_len", {**MEAN_ONLY, **tokenizer(max_len=7)}, {}
    yield "tokenizer_args win", {**MEAN_ONLY, **transformer(max_seq_length=9, tokenizer_args={"model_max_length": 7})}, {}
    yield "processor_kwargs win", {**MEAN_ONLY, **transformer(max_seq_length=9, processor_kwargs={"model_max_length": 7})}, {}
    yield "max_length of processing_kwargs", {**MEAN_ONLY, **transformer(max_seq_length=9, processing_kwargs={"text": {"max_length": 7}})}, {}
    yield "another name of the file", {**MEAN_ONLY, "sentence_roberta_config.json": {"max_seq_length": 7}}, {}
    yield "cut on the left", {**MEAN_ONLY, **tokenizer(model_max_length=7, truncation_side="left")}, {}
    yield "lower case by sentence_bert_config", {**MEAN_ONLY, **cased("PreTrainedTokenizerFast"), **transformer(do_lower_case=True)}, {}
    yield "cased by its tokenizer.json", {**MEAN_ONLY, **cased("PreTrainedTokenizerFast", do_lower_case=True)}, {}
    yield "lower case by the class", {**MEAN_ONLY, **cased("BertTokenizer")}, {}
    yield "lower case without a class", {**MEAN_ONLY, **cased()}, {}
    yield "cased by tokenizer_config", {**MEAN_ONLY, **tokenizer(do_lower_case=False)}, {}
    yield "cased, and lower case by sentence_bert_config", {**MEAN_ONLY, **tokenizer(do_lower_case=False), **transformer(do_lower_case=True)}, {}
    yield "accents stay", {**MEAN_ONLY, **tokenizer(strip_accents=False)}, {}
    yield "accents go", {**MEAN_ONLY, **tokenizer(do_lower_case=False, strip_accents=True)}, {}
    yield "Chinese words", {**MEAN_ONLY, **tokenizer(tokenize_chinese_chars=False)}, {}
    for act in ["relu", "gelu_new", "silu", "quick_gelu", "gelu_pytorch_tanh", "swish", "tanh", "gelu_python", "gelu_fast"]:
        yield f"hidden_act {act}", {"config.json": {"hidden_act": act}}, {}
    yield "layer_norm_eps", {"config.json": {"layer_norm_eps": 0.1}}, {}
    yield "defaults of the class", {"config.json": {"layer_norm_eps": None, "hidden_act": None, "type_vocab_size": None}}, {}
    yield "old names and heads", {"model.safetensors": {"file": "old-names.safetensors"},
                                  "config.json": {"architectures": ["BertForPreTraining"]}}, {}
    yield "no architectures", {"config.json": {"architectures": None}}, {}


def make_tokenizer(lower):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.WordPiece({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=lower)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    made.add_special_tokens(WORDS[:5])
    return made


def write_shared(folder):
    """The files that all cases share, and the files that some cases copy."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    torch.manual_seed(20261)
    config = BertConfig(**SHAPE)
    model = BertModel(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "LayerNorm.weight" in name:
                weight.copy_(1.0 + 0.3 * torch.randn(weight.shape))
            elif name.endswith("bias"):
                weight.copy_(0.3 * torch.randn(weight.shape))
    weights = {name: weight.detach().half().contiguous() for name, weight in model.state_dict().items()}
    weights = {name: weight for name, weight in weights.items() if weight.is_floating_point()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    old = {"bert." + name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): weight
           for name, weight in weights.items()}
    old["cls.predictions.bias"] = torch.zeros(len(WORDS)).half()
    old["cls.seq_relationship.weight"] = torch.zeros(2, HIDDEN).half()
    save_file(old, folder / "old-names.safetensors", metadata={"format": "pt"})
    random = lambda *shape: 0.4 * torch.randn(*shape)
    wide, square = random(OUT, HIDDEN), random(HIDDEN, HIDDEN)
    save_file({"linear.weight": wide, "linear.bias": random(OUT)}, folder / "dense.safetensors")
    save_file({"linear.weight": wide}, folder / "dense-no-bias.safetensors")
    save_file({"linear.weight": wide, "linear.bias": random(OUT), "residual.weight": random(OUT, HIDDEN)},
              folder / "dense-residual.safetensors")
    save_file({"linear.weight": square, "linear.bias": random(HIDDEN)}, folder / "dense-square.safetensors")
    make_tokenizer(True).save(str(folder / "tokenizer.json"), pretty=False)
    make_tokenizer(False).save(str(folder / "cased.json"), pretty=False)
    keep = ["vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
            "max_position_embeddings", "type_vocab_size", "hidden_act", "layer_norm_eps", "pad_token_id"]
    written = {"architectures": ["BertModel"], "model_type": "bert", **{key: getattr(config, key) for key in keep}}
    (folder / "config.json").write_text(json.dumps(written, indent=1) + "\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}\n')


def build(shared, files, folder):
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(shared / name, folder / name)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(content, dict) and "file" in content:
            shutil.copy(shared / content["file"], path)
        elif name == "config.json":
            merged = {**json.loads(path.read_text()), **content}
            path.write_text(json.dumps({key: value for key, value in merged.items() if value is not None}))
        else:
            path.write_text(json.dumps(content))


def encode(folder, ask):
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.float32})
    named = dict(prompt="prompt", prompt_name="prompt_name", dimensions="truncate_dim", normalize="normalize_embeddings")
    vectors = model.encode(TEXTS, batch_size=1, **{named[key]: value for key, value in ask.items()})
    return [[float(f"{value:.7g}") for value in vector] for vector in vectors], model


def resaved(model, files):
    """The metadata of a case as this version of sentence-transformers saves it."""
    with tempfile.TemporaryDirectory() as folder:
        model.save(folder, create_model_card=False)
        paths = sorted(pathlib.Path(folder).rglob("*.json"))
        saved = {str(path.relative_to(folder)): json.loads(path.read_text()) for path in paths}
    saved = {name: content for name, content in saved.items() if name not in ("config.json", "tokenizer.json")}
    return {**{name: content for name, content in files.items() if "file" in content}, **saved}


def write_cases(folder):
    folder = folder / "sentence-transformers"
    shared = folder / "shared"
    shared.mkdir(parents=True, exist_ok=True)
    write_shared(shared)
    anew = {"all flags", "dense activation.GELU", "default prompt", "truncate_dim", "max_seq_length",
            "mode mean without the prompt", "dense with a residual of another size", "normalize"}
    rows = []
    for name, files, ask in cases():
        with tempfile.TemporaryDirectory() as work:
            build(shared, files, pathlib.Path(work))
            vectors, model = encode(work, ask)
            rows.append(dict(name=name, files=files, ask=ask, vectors=vectors))
            if name in anew:
                rows.append(dict(name=f"{name}, saved anew", files=resaved(model, files), ask=ask, vectors=vectors))
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (folder / "cases.json").write_text('{"texts": ' + json.dumps(TEXTS, ensure_ascii=False) + ', "cases": [\n' + lines + "\n]}\n")
    print(len(rows), "cases")


def byte_level(tokens):
    """A byte-level tokenizer with a few merges, for RoBERTa's class, which brings the other parts itself."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.train_from_iterator(FAMILY_TEXTS, trainers.BpeTrainer(vocab_size=290, special_tokens=tokens, show_progress=False,
                             initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return made


def unigram(tokens):
    """A Unigram tokenizer for XLM-RoBERTa's class, which brings the other parts itself."""
    from tokenizers import Tokenizer, models

    pieces = sorted({"▁" + text[at:at + size] for text in FAMILY_TEXTS for at in (0, 4) for size in (1, 3)}
                    | {letter for text in FAMILY_TEXTS for letter in text if letter != " "} | {"▁", "at", "▁sat", "▁the"})
    named = [(token, 0.0) for token in tokens] + [(piece, -1.0 - index / 50) for index, piece in enumerate(pieces)]
    return Tokenizer(models.Unigram(named + [("<mask>", 0.0)], unk_id=3, byte_fallback=False))


FAMILY_TEXTS = ["The cat sat.", "a cat", "Das Café in 中国: the cat sat in the café, a cat sat there <mask> and the cat sat"]
FAMILIES = {
    "roberta": ("Roberta", lambda: byte_level(["<s>", "<pad>", "</s>", "<unk>", "<mask>"]), dict(hidden_act="gelu", pad_token_id=1)),
    "xlm-roberta": ("XLMRoberta", lambda: unigram(["<s>", "<pad>", "</s>", "<unk>"]), dict(hidden_act="relu", pad_token_id=3)),
}


def write_family(folder, name, seed):
    """RoBERTa with its head for masked tokens, XLM-RoBERTa without; both padded by transformers in one batch."""
    import torch
    import transformers
    from safetensors.torch import save_file

    kind, make_tokens, own = FAMILIES[name]
    made = make_tokens()
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": f"{kind}Tokenizer", "model_max_length": 100}) + "\n")
    torch.manual_seed(seed)
    shape = {**SHAPE, "vocab_size": made.get_vocab_size(), "max_position_embeddings": 130, "type_vocab_size": 1,
             "layer_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 2, **own}
    config = getattr(transformers, f"{kind}Config")(**shape)
    model = getattr(transformers, f"{kind}ForMaskedLM" if name == "roberta" else f"{kind}Model")(config).eval()
    with torch.no_grad():
        for parameter_name, weight in model.named_parameters():
            if "LayerNorm.weight" in parameter_name:
                weight.copy_(1.0 + 0.3 * torch.randn(weight.shape))
            elif parameter_name.endswith("bias"):
                weight.copy_(0.3 * torch.randn(weight.shape))
    model.half().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoder = getattr(transformers, f"{kind}Model").from_pretrained(folder, dtype=torch.float32, attn_implementation="eager",
                                                                     add_pooling_layer=False).eval()
    batch = tokenizer(FAMILY_TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        hidden = encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    weights = batch["attention_mask"][..., None].float()
    vectors = (hidden * weights).sum(1) / weights.sum(1)
    golden = dict(texts=FAMILY_TEXTS, tokens=[int(count) for count in batch["attention_mask"].sum(1)],
                  vectors=[[float(f"{value:.7g}") for value in vector] for vector in vectors.tolist()])
    (folder / "golden.json").write_text(json.dumps(golden, ensure_ascii=False) + "\n")
    print(name, golden["tokens"], vectors[0][:4].tolist())


def write_resaved(model_folder, folder):
    from sentence_transformers import SentenceTransformer

    kept = folder / "minilm" / "resaved"
    with tempfile.TemporaryDirectory() as work:
        SentenceTransformer(model_folder, device="cpu").save(work, create_model_card=False)
        for path in pathlib.Path(work).rglob("*.json"):
            if path.name != "tokenizer.json":
                target = kept / path.relative_to(work)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    here = pathlib.Path(__file__).parent
    if sys.argv[1:2] == ["cases"]:
        write_cases(pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else here)
    elif sys.argv[1:2] == ["families"]:
        for index, name in enumerate(FAMILIES):
            write_family((pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else here) / "encoders" / name, name, 20262 + index)
    elif sys.argv[1:2] == ["resave"] and len(sys.argv) > 2:
        write_resaved(sys.argv[2], pathlib.Path(sys.argv[3]) if len(sys.argv) > 3 else here)
    else:
        sys.exit(__doc__)
