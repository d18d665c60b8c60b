"""TRL 0.11's PPOTrainer on the GPU, run by gpu.py under an interpreter that has it: one iteration per line on stdin.

    python gpu_trl.py FOLDER --batch 128 --minibatch 32 --device cuda --dtype bf16

dtype bf16 has the weights themselves in bf16: TRL's fastest, though its small updates round away. Everything goes
through the model together: generation in one batch, scores in one batch.
"""

import argparse
import json
import os
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import AutoModelForCausalLMWithValueHead, PPOConfig, PPOTrainer, create_reference_model
from trl.core import LengthSampler


class Contender:
    """Everything that one iteration needs."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, torch.device(options.device)
        folder = options.folder
        self.tokenizer = AutoTokenizer.from_pretrained(folder / "policy")
        dtype = torch.bfloat16 if options.dtype == "bf16" else torch.float32
        model = AutoModelForCausalLMWithValueHead.from_pretrained(
            str(folder / "policy"), summary_dropout_prob=0.0, torch_dtype=dtype
        )
        config = PPOConfig(batch_size=options.batch, mini_batch_size=options.minibatch, ppo_epochs=4, seed=1)
        self.trainer = PPOTrainer(config, model, create_reference_model(model), self.tokenizer)
        self.classifier = AutoModelForSequenceClassification.from_pretrained(folder / "classifier")
        self.classifier.to(self.device).eval()
        self.prompts = json.loads((folder / "prompts.json").read_text(encoding="utf-8"))
        self.drawn = random.Random(1)

    def step(self) -> dict[str, Any]:
        """Seconds of one iteration, in all and by phase, its response tokens and the peak memory."""
        began = self._now()
        queries = [torch.tensor(ids, device=self.device) for ids in self.drawn.sample(self.prompts, self.options.batch)]
        responses = self.trainer.generate(
            queries,
            batch_size=self.options.batch,
            length_sampler=LengthSampler(16, 25),
            return_prompt=False,
            do_sample=True,
            top_k=0,
            top_p=1.0,
            pad_token_id=self.tokenizer.pad_token_id,
        )
        generated = self._now()
        scores = self._scores([torch.cat(pair) for pair in zip(queries, responses, strict=True)])
        scored = self._now()
        stats = self.trainer.step(queries, responses, list(scores))
        seconds = self._now() - began
        phases = {
            "generate": generated - began,
            "score": scored - generated,
            "evaluate": float(stats["time/ppo/forward_pass"]),
            "update": float(stats["time/ppo/optimize_step"]),
        }
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0
        tokens = sum(map(len, responses))
        return {"seconds": seconds, "phases": phases, "response_tokens": tokens, "peak_memory_gib": peak}

    @torch.no_grad()
    def _scores(self, sequences: list[torch.Tensor]) -> torch.Tensor:
        texts = self.tokenizer.batch_decode(sequences, skip_special_tokens=True)
        batch = self.tokenizer(texts, padding=True, return_tensors="pt").to(self.device)
        return self.classifier(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 1].cpu()

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def main() -> None:
    """One JSON line for each line read; the libraries' own prints go to stderr."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--minibatch", type=int, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", default="bf16", choices=("bf16", "fp32"))
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    contender = Contender(parser.parse_args())
    for _ in sys.stdin:
        answers.write(json.dumps(contender.step()) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
