# python -m pip install grpcio grpcio-tools
# python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. $(find proto -name '*.proto')
# PYTHONPATH=. python examples/hello/hello.py
import sys

import grpc
from shardkeep.cache.v1 import cache_pb2, cache_pb2_grpc
from shardkeep.lock.v1 import lock_pb2, lock_pb2_grpc
from shardkeep.session.v1 import session_pb2, session_pb2_grpc

channel = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
cache = cache_pb2_grpc.CacheServiceStub(channel)
sessions = session_pb2_grpc.SessionServiceStub(channel)
locks = lock_pb2_grpc.LockServiceStub(channel)

login = sessions.CreateSession(session_pb2.CreateSessionRequest(user_id="ada"), timeout=1)
check = sessions.ValidateSession(session_pb2.ValidateSessionRequest(session_token=login.session_token), timeout=1)
lock = locks.AcquireLock(lock_pb2.AcquireLockRequest(resources=["trade:ada"], ttl_ms=5000), timeout=1)
cache.Set(cache_pb2.SetRequest(key="user:ada:profile", value=b'{"level":7}', ttl_ms=60000), timeout=1)
entry = cache.Get(cache_pb2.GetRequest(key="user:ada:profile"), timeout=1).entry
token = lock.grants[0].fencing_token if lock.grants else "none: held by another"
if lock.grants:
    locks.ReleaseLock(lock_pb2.ReleaseLockRequest(resources=["trade:ada"], lock_token=lock.lock_token), timeout=1)
print(f"{check.session.user_id}: fencing token {token}, profile {entry.value.decode()}, {entry.ttl_ms} ms left")
