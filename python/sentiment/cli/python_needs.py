"""Checks a Python that `make PY=...` names for the packages that the tools and a Caffe need.

``python -m sentiment.cli.python_needs`` prints what is missing in one sentence. It needs only the standard library.
"""

import importlib
import sys

PACKAGES = {  # module -> the package that brings it
    "numpy": "numpy",
    "scipy": "scipy",
    "cv2": "opencv-python-headless",
    "sklearn": "scikit-learn",
    "threadpoolctl": "threadpoolctl",
    "matplotlib": "matplotlib",
    "yaml": "PyYAML",
    "tqdm": "tqdm",
    "requests": "requests",
    "google.protobuf": "protobuf",
}
HOWTO = "docs/howto/real-caffe.md"


def problem() -> str:
    """What is wrong with this Python, in one sentence; empty if nothing is."""
    if sys.version_info < (3, 10):  # noqa: UP036 - any Python may be named
        return f"PY: {sys.executable} is Python {sys.version.split()[0]}, the tools need 3.10 or newer; see {HOWTO}"
    missing = []
    for module, package in PACKAGES.items():
        try:
            importlib.import_module(module)
        except ImportError:
            missing.append(package)
    if missing:
        return f"PY: {sys.executable} lacks {', '.join(missing)}; install them there, see {HOWTO}"
    from sentiment.utils.errors import caffe_problem

    try:
        from caffe import Net  # noqa: F401 - as `engine.start` does
    except Exception as error:
        return caffe_problem(error) or f"`import caffe` fails ({type(error).__name__}: {error}); see {HOWTO}"
    return ""


if __name__ == "__main__":
    if sentence := problem():
        print(sentence, file=sys.stderr)
        sys.exit(2)
