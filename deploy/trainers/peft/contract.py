"""The trainer's contract of ../README.md, as far as no PyTorch is needed for it.

Reads and checks what a trainer is told, reports how it goes, and writes results so that they are
whole or not there. A refusal names what is wrong and never quotes an example: others read it.
"""

import json
import os
import random
import sys

CONTRACT = 1
LEARNING_KEYS = (
    "learningRate", "finalLearningRateShare", "rateShareOfA", "warmupSteps", "steps", "batch",
    "sequenceLength", "replayShare", "weightDecay", "clipNorm", "proximal", "freezeA", "trainRank",
)
LIMIT_KEYS = ("timeMs", "memoryBytes", "threads")
PATH_KEYS = ("base", "adapterIn", "examples", "output")


class Refusal(Exception):
    """Why this job can't be done, with one of the edge's fault codes."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


def load_job(path):
    """Reads the job and requires every key that training depends on."""
    try:
        with open(path, encoding="utf-8") as file:
            job = json.load(file)
    except (OSError, ValueError) as error:
        raise Refusal("invalid-argument", f"{path} can't be read as JSON") from error
    if not isinstance(job, dict) or job.get("contract") != CONTRACT:
        raise Refusal("unsupported", f"this trainer keeps contract {CONTRACT}, the job another")
    for key in PATH_KEYS:
        if not isinstance(job.get(key), str):
            raise Refusal("invalid-argument", f"the training job is wrong: {key}: must be a path")
    for part, keys in (("learning", LEARNING_KEYS), ("limits", LIMIT_KEYS)):
        values = job.get(part)
        for key in keys:
            if not isinstance(values, dict) or not isinstance(values.get(key), (int, float)):
                message = f"the training job is wrong: {part}.{key}: must be a number"
                raise Refusal("invalid-argument", message)
    if job["learning"]["steps"] < 1 or job["learning"]["batch"] < 1:
        raise Refusal("invalid-argument", "the training job is wrong: steps and batch: at least 1")
    for key in ("seed", "checkpointEverySteps"):
        if not isinstance(job.get(key), int):
            raise Refusal("invalid-argument", f"the training job is wrong: {key}: must be a number")
    return job


def read_examples(path):
    """Reads (prompt, completion) pairs; a fault names the line, never its text."""
    if not os.path.exists(path):
        raise Refusal("invalid-argument", f"{path} doesn't exist")
    examples = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                examples.append(parse_example(line, f"{path}:{number}"))
    if not examples:
        raise Refusal("invalid-argument", f"{path} has no examples; add one JSON object a line")
    return examples


def parse_example(line, where):
    try:
        example = json.loads(line)
    except ValueError:
        # Without its cause: the parser's own words would quote the line.
        raise Refusal("invalid-argument", f"{where}: not a JSON object") from None
    prompt = example.get("prompt") if isinstance(example, dict) else None
    completion = example.get("completion") if isinstance(example, dict) else None
    if not isinstance(prompt, str) or not isinstance(completion, str) or not completion:
        message = f'{where}: needs the strings "prompt" and "completion" (the latter not empty)'
        raise Refusal("invalid-argument", message)
    return prompt, completion


def report(**message):
    """Writes one line that the edge reads."""
    print(json.dumps(message), flush=True)


def report_refusal(refusal):
    report(kind="fault", code=refusal.code, message=str(refusal))


def write_whole(path, write):
    """Calls write with a temporary path, and puts the file in place once it is on disk."""
    temporary = f"{path}.part"
    write(temporary)
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_metrics(output, metrics):
    """Last of all: with the metrics, the result is whole."""

    def write(path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(metrics, file)

    write_whole(os.path.join(output, "metrics.json"), write)


def learning_rate_at(step, learning):
    """Warms up linearly, then falls linearly to the final share."""
    warmup = learning["warmupSteps"]
    warm = 1 if warmup == 0 else min(1, (step + 1) / warmup)
    done = step / max(1, learning["steps"] - 1)
    return learning["learningRate"] * warm * (1 - done * (1 - learning["finalLearningRateShare"]))


def batch_of(step, own, replay, learning, seed):
    """The sequences of a step: a function of seed and step alone, so that a resumed run agrees."""
    batch = learning["batch"]
    wanted = int(batch * learning["replayShare"] + 0.5) if replay else 0
    replayed = min(wanted, batch - 1)
    fresh = batch - replayed
    return stream_part(own, f"{seed}/own", step * fresh, fresh) + stream_part(
        replay, f"{seed}/replay", step * replayed, replayed
    )


def stream_part(items, seed, start, count):
    """A part of endless passes over the items, each in an order of its own."""
    part = []
    for index in range(start, start + count):
        turn, place = divmod(index, len(items))
        order = list(range(len(items)))
        random.Random(f"{seed}/{turn}").shuffle(order)
        part.append(items[order[place]])
    return part


def explain_crash(error):
    """Goes to the edge's own eyes only; it may hold anything."""
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
