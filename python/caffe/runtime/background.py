"""Work in the background that a fork of the process waits for."""

import os
import threading
from typing import ClassVar


class Task(threading.Thread):
    """A function that runs in a thread. A fork waits until it has returned, for a child has no threads of its parent.

    So the child finds the value, and no lock is held by a thread that it lacks.
    """

    _running: ClassVar[set["Task"]] = set()
    _starting = threading.Lock()

    def __init__(self, function):
        super().__init__()
        self._function = function
        self._value = self._error = None
        with self._starting:
            self._running.add(self)
            self.start()

    def run(self):
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error
        self._running.discard(self)

    @classmethod
    def before_fork(cls):
        """Wait for all running tasks, and let none start."""
        cls._starting.acquire()
        for task in list(cls._running):
            if task is not threading.current_thread():
                task.join()

    @classmethod
    def after_fork(cls):
        """Let tasks start again."""
        cls._running.clear()
        cls._starting.release()

    def result(self):
        """What the function returned; raises what it raised."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._value


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=Task.before_fork, after_in_parent=Task.after_fork, after_in_child=Task.after_fork)
