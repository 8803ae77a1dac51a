"""Fuzz the readers with atheris, coverage-guided; it is not among the requirements, so first: pip install atheris

    python tests/fuzz/fuzz_readers.py weights -max_total_time=60
    python tests/fuzz/fuzz_readers.py all -max_total_time=30

The kinds are those of tests/helpers/reader_targets.py; what follows goes to libFuzzer. Seeds are complete files,
BVLC Caffe's where it wrote some. A crash, a hang of 10 s, 1 GiB of memory or any exception but one clear CaffeError
ends it with the input in a file crash-…, which ``python tests/fuzz/fuzz_readers.py KIND crash-…`` runs again.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("GLOG_minloglevel", "3")

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
with atheris.instrument_imports(include=["caffe", "google.protobuf.text_format", "json"]):
    from helpers.reader_targets import TARGETS, seeds


def main():
    """Fuzz one kind, or every kind in a process of its own."""
    if len(sys.argv) < 2 or sys.argv[1] not in (*TARGETS, "all"):
        sys.exit(f"usage: {sys.argv[0]} {{{','.join(TARGETS)},all}} [libFuzzer's options]")
    kind, options = sys.argv[1], sys.argv[2:]
    if kind == "all":
        failed = [each for each in TARGETS if subprocess.run([sys.executable, __file__, each, *options]).returncode]
        sys.exit(f"failed: {' '.join(failed)}" if failed else 0)
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for index, content in enumerate(seeds(kind)):
            (corpus / str(index)).write_bytes(content)
        limits = ["-timeout=10", "-rss_limit_mb=3000", "-malloc_limit_mb=1000"]
        given = [] if any(not option.startswith("-") for option in options) else [str(corpus)]
        atheris.Setup([sys.argv[0], *limits, *options, *given], lambda content: TARGETS[kind](content, folder))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
