"""What transformers, PEFT, torch and a reading of the bitsandbytes layout say of the same files: the other side of referees.test.ts.

Usage: referees.py checkpoint|logits|nf4|train JSON     The last line of the output is JSON.
All is computed in float32, without TF32, on weights rounded to bf16; on a GPU where there is one.
"""

import contextlib
import json
import sys

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

device = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_float32_matmul_precision("highest")


def rounded_model(folder):
    """The checkpoint's model, each weight rounded to bf16 and held in float32."""
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(folder, attn_implementation="eager").to(device, torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16().float())
    return model


def checkpoint(folder, sizes, seed):
    """Writes a model of random weights, none of them zero or one throughout.

    As GPT-2 is initialized, its best tokens lie closer together than bf16 can tell: torch's own bf16 then agrees with its float32
    on 97 % of positions. With embeddings four times as large (a trained model's are seven times) they stand apart.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    model = GPT2LMHeadModel(GPT2Config(**sizes))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                parameter.add_(0.02 * torch.randn_like(parameter))
        model.transformer.wte.weight.mul_(5)
    model.save_pretrained(folder)
    return {"parameters": model.num_parameters()}


@torch.no_grad()
def logits(folder, tokens, out, adapter=None):
    """Writes the logits [batch * length, vocabulary] of the model, with a PEFT adapter or without."""
    model = rounded_model(folder)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter).to(device).eval()
    ids = torch.tensor(tokens, device=device)
    exact = model(input_ids=ids).logits.flatten(0, 1)
    with torch.autocast(device, torch.bfloat16):
        mixed = model(input_ids=ids).logits.flatten(0, 1).float()
    save_file({"logits": exact.contiguous().cpu()}, out)
    return {
        "autocast_error": ((mixed - exact).abs().max() / exact.abs().max()).item(),
        "autocast_top1": (mixed.argmax(-1) == exact.argmax(-1)).float().mean().item(),
    }


def to_bf16(values):
    """float32 rounded to the nearest bf16, ties to even, as float32."""
    bits = values.view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) << 16).astype(np.uint32).view(np.float32)


def dequantized(tensors, name):
    """A matrix [out, in] from the parts that bitsandbytes gives it, in numpy."""
    state = json.loads(bytes(tensors[f"{name}.quant_state.bitsandbytes__nf4"]))
    assert state["quant_type"] == "nf4" and state["dtype"] == "bfloat16" and state["nested_dtype"] == "float32", state
    packed = tensors[name].reshape(-1)
    codes = np.stack([packed >> 4, packed & 15], axis=1).reshape(-1)
    scales = tensors[f"{name}.absmax"]
    outer = np.repeat(tensors[f"{name}.nested_absmax"], state["nested_blocksize"])[: len(scales)]
    absmax = tensors[f"{name}.nested_quant_map"][scales] * outer + np.float32(state["nested_offset"])
    weights = tensors[f"{name}.quant_map"][codes] * np.repeat(absmax, state["blocksize"])
    assert weights.dtype == np.float32
    return to_bf16(weights).reshape(state["shape"])


def nf4(folder, source, out):
    """Writes what the quantized matrices of a folder stand for, and says how bitsandbytes itself, if it is here, differs."""
    with safe_open(f"{folder}/model.safetensors", "np") as file:
        names = [n.removesuffix(".absmax") for n in file.keys() if n.endswith(".weight.absmax")]
        tensors = {key: file.get_tensor(key) for key in file.keys() if any(key.startswith(name) for name in names)}
    matrices = {name: dequantized(tensors, name) for name in names}
    save_file({name.removeprefix("transformer."): torch.from_numpy(matrix) for name, matrix in matrices.items()}, out)
    try:
        bitsandbytes = against_bitsandbytes(tensors, matrices, load_file(f"{source}/model.safetensors"))
    except Exception as error:  # it is no part of what is tested
        bitsandbytes = f"{type(error).__name__}: {error}"[:200]
    return {"matrices": len(names), "bitsandbytes": bitsandbytes}


def against_bitsandbytes(tensors, matrices, source):
    """Shares of codes, of scales' codes and of dequantized weights that differ between bitsandbytes and the folder."""
    import bitsandbytes
    from bitsandbytes import functional

    codes, scales, weights = [], [], []
    for name, matrix in matrices.items():
        parts = {key: torch.from_numpy(t).to(device) for key, t in tensors.items() if key.startswith(name)}
        packed = parts.pop(name)
        theirs, state = functional.quantize_4bit(
            source[name].T.contiguous().to(device, torch.bfloat16), blocksize=64, compress_statistics=True, quant_type="nf4"
        )
        theirs = theirs.reshape(-1)
        ours = packed.reshape(-1)
        codes += [(theirs >> 4 != ours >> 4).float().mean(), (theirs & 15 != ours & 15).float().mean()]
        scales.append((state.absmax.reshape(-1) != parts[f"{name}.absmax"]).float().mean())
        read = functional.dequantize_4bit(packed, functional.QuantState.from_dict(parts, torch.device(device)))
        weights.append((read.float().cpu() != torch.from_numpy(matrix)).float().mean())
    share = lambda values: float(sum(values) / len(values))
    return {
        "version": bitsandbytes.__version__,
        "codes_differ": share(codes),
        "scale_codes_differ": share(scales),
        "dequantized_differ": share(weights),
    }


class AdaptedSlices(torch.nn.Module):
    """A linear layer with one adapter on each equal slice of its output, each with its own A and B."""

    def __init__(self, base, pairs, scale):
        super().__init__()
        self.base, self.scale = base, scale
        self.a = torch.nn.ParameterList(a for a, _ in pairs)
        self.b = torch.nn.ParameterList(b for _, b in pairs)

    def forward(self, x):
        return self.base(x) + self.scale * torch.cat([x @ a.T @ b.T for a, b in zip(self.a, self.b)], -1)


def train(**request):
    """Trains q, k and v of every layer in float32, and as torch's autocast to bf16 does; the loss before each step of both."""
    return {"losses": train_in(contextlib.nullcontext(), **request), "autocast": train_in(torch.autocast(device, torch.bfloat16), **request)}


def train_in(precision, folder, adapters, batches, lora, adamw):
    model = rounded_model(folder).requires_grad_(False)
    initial = load_file(adapters, device=device)
    for layer, block in enumerate(model.transformer.h):
        a, b = (initial[f"h.{layer}.attn.c_attn.lora_{letter}"].chunk(3) for letter in "AB")
        pairs = [tuple(torch.nn.Parameter(t.clone()) for t in pair) for pair in zip(a, b)]
        block.attn.c_attn = AdaptedSlices(block.attn.c_attn, pairs, lora["alpha"] / lora["rank"])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained,
        lr=adamw["rate"],
        betas=(adamw["beta1"], adamw["beta2"]),
        eps=adamw["epsilon"],
        weight_decay=adamw["weightDecay"],
    )
    losses = []
    for tokens in load_file(batches, device=device)["tokens"].long():
        with precision:
            scores = model(input_ids=tokens[:, :-1], use_cache=False).logits
            loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, adamw["maxNorm"])
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()


if __name__ == "__main__":
    command, request = sys.argv[1:]
    run = {"checkpoint": checkpoint, "logits": logits, "nf4": nf4, "train": train}[command]
    print(json.dumps(run(**json.loads(request))))
