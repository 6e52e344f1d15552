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
    """Answers keys that begin with `prefix` from memory, for as long as nobody changed them."""

    def __init__(self, stub, prefix):
        self.stub = stub
        self.lock = threading.Lock()
        self.values = {}
        self.changes = 0
        self.in_force = threading.Event()
        self.prefix = prefix
        threading.Thread(target=self.watch, daemon=True).start()

    def get(self, key):
        with self.lock:
            if key in self.values:
                return self.values[key]
            before, may_keep = self.changes, self.in_force.is_set()
        value = self.stub.Get(pb.GetRequest(key=key), timeout=1).entry.value
        with self.lock:
            # a change that was told while the answer was on its way may be newer than the answer
            if may_keep and before == self.changes:
                self.values[key] = value
        return value

    def watch(self):
        cursor = b""
        while True:
            requests = queue.Queue()
            requests.put(pb.WatchRequest(cursor=cursor, add_prefixes=[self.prefix]))
            try:
                for told in self.stub.Watch(iter(requests.get, None)):
                    cursor = told.cursor or cursor
                    self.take(told)
            except grpc.RpcError as error:
                print("watch ended:", error.code().name, file=sys.stderr)
            # nobody watches now: keep nothing, and ask for what was missed
            self.take(pb.WatchResponse(resync=True))
            requests.put(None)
            threading.Event().wait(0.2)

    def take(self, told):
        with self.lock:
            self.changes += 1
            if told.resync:
                self.values.clear()
            for key in told.keys:
                self.values.pop(key, None)
        (self.in_force.set if told.requests_in_force else self.in_force.clear)()


if __name__ == "__main__":
    channel = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
    stub = cache_pb2_grpc.CacheServiceStub(channel)
    cache = WatchedCache(stub, "item:")
    cache.in_force.wait(10)
    stub.Set(pb.SetRequest(key="item:7", value=b"sword", ttl_ms=60000), timeout=1)
    seen = cache.get("item:7")
    # another game server
    stub.Set(pb.SetRequest(key="item:7", value=b"axe", ttl_ms=60000), timeout=1)
    while cache.get("item:7") == seen:
        pass
    print(f"{seen.decode()}, then {cache.get('item:7').decode()}; kept: {'item:7' in cache.values}")
