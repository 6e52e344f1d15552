"""A client of shardkeep's pipeline for asyncio: docs/pipeline.md, in code."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from shardkeep.pipeline.v1 import pipeline_pb2, pipeline_pb2_grpc

Response = TypeVar("Response", bound=Message)

# Several frames rather than one large one: the service works on the first while the next is written.
CALLS_PER_FRAME = 64
BACKOFF_BASE_S, BACKOFF_MAX_S = 0.05, 2.0
CODES = {code.value[0]: code for code in grpc.StatusCode}


class CallError(Exception):
    """How a call failed. `reason` is a code of docs/errors.md, '' where there is none."""

    def __init__(self, code: grpc.StatusCode, message: str, reason: str = "", details: tuple = ()) -> None:
        super().__init__(f"{code.name} {reason}: {message}")
        self.code, self.reason, self.details = code, reason, details

    @classmethod
    def of_status(cls, code: int, message: str, details) -> CallError:
        info = error_details_pb2.ErrorInfo()
        found = next((detail for detail in details if detail.Unpack(info)), None)
        return cls(CODES.get(code, grpc.StatusCode.UNKNOWN), message, info.reason if found else "", tuple(details))


@dataclass(eq=False)
class _Call:
    method: str
    request: bytes
    deadline: float
    answer: asyncio.Future = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    id: int = 0


class PipelineClient:
    """Calls over one stream. The calls that tasks make before the event loop turns leave together.

    A call on a stream that is lost fails with UNAVAILABLE and the reason OUTCOME_UNKNOWN; while the service is away calls
    fail at once. Cancelling the task that awaits a call cancels the call.
    """

    def __init__(self, address: str, *, timeout_s: float = 2.0) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)])
        self._timeout_s = timeout_s
        self._unsent: deque[_Call] = deque()
        self._in_flight: dict[int, _Call] = {}
        self._cancelled: list[int] = []
        self._wake = asyncio.Event()
        self._limits: pipeline_pb2.PipelineLimits | None = None
        self._failure: str | None = None
        self._unary_only = False
        self._next_id = 1
        self._task = asyncio.create_task(self._run())

    async def __aenter__(self) -> PipelineClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Waits for the answers of calls in flight, then closes."""
        waiting = [call.answer for call in [*self._unsent, *self._in_flight.values()]]
        await asyncio.gather(*waiting, return_exceptions=True)
        self._task.cancel()
        await self._channel.close()

    async def call(
        self, method: str, request: Message, response: type[Response], timeout_s: float | None = None
    ) -> Response:
        """Calls `package.Service/Method`. Raises CallError."""
        seconds = self._timeout_s if timeout_s is None else timeout_s
        payload = request.SerializeToString()
        if self._unary_only or (self._limits and len(payload) > self._limits.max_request_bytes):
            return response.FromString(await self._unary(method, payload, seconds))
        if self._failure is not None:
            raise CallError(grpc.StatusCode.UNAVAILABLE, self._failure)
        call = _Call(method, payload, asyncio.get_running_loop().time() + seconds)
        self._unsent.append(call)
        self._wake.set()
        try:
            return response.FromString(await asyncio.wait_for(call.answer, seconds))
        except TimeoutError:
            raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time; a write may have happened") from None
        finally:
            self._forget(call)

    def _forget(self, call: _Call) -> None:
        """Gives up a call that has no answer yet."""
        if self._in_flight.get(call.id) is call:
            self._cancelled.append(call.id)
            self._wake.set()

    async def _unary(self, method: str, payload: bytes, timeout_s: float) -> bytes:
        try:
            return await self._channel.unary_unary(f"/{method}")(payload, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
            status = status_pb2.Status.FromString(packed)
            raise CallError.of_status(error.code().value[0], error.details() or "", status.details) from None

    async def _run(self) -> None:
        failures = 0
        while not self._unary_only:
            stream = pipeline_pb2_grpc.PipelineServiceStub(self._channel).Pipeline()
            code, message, was_up = await self._serve(stream)
            self._fail_in_flight(message)
            if code is grpc.StatusCode.UNIMPLEMENTED:
                self._unary_only = True
            elif was_up:
                failures = 0  # its successor may be there already
            else:
                self._failure = message
                while self._unsent:
                    _reject(self._unsent.popleft(), CallError(grpc.StatusCode.UNAVAILABLE, message))
                await asyncio.sleep(random.uniform(0.5, 1) * min(BACKOFF_BASE_S * 2**failures, BACKOFF_MAX_S))
                failures += 1
                self._failure = None
        for call in self._unsent:
            asyncio.create_task(self._answer_unary(call))
        self._unsent.clear()

    async def _answer_unary(self, call: _Call) -> None:
        try:
            payload = await self._unary(call.method, call.request, max(0.001, call.deadline - _now()))
            if not call.answer.done():
                call.answer.set_result(payload)
        except CallError as error:
            _reject(call, error)

    async def _serve(self, stream: grpc.aio.StreamStreamCall) -> tuple[grpc.StatusCode, str, bool]:
        """Works on one stream until it ends; answers how, and whether the service had accepted it."""
        self._limits = None
        writer: asyncio.Task | None = None
        try:
            while (frame := await stream.read()) is not grpc.aio.EOF:
                if frame.HasField("limits"):
                    self._limits = frame.limits
                    writer = asyncio.create_task(self._write(stream))
                for answer in frame.answers:
                    self._settle(answer)
                if frame.draining and writer is not None:
                    writer.cancel()
                    writer = None
                    await stream.done_writing()
                self._wake.set()  # there may be room again
        except grpc.aio.AioRpcError:
            pass  # code() and details() tell the same
        finally:
            if writer is not None:
                writer.cancel()
        return await stream.code(), await stream.details() or "the stream ended", self._limits is not None

    async def _write(self, stream: grpc.aio.StreamStreamCall) -> None:
        numbers: dict[str, int] = {}
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._cancelled or (self._unsent and len(self._in_flight) < self._limits.max_calls_in_flight):
                frame = pipeline_pb2.PipelineRequest(cancelled_ids=self._cancelled)
                self._cancelled = []
                room = min(CALLS_PER_FRAME, self._limits.max_calls_in_flight - len(self._in_flight))
                while self._unsent and len(frame.calls) < room:
                    self._add(frame, self._unsent.popleft(), numbers)
                await stream.write(frame)  # returns when the service can take more

    def _add(self, frame: pipeline_pb2.PipelineRequest, call: _Call, numbers: dict[str, int]) -> None:
        if call.answer.done():
            return
        if call.method not in numbers:
            numbers[call.method] = len(numbers)
            frame.methods.append(call.method)
        while self._next_id in self._in_flight:
            self._next_id = self._next_id % 0xFFFFFFFF + 1
        call.id, self._next_id = self._next_id, self._next_id % 0xFFFFFFFF + 1
        self._in_flight[call.id] = call
        timeout_ms = min(max(1, round((call.deadline - _now()) * 1000)), 0xFFFFFFFF)
        frame.calls.add(id=call.id, method=numbers[call.method], timeout_ms=timeout_ms, request=call.request)

    def _settle(self, answer: pipeline_pb2.Answer) -> None:
        call = self._in_flight.pop(answer.id, None)
        if call is None or call.answer.done():
            return
        if answer.WhichOneof("outcome") == "response":
            call.answer.set_result(answer.response)
            return
        error = CallError.of_status(answer.failure.code, answer.failure.message, answer.failure.details)
        if error.reason == "DRAINING":
            self._unsent.append(call)  # it was not started: the next stream takes it
        else:
            _reject(call, error)

    def _fail_in_flight(self, message: str) -> None:
        calls, self._in_flight = list(self._in_flight.values()), {}
        for call in calls:
            _reject(call, CallError(grpc.StatusCode.UNAVAILABLE, message, "OUTCOME_UNKNOWN"))


def _reject(call: _Call, error: CallError) -> None:
    if not call.answer.done():
        call.answer.set_exception(error)


def _now() -> float:
    return asyncio.get_running_loop().time()
