"""Train Ember from scratch on generated conversations, on the CPU.

The data is an endless stream of chunks; chunk k is a pure function of (seed,
k), so a stopped run that resumes from its checkpoint sees exactly what an
unbroken run would have seen.  The learning rate warms up, stays flat, and
falls linearly to zero over the last `--decay` share of the run.  The clock has
no part in it, however busy the machine is.

`--warm` starts from exported weights instead, with fresh optimisers; `--peak`
lowers the flat rate for it.  Only with `--minutes` the run ends after that time
at the latest: its schedule then follows the clock where that is ahead of the
chunks, so such a run can't be repeated exactly.
"""

import argparse
import pathlib
import random
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file

import chat
import vocab
from model import FAST, Ember

SAMPLES = 1024  # conversations per chunk
USER_WEIGHT = 0.05  # a whisper of language modelling on what the model only reads


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised (Newton-Schulz): fewer steps for matrices."""

    def __init__(self, groups, momentum=0.95):
        super().__init__(groups, dict(lr=0.02, momentum=momentum))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            updates = []
            for p in group["params"]:
                buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                buffer.lerp_(p.grad, 1 - group["momentum"])
                updates.append(p.grad.lerp(buffer, group["momentum"]))
            updates = orthogonal(torch.stack(updates))
            scale = max(1.0, updates.shape[1] / updates.shape[2]) ** 0.5
            for p, update in zip(group["params"], updates):
                p.mul_(1 - group["lr"] * 0.02).add_(update, alpha=-group["lr"] * scale)


def orthogonal(g):
    """Quintic Newton-Schulz iteration on a batch of matrices."""
    flip = g.shape[1] > g.shape[2]
    x = g.transpose(1, 2) if flip else g
    x = (x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)).to(FAST)
    for _ in range(5):
        a = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.transpose(1, 2) if flip else x).float()


def batches(tokenizer, seed, index, tokens):
    """The batches of chunk `index`: sorted by length, in random order."""
    texts = [chat.sample(f"{seed}-{index}-{i}") for i in range(SAMPLES)]
    rows = sorted((e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)), key=len)
    assistant, end = tokenizer.token_to_id("<|im_start|>assistant\n"), tokenizer.token_to_id(vocab.END)
    groups, group = [], []
    for row in rows:
        if group and len(row) * (len(group) + 1) > tokens:
            groups.append(group)
            group = []
        group.append(row)
    groups.append(group)
    random.Random(f"{seed}-{index}").shuffle(groups)
    for group in groups:
        width = max(map(len, group))
        ids = torch.zeros(len(group), width, dtype=torch.long)
        weight = torch.zeros(len(group), width)
        for i, row in enumerate(group):
            ids[i, :len(row)] = torch.tensor(row)
            weight[i, :len(row)] = torch.tensor(weights(row, assistant, end))
        yield ids, weight


def weights(row, assistant, end):
    """Full weight for what the model must write itself."""
    out, writing = [], False
    for token in row:
        out.append(1.0 if writing else USER_WEIGHT)
        if token == assistant:
            writing = True
        elif token == end:
            writing = False
    return out


def optimizers(model):
    matrices, rest = {}, []
    for name, p in model.named_parameters():
        if p.ndim == 2 and "embed" not in name:
            matrices.setdefault(tuple(p.shape), []).append(p)
        else:
            rest.append(p)
    muon = Muon([{"params": group} for group in matrices.values()])
    adam = torch.optim.AdamW(rest, lr=3e-3, betas=(0.9, 0.98), weight_decay=0.0)
    return {muon: 0.02, adam: 3e-3}


def rate(done, seconds, args):
    """Learning-rate factor after `done` chunks (a float) and `seconds` of training; 0 at the end."""
    progress = done / args.chunks
    if args.minutes:
        progress = max(progress, seconds / (60 * args.minutes))
    return args.peak * max(0.0, min(1.0, done / 3 + 0.02, (1 - progress) / args.decay))


def step(model, optims, ids, weight, factor):
    logits = model(ids[:, :-1])
    weight = weight[:, 1:]
    loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    total = (loss * weight.flatten()).sum() / weight.sum()
    total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer, base in optims.items():
        for group in optimizer.param_groups:
            group["lr"] = base * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    main = (weight == 1).flatten()
    return loss.detach()[main].mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--chunks", type=int, default=256)
    parser.add_argument("--decay", type=float, default=60 / 256, help="share of the run over which the rate falls to zero")
    parser.add_argument("--warm", type=pathlib.Path, help="start from this model.safetensors")
    parser.add_argument("--peak", type=float, default=1.0, help="the flat learning rate, as a share of the full one")
    parser.add_argument("--minutes", type=float, help="reach the end of the schedule after this time at the latest")
    parser.add_argument("--tokens", type=int, default=6144, help="tokens per step, padding included")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.out.mkdir(parents=True, exist_ok=True)
    tokenizer = vocab.build()
    model = Ember(tokenizer.get_vocab_size())
    optims = optimizers(model)
    state, start, seen, spent = args.out / "state.pt", 0, 0, 0.0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        for optimizer, values in zip(optims, saved["optimizers"]):
            optimizer.load_state_dict(values)
        start, seen, spent = saved["chunk"], saved["tokens"], saved["seconds"]
    elif args.warm:
        model.load_state_dict({name: tensor.float() for name, tensor in load_file(args.warm).items()})
    print(f"{sum(p.numel() for p in model.parameters())} parameters, vocabulary {tokenizer.get_vocab_size()}, {FAST} products, from chunk {start}", flush=True)
    for index in range(start, args.chunks):
        began, losses = time.time(), []
        todo = list(batches(tokenizer, args.seed, index, args.tokens))
        for i, (ids, weight) in enumerate(todo):
            factor = rate(index + i / len(todo), spent + time.time() - began, args)
            if not factor:
                break
            losses.append(step(model, optims, ids, weight, factor))
            seen += ids.numel()
        if not losses:
            break
        spent += time.time() - began
        torch.save({"model": model.state_dict(), "optimizers": [o.state_dict() for o in optims], "chunk": index + 1, "tokens": seen, "seconds": spent}, state.with_suffix(".new"))
        state.with_suffix(".new").replace(state)
        print(f"chunk {index + 1}/{args.chunks} steps {len(losses)} loss {sum(losses) / len(losses):.4f} rate {rate(index + 1, spent, args):.3f} "
              f"tokens {seen / 1e6:.2f}M seconds {spent:.0f} (+{time.time() - began:.1f})", flush=True)


if __name__ == "__main__":
    main()
