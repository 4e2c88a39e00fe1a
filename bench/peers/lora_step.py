"""One LoRA training step of GPT-2 Medium in PyTorch and PEFT, timed by events; and what the card can do at most.

Usage: lora_step.py OUT.json [MODE ...]   MODE: ceilings, eager, checkpointing, compile, graphs
Random weights (seed 0): speed and memory do not depend on them. bf16 base and autocast, float32 adapters, AdamW on the adapters.
"""

import json
import statistics
import sys
import time

import torch

BATCH, LENGTH, RANK = 4, 512, 8


def timed(step, rounds):
    """Median milliseconds of a step, by events, after three that warm up."""
    for _ in range(3):
        step()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(rounds + 1)]
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize()
    return statistics.median(a.elapsed_time(b) for a, b in zip(events, events[1:]))


def ceilings():
    source = torch.randn(1 << 30, dtype=torch.bfloat16, device="cuda")
    target = torch.empty_like(source)
    copy = timed(lambda: target.copy_(source), 20)
    del source, target
    a = torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda")
    b = torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda")
    multiply = timed(lambda: a @ b, 20)
    return {
        "copy_bytes_per_second": 2 * (1 << 30) * 2 / copy * 1e3,
        "bf16_flops_per_second": 2 * 8192**3 / multiply * 1e3,
    }


def lora(mode):
    from peft import LoraConfig, get_peft_model
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    config = GPT2Config(n_embd=1024, n_layer=24, n_head=16, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0, use_cache=False)
    model = GPT2LMHeadModel(config).to("cuda", torch.bfloat16)
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True))
    trained = [p for p in model.parameters() if p.requires_grad]
    for p in trained:
        p.data = p.data.float()
    if mode == "checkpointing":
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable()
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    tokens = torch.randint(0, 50257, (BATCH, LENGTH), device="cuda")

    def loss_of():
        with torch.autocast("cuda", torch.bfloat16):
            return model(input_ids=tokens, labels=tokens).loss

    forward = {"compile": lambda: torch.compile(loss_of), "graphs": lambda: torch.compile(loss_of, mode="reduce-overhead")}
    forward = forward.get(mode, lambda: loss_of)()

    def step():
        if mode == "graphs":
            torch.compiler.cudagraph_mark_step_begin()
        forward().backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    begun = time.monotonic()
    step()
    torch.cuda.synchronize()
    first = time.monotonic() - begun
    milliseconds = timed(step, 30)
    return {
        "ms": milliseconds,
        "first_step_seconds": first,
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(),
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(),
    }


def main():
    out, *modes = sys.argv[1:]
    results = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    for mode in modes or ["ceilings", "eager", "compile"]:
        try:
            results[mode] = ceilings() if mode == "ceilings" else lora(mode)
        except Exception as error:  # a peer that does not run is reported, not hidden
            results[mode] = {"failed": f"{type(error).__name__}: {error}"[:300]}
        print(mode, results[mode], flush=True)
        with open(out, "w") as file:
            json.dump(results, file, indent=1)


main()
