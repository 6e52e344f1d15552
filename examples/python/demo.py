"""Shows the pipeline at work: python demo.py [host:port | unix:/path]"""

import asyncio
import sys
import time

from pipeline_client import CallError, PipelineClient
from shardkeep.cache.v1 import cache_pb2
from shardkeep.ratelimit.v1 import ratelimit_pb2

CACHE = "shardkeep.cache.v1.CacheService"
LIMITS = "shardkeep.ratelimit.v1.RateLimitService"
PLAYERS = 1_000


async def main(address: str) -> None:
    async with PipelineClient(address) as client:
        for number in range(0, PLAYERS, 500):
            await asyncio.gather(
                *(
                    client.call(
                        f"{CACHE}/Set",
                        cache_pb2.SetRequest(key=f"user:{player}:profile", value=b"level 7", ttl_ms=60_000),
                        cache_pb2.SetResponse,
                    )
                    for player in range(number, number + 500)
                )
            )
        began = time.perf_counter()
        answers = await asyncio.gather(
            *(
                client.call(f"{CACHE}/Get", cache_pb2.GetRequest(key=f"user:{player}:profile"), cache_pb2.GetResponse)
                for player in range(PLAYERS)
            )
        )
        took_ms = (time.perf_counter() - began) * 1000
        found = sum(answer.entry.value == b"level 7" for answer in answers)
        print(f"{found} of {PLAYERS} profiles in {took_ms:.0f} ms")

        limit = ratelimit_pb2.Limit(subject="user:ada", policy_name="chat")
        check = ratelimit_pb2.CheckRateLimitRequest(limits=[limit])
        allowed = [
            (await client.call(f"{LIMITS}/CheckRateLimit", check, ratelimit_pb2.CheckRateLimitResponse)).allowed
            for _ in range(12)
        ]
        print(f"{sum(allowed)} of 12 chat messages allowed")
        try:
            await client.call(f"{CACHE}/Get", cache_pb2.GetRequest(key=""), cache_pb2.GetResponse)
        except CallError as error:
            print(f"an empty key: {error.code.name} {error.reason}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"))
