"""Compiles every pipeline of a folder (tools/export_shaders.rs) with one of Windows' shader compilers, under Wine.

    check_hlsl.py fxc|dxc FOLDER COMPILER_FOLDER first|all

COMPILER_FOLDER holds hlsl_compile.exe (hlsl_compile.c) and the DLLs. Exits with 1 where a pipeline does not compile, or takes
more than 5 seconds of CPU time. The fused chain takes FXC half a minute, which is why `auto` never gives it one
(`Chains::path_and_why` in src/device/mod.rs): `first` leaves it out, and with `all` it has a minute.
"""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time

DLL = {"fxc": "d3dcompiler_47.dll", "dxc": "dxcompiler.dll"}
PROFILE = {"fxc": "cs_5_1", "dxc": "cs_6_6"}
AT_ONCE = 24  # pipelines of one process
LIMIT, LIMIT_OF_CHAIN = 5, 60  # seconds of CPU time
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


class Compiler:
    """One of the compilers."""

    def __init__(self, kind, folder):
        self.kind, self.folder = kind, folder
        self.wine = wine_command()

    def run(self, paths):
        """Compiles files in one process: (path, what became of it, seconds, words) of those that it got to."""
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("".join(path + "\n" for path in paths))
            file.flush()
            command = [self.wine, "hlsl_compile.exe", self.kind, DLL[self.kind], PROFILE[self.kind], file.name]
            process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            done = []
            timer = threading.Thread(target=self.watch, args=(process, done), daemon=True)
            timer.start()
            for line in process.stdout:
                done.append(line.decode(errors="replace").rstrip("\r\n").split("\t"))
            words = process.stderr.read().decode(errors="replace").strip()
            process.wait()
        results = [(path, what, int(ms) / 1e3, words) for path, what, ms, words in (d for d in done if len(d) == 4)]
        if len(results) < len(paths):
            path = paths[len(results)]
            results.append((path, "error", 0.0, f"the compiler did not end, or fell over. {words}"))
        return results

    def watch(self, process, done):
        """Stops a compiler that has been at one file for too long."""
        n, since = 0, cpu_seconds(process.pid)
        while (now := cpu_seconds(process.pid)) is not None and process.poll() is None:
            if len(done) > n:
                n, since = len(done), now
            if now - since > 2 * LIMIT_OF_CHAIN:
                process.kill()
            time.sleep(0.5)


def main():
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
    compiler, results, start = Compiler(kind, compilers), [], time.monotonic()

    def worker():
        while True:
            try:
                rest = work.get_nowait()
            except queue.Empty:
                return
            while rest:
                done = compiler.run(rest)
                results.extend(done)
                rest = rest[len(done) :]

    threads = [threading.Thread(target=worker) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    bad = 0
    for path, what, seconds, words in results:
        limit = LIMIT_OF_CHAIN if is_chain(plans[path]) else LIMIT
        late = seconds > limit
        if what == "error" or late:
            bad += 1
            why = words if what == "error" else f"{seconds:.1f} s of CPU time, and {limit:.0f} are allowed"
            print(f"{kind}: {os.path.basename(path)} of {plans[path]['plan']}: {why}", file=sys.stderr)
    slowest = sorted(results, key=lambda r: -r[2])[:5]
    print(f"{kind}: {len(pipelines)} pipelines ({len(results)} texts) in {time.monotonic() - start:.0f} s, {bad} bad; "
          f"{sum(r[2] for r in results):.0f} s of CPU time, slowest: "
          + ", ".join(f"{os.path.basename(path)} {seconds:.2f}" for path, _, seconds, _ in slowest))
    sys.exit(1 if bad or not results else 0)


if __name__ == "__main__":
    main()
