"""The ranks of a job: how they meet and agree, and how an error on one of them ends them all."""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, NoReturn, TypeVar

__all__ = ["Job"]

T = TypeVar("T")

# For so many seconds a rank waits busily for the others; after that they may need the core.
_BUSY = 0.001
# So many seconds are enough for what was printed to reach the terminal.
_PASSED_ON = 0.3
# For so many seconds at most a process that ends waits for the others to end, too.
_LINGERING = 5.0
# The largest tag that every MPI has, of the messages that a process sends at its end.
_TAG = 32767


class Job:
    """All processes that MPI started together, as one of them sees it.

    From here on an error that nothing catches on one rank ends the programs of all: the others
    would wait for it for ever.

    Args:
        comm: a communicator of mpi4py, such as `MPI.COMM_WORLD`.

    Attributes:
        rank, size: which of how many processes this is.

    Raises:
        TypeError: something else than a communicator.
        ValueError: MPI.COMM_NULL, or MPI.COMM_SELF in a job of several processes.
    """

    def __init__(self, comm: Any):
        if not all(hasattr(comm, name) for name in ("Allreduce", "allgather", "bcast", "Abort")):
            raise TypeError(f"comm must be a communicator, as MPI.COMM_WORLD; got {comm!r}")
        if not comm:
            raise ValueError(
                "comm is MPI.COMM_NULL, which is no communicator: this process is in none of the "
                "groups, so it cannot train with them"
            )
        self._endings = _Endings.of_this_process()
        if self._endings.is_alone(comm):
            raise ValueError(
                "comm is MPI.COMM_SELF, with which this process would train alone: leave comm out"
            )
        self._members = self._endings.add(comm)
        self.comm = comm
        self.rank: int = comm.Get_rank()
        self.size: int = comm.Get_size()
        if not isinstance(sys.excepthook, _Uncaught):
            sys.excepthook = _Uncaught(self, sys.excepthook)

    def __deepcopy__(self, memo: Any) -> Job:
        return self

    def __reduce__(self) -> Any:
        import pickle

        try:
            pickle.dumps(self.comm)
        except ValueError as error:
            raise TypeError(
                "of all communicators only MPI.COMM_WORLD and MPI.COMM_SELF can be pickled, and so "
                "a Trainer with another comm cannot: keep a tg.Checkpoint, or tg.save the model"
            ) from error
        return Job, (self.comm,)

    def meet(self, where: str, value: Any = None) -> list[Any]:
        """What each rank has to say at a place in the program that all must reach.

        Raises:
            RuntimeError: another rank is elsewhere.
        """
        request = self.comm.Ibarrier()
        patience = time.perf_counter() + _BUSY
        while not request.Test():
            if time.perf_counter() > patience:
                self._look_for_endings(where)
                time.sleep(_BUSY)
        told = self.comm.allgather((where, value))
        for rank, (other, _) in enumerate(told):
            if other != where:
                raise RuntimeError(
                    f"this rank has come to {where}, but rank {rank} to {other}: all ranks must "
                    f"call fit equally often"
                )
        return [value for _, value in told]

    def _look_for_endings(self, where: str) -> None:
        for rank, member in enumerate(self._members):
            if self._endings.has_ended(member):
                raise RuntimeError(
                    f"this rank has come to {where}, but rank {rank} to the end of its program: "
                    f"all ranks must call fit equally often"
                )

    def on_all(self, where: str, check: Callable[[], T]) -> T:
        """What a check returns on this rank, once all ranks have passed it.

        An error that all of them have is raised on all of them, so that it can be caught, and so is
        one that rank 0 alone has, who alone looks at files. Any other ends the job.
        """
        error: Exception | None = None
        result: Any = None
        try:
            result = check()
        except Exception as caught:
            error = caught
        # The addresses of objects are others on each rank.
        text = error and re.sub("0x[0-9a-fA-F]+", "", f"{type(error).__name__}: {error}")
        told = self.meet(where, text)
        if told[0] and not any(told[1:]):
            first = self.comm.bcast(error and _passed_on(error))
            raise self.shared(error or first)
        if error is not None:
            raise self.shared(error) if len(set(told)) == 1 else error
        if any(told):
            self.meet("an error of others")  # which now end the job
        return result

    def agree(self, where: str, facts: Mapping[str, str], otherwise: Exception) -> None:
        """Makes sure that all ranks have the same to say.

        Raises:
            Exception: `otherwise`, on all ranks, with the differences behind what it says.
        """
        told = self.meet(where, dict(facts))
        differences = []
        for name in sorted({name for each in told for name in each}):
            values = [each.get(name, "nothing") for each in told]
            rank = next((i for i, value in enumerate(values) if value != values[0]), None)
            if rank is not None:
                differences.append(f"{name} ({values[0]} on rank 0, {values[rank]} on rank {rank})")
        if differences:
            raise self.shared(type(otherwise)(f"{otherwise}{'; '.join(differences)}"))

    def shared(self, error: T) -> T:
        """An error, marked as one that every rank raises at the same place; none waits there."""
        error.shared_in = self  # type: ignore[attr-defined]
        return error

    @contextlib.contextmanager
    def ended_by_errors(self) -> Iterator[None]:
        """A context in which an error ends the job, unless all ranks have it alike."""
        try:
            yield
        except BaseException as error:
            if not is_shared(error):
                self.end(error)
            raise

    def end(self, error: BaseException) -> NoReturn:
        """Prints an error and ends the programs of all ranks."""
        # An error that all ranks have alike is shown by the first of them, which ends the others.
        if self.rank:
            time.sleep(_PASSED_ON * (1.5 + self.rank / self.size))
        sys.stdout.flush()
        text = "".join(traceback.format_exception(error))
        sys.stderr.write(f"rank {self.rank} of {self.size} failed:\n{text}")
        sys.stderr.flush()
        # MPI throws away what it has not yet passed on by then.
        time.sleep(_PASSED_ON)
        status = 130 if isinstance(error, KeyboardInterrupt) else 1
        self._endings.abort(status)
        os._exit(status)


class _Endings:
    """Which processes have come to the end of their programs, where nobody may wait for them.

    At its end each process sends a message to all with which it shared a communicator. The receives
    are posted beforehand, so that no receive of the user's, of any tag, gets it.
    """

    _this: ClassVar[_Endings | None] = None

    def __init__(self) -> None:
        from mpi4py import MPI

        self._mpi = MPI
        self._world = MPI.COMM_WORLD
        self._group = self._world.Get_group()
        self._ended: set[int] = set()
        self._receives: dict[int, Any] = {}
        atexit.register(self._at_exit)

    @classmethod
    def of_this_process(cls) -> _Endings:
        if cls._this is None:
            cls._this = cls()
        return cls._this

    def is_alone(self, comm: Any) -> bool:
        """Whether it is the communicator of this process alone, though there are others."""
        return bool(comm == self._mpi.COMM_SELF and self._world.size > 1)

    def add(self, comm: Any) -> list[int]:
        """The ranks in the world of those in a communicator, who are told of the end from now on.

        Those who are not in the world, as processes that were started later, are left out.
        """
        group = comm.Get_group()
        members = group.Translate_ranks(list(range(group.size)), self._group)
        own = self._world.rank
        for member in members:
            if member not in (own, self._mpi.UNDEFINED) and member not in self._receives:
                nothing = bytearray(0)
                self._receives[member] = self._world.Irecv(nothing, member, _TAG)
        return list(members)

    def has_ended(self, member: int) -> bool:
        """Whether a process, by its rank in the world, has said that it ends."""
        if member not in self._ended and member in self._receives and self._receives[member].Test():
            self._ended.add(member)
        return member in self._ended

    def abort(self, status: int) -> None:
        """Ends all processes, also those in other communicators."""
        self._world.Abort(status)

    def _at_exit(self) -> None:
        if self._mpi.Is_finalized():
            return
        for member in self._receives:
            self._world.Isend(bytearray(0), member, _TAG)
        # Usually all end together, and nothing is left under way for the end of MPI.
        patience = time.perf_counter() + _LINGERING
        while not all(self.has_ended(m) for m in self._receives):
            if time.perf_counter() > patience:
                break
            time.sleep(_BUSY)
        for member, receive in self._receives.items():
            if not self.has_ended(member):
                receive.Cancel()
                receive.Wait()


class _Uncaught:
    """Python's hook for errors that nothing catches."""

    def __init__(self, job: Job, usual: Callable[..., Any]):
        self.job = job
        self.usual = usual

    def __call__(self, kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not is_shared(error):
            self.job.end(error)
        if error.shared_in.rank == 0:  # type: ignore[attr-defined]
            self.usual(kind, error, trace)


def _passed_on(error: Exception) -> Exception:
    """The error, or one with its words if it cannot be sent to other processes."""
    import pickle

    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__} on rank 0: {error}")
    return error


def is_shared(error: BaseException) -> bool:
    """Whether all ranks have this error."""
    return hasattr(error, "shared_in")
