"""Archives made in memory."""

import io
import tarfile
import zipfile


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    """A zip archive's bytes; a member is a name, or a ZipInfo, and its content."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as packed:
        for name, content in members:
            packed.writestr(name, content)
    return stream.getvalue()


def tarred(members, mode="w:gz"):
    """A tar archive's bytes; a member is a name and its content, or a TarInfo and none."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in members:
            entry = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if content is not None:
                entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content or b""))
    return stream.getvalue()
