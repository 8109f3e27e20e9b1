"""On executors of Apache Spark: hands orders to the program `cordon`, and its answers back.

Both are sealed; neither rows nor keys come through here.
"""

import hashlib
import os
import struct
import subprocess
import sys
import tempfile

import pyarrow
from pyspark import SparkFiles, TaskContext

# Of this Python worker, which does one task after the other: for what it was begun, and the process.
_running = None


def carry_out(name, digest, project, run, batches):
    """For `mapInArrow`: each row is an order; out come an answer, or an exit code and what is wrong."""
    for batch in batches:
        for order in batch.column(0):
            answer, code, trouble = _one(name, digest, project, run, order.as_py())
            yield pyarrow.RecordBatch.from_arrays(
                [
                    pyarrow.array([answer], pyarrow.binary()),
                    pyarrow.array([code], pyarrow.int32()),
                    pyarrow.array([trouble], pyarrow.string()),
                ],
                ["answer", "code", "trouble"],
            )


def _one(name, digest, project, run, order):
    global _running
    key = (name, digest, project, run)
    # It goes by itself when it had nothing to do for a while.
    if _running is not None and (_running.key != key or _running.process.poll() is not None):
        _running.end()
        _running = None
    for again in (True, False):
        if _running is None:
            try:
                _running = _Program(key)
            except _Missing as missing:
                return None, 2, str(missing)
        try:
            return _running.ask(order), 0, None
        except _Ended as ended:
            _running = None
            if ended.code == 0 and again:
                continue
            if ended.code < 0:
                # Killed, or out of memory: another attempt may do better.
                raise RuntimeError("the program of this executor was ended from outside") from None
            return None, ended.code or 1, str(ended)
        except BaseException:
            _running.end()
            _running = None
            raise


class _Missing(Exception):
    pass


class _Ended(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


class _Program:
    def __init__(self, key):
        name, digest, project, _ = self.key = key
        task = TaskContext.get()
        words = ["--format", "json", "--project", os.environ.get("CORDON_PROJECT", project), "executor"]
        words += ["--threads", str(max(1, task.cpus() if task is not None else 1))]
        # Not a pipe: nobody would read it while an answer is waited for.
        self.said = tempfile.TemporaryFile()
        installed = os.environ.get("CORDON_PROGRAM")
        try:
            if name:
                self.process = self._begin_shipped(name, digest, words)
            elif installed:
                self.process = self._begin(installed, words)
            else:
                raise _Missing(
                    "the program was not sent, and the environment variable `CORDON_PROGRAM` of this executor does not say where it is"
                )
        except OSError as error:
            raise _Missing(f"the program cannot be started on this executor: {error.strerror}") from None

    def _begin(self, program, words, files=()):
        return subprocess.Popen(
            [program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, pass_fds=files
        )

    def _begin_shipped(self, name, digest, words):
        """What runs is the very file that was hashed."""
        shipped = SparkFiles.get(name)
        try:
            os.chmod(shipped, 0o755)
        except OSError:
            pass
        with open(shipped, "rb") as program:
            hashed = hashlib.sha256()
            while piece := program.read(1 << 20):
                hashed.update(piece)
            if hashed.hexdigest() != digest:
                raise _Missing("the program that came to this executor is not the one that was sent")
            return self._begin(f"/proc/self/fd/{program.fileno()}", words, [program.fileno()])

    def ask(self, order):
        try:
            self.process.stdin.write(struct.pack("<I", len(order)) + order)
            self.process.stdin.flush()
            answer = self._read(struct.unpack("<I", self._read(4))[0])
        except (OSError, EOFError):
            code = self.process.wait()
            self.said.seek(max(0, self.said.seek(0, os.SEEK_END) - 4000))
            text = self.said.read().decode("utf-8", "replace").strip()
            raise _Ended(code, text) from None
        return answer

    def _read(self, length):
        pieces = self.process.stdout.read(length)
        if len(pieces) < length:
            raise EOFError
        return pieces

    def end(self):
        self.process.kill()
        self.process.wait()


if sys.version_info < (3, 10):
    raise ImportError("Cordon needs Python 3.10 or later on executors")
