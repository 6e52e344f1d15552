# the modules are made as for examples/hello/hello.py
import math
import sys
import uuid

import grpc
from shardkeep.ratelimit.v1 import ratelimit_pb2 as pb
from shardkeep.ratelimit.v1 import ratelimit_pb2_grpc

channel = grpc.insecure_channel(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
rate_limits = ratelimit_pb2_grpc.RateLimitServiceStub(channel)


def may_log_in(ip: str, user_id: str) -> str:
    """Whether somebody may try a password now."""
    subjects = pb.Subjects(by_kind={"ip": ip, "user": user_id})
    request = pb.CheckRateLimitRequest(limits=[pb.Limit(policy_name="login", subjects=subjects)])
    answer = rate_limits.CheckRateLimit(request, timeout=1)
    if answer.allowed:
        return "let in"
    over = (pb.LIMIT_STATUS_OVER, pb.LIMIT_STATUS_BANNED)
    who = [state.subject.split(":")[0] for state in answer.limits if state.status in over]
    return f"{' and '.join(who)} is over: again in {math.ceil(answer.retry_after_ms / 60000)} min"


user_id = str(uuid.uuid4())
print(", ".join(may_log_in("203.0.113.7", user_id) for _ in range(6)))
