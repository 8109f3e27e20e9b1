"""On executors of Apache Spark: hands orders to the program `cordon`, and what it answers back.

All of it is sealed; neither rows nor keys come through here in clear.
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
    """For `mapInArrow`: each row is an order for a unit; out come an answer, or an exit code and what is wrong."""
    for batch in batches:
        for order in batch.column(0):
            answer, code, trouble = _one((name, digest, project, run), order.as_py())
            yield pyarrow.RecordBatch.from_arrays(
                [
                    pyarrow.array([answer], pyarrow.binary()),
                    pyarrow.array([code], pyarrow.int32()),
                    pyarrow.array([trouble], pyarrow.string()),
                ],
                ["answer", "code", "trouble"],
            )


def _one(key, order):
    for again in (True, False):
        try:
            return _begun(key).ask(order), 0, None
        except _Missing as missing:
            return None, 2, str(missing)
        except _Ended as ended:
            _end()
            # It goes by itself when it had nothing to do for a while.
            if ended.code == 0 and again:
                continue
            return None, ended.passing(), str(ended)
        except BaseException:
            _end()
            raise


# Sides of pieces that are none: what a task came to instead, sealed; and an exit code with a text.
_FAILED, _TROUBLE = -1, -2
# Pieces that leave together.
_PIECES, _BYTES = 64, 1 << 20


def stage(name, digest, project, order, keys, batches):
    """For `mapInArrow`: the rows of a partition are the pieces of one task of a query's stage; out come those that it sends."""
    keys = struct.unpack(f"<{len(keys) // 4}i", keys)
    task, failed, program = None, [], None
    try:
        for batch in batches:
            for number, side, piece in zip(*(batch.column(at).to_pylist() for at in (1, 2, 3))):
                if side < 0:
                    failed.append((number, side, piece))
                    continue
                if task is None:
                    task = number
                    program = _stage((name, digest, project, "queries"), order, task)
                elif task != number:
                    raise RuntimeError("Spark put two tasks in one partition")
                if piece is not None:
                    program.send(b"P", struct.pack("<I", side) + piece)
        if failed:
            # Nobody takes what this task would send.
            if program is not None:
                _end()
            yield _batch([(0, *one) for one in failed])
            return
        if program is None:
            return
        program.send(b"E")
        held, size = [], 0
        for number, side, piece in program.pieces():
            held.append((keys[number] if side >= 0 and keys else 0, number, side, piece))
            size += len(piece)
            if len(held) >= _PIECES or size >= _BYTES:
                yield _batch(held)
                held, size = [], 0
        if held:
            yield _batch(held)
    except _Missing as missing:
        yield _batch([(0, 2, _TROUBLE, str(missing).encode())])
    except _Ended as ended:
        _end()
        yield _batch([(0, ended.passing() or 1, _TROUBLE, str(ended).encode())])
    except BaseException:
        # Whoever took what this sent has gone, or something else: nobody reads what the program has to say.
        _end()
        raise


def _stage(key, order, task):
    for again in (True, False):
        program = _begun(key)
        try:
            program.send(b"S", order)
            program.send(b"T", struct.pack("<I", task))
            program.take(b"R")
            return program
        except _Ended as ended:
            _end()
            if ended.code != 0 or not again:
                raise


def _batch(rows):
    columns = list(zip(*rows))
    types = [pyarrow.int32()] * 3 + [pyarrow.binary()]
    return pyarrow.RecordBatch.from_arrays([pyarrow.array(column, of) for column, of in zip(columns, types)], ["key", "task", "side", "piece"])


def _begun(key):
    """The program, for what it was begun or anew."""
    global _running
    if _running is not None and (_running.key != key or _running.process.poll() is not None):
        _end()
    if _running is None:
        _running = _Program(key)
    return _running


def _end():
    global _running
    if _running is not None:
        _running.end()
        _running = None


class _Missing(Exception):
    pass


class _Ended(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code

    def passing(self):
        """The exit code. Killed, or out of memory: another attempt may do better."""
        if self.code < 0:
            raise RuntimeError("the program of this executor was ended from outside") from None
        return self.code


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
        self.send(b"U", order)
        return self.take(b"A")

    def send(self, kind, content=b""):
        try:
            self.process.stdin.write(kind + struct.pack("<I", len(content)))
            self.process.stdin.write(content)
            if kind != b"P":
                self.process.stdin.flush()
        except OSError:
            raise self._ended() from None

    def take(self, kind):
        found, content = self._frame()
        if found != kind:
            raise RuntimeError("the program of this executor does not say what it was asked for")
        return content

    def pieces(self):
        """What it sends for a task: for which one, as what side, and the piece."""
        while True:
            kind, content = self._frame()
            if kind == b"E":
                return
            number, side = struct.unpack_from("<ii", content)
            yield number, side, content[8:]

    def _frame(self):
        try:
            kind, length = struct.unpack("<cI", self._read(5))
            return kind, self._read(length)
        except (OSError, EOFError):
            raise self._ended() from None

    def _ended(self):
        code = self.process.wait()
        self.said.seek(max(0, self.said.seek(0, os.SEEK_END) - 4000))
        return _Ended(code, self.said.read().decode("utf-8", "replace").strip())

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
