"""Writes small tokenizers of common kinds and the tokens of transformers' AutoTokenizer for each.

    pip install transformers tokenizers
    python make_tokenizers.py [FILE]

`tokenizers/golden.json` holds `bases` (a `tokenizer.json` each) and `variants`: a base, what is replaced in it, the other
files of the folder, and what transformers found: special tokens by name, added tokens with their flags, the tokens of each
of `texts` with those that the tokenizer adds itself and without, and answers: token ids of a prompt and of an answer, and the
answer's text, which is decode(prompt + answer) minus decode(prompt).
"""

import json
import pathlib
import sys
import tempfile

def bytes_to_unicode():
    printed = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    others = [b for b in range(256) if b not in printed]
    return {**{b: chr(b) for b in printed}, **{b: chr(256 + i) for i, b in enumerate(others)}}


def with_merges(vocab, merges):
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    return [[left, right] for left, right in merges]


def added(id, content, special=True, **flags):
    return dict(id=id, content=content, single_word=False, lstrip=False, rstrip=False,
                normalized=not special, special=special) | flags


def file(model, **parts):
    empty = dict(version="1.0", truncation=None, padding=None, added_tokens=[], normalizer=None, pre_tokenizer=None,
                 post_processor=None, decoder=None)
    return {**empty, **parts, "model": model}


def bpe(vocab, merges, **more):
    return dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
                fuse_unk=False, byte_fallback=False, ignore_merges=False) | more | dict(vocab=vocab, merges=merges)


def sentencepiece():
    vocab = {t: i for i, t in enumerate(["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])}
    for letter in "▁abcdefghilmnorstuwyHTW!.,'[]/":
        vocab[letter] = len(vocab)
    merges = with_merges(vocab, [("▁", "w"), ("o", "r"), ("l", "d"), ("▁w", "or"), ("▁wor", "ld"), ("▁", "a"),
                                 ("▁", "t"), ("▁", "▁"), ("H", "e"), ("▁", "He"), ("l", "l")])
    return file(
        bpe(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True),
        added_tokens=[added(i, t) for i, t in enumerate(["<unk>", "<s>", "</s>"])],
        normalizer=dict(type="Sequence", normalizers=[dict(type="Prepend", prepend="▁"),
                        dict(type="Replace", pattern=dict(String=" "), content="▁")]),
        post_processor=template([("<s>", 1)]),
        decoder=dict(type="Sequence", decoders=[dict(type="Replace", pattern=dict(String="▁"), content=" "),
                     dict(type="ByteFallback"), dict(type="Fuse"), dict(type="Strip", content=" ", start=1, stop=0)]))


def template(before, after=()):
    piece = lambda token: dict(SpecialToken=dict(id=token, type_id=0))
    sequence = lambda id: dict(Sequence=dict(id=id, type_id=0))
    single = [piece(t) for t, _ in before] + [sequence("A")] + [piece(t) for t, _ in after]
    return dict(type="TemplateProcessing", single=single, pair=single + [sequence("B")],
                special_tokens={t: dict(id=t, ids=[i], tokens=[t]) for t, i in [*before, *after]})


def byte_level():
    vocab = {letter: i for i, letter in enumerate(sorted(bytes_to_unicode().values()))}
    merges = with_merges(vocab, [("Ġ", "w"), ("o", "r"), ("l", "d"), ("Ġw", "or"), ("Ġ", "a"), ("1", "2"), ("H", "e"),
                                 ("l", "l"), ("<", "|"), ("|", ">")])
    part = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    return file(bpe(vocab, merges), pre_tokenizer=part, decoder=part)


def wordpiece():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "Hello", "world", "##ing", "un", "##a", ",", "!", "caf",
             "##e", "##é", "你", "好", "ÉT", "et", "##a"]
    vocab = {}
    for word in words:
        vocab.setdefault(word, len(vocab))
    model = dict(type="WordPiece", unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=100, vocab=vocab)
    return file(model, added_tokens=[added(i, t) for i, t in enumerate(words[:5])],
                normalizer=dict(type="BertNormalizer", clean_text=True, handle_chinese_chars=True, strip_accents=None,
                                lowercase=False),
                pre_tokenizer=dict(type="BertPreTokenizer"), post_processor=template([("[CLS]", 2)], [("[SEP]", 3)]),
                decoder=dict(type="WordPiece", prefix="##", cleanup=True))


def unigram():
    pieces = ["<unk>", "<s>", "</s>", "▁", "▁He", "llo", "▁world", "▁a", "!", "o", "r", "l", "d", "H", "e", "t", "w", "a"]
    meta = dict(type="Metaspace", replacement="▁", prepend_scheme="always", split=True)
    return file(dict(type="Unigram", unk_id=0, vocab=[[p, -float(i)] for i, p in enumerate(pieces)], byte_fallback=False),
                added_tokens=[added(i, t) for i, t in enumerate(pieces[:3])], pre_tokenizer=meta, decoder=meta)


def unigram_of_xlm():
    # The unknown token is the fourth, whatever `unk_id` says.
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁He", "llo", "▁world", "▁a", "!", "o", "r", "l", "d", "H", "e", "t", "w", "a",
              "<mask>"]
    meta = dict(type="Metaspace", replacement="▁", prepend_scheme="always", split=True)
    return file(dict(type="Unigram", unk_id=3, vocab=[[p, -float(i)] for i, p in enumerate(pieces)], byte_fallback=False),
                added_tokens=[added(i, pieces[i]) for i in [0, 1, 2, 3, 19]], pre_tokenizer=meta, decoder=meta,
                normalizer=dict(type="Lowercase"), post_processor=template([("<s>", 0)], [("</s>", 2)]))


BASES = dict(sentencepiece=sentencepiece(), byte_level=byte_level(), wordpiece=wordpiece(), unigram=unigram(), unigram_of_xlm=unigram_of_xlm())


def metaspace(scheme, split):
    return dict(type="Metaspace", replacement="▁", prepend_scheme=scheme, split=split)


def fuse_decoder(*last):
    return dict(type="Sequence", decoders=[dict(type="Replace", pattern=dict(String="▁"), content=" "),
                dict(type="ByteFallback"), dict(type="Fuse"), *last])


def decoder_entry(content, special=True, **flags):
    return dict(content=content, lstrip=False, normalized=False, rstrip=False, single_word=False, special=special) | flags


# The next free token id of the byte-level base.
FREE = len(BASES["byte_level"]["model"]["vocab"])
BASIC = [added(FREE, "<s>"), added(FREE + 1, "</s>")]


def marks(*entries):
    return {str(FREE + 2 + i): entry for i, entry in enumerate(entries)}


def variant(name, base, type="llama", config=None, set=None, **files):
    """`config` is tokenizer_config.json and `set` replaces parts of the base. Other keys are names of files without `.json`."""
    files = {f"{key}.json": value for key, value in files.items()}
    if config is not None:
        files["tokenizer_config.json"] = config
    return dict(name=name, base=base, set=set or {}, model_type=type, files=files)


SP = dict(bos_token="<s>", eos_token="</s>")
VARIANTS = [
    variant("sp as it is", "sentencepiece", config=SP),
    variant("sp without a config", "sentencepiece"),
    variant("metaspace always", "sentencepiece", config=SP,
            set=dict(normalizer=None, pre_tokenizer=metaspace("always", True), decoder=metaspace("always", True))),
    variant("metaspace first", "sentencepiece", config=SP,
            set=dict(normalizer=None, pre_tokenizer=metaspace("first", False), decoder=metaspace("first", False))),
    variant("metaspace never", "sentencepiece", config=SP,
            set=dict(normalizer=None, pre_tokenizer=metaspace("never", True), decoder=metaspace("never", True))),
    variant("metaspace first, fused decoder", "sentencepiece", config=SP,
            set=dict(normalizer=None, pre_tokenizer=metaspace("first", False),
                     decoder=fuse_decoder(dict(type="Strip", content=" ", start=1, stop=0)))),
    variant("no strip", "sentencepiece", config=SP,
            set=dict(normalizer=dict(type="Replace", pattern=dict(String=" "), content="▁"), decoder=fuse_decoder())),
    variant("llama class", "sentencepiece", config=dict(tokenizer_class="LlamaTokenizer", **SP)),
    variant("llama class, legacy", "sentencepiece", config=dict(tokenizer_class="LlamaTokenizerFast", legacy=True, **SP)),
    variant("llama class, not legacy, bare", "sentencepiece",
            config=dict(tokenizer_class="LlamaTokenizer", legacy=False, add_bos_token=True, add_eos_token=True)),
    variant("llama class, no prefix space", "sentencepiece",
            config=dict(tokenizer_class="LlamaTokenizer", add_prefix_space=False, **SP)),
    variant("llama class over bytes", "byte_level", config=dict(tokenizer_class="LlamaTokenizerFast", **SP),
            set=dict(added_tokens=BASIC)),
    variant("llama class of config.json", "sentencepiece", config=SP, config_json=dict(tokenizer_class="LlamaTokenizer")),
    variant("mistral with the llama class", "sentencepiece", "mistral",
            config=dict(tokenizer_class="LlamaTokenizer", legacy=True, **SP)),
    variant("qwen3 with the llama class", "sentencepiece", "qwen3", config=dict(tokenizer_class="LlamaTokenizer", **SP)),
    variant("bos only in the map", "byte_level", special_tokens_map=dict(
        bos_token=decoder_entry("<s>"), eos_token="</s>", additional_special_tokens=["<|user|>", "<|end|>"]),
            config=dict(tokenizer_class="PreTrainedTokenizerFast")),
    variant("the map wins over the config", "byte_level", config=dict(bos_token="<a>", eos_token="<b>", unk_token="<u>"),
            special_tokens_map=dict(bos_token="<s>", pad_token=dict(content="<p>", lstrip=True, rstrip=True,
                                    normalized=False, single_word=False))),
    variant("the decoder hides the map", "byte_level", config=dict(added_tokens_decoder=marks(decoder_entry("<|user|>")), **SP),
            set=dict(added_tokens=BASIC), special_tokens_map=dict(pad_token="<p>", bos_token="<q>"),
            added_tokens={"<r>": 300}),
    variant("added only in the config", "byte_level", set=dict(added_tokens=BASIC), config=dict(added_tokens_decoder=marks(
        decoder_entry("<|user|>"), decoder_entry("<|end|>", rstrip=True), decoder_entry("<tool_call>", special=False),
        decoder_entry("<mask>", lstrip=True, special=True), decoder_entry("word", special=False, single_word=True),
        decoder_entry("Norm", special=False, normalized=True)), **SP)),
    variant("flags differ from the file", "byte_level",
            set=dict(added_tokens=[*BASIC, added(FREE + 2, "<|user|>", special=False), added(FREE + 3, "<|end|>")]),
            config=dict(added_tokens_decoder=marks(decoder_entry("<|user|>"), decoder_entry("<|end|>", special=False,
                        lstrip=True)), **SP)),
    variant("numbers with a gap", "byte_level", set=dict(added_tokens=BASIC),
            config=dict(added_tokens_decoder={"400": decoder_entry("<|end|>"), "300": decoder_entry("<|user|>")}, **SP)),
    variant("added_tokens.json", "byte_level", set=dict(added_tokens=BASIC), config=SP,
            added_tokens={"<|end|>": FREE + 3, "<|user|>": FREE + 2, "plain": FREE + 4},
            special_tokens_map=dict(additional_special_tokens=["<|user|>"])),
    variant("extra special tokens as a list", "byte_level", set=dict(added_tokens=BASIC),
            config=dict(extra_special_tokens=["<|user|>", "<|end|>"], additional_special_tokens=["<x>"], **SP)),
    variant("extra special tokens by name", "byte_level", set=dict(added_tokens=BASIC),
            config=dict(extra_special_tokens=dict(image_token="<|end|>"), audio_token="<|user|>", **SP)),
    variant("additional special tokens as objects", "byte_level", set=dict(added_tokens=BASIC),
            config=dict(additional_special_tokens=[dict(__type="AddedToken", **decoder_entry("<|user|>", rstrip=True))],
                        bos_token=dict(__type="AddedToken", **decoder_entry("<s>", lstrip=True)), eos_token="</s>")),
    variant("split special tokens", "byte_level", set=dict(added_tokens=BASIC),
            config=dict(split_special_tokens=True, added_tokens_decoder=marks(decoder_entry("<|user|>"),
                        decoder_entry("<tool_call>", special=False)), **SP)),
    variant("add_bos_token without a processor", "byte_level", set=dict(added_tokens=BASIC),
            config=dict(add_bos_token=True, add_eos_token=True, **SP)),
    variant("add_bos_token against the processor", "byte_level",
            set=dict(added_tokens=BASIC, post_processor=template([("<s>", FREE)])), config=dict(add_bos_token=False, **SP)),
    variant("padding names the pad token", "byte_level", set=dict(added_tokens=BASIC, padding=dict(
        strategy="BatchLongest", direction="Left", pad_to_multiple_of=8, pad_id=0, pad_type_id=0, pad_token="<pad>"),
        truncation=dict(direction="Right", max_length=4, strategy="LongestFirst", stride=0)), config=SP),
    variant("normalized tokens", "byte_level", set=dict(added_tokens=[*BASIC, added(FREE + 2, "<|USER|>", normalized=True),
            added(FREE + 3, "<|End|>", normalized=False)], normalizer=dict(type="Lowercase")), config=SP),
    variant("qwen2 without a class", "byte_level", "qwen2", config=dict(eos_token="</s>"), set=dict(added_tokens=BASIC)),
    variant("qwen2 with the fast class", "byte_level", "qwen2", set=dict(added_tokens=BASIC),
            config=dict(tokenizer_class="PreTrainedTokenizerFast", add_prefix_space=True, **SP)),
    variant("qwen3 with its class", "byte_level", "qwen3", set=dict(added_tokens=BASIC),
            config=dict(tokenizer_class="Qwen2Tokenizer", **SP)),
    variant("qwen3 with the fast class", "byte_level", "qwen3", set=dict(added_tokens=BASIC),
            config=dict(tokenizer_class="PreTrainedTokenizerFast", **SP)),
    variant("gpt2 class", "byte_level", set=dict(added_tokens=BASIC), config=dict(tokenizer_class="GPT2Tokenizer", **SP)),
    variant("gpt2 class, prefix space", "byte_level", set=dict(added_tokens=BASIC),
            config=dict(tokenizer_class="GPT2TokenizerFast", add_prefix_space=True)),
    variant("an unknown class", "byte_level", set=dict(added_tokens=BASIC), config=dict(tokenizer_class="SphinxTokenizer", **SP)),
    variant("prefix space without a class", "byte_level", set=dict(added_tokens=BASIC),
            config=dict(add_prefix_space=True, do_lower_case=True, legacy=True, model_max_length=3, **SP)),
    variant("unigram", "unigram", config=SP),
    variant("bert", "wordpiece", "bert", config=dict(tokenizer_class="BertTokenizer")),
    variant("bert, cased", "wordpiece", "bert", config=dict(tokenizer_class="BertTokenizer", do_lower_case=False)),
    variant("bert, accents and Chinese", "wordpiece", "bert",
            config=dict(do_lower_case=False, strip_accents=True, tokenize_chinese_chars=False)),
    variant("bert, fast class", "wordpiece", "bert", config=dict(tokenizer_class="PreTrainedTokenizerFast", do_lower_case=True)),
    variant("phi3 with the llama class", "sentencepiece", "phi3", config=dict(tokenizer_class="LlamaTokenizer", **SP)),
    variant("roberta without a class", "byte_level", "roberta", set=dict(added_tokens=BASIC)),
    variant("roberta, prefix space", "byte_level", "roberta", set=dict(added_tokens=BASIC),
            config=dict(tokenizer_class="RobertaTokenizerFast", add_prefix_space=True,
                        mask_token=dict(__type="AddedToken", **decoder_entry("<mask>", lstrip=True)))),
    variant("roberta, other tokens around a text", "byte_level", "roberta",
            set=dict(added_tokens=BASIC, post_processor=template([("</s>", FREE + 1)])),
            config=dict(tokenizer_class="RobertaTokenizer", cls_token="<c>", sep_token="<e>")),
    variant("roberta, fast class", "byte_level", "roberta", set=dict(added_tokens=BASIC),
            config=dict(tokenizer_class="PreTrainedTokenizerFast", **SP)),
    variant("xlm-roberta without a class", "unigram_of_xlm", "xlm-roberta"),
    variant("xlm-roberta, no prefix space", "unigram_of_xlm", "xlm-roberta",
            config=dict(tokenizer_class="XLMRobertaTokenizer", add_prefix_space=False)),
    variant("xlm-roberta over another vocabulary", "byte_level", "xlm-roberta", set=dict(added_tokens=BASIC),
            config=dict(tokenizer_class="PreTrainedTokenizerFast", **SP)),
]
TEXTS = ["Hello world", "Hello a  world!", "", " a", "<s>Hello</s> a", "<|user|> Hello <|end|>\n a<|END|> <|USER|>",
         "<tool_call>a <mask> word wordy Norm norm", "12 +12\n\n  a", "你好 café", "Hello world, HELLO unaing!", "<p> <r> <x>",
         "plain <image> <|audio|>"]


FLAGS = ["special", "lstrip", "rstrip", "single_word", "normalized"]


def read(folder, has_answers):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    backend = tokenizer._tokenizer
    found = dict(named=tokenizer.special_tokens_map, size=len(tokenizer))
    found["added"] = [[i, t.content, [flag for flag in FLAGS if getattr(t, flag)]]
                      for i, t in sorted(backend.get_added_tokens_decoder().items())]
    found["texts"] = [[tokenizer(text)["input_ids"], tokenizer(text, add_special_tokens=False)["input_ids"]]
                      for text in TEXTS]
    found["answers"] = []
    for prompt in ["Hello a", "Hello a ", "<s>", "", "a<s>", "你"] if has_answers else ["Hello a"]:
        for answer in ["Hello world!", " world", "a", "  a", "好 a"] if has_answers else [" world"]:
            before = tokenizer(prompt)["input_ids"]
            after = tokenizer(answer, add_special_tokens=False)["input_ids"]
            start = tokenizer.decode(before, skip_special_tokens=True)
            whole = tokenizer.decode(before + after, skip_special_tokens=True)
            if whole.startswith(start):
                found["answers"].append([before, after, whole[len(start):]])
    return found


def main():
    here = pathlib.Path(__file__).parent / "tokenizers" / "golden.json"
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            config = dict(model_type=variant["model_type"], vocab_size=1024) | variant["files"].pop("config_json.json", {})
            variant["files"]["config.json"] = config
            (folder / "tokenizer.json").write_text(json.dumps({**BASES[variant["base"]], **variant["set"]}))
            for file, value in variant["files"].items():
                (folder / file).write_text(json.dumps(value))
            try:
                variant |= read(folder, variant["base"] != "byte_level")
            except Exception as error:
                print("FAILED", variant["name"], type(error).__name__, error)
                raise
    target = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else here
    lines = [f" {json.dumps(variant, ensure_ascii=False)}" for variant in VARIANTS]
    bases = json.dumps(BASES, ensure_ascii=False)
    target.write_text('{"texts": ' + json.dumps(TEXTS, ensure_ascii=False) + ',\n"bases": ' + bases + ',\n"variants": [\n' + ",\n".join(lines) + "\n]}\n")
    print("tokenizers", len(VARIANTS), target.stat().st_size)


if __name__ == "__main__":
    main()
