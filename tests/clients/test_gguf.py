"""What `sterna convert` writes in standard types is read by PyPI's `gguf` package, with the weights
that the source has.

The package knows TQ1_0, TQ2_0, Q1_0 and the heads' types. Q2_0 and I2_S are in its enumeration only
where forks of llama.cpp ship it (PrismML's, bitnet.cpp's): `forks` adds their numbers, as those do.
"""

import enum
import json
import struct
import subprocess
from pathlib import Path

import gguf
import numpy as np
import pytest

FIXTURES = Path(__file__).parent.parent / "fixtures"
PARTS = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
# Number, weights of a block, bytes of a block.
FORKS = {"I2_S": (36, 128, 32), "Q2_0": (42, 64, 18)}


@pytest.fixture
def forks(monkeypatch):
    """The package with the types of forks."""
    known = {member.name: member.value for member in gguf.GGMLQuantizationType}
    names = known | {name: number for name, (number, _, _) in FORKS.items()}
    types = enum.IntEnum("GGMLQuantizationType", names)
    monkeypatch.setattr(gguf.gguf_reader, "GGMLQuantizationType", types)
    for name, (_, weights, size) in FORKS.items():
        monkeypatch.setitem(gguf.GGML_QUANT_SIZES, types[name], (weights, size))


def convert(request, tmp_path, source, *options):
    """The tensors of the file that is written, by name, and what the command says."""
    output = tmp_path / "out.gguf"
    sterna = request.config.getoption("--sterna")
    command = [sterna, "convert", str(FIXTURES / source), "-o", str(output), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "read back and compared" in done.stdout
    return tensors(output), done.stdout


def tensors(path):
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def weights(tensor):
    """A tensor's weights: by the package, where it has code for the type."""
    blocks = np.asarray(tensor.data)
    if tensor.tensor_type.name == "Q1_0":
        codes = np.unpackbits(in_blocks(blocks, 18)[:, 2:], axis=-1, bitorder="little")
        return scaled(2.0 * codes - 1, blocks, 18)
    if tensor.tensor_type.name == "Q2_0":
        codes = in_blocks(blocks, 18)[:, 2:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3
        return scaled(codes.reshape(len(codes), -1) - 1.0, blocks, 18)
    return gguf.dequantize(tensor.data, tensor.tensor_type)


def in_blocks(data, size):
    return data.reshape(-1, size)


def scaled(codes, data, size):
    scales = in_blocks(data, size)[:, :2].copy().view("<f2").astype(np.float32)
    return (codes * scales).astype(np.float32).reshape(data.shape[0], -1)


def safetensors(source):
    """Every tensor of a directory: its type and shape, and its bytes."""
    for file in sorted((FIXTURES / source).glob("*.safetensors")):
        data = file.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        for name, entry in json.loads(data[8 : 8 + length]).items():
            if name != "__metadata__":
                start, end = (8 + length + at for at in entry["data_offsets"])
                yield name, entry["dtype"], entry["shape"], data[start:end]


def floats(dtype, raw):
    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, "<f2").astype(np.float32)


def linear(name):
    """The name in a GGUF of a linear's weight, or None."""
    parts = name.split(".")
    if parts[-1] == "weight" and parts[-2] in PARTS:
        return f"blk.{parts[2]}.{PARTS[parts[-2]]}.weight"
    return None


def master_weights(source):
    """The linears of a directory of floats, and its embedding."""
    for name, dtype, shape, raw in safetensors(source):
        own = "token_embd.weight" if name == "model.embed_tokens.weight" else linear(name)
        if own:
            yield own, floats(dtype, raw).reshape(shape)


@pytest.mark.parametrize(
    ("source", "options", "name"),
    [
        ("qwen3/binary-unpacked", ["--type", "q1_0"], "Q1_0"),
        ("qwen3/ternary-unpacked", ["--type", "q2_0", "--group", "64"], "Q2_0"),
    ],
)
def test_directories_become_block_types(request, tmp_path, forks, source, options, name):
    written, said = convert(request, tmp_path, source, *options)
    assert name in said
    compared = 0
    for key, values in master_weights(source):
        assert written[key].tensor_type.name == name
        assert np.array_equal(weights(written[key]), values), key
        compared += 1
    assert compared == 2 * len(PARTS) + 1


@pytest.mark.parametrize("name", ["TQ1_0", "TQ2_0"])
def test_ternary_types_hold_what_the_other_one_holds(request, tmp_path, name):
    source = {"TQ1_0": "qwen3/wide-TQ2_0.gguf", "TQ2_0": "qwen3/wide-TQ1_0.gguf"}[name]
    written, said = convert(request, tmp_path, source, "--type", name.lower())
    assert name in said
    original = tensors(FIXTURES / source)
    for layer in range(2):
        for part in PARTS.values():
            key = f"blk.{layer}.{part}.weight"
            assert written[key].tensor_type.name == name
            assert np.array_equal(weights(written[key]), weights(original[key])), key


@pytest.mark.parametrize(
    ("head", "most"),
    [("f32", 0), ("f16", 0), ("q8_0", 1e-3), ("q6_k", 0.05), ("q4_0", 0.13), ("q4_k", 0.07)],
)
def test_heads_are_the_packages(request, tmp_path, head, most):
    source = "qwen3/wide-TQ2_0.gguf"
    written, said = convert(request, tmp_path, source, "--type", "tq2_0", "--head", head)
    table = written["token_embd.weight"]
    assert table.tensor_type.name == head.upper()
    values = weights(tensors(FIXTURES / source)["token_embd.weight"])
    error = np.abs(weights(table) - values).max() / np.abs(values).max()
    assert error <= most
    assert ("relative error" in said) == (error > 0)


@pytest.mark.parametrize("head", ["q4_0", "q4_k"])
def test_four_bit_heads_are_off_by_a_step_at_most(request, tmp_path, forks, head):
    source = "master-bf16-online"
    written, said = convert(request, tmp_path, source, "--head", head)
    table = written["token_embd.weight"]
    assert table.tensor_type.name == head.upper() and f"bf16 -> {head}" in said
    values = dict(master_weights(source))["token_embd.weight"]
    if head == "q4_0":
        reference = gguf.quantize(values, gguf.GGMLQuantizationType.Q4_0)
        assert np.array_equal(np.asarray(table.data), reference)
    groups = values.reshape(-1, 32)
    low, high = np.minimum(groups.min(1), 0), np.maximum(groups.max(1), 0)
    step = np.maximum(-low, high) / 8 if head == "q4_0" else (high - low) / 15
    off = np.abs(weights(table).reshape(groups.shape) - groups).max(1)
    assert np.all(off <= 1.01 * step)


def test_i2_s_is_bitnet_cpps(request, tmp_path, forks):
    source = "packed-autobitlinear"
    written, said = convert(request, tmp_path, source, "--head", "q8_0")
    assert "I2_S" in said and "Q8_0" in said
    whole = np.fromfile(tmp_path / "out.gguf", np.uint8)
    raw = {name: (shape, data) for name, _, shape, data in safetensors(source)}
    compared = 0
    for name, (shape, data) in raw.items():
        key = linear(name)
        if not key:
            continue
        stored = np.frombuffer(data, np.uint8).reshape(shape)
        trits = np.concatenate([stored >> (2 * k) & 3 for k in range(4)]).astype(np.float32) - 1
        tensor = written[key]
        assert tensor.tensor_type.name == "I2_S"
        # 32 bytes hold 128 weights, the first 32 in the highest bits.
        blocks = np.asarray(tensor.data).reshape(-1, 32)
        codes = np.concatenate([blocks >> shift & 3 for shift in (6, 4, 2, 0)], axis=1)
        assert np.array_equal(codes.reshape(trits.shape) - 1.0, trits), key
        tail = tensor.data_offset + blocks.size
        scale = whole[tail : tail + 4].view("<f4")[0]
        assert scale == floats("BF16", raw[name + "_scale"][1])[0]
        compared += 1
    assert compared == 4 * len(PARTS)


def test_a_loss_of_scales_is_refused(request, tmp_path, forks):
    output = tmp_path / "out.gguf"
    sterna = request.config.getoption("--sterna")
    # Rows of 256 weights in groups of 64 become groups of 256: a fourth of the scales.
    source, options = "qwen3/wide-TQ2_0.gguf", ["--type", "q2_0", "--group", "64"]
    convert(request, tmp_path, source, *options, "--head", "f16")
    small = output.rename(tmp_path / "small.gguf")
    command = [sterna, "convert", str(small), "-o", str(output), "--type", "tq2_0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "a scale for each 64" in done.stderr
    assert "--requantize" in done.stderr and not output.exists()
    # All four have the scale of the group they came from: nothing is lost.
    done = subprocess.run([*command, "--requantize"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    original = tensors(FIXTURES / source)["blk.0.ffn_down.weight"]
    again = tensors(output)["blk.0.ffn_down.weight"]
    assert np.array_equal(weights(again), weights(original))
