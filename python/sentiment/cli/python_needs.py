"""Whether a Python that this project is not installed in has what the tools and a Caffe need.

``python -m sentiment.python_needs`` says in one sentence what is missing, and needs nothing but the standard library.
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
    "pooch": "pooch",
    "requests": "requests",
    "google.protobuf": "protobuf",
}
HOWTO = "docs/howto/real-caffe.md"


def problem() -> str:
    """What is wrong with this Python, in a sentence; empty where nothing is."""
    if sys.version_info < (3, 10):  # noqa: UP036 - any Python may be named
        return f"PY: {sys.executable} is Python {sys.version.split()[0]}, and the tools need 3.10 or newer; see {HOWTO}"
    missing = [package for module, package in PACKAGES.items() if not _is_there(module)]
    if missing:
        return f"PY: {sys.executable} has no {', '.join(missing)}; install that there, see {HOWTO}"
    from sentiment.utils.errors import caffe_problem

    try:
        from caffe import Net  # noqa: F401 - as `engine.start` does
    except Exception as error:
        return caffe_problem(error) or f"`import caffe` fails ({type(error).__name__}: {error}); see {HOWTO}"
    return ""


def _is_there(module):
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    if sentence := problem():
        print(sentence, file=sys.stderr)
        sys.exit(2)
