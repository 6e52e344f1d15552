"""Shows the pipeline at work: python demo.py [host:port | unix:/path]"""

import asyncio
import sys
import time

from pipeline_client import CallError, PipelineClient
from shardkeep.cache.v1 import cache_pb2, cache_pb2_grpc
from shardkeep.ratelimit.v1 import ratelimit_pb2, ratelimit_pb2_grpc

PLAYERS = 2_000


async def main(address: str) -> None:
    async with PipelineClient(address) as client:
        cache = cache_pb2_grpc.CacheServiceStub(client)
        limits = ratelimit_pb2_grpc.RateLimitServiceStub(client)

        await cache.Set(cache_pb2.SetRequest(key="greeting", value=b"hello", ttl_ms=60_000), timeout=1)
        entry = (await cache.Get(cache_pb2.GetRequest(key="greeting"), timeout=1)).entry
        print(f"greeting: {entry.value.decode()}, {entry.ttl_ms} ms left")

        keys = [f"user:{player}:profile" for player in range(PLAYERS)]
        await asyncio.gather(
            *(cache.Set(cache_pb2.SetRequest(key=key, value=b"level 7", ttl_ms=60_000)) for key in keys)
        )
        began = time.perf_counter()
        answers = await asyncio.gather(*(cache.Get(cache_pb2.GetRequest(key=key)) for key in keys))
        took_ms = (time.perf_counter() - began) * 1000
        found = sum(answer.entry.value == b"level 7" for answer in answers)
        print(f"{found} of {PLAYERS} profiles, each by a call of its own, in {took_ms:.0f} ms")

        limit = ratelimit_pb2.Limit(subject="user:ada", policy_name="chat")
        check = ratelimit_pb2.CheckRateLimitRequest(limits=[limit])
        checks = await asyncio.gather(*(limits.CheckRateLimit(check) for _ in range(12)))
        print(f"{sum(answer.allowed for answer in checks)} of 12 chat messages allowed")

        try:
            await cache.Get(cache_pb2.GetRequest(key=""))
        except CallError as error:
            print(f"an empty key: {error.code.name} {error.reason}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"))
