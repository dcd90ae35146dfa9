"""Prints greedy answers of llama.cpp with SmolLM2-135M-Instruct in Q4_1, for the table `ANSWERS` in tests/cases/gguf.rs.

Usage: make_smollm2_goldens.py MODEL.gguf   (the file of tests/tools/smollm2; needs the Python package xllamacpp)

Each line ends with the smallest gap between the best two tokens, and whether llama.cpp gives the same text without flash
attention.

A prompt is kept if the best two tokens of its answer are apart by more than 0.1 in each of the first tokens. Near ties go
either way: inputs of products are rounded to 8 bits, so llama.cpp itself continues 7 of the first 23 prompts otherwise when
it computes attention without flash attention. The table has the 14 that firebox continues in the same way.
"""

import sys

import xllamacpp

PROMPTS_KEPT = 23
TOKENS_LEAST = 24
TOKENS_MOST = 32
FIRST_LOOK = 6
GAP_LEAST = 0.1

SUBJECTS = [
    "photosynthesis", "gravity", "the water cycle", "a volcano", "the moon", "a black hole", "the ocean", "an atom",
    "electricity", "a computer", "the internet", "a bicycle", "bread", "cheese", "coffee", "tea", "a tiger", "a whale",
    "an eagle", "honey bees", "a tree", "the heart", "the brain", "sleep", "music", "a violin", "chess", "football",
    "the Roman Empire", "ancient Egypt", "the printing press", "a steam engine", "an airplane", "a satellite", "glass",
    "steel", "money", "a bank", "democracy", "a library",
]
PROMPTS = [form.format(subject) for subject in SUBJECTS for form in ("What is {}?", "Explain {} to a child.", "Write two sentences about {}.")]


def answer(server, prompt, length):
    """The first greedy tokens of an answer that are clear, and the gaps between the best two logits."""
    request = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": length,
        "temperature": 0,
        "samplers": ["temperature"],
        "logprobs": True,
        "top_logprobs": 2,
    }
    choice = server.handle_chat_completions(request)["choices"][0]
    tokens, gaps = [], []
    for token in choice["logprobs"]["content"]:
        best, second = (entry["logprob"] for entry in token["top_logprobs"])
        # A difference of log-probabilities is one of logits.
        if best - second <= GAP_LEAST or token["id"] != token["top_logprobs"][0]["id"]:
            break
        tokens.append(token)
        gaps.append(round(best - second, 3))
    return tokens, gaps


def start(model, flash_attention):
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.n_ctx = 1024
    parameters.n_gpu_layers = 0
    parameters.use_jinja = True
    parameters.n_parallel = 1
    if not flash_attention:
        parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    return xllamacpp.Server(parameters)


def text_of(server, prompt):
    """The greedy answer, clear or not."""
    request = {"messages": [{"role": "user", "content": prompt}], "max_tokens": TOKENS_MOST, "temperature": 0,
               "samplers": ["temperature"]}
    return server.handle_chat_completions(request)["choices"][0]["message"]["content"]


def main():
    server, without = start(sys.argv[1], True), start(sys.argv[1], False)
    kept = 0
    for prompt in PROMPTS:
        # Most prompts are unclear within a few tokens.
        if len(answer(server, prompt, FIRST_LOOK)[0]) < FIRST_LOOK:
            continue
        tokens, gaps = answer(server, prompt, TOKENS_MOST)
        if len(tokens) < TOKENS_LEAST:
            continue
        text = b"".join(bytes(token["bytes"]) for token in tokens).decode("utf-8", "ignore")
        kept += 1
        print(kept, prompt, repr(text), min(gaps), text_of(without, prompt).startswith(text), flush=True)
        if kept == PROMPTS_KEPT:
            return
    sys.exit("too few prompts have clear answers")


if __name__ == "__main__":
    main()
