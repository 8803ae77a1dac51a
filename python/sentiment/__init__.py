"""The paper's experiments, on pycaffe's public interface. Each package imports only from those named before it.

``paper``, ``names``
    Every constant and published number, each with the section it is from; names as tables and figures show them.
``utils``, ``engine``
    Errors, files, locks and progress; the Caffe in use.
``data``, ``networks``, ``sources``
    Labelled images and folds; definitions of networks; pre-trained weights.
``training``, ``evaluation``, ``analysis``
    A run and its folder; a run's predictions and result; what its layers know.
``report``, ``figures``, ``experiments``
    The paper's tables and figures, and what each of them needs.
``demo``, ``web``, ``cli``
    Drawn images, the web page, command lines.
"""

__version__ = "0.1.0"
