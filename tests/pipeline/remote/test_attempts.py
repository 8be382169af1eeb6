"""Which failures of requests are tried again, how often, and what is said in the end."""

from __future__ import annotations

import errno
import time
from typing import Any

import pytest

from pipeline.errors import StoreError, UnreadableFile, WrongFolder
from pipeline.remote import attempts
from pipeline.remote.attempts import TRIES, attempt
from pipeline.remote.objects import together


class Answer(Exception):
    """An error of botocore, by what its `response` says."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(f"An error occurred ({code})")
        self.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}


def caused(error: Exception, cause: Exception) -> Exception:
    """As s3fs raises it."""
    error.__cause__ = cause
    return error


def refused(error: Exception) -> tuple[int, Exception]:
    """How often a request that always fails is made, and what is raised."""
    count = 0

    def request() -> None:
        nonlocal count
        count += 1
        raise error

    with pytest.raises(Exception) as caught:  # noqa: PT011
        attempt(request, "s3://bucket/run/top.parquet", verb="written")
    return count, caught.value


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    made: list[float] = []
    monkeypatch.setattr("pipeline.remote.attempts.time.sleep", made.append)
    return made


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("timed out"),
        ConnectionResetError(errno.ECONNRESET, "reset"),
        caused(OSError(errno.EBUSY, "slow"), Answer("SlowDown", 503)),
        caused(OSError(errno.EREMOTEIO, "broken"), Answer("InternalError", 500)),
        caused(OSError(errno.EINVAL, "cut"), Answer("IncompleteBody", 400)),
        caused(OSError(errno.EINVAL, "changed"), Answer("BadDigest", 400)),
        caused(TimeoutError("idle"), Answer("RequestTimeout", 400)),
        Answer("TooManyRequests", 429),
    ],
    ids=repr,
)
def test_what_may_pass_is_tried_again(error: Exception, pauses: list[float]) -> None:
    count, raised = refused(error)
    assert count == TRIES
    assert isinstance(raised, UnreadableFile)
    assert f"tried {TRIES} times" in str(raised)
    assert "run the same command again" in str(raised)
    assert len(pauses) == TRIES - 1
    for number, pause in enumerate(pauses):
        longest = min(attempts.LONGEST_PAUSE_S, attempts.FIRST_PAUSE_S * 2**number)
        assert longest / 2 <= pause <= longest


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            caused(PermissionError("Access Denied"), Answer("AccessDenied", 403)),
            StoreError,
            "check the credentials",
        ),
        (
            caused(FileNotFoundError("gone"), Answer("NoSuchBucket", 404)),
            WrongFolder,
            "give a bucket that exists",
        ),
        (FileNotFoundError("The specified bucket does not exist"), WrongFolder, "give a bucket that exists"),
        (caused(OSError(errno.EINVAL, "odd"), Answer("InvalidArgument", 400)), StoreError, "InvalidArgument"),
        (OSError(errno.ENOSPC, "No space left on device"), StoreError, "free some space on this machine"),
        (RuntimeError("odd"), StoreError, "cannot be written: odd"),
    ],
    ids=repr,
)
def test_what_does_not_pass_is_said_at_once(error: Exception, kind: type[Exception], said: str) -> None:
    count, raised = refused(error)
    assert count == 1
    assert isinstance(raised, kind)
    assert said in str(raised)
    assert "s3://bucket/run/top.parquet" in str(raised)


def test_an_object_that_is_not_there_is_for_the_caller_to_judge() -> None:
    count, raised = refused(FileNotFoundError("bucket/run/top.parquet"))
    assert (count, type(raised)) == (1, FileNotFoundError)


def test_success_ends_the_attempts(pauses: list[float]) -> None:
    answers: list[Any] = [TimeoutError(), TimeoutError(), "done"]

    def request() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    assert attempt(request, "s3://bucket", verb="read") == "done"
    assert len(pauses) == 2


def test_who_waits_to_try_again_ends_when_another_request_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.remote.attempts.FIRST_PAUSE_S", 20.0)

    def fail(error: Exception) -> None:
        def request() -> None:
            raise error

        attempt(request, "s3://bucket", verb="read")

    started = time.monotonic()
    with pytest.raises(StoreError, match="denied"):
        together(fail, [PermissionError("denied"), TimeoutError("slow"), TimeoutError("slow")])
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("error", [MemoryError(), KeyboardInterrupt(), StoreError("ours")])
def test_what_is_no_answer_of_the_storage_is_raised_at_once(error: BaseException) -> None:
    asked: list[int] = []

    def request() -> None:
        asked.append(1)
        raise error

    with pytest.raises(type(error)):
        attempt(request, "s3://bucket/run", verb="read")
    assert asked == [1]


def test_an_answer_of_google_says_its_status() -> None:
    kind = type("HttpError", (Exception,), {"__module__": "gcsfs.retry"})
    for code, tries in (("503", TRIES), (429, TRIES), (404, 1), ("none", 1)):
        error = kind("an error")
        error.code = code  # type: ignore[attr-defined]
        assert refused(error)[0] == tries, code


def test_an_answer_without_a_status_is_judged_by_its_cause() -> None:
    error = Answer("SlowDown", 503)
    error.response["ResponseMetadata"] = {}  # type: ignore[assignment]
    assert refused(error)[0] == 1
    assert refused(caused(error, Answer("SlowDown", 503)))[0] == TRIES
