"""What test/examples/python-pipeline.test.ts asks of the Python client; prints what it saw as JSON."""

import asyncio
import json
import sys

from pipeline_client import CallError, PipelineClient
from shardkeep.cache.v1 import cache_pb2

CACHE = "shardkeep.cache.v1.CacheService"


def increment(client, key, timeout_s=10.0):
    request = cache_pb2.IncrementRequest(key=key, delta=1)
    return client.call(f"{CACHE}/Increment", request, cache_pb2.IncrementResponse, timeout_s)


def get(client, key, timeout_s=10.0):
    return client.call(f"{CACHE}/Get", cache_pb2.GetRequest(key=key), cache_pb2.GetResponse, timeout_s)


async def outcome(call):
    try:
        await call
        return "OK"
    except CallError as error:
        return f"{error.code.name} {error.reason}".strip()


async def calls(client):
    counts = await asyncio.gather(*(increment(client, "python") for _ in range(2_000)))
    large = cache_pb2.SetRequest(key="large", value=b"x" * 400_000)
    await client.call(f"{CACHE}/Set", large, cache_pb2.SetResponse)
    return {
        "distinct": len({count.value for count in counts}),
        "large": len((await get(client, "large")).entry.value),
        "miss": (await get(client, "nothing")).HasField("entry"),
        "badKey": await outcome(get(client, "")),
        "badMethod": await outcome(client.call("a.b/C", cache_pb2.GetRequest(), cache_pb2.GetResponse)),
    }


async def silent(client):
    """Redis says nothing until a line comes on standard input."""
    late = await outcome(get(client, "x", 0.2))
    given_up = asyncio.create_task(get(client, "x"))
    await asyncio.sleep(0)
    given_up.cancel()
    waiting = asyncio.create_task(increment(client, "silent"))
    print("waiting", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    return {"late": late, "value": (await waiting).value, "cancelled": given_up.cancelled()}


async def restart(client):
    """Counts until a line comes on standard input."""
    seen = {"answered": 0, "unknown": 0}
    stopping = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))

    async def load():
        while not stopping.done():
            result = await outcome(increment(client, "restart"))
            if result == "OK":
                seen["answered"] += 1
            elif result.endswith("OUTCOME_UNKNOWN"):
                seen["unknown"] += 1
            else:
                await asyncio.sleep(0.005)

    await asyncio.gather(*(load() for _ in range(16)))
    return seen


async def main(address, scenario):
    async with PipelineClient(address) as client:
        print(json.dumps(await {"calls": calls, "silent": silent, "restart": restart}[scenario](client)), flush=True)


asyncio.run(main(*sys.argv[1:]))
