# python -m pip install grpcio grpcio-tools
# python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. $(find proto -name '*.proto')
# PYTHONPATH=. python examples/cache/watched_cache.py
"""A cache in the game server's own memory that Watch keeps true."""
import queue
import sys
import threading

import grpc
from shardkeep.cache.v1 import cache_pb2 as pb
from shardkeep.cache.v1 import cache_pb2_grpc


class WatchedCache:
    """Answers keys that begin with `prefix` from memory, for as long as nobody changed them; None: there is nothing.

    For entries without tags, or with tags among those that are named."""

    def __init__(self, stub, prefix, tags=()):
        self.stub = stub
        self.asked = pb.WatchRequest(add_prefixes=[prefix], add_tags=tags)
        self.lock = threading.Lock()
        self.values = {}
        self.changes = 0
        self.is_told = threading.Event()
        threading.Thread(target=self.watch, daemon=True).start()

    def get(self, key):
        with self.lock:
            told, before = self.is_told.is_set(), self.changes
            if told and key in self.values:
                return self.values[key]
        answer = self.stub.Get(pb.GetRequest(key=key), timeout=1)
        value = answer.entry.value if answer.HasField("entry") else None
        with self.lock:
            # a change that was told while the answer was on its way may be newer than the answer
            if told and self.is_told.is_set() and before == self.changes:
                self.values[key] = value
        return value

    def watch(self):
        while True:
            requests = queue.Queue()
            requests.put(self.asked)
            try:
                for told in self.stub.Watch(iter(requests.get, None)):
                    self.take(told)
            except grpc.RpcError as error:
                print("watch ended:", error.code().name, file=sys.stderr)
            # what is kept is not answered until the next stream has told what changed since `cursor`
            with self.lock:
                self.is_told.clear()
            requests.put(None)
            threading.Event().wait(0.2)

    def take(self, told):
        with self.lock:
            self.changes += 1
            # who carries a tag is not told
            if told.resync or told.tags:
                self.values.clear()
            for key in told.keys:
                self.values.pop(key, None)
            self.asked.cursor = told.cursor or self.asked.cursor
            (self.is_told.set if told.requests_in_force else self.is_told.clear)()


if __name__ == "__main__":
    channel = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
    stub = cache_pb2_grpc.CacheServiceStub(channel)
    cache = WatchedCache(stub, "item:", tags=["zone:1"])
    cache.is_told.wait(10)
    stub.Set(pb.SetRequest(key="item:7", value=b"sword", ttl_ms=60000, tags=["zone:1"]), timeout=1)
    seen = [cache.get("item:7")]
    # what another game server would do
    stub.Set(pb.SetRequest(key="item:7", value=b"axe", ttl_ms=60000, tags=["zone:1"]), timeout=1)
    while cache.get("item:7") == seen[-1]:
        pass
    seen.append(cache.get("item:7"))
    stub.InvalidateTags(pb.InvalidateTagsRequest(tags=["zone:1"]), timeout=1)
    while cache.get("item:7") == seen[-1]:
        pass
    print(f"{seen[0].decode()}, then {seen[1].decode()}, then {cache.get('item:7')}; kept: {'item:7' in cache.values}")
