"""The tokenizer: one token per byte plus whole-token scaffolding.

Text is never merged, so an argument is copied byte by byte and copying works
for words that were never seen.  Only text that the chat format itself produces
(turn headers, the JSON around arguments, fixed answer sentences) is a single
token; nobody types those strings by accident.
"""

import json
import pathlib

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

import gen_other
import tools

END_TEXT, END, START = "<|endoftext|>", "<|im_end|>", "<|im_start|>"
SPECIAL = [END_TEXT, START, END]
HEADERS = [f"{START}system\n", f"{START}user\n", f"{START}assistant\n"]
TAGS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"]


def _call_prefix(name, key, quote='"'):
    return f'\n{{"name": "{name}", "arguments": {{"{key}": {quote}'


def scaffolding():
    """Strings that the format prints often, each one token."""
    first = {"calculator": "expression", "convert_units": "value"}
    out = []
    for name in tools.NAMES:
        out.append(_call_prefix(name, first.get(name, "text"), "" if name == "convert_units" else '"'))
        out.append(f"\n- {name}")
    out += ['"}}\n', '", "letter": "', '", "to": "', ', "from": "']
    out += ["The letter \"", "\" appears ", " times in \"", " time in \"", "There are ", " words in that text.",
            " characters in that text, spaces included.", "There is 1 word in that text.", "There is 1 character in that text.",
            "Reversed, that is \"", "In that case style, it is \"", "The slug is \"", "The tool reported an error: "]
    out += [gen_other.CAN, "I can't help with that. ", gen_other.MISSING, "Hello! ", gen_other.THANKS,
            "I am Ember, the small model built into Firebox. ", gen_other.BYE, "I am just a small program, but I am ready to help. "]
    return out


def build():
    """A byte-level BPE without merges: every UTF-8 input encodes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in SPECIAL])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in HEADERS])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in TAGS + scaffolding()])
    return tokenizer


def save(folder):
    """Write tokenizer.json and tokenizer_config.json."""
    folder = pathlib.Path(folder)
    tokenizer = build()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": False, "add_prefix_space": False, "bos_token": None,
        "eos_token": END, "pad_token": END_TEXT, "unk_token": None,
        "additional_special_tokens": [START, END] + HEADERS,
        "clean_up_tokenization_spaces": False, "model_max_length": 1024,
        "added_tokens_decoder": {
            str(i): {"content": t.content, "lstrip": t.lstrip, "normalized": t.normalized, "rstrip": t.rstrip,
                     "single_word": t.single_word, "special": t.special}
            for i, t in sorted(tokenizer.get_added_tokens_decoder().items())},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return tokenizer
