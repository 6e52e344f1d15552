"""One stream of shardkeep's pipeline, and the calls on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyDetail
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from shardkeep.pipeline.v1 import pipeline_pb2

Detail = TypeVar("Detail", bound=Message)

# Several frames rather than one large one: the service works on the first while the next is written.
CALLS_PER_FRAME = 64
# A frame is closed at this size; with one request more it is still far below the service's limit.
FRAME_BYTES = 65_536
IDS_PER_FRAME = 1_024
MAX_UINT32 = 0xFFFFFFFF
CODES = {code.value[0]: code for code in grpc.StatusCode}


class CallError(Exception):
    """How a call failed. Decide by `code`, or by `reason`, which is a code of docs/errors.md or ''."""

    def __init__(
        self, code: grpc.StatusCode, message: str, *, reason: str = "", details: Iterable[AnyDetail] = ()
    ) -> None:
        super().__init__(f"{code.name} {reason}: {message}")
        self.code, self.details = code, tuple(details)
        info = self.detail(error_details_pb2.ErrorInfo)
        self.reason = reason if info is None else info.reason

    def detail(self, kind: type[Detail]) -> Detail | None:
        """The detail of this kind, as error_details_pb2.RetryInfo; None where there is none."""
        found = kind()
        return found if any(detail.Unpack(found) for detail in self.details) else None


class NotForThePipeline(Exception):
    """The call was not sent, and is to go as a unary one."""


@dataclass(eq=False)
class Call:
    method: str
    request: bytes
    deadline: float
    answer: asyncio.Future[bytes]
    # none until it is sent
    stream: PipelineStream | None = None
    id: int = 0

    def reject(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class CallQueue(Protocol):
    def next_call(self) -> Call | None: ...

    def enqueue(self, call: Call) -> None: ...


class PipelineStream:
    """Takes its calls from a queue until it is retired."""

    def __init__(self, queue: CallQueue, rpc: Any) -> None:
        # set when it takes no more calls: it drains, it is over, or the client closes
        self.retired = asyncio.Event()
        # none until the service has accepted the stream
        self.limits: pipeline_pb2.PipelineLimits | None = None
        self.answered = False
        # none until it is over
        self.code: grpc.StatusCode | None = None
        self.message = "the service is going away"
        self._queue = queue
        self._rpc = rpc
        self._in_flight: dict[int, Call] = {}
        self._given_up: set[int] = set()
        self._numbers: dict[str, int] = {}
        self._last_id = 0
        self._awake = asyncio.Event()

    async def run(self) -> None:
        """Until the stream is over; its calls have their answers or errors then."""
        writer = asyncio.create_task(self._write())
        try:
            async for frame in self._rpc:
                self._receive(frame)
        except grpc.aio.AioRpcError:
            pass  # code() and details() tell the same
        self.code, self.message = await self._rpc.code(), await self._rpc.details() or "the stream ended"
        self.retire()
        for call in self._in_flight.values():
            call.reject(CallError(grpc.StatusCode.UNAVAILABLE, self.message, reason="OUTCOME_UNKNOWN"))
        # never cancelled: gRPC ends the whole stream with a write that is cancelled
        await writer

    def wake(self) -> None:
        """There may be something to send."""
        self._awake.set()

    def retire(self) -> None:
        """Takes no more calls; half-closes when those in flight are answered."""
        self.retired.set()
        self.wake()

    def give_up(self, call: Call) -> None:
        """Tells the service that nobody waits for a call; does nothing when it is answered."""
        if self._in_flight.get(call.id) is call:
            self._given_up.add(call.id)
            self.wake()

    async def _write(self) -> None:
        try:
            while self.code is None:
                await self._awake.wait()
                self._awake.clear()
                while (frame := self._next_frame()) is not None:
                    await self._rpc.write(frame)  # returns when the service can take more
                if self.retired.is_set() and not self._in_flight:
                    await self._rpc.done_writing()
                    return
        except Exception:
            pass  # the stream is over, and its reader is told how

    def _next_frame(self) -> pipeline_pb2.PipelineRequest | None:
        frame = pipeline_pb2.PipelineRequest()
        while self._given_up and len(frame.cancelled_ids) < IDS_PER_FRAME:
            given_up = self._given_up.pop()
            # it may be answered by now, and then its id may stand for another call of this frame
            if given_up in self._in_flight:
                frame.cancelled_ids.append(given_up)
        frame_bytes = 0
        while frame_bytes < FRAME_BYTES and len(frame.calls) < CALLS_PER_FRAME:
            call = self._next_call()
            if call is None:
                break
            self._add(call, frame)
            frame_bytes += len(call.request)
        return frame if frame.calls or frame.cancelled_ids else None

    def _next_call(self) -> Call | None:
        limits = self.limits
        if limits is None or self.retired.is_set() or len(self._in_flight) >= limits.max_calls_in_flight:
            return None
        while (call := self._queue.next_call()) is not None and len(call.request) > limits.max_request_bytes:
            call.reject(NotForThePipeline())
        return call

    def _add(self, call: Call, frame: pipeline_pb2.PipelineRequest) -> None:
        number = self._numbers.get(call.method)
        if number is None:
            # fewer than the 256 that a stream may name: they are those of the generated stubs
            number = self._numbers[call.method] = len(self._numbers)
            frame.methods.append(call.method)
        self._last_id = self._last_id % MAX_UINT32 + 1
        while self._last_id in self._in_flight:
            self._last_id = self._last_id % MAX_UINT32 + 1
        call.stream, call.id = self, self._last_id
        self._in_flight[call.id] = call
        left_ms = round((call.deadline - asyncio.get_running_loop().time()) * 1000)
        timeout_ms = min(max(1, left_ms), MAX_UINT32)
        frame.calls.add(id=call.id, method=number, timeout_ms=timeout_ms, request=call.request)

    def _receive(self, frame: pipeline_pb2.PipelineResponse) -> None:
        if frame.HasField("limits"):
            self.limits = frame.limits
        if frame.draining:
            self.retire()
        for answer in frame.answers:
            self.answered = True
            call = self._in_flight.pop(answer.id, None)
            # what was given up is answered too
            if call is not None and not call.answer.done():
                self._settle(call, answer)
        self.wake()  # there may be room again

    def _settle(self, call: Call, answer: pipeline_pb2.Answer) -> None:
        if answer.WhichOneof("outcome") == "response":
            call.answer.set_result(answer.response)
            return
        code = CODES.get(answer.failure.code, grpc.StatusCode.UNKNOWN)
        error = CallError(code, answer.failure.message, details=answer.failure.details)
        if error.reason == "DRAINING" and self.retired.is_set():
            self._queue.enqueue(call)  # it was not started: the next stream takes it
        else:
            call.reject(error)
