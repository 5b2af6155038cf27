"""The same sums in numpy, for `npm run bench:aggregate`: `acc += w * delta` over whole deltas, and
in pieces that stay in the cache. Accumulates in f32. Prints the wall time and the peak memory as JSON."""

import json
import re
import sys
import time

import numpy as np

PIECE_NUMBERS = 1 << 18
BLOCK = 64


def numbers(file, codec, at, count, scales_at):
    """Reads `count` numbers of a delta, from number `at` on, as f32."""
    if codec == "f32":
        return np.fromfile(file, np.float32, count, offset=at)
    if codec == "bf16":
        halves = np.fromfile(file, np.uint16, count, offset=at)
        return (halves.astype(np.uint32) << 16).view(np.float32)
    codes = np.fromfile(file, np.int8, count, offset=at)
    scales = np.fromfile(file, np.float32, count // BLOCK, offset=scales_at)
    return (codes.reshape(-1, BLOCK) * scales[:, None]).reshape(-1)


def data_start(path):
    with open(path, "rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def sum_whole(request):
    total = np.zeros(request["numbers"], np.float32)
    for i, path in enumerate(request["paths"]):
        start = data_start(path)
        codes_at = start + (request["numbers"] // BLOCK * 4 if request["codec"] == "int8" else 0)
        delta = numbers(path, request["codec"], codes_at, request["numbers"], start)
        total += np.float32(i + 1) * delta
    total.tofile(request["output"])


def sum_pieces(request):
    """f32 only: as fast as numpy gets on one thread."""
    files = [open(path, "rb", buffering=0) for path in request["paths"]]
    starts = [data_start(path) for path in request["paths"]]
    piece = np.empty(PIECE_NUMBERS, np.float32)
    total = np.empty(PIECE_NUMBERS, np.float32)
    with open(request["output"], "wb", buffering=0) as output:
        for at in range(0, request["numbers"], PIECE_NUMBERS):
            count = min(PIECE_NUMBERS, request["numbers"] - at)
            total[:] = 0
            for i, file in enumerate(files):
                file.seek(starts[i] + at * 4)
                file.readinto(memoryview(piece[:count]).cast("B"))
                np.multiply(piece, np.float32(i + 1), out=piece)
                np.add(total, piece, out=total)
            output.write(memoryview(total[:count]).cast("B"))
    for file in files:
        file.close()


request = json.loads(sys.argv[1])
run = {"whole": sum_whole, "pieces": sum_pieces}[request["way"]]
cpu_start = time.process_time()
start = time.perf_counter()
run(request)
wall_ms = (time.perf_counter() - start) * 1000
cpu_ms = (time.process_time() - cpu_start) * 1000
with open("/proc/self/status") as status:
    peak_kib = int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1))
print(json.dumps({"wallMs": wall_ms, "cpuMs": cpu_ms, "peakBytes": peak_kib * 1024}))
