"""A trainer for PyTorch and PEFT, by the contract of ../README.md.

    python3 train.py [--base FOLDER] [--device cuda] [--end-token TEXT] JOB.json

Without --base the job's GGUF file is read (and dequantized) by transformers; with it, the Hugging
Face folder of the same model in full precision. See requirements.txt for what must be installed.
"""

import argparse
import math
import os
import resource
import shutil
import sys
import time
from hashlib import sha256

import contract
from contract import Refusal

BETAS = (0.9, 0.99)
EPSILON = 1e-8
LOSS_BATCHES_MAX = 4
CHECKPOINT_FILE = "checkpoint.pt"
CHECKPOINT_EVERY_S = 10
IGNORED = -100
WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


def main():
    options = parse_arguments()
    try:
        job = contract.load_job(options.job)
        own = contract.read_examples(job["examples"])
        replay = contract.read_examples(job["replay"]) if job.get("replay") else []
        libraries()
        Run(job, options, own, replay).train()
    except Refusal as refusal:
        contract.report_refusal(refusal)
        return 1
    except Exception as error:  # the edge hears only that it was a crash
        contract.explain_crash(error)
        return 1
    return 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", help="Hugging Face folder of the base in full precision")
    parser.add_argument("--device", default="cpu", help="a PyTorch device, e.g. cuda")
    parser.add_argument("--end-token", help="what ends an answer; default: the model's EOS")
    parser.add_argument("job", help="path of the job file")
    return parser.parse_args()


def libraries():
    """Imported late, so that bad input is refused where PyTorch isn't."""
    global torch, load_file, save_file, PeftModel, get_peft_model_state_dict
    global AutoModelForCausalLM, AutoTokenizer
    try:
        import torch
        from peft import PeftModel, get_peft_model_state_dict
        from safetensors.torch import load_file, save_file
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        message = f"the trainer's Python has no {error.name}; see requirements.txt"
        raise Refusal("unsupported", message) from error


class Run:
    """One job from start to end."""

    def __init__(self, job, options, own, replay):
        self.started = time.monotonic()
        self.job = job
        self.learning = job["learning"]
        self.device = options.device
        torch.set_num_threads(int(job["limits"]["threads"]))
        torch.manual_seed(job["seed"])
        # Not all operations have a deterministic form on all devices; those without only warn.
        torch.use_deterministic_algorithms(True, warn_only=True)
        base, tokenizer = load_base(job["base"], options.base)
        encode = Encoder(tokenizer, options.end_token).encode
        self.own, skipped = keep_short(own, encode, self.learning["sequenceLength"])
        self.replay, more = keep_short(replay, encode, self.learning["sequenceLength"])
        self.skipped = skipped + more
        if not self.own:
            length = self.learning["sequenceLength"]
            message = f"no example has at most {length} tokens; raise sequenceLength"
            raise Refusal("invalid-argument", message)
        self.model = load_adapter(base, job["adapterIn"]).to(self.device)
        self.trained = Trained(self.model, self.learning)
        self.checkpoint_path = os.path.join(job["output"], CHECKPOINT_FILE)
        self.fingerprint = fingerprint_of(job)

    def train(self):
        learning = self.learning
        loss_batches = self.loss_sample()
        step, loss_before = self.restore()
        if loss_before is None:
            loss_before = self.mean_loss(loss_batches)
            if not math.isfinite(loss_before):
                message = "the loss isn't finite before the first step"
                raise Refusal("failed-precondition", message)
        tokens, loop_started = 0, time.monotonic()
        saved = loop_started
        for step in range(step, learning["steps"]):
            batch = contract.batch_of(step, self.own, self.replay, learning, self.job["seed"])
            loss = self.step(batch, contract.learning_rate_at(step, learning))
            tokens += sum(len(ids) for ids, _ in batch)
            done = step + 1
            contract.report(kind="progress", step=done, steps=learning["steps"], loss=loss)
            is_due = done % self.job["checkpointEverySteps"] == 0
            is_due = is_due or time.monotonic() - saved > CHECKPOINT_EVERY_S
            if is_due and done < learning["steps"]:
                self.save(done, loss_before)
                saved = time.monotonic()
        loop_s = max(time.monotonic() - loop_started, 1e-3)
        self.write_adapter()
        contract.write_metrics(self.job["output"], {
            "lossBefore": loss_before,
            "lossAfter": self.mean_loss(loss_batches),
            "steps": learning["steps"],
            "examples": len(self.own),
            "replayExamples": len(self.replay),
            "skipped": self.skipped,
            "tokensPerSecond": round(tokens / loop_s),
            "durationMs": round((time.monotonic() - self.started) * 1000),
            "memoryBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        })
        if os.path.exists(self.checkpoint_path):
            os.remove(self.checkpoint_path)

    def step(self, batch, rate):
        self.model.train()
        loss = self.loss_of(batch)
        if not torch.isfinite(loss):
            message = "the loss isn't finite any more; lower the learning rate"
            raise Refusal("failed-precondition", message)
        self.trained.optimizer.zero_grad(set_to_none=True)
        (loss + self.trained.proximal_term()).backward()
        self.trained.update(rate)
        return loss.item()

    def loss_of(self, batch):
        """The mean over all learned tokens of the batch."""
        longest = max(len(ids) for ids, _ in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        labels = torch.full_like(ids, IGNORED)
        mask = torch.zeros_like(ids)
        for row, (tokens, learned_from) in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, learned_from : len(tokens)] = torch.tensor(tokens[learned_from:])
            mask[row, : len(tokens)] = 1
        inputs = {"input_ids": ids, "labels": labels, "attention_mask": mask}
        return self.model(**{name: value.to(self.device) for name, value in inputs.items()}).loss

    def loss_sample(self):
        size = self.learning["batch"]
        count = min(LOSS_BATCHES_MAX, math.ceil(len(self.own) / size))
        return [self.own[i * size : (i + 1) * size] for i in range(count)]

    def mean_loss(self, batches):
        self.model.eval()
        with torch.no_grad():
            losses = [self.loss_of(batch).item() for batch in batches]
        return sum(losses) / len(losses)

    def save(self, step, loss_before):
        state = {
            "job": self.fingerprint,
            "step": step,
            "lossBefore": loss_before,
            "adapter": get_peft_model_state_dict(self.model, save_embedding_layers=False),
            "optimizer": self.trained.optimizer.state_dict(),
        }
        contract.write_whole(self.checkpoint_path, lambda path: torch.save(state, path))

    def restore(self):
        """The step to go on from, and the loss that the run began with."""
        if not os.path.exists(self.checkpoint_path):
            return 0, None
        try:
            state = torch.load(self.checkpoint_path, map_location=self.device, weights_only=True)
        except Exception:  # whatever is wrong with it, a damaged checkpoint is as good as none
            return 0, None
        if state.get("job") != self.fingerprint:
            return 0, None
        current = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        with torch.no_grad():
            for name, value in state["adapter"].items():
                current[name].copy_(value)
        self.trained.optimizer.load_state_dict(state["optimizer"])
        return state["step"], state["lossBefore"]

    def write_adapter(self):
        folder = os.path.join(self.job["output"], "adapter")
        os.makedirs(folder, exist_ok=True)
        state = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        tensors = {name: value.detach().float().cpu().contiguous() for name, value in state.items()}
        path = os.path.join(folder, WEIGHTS_FILE)
        contract.write_whole(path, lambda part: save_file(tensors, part, metadata={"format": "pt"}))
        shutil.copyfile(
            os.path.join(self.job["adapterIn"], CONFIG_FILE), os.path.join(folder, CONFIG_FILE)
        )


class Trained:
    """The parameters that training changes, and how: AdamW, FedProx, FFA-LoRA, a lower rank."""

    def __init__(self, model, learning):
        self.learning = learning
        self.parts = []
        for name, parameter in model.named_parameters():
            is_a, is_b = ".lora_A." in name, ".lora_B." in name
            parameter.requires_grad_(is_b or (is_a and not learning["freezeA"]))
            if parameter.requires_grad:
                self.parts.append((is_a, parameter, parameter.detach().clone()))
        if not self.parts:
            raise Refusal("failed-precondition", "the adapter has nothing to train")
        groups = [
            {"params": [p for is_a, p, _ in self.parts if is_a], "share": learning["rateShareOfA"]},
            {"params": [p for is_a, p, _ in self.parts if not is_a], "share": 1},
        ]
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=learning["learningRate"], betas=BETAS, eps=EPSILON,
            weight_decay=learning["weightDecay"],
        )

    def proximal_term(self):
        """FedProx: proximal / 2 times the squared distance from adapter-in."""
        if self.learning["proximal"] == 0:
            return 0
        squares = sum(((p - start) ** 2).sum() for _, p, start in self.parts)
        return self.learning["proximal"] / 2 * squares

    def update(self, rate):
        for is_a, parameter, _ in self.parts:
            rest_of(parameter.grad, is_a, self.learning["trainRank"]).zero_()
        parameters = [parameter for _, parameter, _ in self.parts]
        torch.nn.utils.clip_grad_norm_(parameters, self.learning["clipNorm"])
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.optimizer.step()
        # Weight decay has moved what must come out as it went in.
        with torch.no_grad():
            for is_a, parameter, start in self.parts:
                rank = self.learning["trainRank"]
                rest_of(parameter, is_a, rank).copy_(rest_of(start, is_a, rank))


def rest_of(tensor, is_a, train_rank):
    """The components that aren't trained: rows of A, columns of B."""
    return tensor[train_rank:] if is_a else tensor[:, train_rank:]


class Encoder:
    """Turns examples into tokens as the served model meets them."""

    def __init__(self, tokenizer, end_token):
        self.tokenizer = tokenizer
        if not tokenizer.chat_template:
            raise Refusal("unsupported", "the base carries no chat template")
        end = tokenizer.eos_token_id
        if end_token is not None:
            end = tokenizer.convert_tokens_to_ids(end_token)
        if end is None or end == tokenizer.unk_token_id:
            raise Refusal("unsupported", "the vocabulary has no such token to end an answer")
        self.end = end

    def encode(self, prompt, completion):
        """All tokens, and the first that is learned."""
        messages = [{"role": "user", "content": prompt}]
        given = self.tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_dict=False
        )
        return given + self.plain(completion) + [self.end], len(given)

    def plain(self, text):
        """The text as it stands inside a line: no leading space, and nothing special in it."""
        before = self.ids("\n")
        ids = self.ids("\n" + text)
        return ids[len(before) :] if ids[: len(before)] == before else self.ids(text)

    def ids(self, text):
        encoded = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        return list(encoded["input_ids"])


def keep_short(examples, encode, length_max):
    encoded = [encode(prompt, completion) for prompt, completion in examples]
    short = [sequence for sequence in encoded if len(sequence[0]) <= length_max]
    return short, len(encoded) - len(short)


def load_base(gguf, folder):
    if not os.path.exists(gguf):
        raise Refusal("invalid-argument", f"{gguf} doesn't exist")
    where, named = (folder, {})
    if folder is None:
        where, name = os.path.split(os.path.abspath(gguf))
        named = {"gguf_file": name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, local_files_only=True, **named)
        model = AutoModelForCausalLM.from_pretrained(where, local_files_only=True, **named)
    except (ValueError, KeyError, NotImplementedError, OSError) as error:
        contract.explain_crash(error)
        raise Refusal("unsupported", f"transformers can't read the base {where}") from error
    return model.float(), tokenizer


def load_adapter(base, folder):
    """Puts adapter-in on the base and requires that all of it fits, and is finite."""
    given = load_file(os.path.join(folder, WEIGHTS_FILE))
    for name, value in given.items():
        if not torch.isfinite(value).all():
            message = f"the adapter to go on from: {name} holds a number that isn't finite"
            raise Refusal("failed-precondition", message)
    try:
        model = PeftModel.from_pretrained(base, folder, is_trainable=True)
    except (ValueError, RuntimeError) as error:
        contract.explain_crash(error)
        message = "the adapter to go on from doesn't fit the base"
        raise Refusal("failed-precondition", message) from error
    found = get_peft_model_state_dict(model, save_embedding_layers=False)
    for name in sorted(set(found) ^ set(given)):
        message = f"the adapter to go on from: {name} has no counterpart in the base"
        raise Refusal("failed-precondition", message)
    return model


def fingerprint_of(job):
    """Tells jobs apart by what decides their result."""
    size = os.path.getsize(job["base"])
    digest = sha256(repr((sorted(job["learning"].items()), job["seed"], size)).encode())
    weights = os.path.join(job["adapterIn"], WEIGHTS_FILE)
    for path in (job["examples"], job.get("replay"), weights):
        if path:
            with open(path, "rb") as file:
                digest.update(sha256(file.read()).digest())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
