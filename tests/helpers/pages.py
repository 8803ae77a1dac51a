"""What the pages for users show: commands and programs."""

import re
import textwrap

from sentiment.utils.files import PROJECT

_NAMED = ("README.md", "CONTRIBUTING.md", "models/README.md", "splits/README.md")
_PATHS = sorted([*(PROJECT / name for name in _NAMED), *(PROJECT / "docs").rglob("*.md")])
PAGES = {str(path.relative_to(PROJECT)): path for path in _PATHS}

_FENCED = r"^```(?P<kind>\w*)\n(?P<fenced>.*?)^```"
_INDENTED = r"^(?P<indented>(?: {4}[^\n]*\n|\n(?= {4}))+)"
_BLOCK = re.compile(f"{_FENCED}|{_INDENTED}", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"make( |$)|\. \.|caffe \w+ |(\.venv/bin/)?(python|pip|ray) ")


def blocks(page):
    """(language, text) of what stands between fences or is indented by four; the latter is Python or sh."""
    found = []
    for match in _BLOCK.finditer(page.read_text()):
        text = textwrap.dedent(match["indented"] or match["fenced"]).strip("\n") + "\n"
        guess = "python" if text.startswith("import ") else "sh"
        found.append((guess if match["indented"] else match["kind"], text))
    return found


def shown(page):
    """("python" or "script", text) of the page's programs and ("sh", line) of its commands, in their order."""
    found = []
    for kind, text in blocks(page):
        if kind == "python":
            found.append((kind, text))
        elif kind == "sh" and text.startswith("#!"):
            found.append(("script", text))
        elif kind == "sh":
            lines = re.sub(r" *\\\n *", " ", text).splitlines()
            found += [("sh", re.split(r"  #|   ", line)[0].strip()) for line in lines if line]
    return found


def inline(page):
    """What stands between backquotes, but for fenced blocks."""
    return re.findall(r"`([^`\n]+)`", _BLOCK.sub(lambda match: match["indented"] or "", page.read_text()))


def commands(page):
    """All commands of a page, those in its text last: what only names a command, as `caffe train`, is none."""
    lines = [text for kind, text in shown(page) if kind == "sh"]
    return lines + [text for text in inline(page) if COMMAND.match(text)]
