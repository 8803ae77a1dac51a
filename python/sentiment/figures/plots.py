"""What every drawing by matplotlib begins and ends with; no display, no global state of pyplot."""

import io

DPI = 150


def blank(width, height, **more):
    """A white figure of so many inches, a `matplotlib.figure.Figure`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", **more)
    FigureCanvasAgg(figure)
    return figure


def png(figure) -> bytes:
    """A figure as a PNG file, which names no version of matplotlib."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()
