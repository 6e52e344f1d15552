"""What test/examples/python-pipeline.test.ts asks of the Python client; prints what it saw as lines of JSON."""

import asyncio
import json
import sys

import grpc
from google.rpc import status_pb2
from pipeline_client import CallError, PipelineClient
from shardkeep.cache.v1 import cache_pb2, cache_pb2_grpc
from shardkeep.lock.v1 import lock_pb2, lock_pb2_grpc
from shardkeep.ratelimit.v1 import ratelimit_pb2, ratelimit_pb2_grpc

PATIENCE_S = 15


def tell(value):
    print(json.dumps(value), flush=True)


def told():
    """Done when the test says something."""
    return asyncio.create_task(asyncio.to_thread(sys.stdin.readline))


def get(channel, key):
    return cache_pb2_grpc.CacheServiceStub(channel).Get(cache_pb2.GetRequest(key=key), timeout=PATIENCE_S)


def put(channel, key, size):
    request = cache_pb2.SetRequest(key=key, value=b"x" * size)
    return cache_pb2_grpc.CacheServiceStub(channel).Set(request, timeout=PATIENCE_S)


def increment(channel, key):
    request = cache_pb2.IncrementRequest(key=key, delta=1)
    return cache_pb2_grpc.CacheServiceStub(channel).Increment(request, timeout=PATIENCE_S)


def get_lock(channel, timeout=PATIENCE_S):
    return lock_pb2_grpc.LockServiceStub(channel).GetLock(lock_pb2.GetLockRequest(resource="r"), timeout=timeout)


async def outcome(call):
    try:
        await call
        return "OK"
    except CallError as error:
        return f"{error.code.name} {error.reason}".strip()


async def calls(client, _):
    # the first is sent before the limits are known
    large = await outcome(put(client, "large", 400_000))
    counts = await asyncio.gather(*(increment(client, "python") for _ in range(2_000)))
    await asyncio.gather(*(put(client, f"size:{size}", size) for size in range(500)))
    gets = await asyncio.gather(*(get(client, f"size:{number % 500}") for number in range(2_000)))
    sets = await asyncio.gather(*(outcome(put(client, f"set:{number}", 100_000)) for number in range(100)))
    return {
        "large": large,
        "stored": len((await get(client, "large")).entry.value),
        "distinct": len({count.value for count in counts}),
        "mixedUp": sum(len(answer.entry.value) != number % 500 for number, answer in enumerate(gets)),
        "largeSets": sorted(set(sets)),
        "missing": (await get(client, "nothing")).HasField("entry"),
        "badMethod": await outcome(client.unary_unary("/a.b/C", bytes, bytes)(b"")),
    }


async def same(client, address):
    """The same calls by the pipeline and alone: responses, and failures with their details."""

    async def seen(channel, key):
        cache = cache_pb2_grpc.CacheServiceStub(channel)
        limit = ratelimit_pb2.Limit(subject="ada", policy_name="none")
        check = ratelimit_pb2.CheckRateLimitRequest(limits=[limit])
        for rpc, request in (
            (cache.Increment, cache_pb2.IncrementRequest(key=key, delta=7)),
            (cache.Exists, cache_pb2.ExistsRequest(keys=[key, "nothing"])),
            (cache.Get, cache_pb2.GetRequest(key=key)),
            (cache.Get, cache_pb2.GetRequest(key="")),
            (cache.Delete, cache_pb2.DeleteRequest(keys=[key])),
            (ratelimit_pb2_grpc.RateLimitServiceStub(channel).CheckRateLimit, check),
        ):
            try:
                yield str(await rpc(request))
            except grpc.aio.AioRpcError as error:
                packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
                yield [error.code().name, *map(str, status_pb2.Status.FromString(packed).details)]
            except CallError as error:
                yield [error.code.name, *map(str, error.details)]

    async with grpc.aio.insecure_channel(address) as channel:
        return {
            "pipeline": [each async for each in seen(client, "a")],
            "unary": [each async for each in seen(channel, "b")],
        }


async def silent(client, _):
    """The state's Redis says nothing until the test hears `waiting`; two calls may be in flight."""
    order = []

    async def note(name, call):
        await call
        order.append(name)

    late = await outcome(get_lock(client, 0.2))
    lock = asyncio.create_task(note("lock", get_lock(client)))
    given_up = asyncio.create_task(get_lock(client))
    await asyncio.sleep(0.1)
    waits_for_room = asyncio.create_task(note("get", get(client, "x")))
    await asyncio.sleep(0.1)
    held_back = not waits_for_room.done()
    given_up.cancel()
    await waits_for_room
    tell("waiting")
    await asyncio.gather(lock, given_up, return_exceptions=True)
    return {"late": late, "heldBack": held_back, "order": order, "cancelled": given_up.cancelled()}


async def replaced(client, _):
    """A service drains while a call waits, and its successor takes the new ones."""
    lock = asyncio.create_task(outcome(get_lock(client)))
    await get(client, "x")
    tell("waiting")
    await told()
    while await outcome(get(client, "x")) != "OK":
        await asyncio.sleep(0.01)
    tell("late" if lock.done() else "served")
    return await lock


async def load(client, _):
    """Counts until the test says something; large writes keep the stream's flow control busy."""
    seen = {"answered": 0, "unknown": 0}
    other = set()
    stopping = told()

    async def count():
        while not stopping.done():
            result = await outcome(increment(client, "load"))
            if result == "OK":
                seen["answered"] += 1
            elif result.endswith("OUTCOME_UNKNOWN"):
                seen["unknown"] += 1
            else:
                other.add(result)
                await asyncio.sleep(0.005)

    async def write(number):
        while not stopping.done():
            if await outcome(put(client, f"written:{number}", 60_000)) != "OK":
                await asyncio.sleep(0.005)

    await asyncio.gather(*(count() for _ in range(32)), *(write(number) for number in range(64)))
    return {**seen, "other": sorted(other)}


async def old(client, _):
    """The service knows no pipeline; the first two are made before the client knows that."""
    first = await asyncio.gather(get(client, "a"), get(client, "b"))
    return [answer.entry.value.decode() for answer in (*first, await get(client, "c"))]


async def scripted(client, _):
    """The service refuses a call as draining, loses it on the next stream, and answers on the one after that."""
    first = await outcome(get(client, "a"))
    while (second := await outcome(get(client, "b"))) == "UNAVAILABLE":
        await asyncio.sleep(0.01)
    return [first, second]


async def main(address, scenario):
    scenarios = (calls, same, silent, replaced, load, old, scripted)
    async with PipelineClient(address) as client:
        tell(await {each.__name__: each for each in scenarios}[scenario](client, address))


asyncio.run(main(*sys.argv[1:]))
