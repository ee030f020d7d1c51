"""Compiles every pipeline of a folder (tools/export_shaders.rs) with one of Windows' shader compilers, under Wine.

    check_hlsl.py fxc|dxc FOLDER COMPILER_FOLDER first|all
    check_hlsl.py --self-test COMPILER_FOLDER

COMPILER_FOLDER holds hlsl_compile.exe (hlsl_compile.c) and the DLLs. Exits with 1 where a pipeline does not compile, or takes
more than 5 seconds of CPU time on the machine that the limit was set on. Other machines are slower, or busy: every process
compiles reference.hlsl first, which took that machine `NOMINAL` seconds, and limits grow by the ratio, but never shrink. A
pipeline that looks late is compiled again, alone, in turn with the reference, and judged by the least time of each.

The fused chain takes FXC half a minute, which is why `auto` never gives it one (`Chains::path_and_why` in src/device/mod.rs):
`first` leaves it out, and with `all` it has a minute.
"""

import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time

DLL = {"fxc": "d3dcompiler_47.dll", "dxc": "dxcompiler.dll"}
PROFILE = {"fxc": "cs_5_1", "dxc": "cs_6_6"}
AT_ONCE = 24  # pipelines of one process
LIMIT, LIMIT_OF_CHAIN = 5, 60  # seconds of CPU time where the reference takes `NOMINAL`
STOP = 4  # a compiler is stopped after so many times the limit
TRIES = 3  # of a pipeline that looks late
REFERENCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "reference.hlsl")
# Seconds of CPU time that the reference takes (2 quiet cores of a Xeon, 2.1 GHz), and how often it is compiled to take that.
NOMINAL = {"fxc": 1.2, "dxc": 0.36}
TIMES = {"fxc": 1, "dxc": 8}
WORKGROUP_BYTES = 32768  # of DX12, on every adapter


def wine_command():
    for path in ("/usr/lib/wine/wine64", "/usr/bin/wine64", "/usr/bin/wine"):
        if os.path.exists(path):
            return path
    sys.exit("check_hlsl: no Wine")


def cpu_seconds(pid):
    """CPU time of a process so far, or None where it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_chain(pipeline):
    return pipeline["file"].endswith(".chain")


def limit_of(is_chain, reference, kind):
    """Seconds that a pipeline may take where the reference takes `reference`, and how much slower that machine is."""
    scale = max(1.0, reference / NOMINAL[kind])
    return (LIMIT_OF_CHAIN if is_chain else LIMIT) * scale, scale


class Compiler:
    """One of the compilers. `chains` are the paths that have a chain's limit."""

    def __init__(self, kind, folder, chains=()):
        self.kind, self.folder, self.chains = kind, folder, set(chains)
        self.wine = wine_command()
        self.stop, self.tries = STOP, TRIES

    def limit(self, path, reference):
        return limit_of(path in self.chains, reference, self.kind)

    def run(self, paths):
        """Compiles the reference, then files, in one process: the reference's seconds, and (path, what became of it, seconds,
        words) of the files that the process got to."""
        paths = [REFERENCE] * TIMES[self.kind] + paths
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("".join(path + "\n" for path in paths))
            file.flush()
            command = [self.wine, "hlsl_compile.exe", self.kind, DLL[self.kind], PROFILE[self.kind], file.name]
            process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            done, stopped = [], []
            watcher = threading.Thread(target=self.watch, args=(process, paths, done, stopped), daemon=True)
            watcher.start()
            for line in process.stdout:
                fields = line.decode(errors="replace").rstrip("\r\n").split("\t")
                if len(fields) == 4:
                    path, what, ms, words = fields
                    done.append((path, what, int(ms) / 1e3, words))
            words = process.stderr.read().decode(errors="replace").strip()
            process.wait()
            watcher.join()
        n = TIMES[self.kind]
        for path, what, _, why in done[:n]:
            if what == "error":
                sys.exit(f"check_hlsl: {self.kind} does not compile {path}: {why}")
        if len(done) < n:
            sys.exit(f"check_hlsl: {self.kind} did not end, or fell over, at its reference. {words}")
        if len(done) < len(paths):
            if stopped:
                done.append((paths[len(done)], "stopped", stopped[0], ""))
            else:
                done.append((paths[len(done)], "error", 0.0, f"the compiler fell over. {words}"))
        return sum(seconds for _, _, seconds, _ in done[:n]), done[n:]

    def watch(self, process, paths, done, stopped):
        """Stops a compiler that has been at one file for too long."""
        n, since = 0, cpu_seconds(process.pid)
        while (now := cpu_seconds(process.pid)) is not None and process.poll() is None:
            ended, of_reference = len(done), TIMES[self.kind]
            if ended > n:
                n, since = ended, now
            if of_reference <= n < len(paths):
                limit, _ = self.limit(paths[n], sum(seconds for _, _, seconds, _ in done[:of_reference]))
                if now - since > self.stop * limit:
                    stopped.append(now - since)
                    process.kill()
                    return
            time.sleep(0.2)

    def judge(self, path):
        """Compiles a file alone, as often as it takes to see that it is not late: None, or why it is bad."""
        times, references = [], []
        for _ in range(self.tries):
            reference, [(_, what, seconds, words)] = self.run([path])
            if what == "error":
                return words
            times.append(seconds)
            references.append(reference)
            limit, scale = self.limit(path, min(references))
            if min(times) <= limit:
                return None
        return (f"{min(times):.1f} s of CPU time at best of {self.tries} tries, and {limit:.1f} are allowed here, where compilers take "
                f"{scale:.2f} times as long")


def self_test(folder):
    """That a slow or busy machine is no fault, and a slow shader is one there and elsewhere."""
    # Seconds of the reference and of the pipeline, in turn, and whether the pipeline is late.
    cases = [
        ([(1.2, 1.3)], False),
        ([(1.0, 5.5)] * TRIES, True),  # a fast machine is held to the same 5 seconds
        ([(1.2, 5.5)] * TRIES, True),
        ([(1.2, 6.0), (1.3, 4.0)], False),  # late once, while something else ran
        ([(6.0, 6.5)], False),  # five times as slow
        ([(6.0, 27.0), (6.1, 26.0), (5.9, 28.0)], True),
        ([(4.0, 20.0), (1.2, 9.0), (1.2, 9.0)], True),  # the reference was held up once
    ]
    for turns, late in cases:
        compiler, left = Compiler("fxc", folder), list(turns)
        def play(paths, left=left):
            reference, seconds = left.pop(0)
            return reference, [(paths[0], "ok", seconds, "")]
        compiler.run = play
        found = compiler.judge("x")
        if (found is not None) != late or left:
            sys.exit(f"check_hlsl: self-test: {turns} gives {found}")
    # Three loops that the compiler itself unrolls 1,000 times each: beyond 1,024 it refuses.
    text = """RWByteAddressBuffer data : register(u0);
        [numthreads(64, 1, 1)] void main(uint3 id : SV_DispatchThreadID) {
            float x = asfloat(data.Load(id.x * 4));
            [unroll] for (int i = 0; i < N; i++) { x = x * asfloat(data.Load((id.x + i) * 4)) + sin(x); }
            [unroll] for (int j = 0; j < N; j++) { x = x * asfloat(data.Load((id.x + j) * 4)) + sin(x); }
            [unroll] for (int k = 0; k < N; k++) { x = x * asfloat(data.Load((id.x + k) * 4)) + sin(x); }
            data.Store(id.x * 4, asuint(x)); }"""
    with tempfile.TemporaryDirectory() as at:
        for turns, late in [(8, False), (1000, True)]:
            compiler = Compiler("fxc", folder)
            compiler.stop, compiler.tries = 1.01, 1
            path = os.path.join(at, f"{turns}.hlsl")
            with open(path, "w", encoding="utf-8") as file:
                file.write(text.replace("N;", f"{turns};"))
            found = compiler.judge(path)
            if (found is not None) != late:
                sys.exit(f"check_hlsl: self-test: loops of {turns} turns: {found}")
    print(f"check_hlsl: self-test passed; loops of 1000 turns, unrolled: {found}")


def main():
    if sys.argv[1:2] == ["--self-test"]:
        return self_test(sys.argv[2])
    kind, folder, compilers, which = sys.argv[1:]
    with open(f"{folder}/manifest.json", encoding="utf-8") as file:
        pipelines = json.load(file)
    # FXC has no 64-bit integers, and wgpu offers them with DXC only.
    pipelines = [p for p in pipelines if kind == "dxc" or not p["int64"]]
    pipelines = [p for p in pipelines if p["workgroup_bytes"] <= WORKGROUP_BYTES]
    if kind == "fxc":
        # Software whose compiler is FXC gets a GPU's tiles (`Device::target`).
        pipelines = [p for p in pipelines if "in software" not in p["plan"]]
        pipelines = [p for p in pipelines if which == "all" or not is_chain(p)]
    # Different pipelines often come to the same text.
    by_text = {}
    for pipeline in pipelines:
        path = os.path.abspath(f"{folder}/{pipeline['file']}.{kind}.hlsl")
        with open(path, encoding="utf-8") as file:
            by_text.setdefault(file.read(), (path, pipeline))
    plans = dict(by_text.values())
    work = queue.Queue()
    paths = list(plans)
    for first in range(0, len(paths), AT_ONCE):
        work.put(paths[first : first + AT_ONCE])
    compiler = Compiler(kind, compilers, (path for path in paths if is_chain(plans[path])))
    results, late, references, start = [], [], [], time.monotonic()

    def worker():
        while True:
            try:
                rest = work.get_nowait()
            except queue.Empty:
                return
            while rest:
                reference, done = compiler.run(rest)
                references.append(reference)
                results.extend(done)
                late.extend(path for path, what, seconds, _ in done
                            if what != "error" and seconds > compiler.limit(path, reference)[0])
                rest = rest[len(done) :]

    threads = [threading.Thread(target=worker) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    bad = [(path, words) for path, what, _, words in results if what == "error"]
    for path in late:
        why = compiler.judge(path)
        print(f"{kind}: {os.path.basename(path)} looked late and was compiled again, alone: {why or 'it is not'}")
        if why:
            bad.append((path, why))
    for path, why in bad:
        print(f"{kind}: {os.path.basename(path)} of {plans[path]['plan']}: {why}", file=sys.stderr)
    unfinished = len(paths) - len(results)
    if unfinished or not references:
        sys.exit(f"{kind}: {unfinished} of {len(paths)} texts were not compiled")
    reference = statistics.median(references)
    limit, scale = limit_of(False, reference, kind)
    slowest = sorted(results, key=lambda r: -r[2])[:5]
    print(f"{kind}: {len(pipelines)} pipelines ({len(results)} texts) in {time.monotonic() - start:.0f} s, {len(bad)} bad; "
          f"{sum(r[2] for r in results):.0f} s of CPU time, slowest: "
          + ", ".join(f"{os.path.basename(path)} {seconds:.2f}" for path, _, seconds, _ in slowest))
    print(f"{kind}: limit {limit:.1f} s, {LIMIT} times {scale:.2f}: the reference took {reference:.2f} s "
          f"({min(references):.2f} to {max(references):.2f}), and {NOMINAL[kind]} on the machine that the limit was set on")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
