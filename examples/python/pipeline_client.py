"""A client of shardkeep's pipeline for asyncio: docs/pipeline.md, in code.

Example::

    async with PipelineClient("127.0.0.1:50051") as client:
        cache = cache_pb2_grpc.CacheServiceStub(client)
        response = await cache.Get(cache_pb2.GetRequest(key="user:ada:profile"), timeout=0.5)
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import grpc
from pipeline_stream import Call, CallError, NotForThePipeline, PipelineStream
from shardkeep.pipeline.v1 import pipeline_pb2, pipeline_pb2_grpc

__all__ = ["CallError", "PipelineClient"]

Request = TypeVar("Request")
Response = TypeVar("Response")
RequestOf = TypeVar("RequestOf", contravariant=True)
ResponseOf = TypeVar("ResponseOf", covariant=True)

# Calls that wait for a stream, or for room on it; one more fails.
MAX_QUEUED = 16_384
BACKOFF_BASE_S, BACKOFF_MAX_S = 0.05, 2.0
# How long the service may take to end a stream that has no calls.
CLOSE_S = 1.0
CHANNEL_OPTIONS = [
    # a connection of its own: clients of one process would share one, and so one worker of the service
    ("grpc.use_local_subchannel_pool", 1),
    # answers may be as large as the service allows
    ("grpc.max_receive_message_length", -1),
    # gRPC's own back-off goes up to two minutes
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", int(BACKOFF_MAX_S * 1000)),
    # a peer that vanished without a word would otherwise keep the stream
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


class Rpc(Protocol[RequestOf, ResponseOf]):
    """One RPC of a generated stub. Raises CallError; a timeout is in seconds. Cancelling its task gives the call up."""

    def __call__(self, request: RequestOf, *, timeout: float | None = None) -> Awaitable[ResponseOf]: ...


class PipelineClient:
    """Stands where a channel does: `CacheServiceStub(client)`. The calls that tasks make in one turn of the event loop
    leave as frames of one stream.

    Calls on a stream that is lost fail with UNAVAILABLE and the reason OUTCOME_UNKNOWN; while the service is away calls
    fail at once. Without a timeout a call has the client's.
    """

    def __init__(self, address: str, *, timeout: float = 2.0) -> None:
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        # what a stub asks of its channel for its streams; they are not for the pipeline
        self.unary_stream = self._channel.unary_stream
        self.stream_unary = self._channel.stream_unary
        self.stream_stream = self._channel.stream_stream
        self._timeout = timeout
        self._queue: deque[Call] = deque()
        self._stream: PipelineStream | None = None
        self._running: set[asyncio.Task[None]] = set()
        # why calls fail at once; none while there is a stream, or one is being opened
        self._away: str | None = None
        self._unary_only = False
        self._closed = False
        self._open_calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._keeping_open = asyncio.create_task(self._keep_open())

    async def __aenter__(self) -> PipelineClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Waits for the answers of calls in flight, then closes; later calls fail."""
        self._closed = True
        await self._idle.wait()
        self._keeping_open.cancel()
        if self._stream is not None:
            self._stream.retire()
        if self._running:
            await asyncio.wait(self._running, timeout=CLOSE_S)
        await self._channel.close(None)

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Request], bytes],
        response_deserializer: Callable[[bytes], Response],
        _registered_method: bool = False,
    ) -> Rpc[Request, Response]:
        """What a generated stub asks of its channel."""

        async def call(request: Request, *, timeout: float | None = None) -> Response:
            seconds = self._timeout if timeout is None else timeout
            answer = await self._call(method.removeprefix("/"), request_serializer(request), seconds)
            return response_deserializer(answer)

        return call

    def enqueue(self, call: Call) -> None:
        if self._away is not None:
            call.reject(CallError(grpc.StatusCode.UNAVAILABLE, self._away))
            return
        self._queue.append(call)
        if self._stream is not None:
            self._stream.wake()

    def next_call(self) -> Call | None:
        """The next call that somebody still waits for."""
        while self._queue:
            call = self._queue.popleft()
            if not call.answer.done():
                return call
        return None

    async def _call(self, method: str, request: bytes, timeout: float) -> bytes:
        if self._closed:
            raise CallError(grpc.StatusCode.UNAVAILABLE, "the client is closed")
        deadline = _now() + timeout
        self._open_calls += 1
        self._idle.clear()
        try:
            return await self._pipelined(method, request, deadline)
        except NotForThePipeline:
            return await self._unary(method, request, deadline)
        finally:
            self._open_calls -= 1
            if self._open_calls == 0:
                self._idle.set()

    async def _pipelined(self, method: str, request: bytes, deadline: float) -> bytes:
        if self._unary_only:
            raise NotForThePipeline
        if len(self._queue) >= MAX_QUEUED:
            raise CallError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls wait for the service")
        call = Call(method, request, deadline, asyncio.get_running_loop().create_future())
        self.enqueue(call)
        try:
            return await asyncio.wait_for(call.answer, deadline - _now())
        except asyncio.TimeoutError:  # the builtin one from Python 3.11 on
            raise CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time; a write may have happened") from None
        finally:
            if call.stream is not None:
                call.stream.give_up(call)

    async def _unary(self, method: str, request: bytes, deadline: float) -> bytes:
        try:
            return await self._channel.unary_unary(f"/{method}")(request, timeout=max(0.001, deadline - _now()))
        except grpc.aio.AioRpcError as error:
            packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
            # a google.rpc.Status, and Failure has its fields
            status = pipeline_pb2.Failure.FromString(packed)
            raise CallError(error.code(), error.details() or "", details=status.details) from None

    async def _keep_open(self) -> None:
        failures = 0
        while True:
            rpc = pipeline_pb2_grpc.PipelineServiceStub(self._channel).Pipeline()
            stream = self._stream = PipelineStream(self, rpc)
            running = asyncio.create_task(stream.run())
            self._running.add(running)
            running.add_done_callback(self._running.discard)
            await stream.retired.wait()
            if stream.code is grpc.StatusCode.UNIMPLEMENTED:
                self._unary_only = True
                self._reject_queued(NotForThePipeline())
                return
            if stream.answered:
                failures = 0
            # one that was up may have a successor already
            if stream.limits is None or failures > 0:
                self._away = stream.message
                self._reject_queued(CallError(grpc.StatusCode.UNAVAILABLE, stream.message))
                ceiling = min(BACKOFF_BASE_S * 2 ** min(failures, 10), BACKOFF_MAX_S)
                await asyncio.sleep(random.uniform(0.5, 1) * ceiling)
                self._away = None
            failures += 1

    def _reject_queued(self, error: Exception) -> None:
        while (call := self.next_call()) is not None:
            call.reject(error)


def _now() -> float:
    return asyncio.get_running_loop().time()
