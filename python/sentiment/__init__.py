"""What the experiment's commands share: the paper's constants, fold lists, model cards, run folders and results.

``paper``
    Every constant and every published number, each with the section it is from.
``console``, ``files``
    Errors a user can act on; files that are whole or absent.
``dataset``, ``folds``
    Labelled images and the five-fold lists made from them.
``cards``
    The pre-trained networks training starts from.
``runs``, ``results``
    Where one training lives on disk, and what is concluded from many.
"""
