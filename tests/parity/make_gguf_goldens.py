#!/usr/bin/env python3
"""Writes tests/parity/gguf/blocks.bin: random blocks of each type, and their weights as the package `gguf` sees them.

    pip install gguf numpy && tests/parity/make_gguf_goldens.py
"""
import struct
from pathlib import Path

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T
from gguf.quants import dequantize

TYPES = [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.IQ4_NL, T.IQ4_XS, T.MXFP4]
# Offsets of 16-bit scales and minima in a block.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0], T.MXFP4: []}

def main():
    random = np.random.default_rng(5)
    out = bytearray()
    for kind in TYPES:
        weights, size = GGML_QUANT_SIZES[kind]
        count = 2 if weights == 256 else 6
        blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
        for at in SCALES[kind]:
            scale = random.normal(0, 0.02, count).astype(np.float16)
            blocks[:, at:at + 2] = scale.view(np.uint8).reshape(count, 2)
        if kind == T.MXFP4:
            blocks[:, 0] = [0, 1, 2, 100, 127, 140]
        flat = blocks.reshape(-1)
        values = dequantize(flat.reshape(1, -1), kind).astype(np.float32).reshape(-1)
        assert values.size == count * weights
        out += struct.pack("<II", int(kind), flat.size) + flat.tobytes() + values.tobytes()
    path = Path(__file__).parent / "gguf" / "blocks.bin"
    path.write_bytes(out)

main()
